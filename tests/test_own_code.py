"""An experiment in a file outside of the package, which defines its objective, evaluator, data set and way of time."""

import json
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from allinone import own_code
from allinone.checkpoint import first_whole, load_checkpoint
from allinone.cli import main
from allinone.experiment import Experiment, describe_experiment, override, train
from allinone.experiments import experiment_of, find, read_experiment
from allinone.model import heads, time
from allinone.settings import describe
from tiny import write_videos

IDEA = '''
"""Predict from the video and its caption which of two halves of the data set a clip is from."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from allinone.data.example import Example
from allinone.evaluators.base import Evaluator, EvaluatorConfig
from allinone.experiments.captioned import captioned
from allinone.experiment import Source
from allinone.intervals import Score
from allinone.model.heads import Head
from allinone.model.time import Time
from allinone.objectives.base import Objective
from allinone.objectives.vtc import VTC


class Reverse(Time):
    kind = "reverse"

    @dataclass(frozen=True, kw_only=True)
    class Config:
        pass

    def forward(self, tokens, num_text, block):
        return torch.cat([tokens[:, :, :num_text], tokens[:, :, num_text:].flip(1)], dim=2)


@dataclass(frozen=True)
class Clips:
    color: str = "red"

    def examples(self, root: Path):
        return [
            Example(video=path, video_id=path.name, text=f"a {self.color} ball {n}")
            for n, path in enumerate(sorted(root.glob("*.mp4")))
        ]


class HalfHead(Head):
    kind = "halves"

    @dataclass(frozen=True, kw_only=True)
    class Config:
        size: int = 2

    def __init__(self, config, model):
        super().__init__(config, model)
        self.linear = torch.nn.Linear(model.shared_dim, config.size)

    def forward(self, pooled):
        return self.linear(pooled)


class MeanScore(Evaluator):
    tasks = ("caption",)

    @dataclass(frozen=True, kw_only=True)
    class Config(EvaluatorConfig):
        scale: float = 2.0

        def build(self):
            return MeanScore(self)

    def check(self, predictor):
        predictor.model.require(HalfHead)

    def score(self, predictor, clips):
        count = sum(len(numbers) for numbers, _ in clips.read(predictor))
        return {"clips": Score(self.config.scale * count)}, []


class HalfVTC(VTC):
    """Contrast, with a head that nothing else has."""

    @dataclass(frozen=True, kw_only=True)
    class Config(VTC.Config):
        def build(self, ingredients):
            return HalfVTC(self, ingredients)

    def __init__(self, config, ingredients):
        super().__init__(config, ingredients)
        self.half = HalfHead(HalfHead.Config(), ingredients.model)


def frame_order():
    base = captioned()
    return replace(
        base,
        model=base.model.replace(width=32, num_heads=2, depth=1, image_size=32, shared_dim=16, time=Reverse.Config()),
        train_data={"clips": Source(data=Clips("blue"))},
        objectives={"halves": HalfVTC.Config(weight=0.5)},
        evaluators={"mean": MeanScore.Config(data=Clips())},
        optim=replace(base.optim, num_steps=2, warmup=1),
        data=replace(base.data, batch_size=4, transform=replace(base.data.transform, resize=36, crop=32), cache_mb=0),
        train=replace(base.train, tensorboard=False),
        tokenizer=replace(base.tokenizer, size=60),
    )
'''


def forget() -> None:
    """Be as a process that has not loaded the file."""
    sys.modules.pop("my_idea.py", None)
    own_code.NAMED_FOLDERS.clear()
    own_code.LOADED.clear()
    heads.OWN_HEADS.pop("halves", None)
    time.TIMES.pop("reverse", None)


@pytest.fixture(scope="module")
def idea(tmp_path_factory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("idea") / "my_idea.py"
    path.write_text(IDEA)
    yield path
    forget()


@pytest.fixture(scope="module")
def checkpoint(idea: Path) -> Path:
    write_videos(idea.parent / "clips", 4)
    experiment = override(find(f"{idea}:frame_order"), [f"data.root={idea.parent}/clips"])
    return train(experiment, idea.parent / "run").checkpoint


def test_a_checkpoint_has_the_names_and_the_hash_of_the_users_code(checkpoint: Path, idea: Path):
    written = json.loads((checkpoint / "experiment.json").read_text())
    assert written["objectives"]["halves"]["class"] == "my_idea.py:HalfVTC.Config"
    assert written["model"]["time"]["class"] == "my_idea.py:Reverse.Config"
    assert written["train_data"]["clips"]["data"] == {"class": "my_idea.py:Clips", "color": "blue"}
    assert written["code"] == {"my_idea.py": own_code.sha256(idea)}


def test_it_is_evaluated_as_it_was_trained_where_the_file_is_named(
    checkpoint: Path, idea: Path, tmp_path, caplog, capsys
):
    forget()
    with pytest.raises(ValueError, match=r"experiment\.json: made with code of your own; name .* --code my_idea\.py"):
        experiment_of(checkpoint)
    with pytest.raises(
        ValueError, match=r"unknown kind 'reverse'; .* import my_idea\.py first; for a command: --code my_idea\.py"
    ):
        load_checkpoint(checkpoint)
    elsewhere = shutil.copytree(idea.parent, idea.parent.parent / "elsewhere") / "my_idea.py"
    main(["evaluate", str(checkpoint), "--code", str(elsewhere), "--to", str(tmp_path / "scores")])
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert scores["evaluators"]["mean"]["score"]["clips"]["value"] == 8
    experiment = experiment_of(checkpoint)
    found = find(f"{elsewhere}:frame_order")
    assert (experiment.objectives, experiment.evaluators) == (found.objectives, found.evaluators)
    assert not [line for line in caplog.messages if "another version" in line]
    forget()
    asked = ["classify", str(idea.parent / "clips" / "00.mp4"), "--labels", "a dog,a cat", "--model", str(checkpoint)]
    main([*asked, "--code", str(elsewhere)])
    assert "a dog" in capsys.readouterr().out
    elsewhere.write_text(IDEA + "# changed")
    own_code.load_code(str(elsewhere))
    experiment_of(checkpoint)
    assert f"experiment.json was made with another version of {elsewhere}" in caplog.text


def test_missing_code_is_no_damage_that_an_older_checkpoint_could_repair():
    def read(folder: Path) -> None:
        raise own_code.CodeNotLoaded(folder.name)

    with pytest.raises(own_code.CodeNotLoaded, match="newest"):
        first_whole([Path("newest"), Path("older")], read)


def test_a_run_goes_on_after_its_file_was_changed(checkpoint: Path, idea: Path):
    experiment = override(find(f"{idea}:frame_order"), [f"data.root={idea.parent}/clips"])
    idea.write_text(IDEA + "# a comment")
    run = checkpoint.parents[1]
    assert train(experiment, run, resume=True).step == 2
    with pytest.raises(ValueError, match=r"objectives\.halves\.weight: was 0\.5, is 0\.25"):
        train(override(experiment, ["objectives.halves.weight=0.25"]), run, resume=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os:environ", r"os:environ is code of your own; name its file with --code os"),
        ("subprocess.py:Popen", "name its file with --code subprocess.py"),
        ("allinone.__main__:main", "name its file"),
        ("allinone.apps.export_example:read_clip", "name its file"),
        ("allinone.nothing:Config", "this version of allinone has no module allinone.nothing"),
        ("allinone.experiment:Path", "defines no such config"),
        ("allinone.experiment:train", "defines no such config"),
        ("allinone.objectives.vtc:VTC.__init__", "defines no such config"),
        ("allinone.objectives.vtc:VTC", "defines no such config"),
    ],
)
def test_only_configs_of_this_package_and_of_named_files_are_read(name: str, message: str):
    with pytest.raises(ValueError, match=message):
        own_code.find_class(name)
    description = describe(find("captioned"), Experiment)
    description["objectives"]["vtc"]["class"] = name
    with pytest.raises(ValueError, match=r"run\.json\.objectives\.vtc: "):
        read_experiment(description, "run.json")


def test_classes_of_a_notebook_have_no_file(monkeypatch: pytest.MonkeyPatch):
    notebook = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    exec(IDEA, vars(notebook))
    try:
        description = json.loads(json.dumps(describe_experiment(vars(notebook)["frame_order"]())))
        assert "code" not in description
        assert description["objectives"]["halves"]["class"] == "__main__:HalfVTC.Config"
        assert read_experiment(description, "run.json").objectives["halves"].weight == 0.5
        del notebook.HalfVTC  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(ValueError, match="__main__ defines no such config"):
            read_experiment(description, "run.json")
    finally:
        forget()


def test_files_of_all_classes_are_listed(idea: Path):
    own_code.load_code(str(idea))
    of_idea = {"class": "my_idea.py:Clips"}
    assert [*own_code.code_hashes({"several": [{"inner": of_idea}], "class": "dog", "other": {"class": 3}})] == [
        idea.name
    ]
