"""Losses of the first steps of `world_contrast` and `world_joint` at seed 0, to compare code before and after a change.

    python benchmarks/loss_trace.py --to before                      # with the old code
    python benchmarks/loss_trace.py --to after --against before      # with the new code, on the same machine

A refactoring leaves every number as it is, to the last bit. Otherwise the first difference is shown; exit code 1.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from allinone.datasets.synthetic import make_world
from allinone.experiment import override, train
from allinone.experiments import find

STAGES = ("world_contrast", "world_joint")
TIMES = ("clips_per_sec", "wait")
"""Numbers of a step that no two runs share."""


def write_trace(
    folder: Path, num_steps: int = 20, num_train: int = 600, settings: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Train both stages, the second from the first one's weights; `folder` gets their `metrics.jsonl` without times.

    `settings` are more settings of each stage.
    """
    folder.mkdir(parents=True)
    with TemporaryDirectory() as temporary:
        world = Path(temporary, "world")
        make_world(world, num_train=num_train, num_pairs=4, processes=1)
        init: list[str] = []
        for stage in STAGES:
            common = [f"data.root={world}", f"optim.num_steps={num_steps}", "optim.warmup=2", "train.tensorboard=false"]
            experiment = override(find(stage), [*common, *(settings or {}).get(stage, ()), *init])
            result = train(replace(experiment, evaluators={}), Path(temporary, stage))
            init = [f"init={result.checkpoint}"]
            lines = read(Path(temporary, stage, "metrics.jsonl"))
            (folder / f"{stage}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def read(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def first_difference(before: Path, after: Path) -> str | None:
    """Say where two traces differ for the first time."""
    for stage in STAGES:
        old, new = (read(folder / f"{stage}.jsonl") for folder in (before, after))
        for line, other in zip(old, new, strict=False):
            for name in line | other:
                if line.get(name) != other.get(name):
                    return f"{stage}, step {line.get('step')}: {name} was {line.get(name)!r}, is {other.get(name)!r}"
        if len(old) != len(new):
            return f"{stage}: {len(old)} lines before, {len(new)} after"
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="a new folder for the trace")
    parser.add_argument("--against", type=Path, metavar="DIR", help="an older trace")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    write_trace(options.to, options.steps)
    if options.against is not None:
        difference = first_difference(options.against, options.to)
        print(difference or "every number is as before")
        sys.exit(difference is not None)
