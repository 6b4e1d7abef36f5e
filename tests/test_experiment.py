import json

import pytest
import torch

from allinone.datasets.captioned import Captions
from allinone.datasets.synthetic import make_world
from allinone.experiment import Data, describe, evaluate, numbers, override, train
from allinone.experiments import experiments, find, finetune
from allinone.files.lock import only_process
from allinone.inference import load
from allinone.model.config import NANO


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A made world, and a captions.csv over some of its clips beside it."""
    root = tmp_path_factory.mktemp("made") / "world"
    make_world(root, num_train=16, num_pairs=3, processes=1)
    rows = [json.loads(line) for line in (root / "captions.jsonl").read_text().splitlines()][:12]
    (root / "captions.csv").write_text("video,caption\n" + "".join(f"{r['video']},{r['caption']}\n" for r in rows))
    return root


QUICK = ["optim.num_steps=2", "optim.warmup=1", "data.batch_size=4", "train.tensorboard=false", "model.depth=1"]
SPECIAL = {
    "captioned": ["train_data.captions.data.file=captions.csv", "evaluators.val.data.file=captions.csv"],
    "recognition": ["train_data.captions.data.file=captions.csv", "evaluators.val.data.file=captions.csv"],
    "world_joint": [f"train_data.{name}.batch_size=4" for name in ("captions", "pairs", "questions")],
}


# Those of public data sets: tests/experiments.
@pytest.mark.parametrize("name", ["captioned", "recognition", "world_contrast", "world_joint"])
def test_an_experiment_trains_and_evaluates(name, root, tmp_path):
    settings = [*QUICK, f"data.root={root}", *SPECIAL.get(name, [])]
    experiment = override(find(name), settings)
    result = train(experiment, tmp_path / "run")
    assert result.step == 2
    assert result.metrics.keys() == numbers(evaluate(result.checkpoint, experiment)).keys()
    assert json.loads((result.checkpoint / "experiment.json").read_text())["optim"]["num_steps"] == 2


def test_two_evaluations_into_one_folder_are_refused(root, tmp_path):
    experiment = override(find("world_contrast"), [f"data.root={root}"])
    with only_process(tmp_path / "out"), pytest.raises(ValueError, match=r"out: process \d+ on .* is writing there"):
        evaluate(tmp_path / "no checkpoint is read", experiment, to=tmp_path / "out")


def test_a_run_can_start_from_a_checkpoint_of_other_sizes(root, tmp_path):
    settings = [*QUICK, f"data.root={root}", *SPECIAL["world_joint"]]
    first = train(override(find("world_joint"), settings), tmp_path / "first").checkpoint
    wider = override(find("captioned"), [*QUICK, f"data.root={root}", *SPECIAL["captioned"], f"init={first}"])
    result = train(wider, tmp_path / "second")
    assert load(result.checkpoint).model.config.width == NANO.width  # that of the checkpoint, not of `captioned`


def test_the_same_seed_gives_the_same_losses(root, tmp_path):
    losses = []
    for name in ("a", "b"):
        seen = []
        settings = [*QUICK, f"data.root={root}", *SPECIAL["world_joint"]]
        train(
            override(find("world_joint"), settings),
            tmp_path / name,
            on_step=lambda row, to=seen: to.append(row["loss"]),
        )
        losses.append(seen)
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optim.learning_rate=1", r"optim\.learning_rate: no such key as 'learning_rate'; there are: .*lr"),
        ("optim.lr=fast", r"optim\.lr: wanted float, got 'fast'"),
        ("objectives.vtx.weight=1", "there are: vtc"),
        ("optim=3", "set one of: optim"),
        ("optim.lr.more=3", "nothing to set inside float"),
        ("optim.lr", "wanted key=value"),
        ("train.precision=float16", "float32"),
        ("model.num_heads=5", "does not divide into 5 heads"),
        ("objectives.vtm.negatives=tough", "random"),
        ("data.num_frames=8", r"data\.num_frames is not set by itself; set model\.num_frames"),
        ("data.max_text_len=80", r"set model\.max_text_len"),
        ("data.together=2", r"set train_data\.NAME\.together"),
        ("model.vocab_size=99", r"set words\.size, or words\.vocab"),
        ("train_data.captions.together=0", "together must be at least 1, got 0"),
    ],
)
def test_a_wrong_setting_names_the_key_and_the_choices(setting, message):
    with pytest.raises(ValueError, match=message):
        override(find("captioned"), [setting])


def test_settings_reach_into_the_experiment():
    settings = ["optim.lr=3e-5", "objectives.vtc.weight=0.5", "train_data.captions.data.hold_out=null"]
    settings += ["train_data.captions.data.split=null", "model=tiny", "data.transform.flip_prob=0", "init=folder"]
    changed = override(find("captioned"), settings)
    assert changed.optim.lr == 3e-5
    assert changed.objectives["vtc"].weight == 0.5
    assert changed.train_data["captions"].data == Captions()
    assert (changed.model.width, changed.data.transform.flip_prob, changed.init) == (192, 0.0, "folder")


def test_an_unknown_experiment_lists_those_there_are():
    with pytest.raises(ValueError, match=r"no experiment called 'nothing'; there are: .*, captioned, "):
        find("nothing")


def test_a_description_is_json_and_complete():
    text = json.dumps(describe(find("captioned")))
    again = json.loads(text)
    assert again["objectives"]["vtc"]["class"] == "allinone.objectives.vtc.VTC.Config"
    assert again["train_data"]["captions"]["data"]["hold_out"] == 4


def test_a_crop_that_does_not_fit_the_model_is_refused(root, tmp_path):
    settings = [*QUICK, f"data.root={root}", *SPECIAL["captioned"], "model.image_size=64"]
    with pytest.raises(ValueError, match=r"squares of 64 pixels, but data\.transform\.crop is 96"):
        train(override(find("captioned"), settings), tmp_path / "run")
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("num_processes", "batch_size", "accumulate"), [(1, 128, 8), (8, 128, 1), (2, 64, 8), (4, 1, 256)]
)
def test_an_update_takes_the_same_clips_whatever_the_number_of_processes(num_processes, batch_size, accumulate):
    assert Data(batch_size=batch_size, global_batch=1024).accumulate(num_processes) == accumulate
    assert Data(batch_size=batch_size).accumulate(num_processes) == 1


@pytest.mark.parametrize(
    ("num_processes", "batch_size", "way_out"),
    [(16, 128, "data.batch_size=64"), (1, 100, "data.batch_size=64"), (3, 128, "data.global_batch to a multiple of 3")],
)
def test_a_batch_that_cannot_be_made_says_which_can(num_processes, batch_size, way_out):
    with pytest.raises(ValueError, match=f"global_batch=1024 clips cannot be made .* set {way_out}"):
        Data(batch_size=batch_size, global_batch=1024).accumulate(num_processes)


def test_every_fine_tuning_has_the_published_batch_on_one_gpu_and_on_eight():
    runs = [make() for make in experiments().values() if make.__module__ == finetune.__name__]
    assert len(runs) > 20
    assert {(run.data.accumulate(1), run.data.accumulate(8)) for run in runs} == {(8, 1)}
