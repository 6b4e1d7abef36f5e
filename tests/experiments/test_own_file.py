"""Ideas of a user in a file outside of the package, from training to a question."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from allinone.checkpoint import load_checkpoint
from allinone.experiment import Experiment, evaluate, override, train
from allinone.experiments import find
from allinone.inference import load
from allinone.model.heads import Head
from allinone.model.model import AllInOne
from allinone.model.time import TIMES
from allinone.train.optim import Optim, parameter_groups
from tiny import write_videos


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file in a folder of clips; what it defines is known in this test only."""
    monkeypatch.setattr("allinone.model.heads.OWN_HEADS", {})
    write_videos(tmp_path / "clips", 6)
    yield Path(shutil.copy(Path(__file__).with_name("my_idea.py"), tmp_path))
    TIMES.pop("blend", None)


def experiment(own: Path, name: str) -> Experiment:
    return override(find(f"{own}:{name}"), [f"data.root={own.parent / 'clips'}"])


def same(one: AllInOne, other: AllInOne) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def resumed(made: Experiment, run: Path) -> AllInOne:
    """The model of a run that goes on from the checkpoint in the middle of this one."""
    copy = run.with_name("resumed")
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "checkpoints" / "step-00000004")
    train(made, copy, resume=True, quiet=True)
    return load_checkpoint(copy).model


def test_a_loss_with_a_head_is_one_file(own: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    made, run = experiment(own, "frame_order"), own.parent / "run"
    result = train(made, run, quiet=True)
    assert {name.rpartition("/")[2] for name in result.metrics} == {"accuracy"}
    predictor = load(run)
    [head] = predictor.model.heads.values()
    assert isinstance(head, Head)
    assert same(resumed(made, run), predictor.model)
    [column] = evaluate(run, made, quiet=True)["order"].values()
    assert column.scores["accuracy"].value in [100 * right / 12 for right in range(13)]
    logits = predictor.video_only(head, predictor.one_clip(own.parent / "clips" / "00.mp4", 1))
    assert logits.shape == (1, 2)
    # What others read off the head: the card, the optimizer, the export.
    assert "- `order`: tells whether a clip is played forward" in (result.checkpoint / "README.md").read_text()
    groups = parameter_groups(predictor.model.named_parameters(), Optim.Config(num_steps=4))
    assert [group["lr_mult"] for group in groups if "heads.order.linear.weight" in group["names"]] == [10]
    assert {name: dict(made.meaning) for name, made in head.exports().items()} == {
        "video_order": {"meaning": "logits of: played backward, played forward"}
    }
    # Where the file is not imported the rest of the model loads.
    monkeypatch.setattr("allinone.model.heads.OWN_HEADS", {})
    assert [*load(run).model.heads] == []
    assert "without its head order" in caplog.text


def test_a_way_of_time_is_one_file(own: Path):
    made, run = experiment(own, "blended"), own.parent / "run"
    train(made, run, quiet=True)
    model = load_checkpoint(run).model
    assert model.encoder.time.kind == "blend"
    assert not torch.equal(model.encoder.get_parameter("time.share"), torch.full((2,), 0.2))  # it was trained
    assert same(resumed(made, run), model)
    fine_tuned = override(experiment(own, "frame_order"), [f"init={run}", "optim.num_steps=1"])
    train(fine_tuned, own.parent / "fine-tuned", quiet=True)
    assert load_checkpoint(own.parent / "fine-tuned").model.encoder.time.kind == "blend"  # as it was pre-trained


def test_a_way_of_time_of_the_experiment_replaces_that_of_the_checkpoint_it_starts_from(own: Path):
    train(override(experiment(own, "frame_order"), ["optim.num_steps=1"]), own.parent / "rolling", quiet=True)
    made = override(experiment(own, "blended"), [f"init={own.parent / 'rolling'}", "optim.num_steps=1"])
    train(made, own.parent / "run", quiet=True)
    assert load_checkpoint(own.parent / "run").model.encoder.time.kind == "blend"
