"""`allinone demo`, `train`, `evaluate` and `compare`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from allinone.cli.show import progress_bars, show_comparisons, show_numbers, show_tables
from allinone.progress import is_first_process


def demo(*, to: Path = Path("runs/demo"), quick: bool = False, seed: int = 0) -> None:
    """Show every step on a synthetic dataset, in minutes: train, evaluate, index, search, ask. Ends with an HTML
    report.

    Args:
        to (DIR): folder for all output
        quick: a short version, which learns little
        seed: of the dataset and of training
    """
    from allinone.apps.demo import demo

    with progress_bars() as show:
        report = demo(to, quick=quick, seed=seed, on_progress=show, say=print)
    print(f"report: {report}")


def train(experiment: str, *, set: Sequence[str] = (), to: str | None = None, resume: bool = False) -> None:
    """Train a named experiment. Under torchrun the same command trains on many GPUs:

        torchrun --nproc-per-node 8 -m allinone train ...

    Args:
        experiment: a name, for example `captioned` (an unknown one lists all), or your own function that returns an
            Experiment: my_idea.py:frame_order or module:function
        set (KEY=VALUE): change settings, for example optim.lr=3e-5 data.root=my_clips model.num_frames=8; an unknown
            key lists all
        to (DIR): folder of the run (default: runs/EXPERIMENT)
        resume: continue from the newest checkpoint in that folder
    """
    from allinone.experiment import override, train
    from allinone.experiments import find, short_name
    from allinone.train.run import TrainingDiverged
    from allinone.train.signals import TrainingInterrupted

    try:
        result = train(override(find(experiment), set), to or f"runs/{short_name(experiment)}", resume=resume)
    except TrainingInterrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    except TrainingDiverged as error:
        print(f"allinone train: {error}", file=sys.stderr)
        sys.exit(1)
    if is_first_process():
        show_numbers(f"after {result.step} steps", result.metrics)
        print(f"checkpoint: {result.checkpoint}")


def evaluate(
    checkpoint: str,
    experiment: str,
    *,
    set: Sequence[str] = (),
    only: Sequence[str] = (),
    frames: int | None = None,
    views: int | None = None,
    to: str | None = None,
    replace: bool = False,
    blind: bool = False,
    single_frame: bool = False,
    shuffle_frames: bool = False,
) -> None:
    """Evaluate a checkpoint with the evaluators of a named experiment. Writes a folder with scores and their
    confidence intervals, the prediction for each sample, and files for the servers of public benchmarks.

    Controls evaluate the same samples with part of the input withheld, and are shown next to the real score: they
    show what a benchmark can be answered without.

    Args:
        checkpoint: checkpoint folder, run folder or hub id
        experiment: as for `allinone train`
        set (KEY=VALUE): change settings, as for `allinone train`
        only (NAME): some of the evaluators, for example `test` (default: all)
        frames: frames of a clip (default: as in the experiment)
        views: clips of each video, over which scores are averaged (default: as in the experiment)
        to (DIR): output folder (default: CHECKPOINT/evaluations/EXPERIMENT)
        replace: overwrite the evaluation in that folder

    Controls:
        blind: no frames; for multiple choice, also no question
        single_frame: only the middle frame
        shuffle_frames: the frames in another order
    """
    from allinone.evaluators.results import default_folder
    from allinone.experiment import evaluate, override, with_evaluators, with_views
    from allinone.experiments import find, short_name

    settings = [*set] if frames is None else [*set, f"model.num_frames={frames}"]
    changed = override(find(experiment), settings)
    if only:
        changed = with_evaluators(changed, only)
    if views is not None:
        changed = with_views(changed, views)
    flags = {"blind": blind, "single_frame": single_frame, "shuffle_frames": shuffle_frames}
    controls: list[Any] = [name for name, is_on in flags.items() if is_on]
    folder = to or default_folder(checkpoint, short_name(experiment))
    with progress_bars() as show:
        tables = evaluate(checkpoint, changed, show, controls=controls, name=experiment, to=folder, overwrite=replace)
    show_tables(tables)
    print(f"evaluation: {folder}")


def compare(first: str, second: str, *, control: str | None = None) -> None:
    """Compare two evaluations sample by sample. Shows the difference of each score (second minus first) over the
    samples that both have, with its 95 % confidence interval: if the interval excludes 0, other videos would show the
    difference too.

    Args:
        first (EVALUATION): folder that `allinone evaluate` wrote
        second (EVALUATION): another one, of the same samples
        control (NAME): compare the predictions under a control, for example blind
    """
    from allinone.apps.compare import compare
    from allinone.evaluators.results import REAL

    show_comparisons(compare(first, second, control or REAL), first, second)
