import importlib
import json
import re
import sys
from dataclasses import replace
from typing import Any, get_args, get_type_hints
from unittest.mock import MagicMock

import pytest
import torch

from allinone.checkpoint import load_checkpoint, save_checkpoint
from allinone.checks import literals
from allinone.data.cache import FrameCache
from allinone.data.loader import Loader
from allinone.data.sources import TrainingData
from allinone.datasets.captioned import Captions
from allinone.datasets.synthetic import make_world
from allinone.evaluators.controls import metric_values
from allinone.experiment import (
    Experiment,
    adopt,
    evaluate,
    load_for,
    make_tokenizer,
    override,
    train,
)
from allinone.experiments import experiments, find, questions, recognition, retrieval, short_name
from allinone.files.lock import only_process
from allinone.inference import load
from allinone.model.config import NANO
from allinone.model.time import NoExchange, Rolling
from allinone.settings import describe, settable
from allinone.text.tokenizer import Tokenizer
from allinone.train.run import TrainResult
from tiny import tiny_predictor


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
    assert result.metrics.keys() == metric_values(evaluate(result.checkpoint, experiment)).keys()
    assert json.loads((result.checkpoint / "experiment.json").read_text())["optim"]["num_steps"] == 2


def test_two_evaluations_into_one_folder_are_refused(root, tmp_path):
    experiment = override(find("world_contrast"), [f"data.root={root}"])
    with only_process(tmp_path / "out"), pytest.raises(ValueError, match=r"out: process \d+ on .* is writing there"):
        evaluate(tmp_path / "no checkpoint is read", experiment, to=tmp_path / "out")


def test_a_run_can_start_from_a_checkpoint_of_other_sizes(root, tmp_path, caplog):
    caplog.set_level("INFO")
    settings = [*QUICK, f"data.root={root}", *SPECIAL["world_joint"]]
    first = train(override(find("world_joint"), settings), tmp_path / "first").checkpoint
    wider = override(find("captioned"), [*QUICK, f"data.root={root}", *SPECIAL["captioned"], f"init={first}"])
    result = train(wider, tmp_path / "second")
    assert load(result.checkpoint).model.config.width == NANO.width  # that of the checkpoint, not of `captioned`
    [told] = [line for line in caplog.messages if "where this run starts" in line]
    assert told.startswith(f"as in {first}, where this run starts: model.width 96 (not 128), ")
    assert "data.transform.crop 64 (not 96)" in told
    (tmp_path / "vocab.txt").write_text("\n".join([*Tokenizer.load(first).tokens, "zebra"]))
    with pytest.raises(ValueError, match=r"was trained with another vocabulary; leave out tokenizer\.vocab"):
        train(override(wider, [f"tokenizer.vocab={tmp_path}/vocab.txt"]), tmp_path / "third")


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
        ("optim.lr=fast", r"optim\.lr: expected float, got 'fast'"),
        ("optim.warmpu=1", r"no such key as 'warmpu'; did you mean warmup\? there are: "),
        ("batch_size=4", r"did you mean train_data\.captions\.batch_size or data\.batch_size\? there are: "),
        (
            "model=tinny",
            r"model is no single value; did you mean tiny\? sizes are nano, .*; or set one of: model\.width",
        ),
        ("objectives.vtx.weight=1", r"did you mean vtm\? there are: vtc"),
        ("optim=3", "set one of: optim"),
        ("optim.lr.more=3", "nothing to set inside float"),
        ("optim.lr", "a setting is key=value"),
        ("train.precision=float16", "float32"),
        ("model.num_heads=5", "does not divide into 5 heads"),
        ("objectives.vtm.negatives=tough", "random"),
        ("data.num_frames=8", r"data\.num_frames follows from other settings; set model\.num_frames"),
        ("data.transform.crop=80", r"data\.transform\.crop follows from other settings; set model\.image_size"),
        ("data.max_text_len=80", r"set model\.max_text_len"),
        ("train.accumulate=2", r"follows from other settings; set data\.global_batch"),
        ("data.group_size=2", r"set train_data\.NAME\.group_size"),
        ("model.vocab_size=99", r"set tokenizer\.size, or tokenizer\.vocab"),
        ("train_data.captions.group_size=0", "group_size must be at least 1, got 0"),
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


@pytest.mark.parametrize("last_first", [False, True])
def test_a_size_or_a_way_of_time_by_name_does_not_undo_settings_inside_it(last_first: bool):
    settings = ["model=tiny", "model.time=rolling", "model.depth=2", "model.time.video=true"]
    model = override(find("captioned"), settings[::-1] if last_first else settings).model
    assert (model.width, model.depth, model.time) == (192, 2, Rolling.Config(video=True))


def test_a_setting_of_a_branch_does_not_replace_settings_inside_it():
    with pytest.raises(ValueError, match="optim is no single value, and other settings are inside it"):
        override(find("captioned"), ["optim.lr=1", "optim=2"])


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        (["model.image_size=192"], (224, 192)),
        (["model=tiny"], (261, 224)),
        (["data.transform.resize=64", "model.image_size=64"], (64, 64)),
        (["data.transform.resize=128"], (128, 96)),
    ],
)
def test_frames_are_cropped_to_the_size_of_the_model_and_resized_in_proportion(settings, sizes):
    transform = override(find("captioned"), settings).data.transform
    assert (transform.resize, transform.crop) == sizes


def test_an_evaluation_on_other_frames_than_in_training_says_so(tmp_path, caplog):
    caplog.set_level("INFO")
    trained = tiny_predictor(num_frames=2)
    save_checkpoint(tmp_path / "mine", trained.model, trained.tokenizer)
    for num_frames, told in ((2, False), (5, True)):
        caplog.clear()
        experiment = override(find("captioned"), [f"model.num_frames={num_frames}"])
        assert load_for(tmp_path / "mine", experiment).num_frames == num_frames
        assert (
            any("mine was trained on 2 (to evaluate it so: model.num_frames=2)" in m for m in caplog.messages) == told
        )


def test_what_a_checkpoint_decides_cannot_be_set(tmp_path):
    trained = tiny_predictor()
    mine = save_checkpoint(tmp_path / "mine", trained.model, trained.tokenizer)
    start, base = load_checkpoint(mine), override(find("captioned"), [f"init={mine}"])
    same = override(base, ["model.width=32", "model.num_frames=7", "model.max_text_len=50", "model.dropout=0.5"])
    assert adopt(same, start).model.width == 32
    for settings, message in {
        (
            "model.width=64",
            "model.depth=3",
        ): r"^model\.width=64, model\.depth=3 .*: there, model\.width=32, model\.",
        ("model.image_size=80",): r"^model\.image_size=80 cannot be set here, .*: there, model\.image_size=32",
        ("model.max_text_len=30",): r"^model\.max_text_len=30 cannot be set here, .*: there, model\.max_text_len=40",
        ("model=tiny",): r"^model\.width=192, .* cannot be set here, since .*mine decides it",
    }.items():
        with pytest.raises(ValueError, match=message):
            adopt(override(base, settings), start)
    with pytest.raises(ValueError, match=r"^model\.max_text_len=80 cannot .*: there, model\.max_text_len=40"):
        load_for(mine, override(base, ["model.max_text_len=80"]))


def test_an_unknown_experiment_lists_those_there_are():
    with pytest.raises(ValueError, match=r"no experiment called 'nothing'; there are: .*, captioned, "):
        find("nothing")
    with pytest.raises(ValueError, match=r"called 'msrvt-retrieval'; did you mean msrvtt_retrieval\? there are: "):
        find("msrvt-retrieval")


OWN = """
from dataclasses import dataclass, replace
from allinone.experiments.captioned import captioned
from {beside} import LR

@dataclass(frozen=True)
class Local:
    lr: float = LR

def frame_order():
    base = captioned()
    return replace(base, optim=replace(base.optim, lr=Local().lr))

def number():
    return 3

def with_rate(lr):
    return frame_order()
"""


def test_an_experiment_of_the_users_own_lies_in_any_file(tmp_path, monkeypatch):
    (tmp_path / "beside_it.py").write_text("LR = 0.125")
    (tmp_path / "random.py").write_text(OWN.format(beside="beside_it"))  # replaces no library
    before = [*sys.path]
    assert find(f"{tmp_path}/random.py:frame_order").optim.lr == 0.125
    assert sys.path == before
    assert importlib.import_module("random").random
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_idea.py").write_text(OWN.format(beside="beside_it"))
    for name in ("my_idea.py:frame_order", "my_idea:frame_order", "allinone.experiments.captioned:captioned"):
        assert override(find(name), ["optim.num_steps=7"]).optim.num_steps == 7
        assert short_name(name) == name.split(":")[1]
    for name, message in {
        "my_idea.py:frame_ordr": r"called 'frame_ordr' in my_idea\.py; did you mean frame_order\? there are: ",
        "my_idea.py:with_rate": r"called 'with_rate' in my_idea\.py; there are: frame_order, number$",
        "my_idea.py": r"no name of an experiment in my_idea\.py; there are: frame_order, number$",
        "my_idea.py:number": r"my_idea\.py:number returns int, not an Experiment",
        "other.py:frame_order": r"other\.py: no such file or module; an experiment of your own is FILE\.py:FUNCTION",
        "other.one:frame_order": r"other\.one: no such file or module",
    }.items():
        with pytest.raises(ValueError, match=message):
            find(name)
    (tmp_path / "broken.py").write_text("import no_such_library")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        find("broken:frame_order")


APART = re.compile(r"data\.root|init|tokenizer\.vocab|train\.device|.*\.folder|(train_data|evaluators)\.\w+\.data\..*")
"""Keys that decide which files are read, and where; `tokenizer.vocab` is instead of `tokenizer.size`."""


def another(value: Any, kind: Any) -> Any:
    """A value that fits beside the others when all of them are changed: numbers are doubled, so that they divide."""
    if literals(kind):
        return next(choice for choice in literals(kind) if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return 2 * value or 1
    if isinstance(value, float):
        return value / 2 or 1e-5
    if isinstance(value, tuple):
        return [number / 2 for number in value]
    return 1536 if int in get_args(kind) else "other"  # as `data.global_batch`, a multiple of the batches


def at(owner: Any, key: str) -> Any:
    for name in key.split("."):
        owner = owner[name] if isinstance(owner, dict) else getattr(owner, name)
    return owner


def test_every_setting_is_used_as_it_was_set(root, tmp_path, monkeypatch):
    start, wanted = override(find("world_joint"), [f"data.root={root}"]), {}
    for key in settable(start, Experiment.DERIVED):
        if not APART.fullmatch(key):
            kind = get_type_hints(type(at(start, key.rpartition(".")[0])))[key.rpartition(".")[2]]
            wanted[key] = another(at(start, key), kind)
    assert len(wanted) >= 99
    run = MagicMock(return_value=TrainResult(tmp_path, 0, {}))
    loader = MagicMock(side_effect=lambda *_, **__: MagicMock(spec=Loader, unreadable={}))
    monkeypatch.setattr("allinone.experiment.run_training", run)
    monkeypatch.setattr("allinone.data.sources.example_loader", loader)
    values = (f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in wanted.items())
    changed = override(start, values)
    train(changed, tmp_path / "run", cache=FrameCache([], 1, changed.data.transform.resize))
    used = run.call_args.args[0]
    for key, value in wanted.items():
        assert at(used.describe, key) == value, key
    assert used.tokenizer is not None
    config = used.training_model.model.encoder.config
    assert config == replace(changed.model, vocab_size=used.tokenizer.vocab_size)
    assert (used.optim, used.config) == (changed.optim, changed.train)
    for made, source in zip(loader.call_args_list, changed.train_data.values(), strict=True):
        assert made.args[2] == replace(changed.data, batch_size=source.batch_size)
        read = tuple(made.kwargs[name] for name in ("num_frames", "max_text_len", "group_size"))
        assert read == (source.num_frames, changed.model.max_text_len, source.group_size)
    assert [source.sampling_weight for source in used.sources.values()] == [
        s.sampling_weight for s in changed.train_data.values()
    ]


def test_a_description_is_json_and_complete():
    text = json.dumps(describe(find("captioned"), Experiment))
    again = json.loads(text)
    assert again["objectives"]["vtc"]["class"] == "allinone.objectives.vtc:VTC.Config"
    assert again["train_data"]["captions"]["data"]["hold_out"] == 4


def test_a_crop_that_does_not_fit_the_model_is_refused(root, tmp_path):
    experiment = override(find("captioned"), [*QUICK, f"data.root={root}", *SPECIAL["captioned"]])
    with pytest.raises(ValueError, match=r"squares of 64 pixels, but data\.transform\.crop is 96"):
        train(replace(experiment, model=experiment.model.replace(image_size=64)), tmp_path / "run")
    assert not torch.distributed.is_initialized()


def test_videos_of_a_caption_file_may_be_missing_if_that_is_allowed(root, tmp_path):
    text = (root / "captions.csv").read_text()
    (root / "some.csv").write_text(text + "gone1.mp4,a red square\ngone2.mp4,a red square\n")
    files = [f"{place}.data.file=some.csv" for place in ("train_data.captions", "evaluators.val")]
    settings = [*QUICK, f"data.root={root}", *files, "data.cache_mb=0", "evaluators.val.data.hold_out=2"]
    with pytest.raises(ValueError, match=r"no such video file: .*gone1"):
        train(override(find("captioned"), settings), tmp_path / "refused")
    allowed = override(find("captioned"), [*settings, "data.allow_missing=true", "train_data.captions.data.hold_out=2"])
    assert train(allowed, tmp_path / "run").metrics["val/missing"] == 1


def test_settings_that_an_evaluation_does_not_read_are_told(root, tmp_path, caplog):
    settings = [f"data.root={root}", "data.batch_size=3", "optim.lr=1", "init=x", "data.cache_mb=7"]
    with pytest.raises(ValueError, match="no such checkpoint"):
        evaluate(tmp_path / "none", override(find("world_contrast"), settings))
    told = "without effect on an evaluation, since they are for training: data.cache_mb, init, optim.lr"
    assert [record.getMessage() for record in caplog.records] == [told]


def test_a_size_of_the_vocabulary_that_another_one_replaces_is_told(root, tmp_path, caplog):
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join(Tokenizer.train(["a red square moves up"], 60).tokens))
    experiment = override(find("world_contrast"), [f"tokenizer.vocab={vocab}", "tokenizer.size=50"])
    make_tokenizer(experiment, TrainingData({}, experiment.data), None)
    assert [r.getMessage() for r in caplog.records] == [
        f"tokenizer.size=50 has no effect: the vocabulary is that of {vocab}"
    ]


def test_every_fine_tuning_has_the_published_batch_on_one_gpu_and_on_eight():
    modules = {module.__name__ for module in (questions, recognition, retrieval)}
    runs = [make() for make in experiments().values() if make.__module__ in modules]
    assert len(runs) > 20
    assert {(run.data.accumulate(1), run.data.accumulate(8)) for run in runs} == {(8, 1)}


def test_a_way_of_time_is_set_by_name_and_its_own_settings_by_key():
    made = find("world_contrast")
    assert override(made, ["model.time=none"]).model.time == NoExchange.Config()
    assert override(made, ["model.time.video=true"]).model.time == Rolling.Config(video=True)
    with pytest.raises(
        ValueError, match=r"model\.time: did you mean rolling\? ways of time are rolling, none.*'roling'"
    ):
        override(made, ["model.time=roling"])
