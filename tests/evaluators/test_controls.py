"""What a score owes to the frames, to their order and to the question shows beside it."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from allinone.data import completeness
from allinone.data.clip_reader import Control
from allinone.data.completeness import Tables
from allinone.data.example import Example
from allinone.data.loader import DataConfig
from allinone.data.table import ExampleTable
from allinone.evaluators.base import Evaluation, EvaluatorConfig
from allinone.evaluators.choice import ChoiceAccuracy
from allinone.evaluators.controls import check_data, metric_values, run_evaluator
from allinone.evaluators.retrieval import Retrieval
from allinone.experiment import Data, Experiment, run_evaluators, with_evaluators
from allinone.inference import Predictor
from allinone.model.config import NANO
from allinone.train.optim import Optim
from allinone.video.encode import write_mp4
from fixed import Fixed, example
from tiny import tiny_predictor

CONTROLS: tuple[Control, ...] = ("blind", "single_frame", "shuffle_frames")
NUM_CLIPS = 8


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Even clips begin dark and grow bright, odd ones the other way; the middle is the same in all."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(NUM_CLIPS):
        levels = np.linspace(20, 236, 16).astype(np.uint8)[:: 1 if number % 2 == 0 else -1]
        write_mp4(folder / f"{number:02}.mp4", np.broadcast_to(levels[:, None, None, None], (16, 32, 32, 3)), 8, crf=0)
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


class Watching(Predictor):
    """It looks whether a clip grows bright, and believes the option whose last word says so.

    Where it sees no change it knows a bias of the data: it takes the option with the longer text.
    """

    def using(self, data: DataConfig) -> "Watching":
        return Watching(self.model, self.tokenizer, data=data)

    def option_scores(self, clips, token_ids, pairs):
        brightness = clips.float().mean(dim=(1, 3, 4, 5))  # [G, T]
        grows = (brightness[:, -1] - brightness[:, 0])[pairs[:, 0]]
        says_so = torch.tensor([self.is_bright(token_ids[text]) for text in pairs[:, 1].tolist()])
        length = torch.tensor([float(len(token_ids[text])) for text in pairs[:, 1].tolist()])
        return torch.where(says_so, grows, -grows) + length / 100

    def is_bright(self, row: list[int]) -> bool:
        assert self.tokenizer is not None
        return row[-2] == self.tokenizer.tokenize(["red"], 10)[0][-2]


def questions(longer_is_right: bool) -> Fixed:
    """`red` is what clips that grow bright are called, `dog` the others."""
    items = []
    for number in range(NUM_CLIPS):
        options, right = ["red", "dog"], number % 2
        if longer_is_right:
            options[right] = f"a a {options[right]}"
        items.append(example(number, "what?", options=tuple(options), right=right, id=str(number)))
    return Fixed(tuple(items))


def evaluate(config: EvaluatorConfig, root: Path, **data) -> dict[str, Evaluation]:
    tiny = tiny_predictor()
    watching = Watching(tiny.model, tiny.tokenizer, data=tiny.data)
    settings = Data(root=str(root), transform=tiny.data.transform, batch_size=3, **data)
    return run_evaluator(watching, config, settings, CONTROLS)


def experiment(config: EvaluatorConfig, data: Data) -> Experiment:
    return Experiment(
        model=NANO,
        train_data={},
        objectives={},
        optim=Optim.Config(num_steps=1),
        evaluators={"test": config},
        data=data,
    )


def accuracies(columns: dict[str, Evaluation]) -> dict[str, float]:
    return {name: column.scores["accuracy"].value for name, column in columns.items()}


def test_only_with_all_frames_in_order_does_an_unbiased_benchmark_give_more_than_chance(clips: Path):
    found = accuracies(evaluate(ChoiceAccuracy.Config(data=questions(longer_is_right=False)), clips))
    assert list(found) == ["score", "blind", "answers_only", "single_frame", "shuffle_frames"]
    assert found["score"] == 100
    assert found["blind"] <= 50
    assert found["answers_only"] <= 50
    assert found["single_frame"] <= 50
    assert found["shuffle_frames"] < 100


def test_a_biased_benchmark_shows_itself(clips: Path):
    found = accuracies(evaluate(ChoiceAccuracy.Config(data=questions(longer_is_right=True)), clips))
    assert found["score"] == found["blind"] == found["answers_only"] == found["single_frame"] == 100


def test_several_views_of_a_single_frame_are_one(clips: Path):
    found = evaluate(ChoiceAccuracy.Config(data=questions(longer_is_right=False), num_views=3), clips)
    assert found["single_frame"].scores["accuracy"].value <= 50
    assert found["score"].scores["accuracy"].value == 100


def test_controls_cover_the_samples_of_the_real_score(clips: Path):
    data = questions(longer_is_right=False)
    broken = example("broken", "what?", options=("red", "dog"), right=0, id="no")
    config = ChoiceAccuracy.Config(data=replace(data, items=(*data.items, broken)))
    columns = evaluate(config, clips, allow_missing=True)
    for column in columns.values():
        assert [row["id"] for row in column.predictions] == [str(number) for number in range(NUM_CLIPS)]
        assert column.scores["missing"].value == 1
        assert column.skipped == {"broken"}


def test_blind_retrieval_finds_nothing(clips: Path):
    captions = Fixed(tuple(example(number, f"a {'red ' * number}dog") for number in range(NUM_CLIPS)))
    columns = evaluate(Retrieval.Config(data=captions), clips)
    assert list(columns) == ["score", *CONTROLS]
    assert columns["blind"].scores["t2v/R@1"].value <= 50  # all clips tie, up to rounding in another place of a batch


def test_training_gets_the_same_scores(clips: Path):
    config = ChoiceAccuracy.Config(data=questions(longer_is_right=False))
    tiny = tiny_predictor()
    run = experiment(config, Data(root=str(clips), transform=tiny.data.transform))
    values = metric_values(run_evaluators(tiny, run, (), None))
    assert values == metric_values({"test": run_evaluator(tiny, config, run.data)})
    assert values["test/chance"] == 50
    assert with_evaluators(run, num_views=3).evaluators["test"].num_views == 3


@dataclass(frozen=True)
class Counted(Fixed):
    """Counts how often it is read."""

    counts: Counter[str] = field(default_factory=Counter)

    def examples(self, root: Path) -> list[Example]:
        self.counts["read"] += 1
        return super().examples(root)


def test_a_data_set_is_read_and_checked_once_a_run(clips: Path, monkeypatch: pytest.MonkeyPatch):
    data = Counted(questions(longer_is_right=False).items)
    config, tiny, tables = ChoiceAccuracy.Config(data=data), tiny_predictor(), Tables()
    checked: list[ExampleTable] = []
    monkeypatch.setattr(completeness, "missing", lambda examples: checked.append(examples) or {})
    run = experiment(config, Data(root=str(clips), transform=tiny.data.transform))
    check_data(config, run.data, tables)
    for _ in range(2):  # as at each evaluation during a training
        run_evaluators(tiny, run, CONTROLS, None, tables)
    assert data.counts["read"] == len(checked) == 1
    run_evaluators(tiny, run, (), None)  # another run
    assert data.counts["read"] == len(checked) == 2


def test_incomplete_data_is_told_before_anything_is_evaluated(clips: Path):
    data = questions(longer_is_right=False)
    items = (example(name, "what?", options=("red", "dog"), right=0) for name in ("00", "absent"))
    absent = Fixed(tuple(items))
    for config in (ChoiceAccuracy.Config(data=absent), ChoiceAccuracy.Config(data=data, followup=absent)):
        with pytest.raises(ValueError, match=r"absent\.mp4\n  allow it with data\.allow_missing=true"):
            check_data(config, Data(root=str(clips)))
        check_data(config, Data(root=str(clips), allow_missing=True))
    with pytest.raises(ValueError, match=r"files of 8 of 8 videos are missing: .*elsewhere"):
        check_data(ChoiceAccuracy.Config(data=data, folder="elsewhere"), Data(root=str(clips)))
