"""The script that compares losses before and after a change of the code, at a small size."""

import json
from pathlib import Path

import pytest
from loss_trace import STAGES, first_difference, write_trace

SMALL = {
    "world_contrast": ["data.batch_size=8", "data.cache_mb=0", "model.depth=1"],
    "world_joint": ["data.cache_mb=0"]
    + [f"train_data.{name}.batch_size=8" for name in ("captions", "pairs", "questions")],
}


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = [tmp_path_factory.mktemp("traces") / name for name in ("before", "after")]
    for folder in folders:
        write_trace(folder, 3, num_train=24, settings=SMALL)
    return folders


def test_the_same_code_and_seed_give_the_same_numbers_bit_for_bit(traces: list[Path]):
    assert first_difference(*traces) is None


@pytest.mark.parametrize("stage", STAGES)
def test_a_change_in_the_last_bit_is_found(traces: list[Path], tmp_path: Path, stage: str):
    for name in STAGES:
        lines = (traces[0] / f"{name}.jsonl").read_text().splitlines()
        if name == stage:
            step = json.loads(lines[1])
            lines[1] = json.dumps(step | {"loss": step["loss"] * (1 + 2**-52)})
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    assert str(first_difference(traces[0], tmp_path)).startswith(f"{stage}, step 2: loss was ")
