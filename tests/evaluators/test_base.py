"""What holds for every evaluator."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from allinone.evaluators.base import EvaluatorConfig
from allinone.evaluators.choice import ChoiceAccuracy
from allinone.evaluators.classification import AnswerAccuracy
from allinone.evaluators.number import Number
from allinone.evaluators.recognition import RecognitionAccuracy
from allinone.evaluators.retrieval import Retrieval
from allinone.evaluators.time_order import Order
from allinone.inference import Predictor
from allinone.video import VideoError
from fixed import Fixed, evaluated, example, values
from tiny import TEXTS, tiny_predictor

CAPTIONS = [example(v, text, id=f"c{v}") for v, text in zip([3, 0, 1, 5, 2], TEXTS, strict=True)]
PAIRS = [example(v + turned, f"red {turned}", id=f"p{v}-{turned}", kind="x") for v in range(3) for turned in (0, 10)]
QUESTIONS = [example(v, "what?", answer=a, id=f"q{v}", kind=a) for v, a in enumerate(["red", "green", "seven"])]
OPTIONS = [
    example(v, "what?", options=("red", "a dog", "a cat")[: 2 + v % 2], right=v % 2, id=str(v)) for v in range(6)
]
CLIPS = [example(v, "a dog", clips=(example(v), example(v + 1)), right=v % 2, id=f"m{v}") for v in range(4)]
NUMBERS = [example(v, "how many?", number=v + 1, id=str(v)) for v in range(5)]
LABELS = [example(v, label=("red", "green", "a dog")[v % 3], id=str(v)) for v in range(6)]
NAMES = ("a dog", "green", "red", "never shown")

ALL: dict[str, EvaluatorConfig] = {
    "dual": Retrieval.Config(data=Fixed(tuple(CAPTIONS))),
    "joint": Retrieval.Config(data=Fixed(tuple(CAPTIONS)), mode="joint"),
    "two stages": Retrieval.Config(data=Fixed(tuple(CAPTIONS)), mode="two_stage", top_k=2, num_views=2),
    "order": Order.Config(data=Fixed(tuple(PAIRS))),
    "answers": AnswerAccuracy.Config(data=Fixed(tuple(QUESTIONS))),
    "options": ChoiceAccuracy.Config(data=Fixed(tuple(OPTIONS)), num_views=2),
    "options, dual": ChoiceAccuracy.Config(data=Fixed(tuple(OPTIONS)), mode="dual"),
    "clips": ChoiceAccuracy.Config(data=Fixed(tuple(CLIPS))),
    "numbers": Number.Config(data=Fixed(tuple(NUMBERS))),
    "probe": RecognitionAccuracy.Config(data=Fixed(tuple(LABELS), NAMES), mode="head"),
    "zero-shot": RecognitionAccuracy.Config(data=Fixed(tuple(LABELS), NAMES), template="the {} moves"),
    "zero-shot, joint": RecognitionAccuracy.Config(data=Fixed(tuple(LABELS), NAMES), mode="joint"),
    "captions as classes": RecognitionAccuracy.Config(data=Fixed(tuple(CAPTIONS))),
}
every = pytest.mark.parametrize("config", ALL.values(), ids=ALL.keys())


def with_items(config: EvaluatorConfig, *more: Any) -> EvaluatorConfig:
    assert isinstance(config.data, Fixed)
    return replace(config, data=replace(config.data, items=config.data.items + more))


@every
def test_the_batch_and_the_workers_change_no_result(full: Predictor, root: Path, config: EvaluatorConfig):
    wanted = evaluated(config, full, root)
    for data in (replace(full.data, batch_size=1), replace(full.data, batch_size=50, num_workers=1)):
        found = evaluated(config, full, root, data=data)
        assert found.scores == wanted.scores
        assert [row.get("prediction") for row in found.predictions] == [
            row.get("prediction") for row in wanted.predictions
        ]


@every
def test_every_sample_has_a_prediction_and_every_score_its_interval(full: Predictor, root: Path, config):
    found = evaluated(config, full, root)
    asked = [item.id for item in config.data.items]
    assert [row["id"] for row in found.predictions][: len(asked)] == asked
    assert found.num_samples == len(asked)
    assert json.loads(json.dumps(found.predictions)) == found.predictions
    assert found.files == {}
    for name, score in found.scores.items():
        if "chance" in name or score.low is None or score.high is None:
            continue
        assert score.low <= score.value <= score.high, name


@every
def test_unreadable_videos_are_an_error_or_a_number(full: Predictor, root: Path, config: EvaluatorConfig):
    last = config.data.items[-1]  # type: ignore
    if last.clips:
        bad = [replace(last, id=name, clips=(example(0), example(name))) for name in ("broken", "bad")]
    else:
        bad = [replace(last, id=name, video=Path(f"{name}.mp4"), video_id=name) for name in ("broken", "bad")]
    if isinstance(config, Order.Config):
        bad[0] = replace(bad[0], text="another")
    more = with_items(config, *bad)
    with pytest.raises(VideoError, match=r"2 videos cannot be read(.|\n)*broken(.|\n)*bad"):
        evaluated(more, full, root)
    found, whole = evaluated(replace(more, allow_missing=True), full, root), evaluated(config, full, root)
    assert {name: score.value for name, score in found.scores.items()} == {
        name: score.value for name, score in whole.scores.items()
    } | {"missing": 2}
    assert found.skipped == {"broken", "bad"}
    assert found.num_samples == whole.num_samples


@every
def test_what_is_skipped_is_not_looked_at(full: Predictor, root: Path, config: EvaluatorConfig):
    absent = replace(config, allow_missing=True)
    out = {config.data.items[0].video_id, "not there at all"}  # type: ignore
    found = evaluated(absent, full, root, skipped=out)
    assert found.skipped == out - {"not there at all"}
    assert 0 < found.num_samples < len(config.data.items)  # type: ignore
    assert out.isdisjoint(row["video_id"] for row in found.predictions if not isinstance(config, ChoiceAccuracy.Config))


@every
def test_a_model_that_knows_nothing_never_beats_chance(root: Path, config: EvaluatorConfig, full_heads):
    knows_nothing = tiny_predictor(heads=full_heads)
    with torch.no_grad():
        for parameter in knows_nothing.model.heads.parameters():
            parameter.zero_()
    scores = values(config, knows_nothing, root)
    for name, value in scores.items():
        measure, _, kind = name.partition("/")
        if measure == "accuracy":
            assert value <= scores[f"chance/{kind}" if kind else "chance"]
        elif name.endswith(("R@1", "pairs")):
            assert value <= 50 if "single_frame" in name else value == 0
    assert scores.get("mse", 0) >= scores.get("mse_chance", 0)


@every
def test_views_are_averaged_over(full: Predictor, root: Path, config: EvaluatorConfig):
    outputs = [evaluated(replace(config, num_views=v), full, root).predictions for v in (1, 3)]
    assert [row["id"] for row in outputs[0]] == [row["id"] for row in outputs[1]]
    keys = {"probability", "probabilities", "output"} & set(outputs[0][0])
    for key in keys:
        assert [row[key] for row in outputs[0]] != [row[key] for row in outputs[1]]


def test_impossible_settings_are_refused(full: Predictor, root: Path):
    with pytest.raises(ValueError, match="num_views must be at least 1"):
        Retrieval.Config(data=Fixed(()), num_views=0)
    with pytest.raises(ValueError, match="no examples"):
        evaluated(Retrieval.Config(data=Fixed(())), full, root)
    nothing = Fixed((example("broken", "red"), example("bad", "a dog")))
    with pytest.raises(ValueError, match="none of the 2 videos"):
        evaluated(Retrieval.Config(data=nothing, allow_missing=True), full, root)


@pytest.mark.parametrize(
    ("config", "head"),
    [
        (Retrieval.Config(data=Fixed(())), "contrastive"),
        (AnswerAccuracy.Config(data=Fixed(())), "answer"),
        (Number.Config(data=Fixed(())), "number"),
        (RecognitionAccuracy.Config(data=Fixed(()), mode="head"), "label"),
        (ChoiceAccuracy.Config(data=Fixed(())), "choice, ranking or matching"),
    ],
)
def test_a_head_that_is_missing_is_told_before_anything_is_read(config: EvaluatorConfig, head: str):
    others = tiny_predictor(heads={})
    with pytest.raises(ValueError, match=rf"{head} head \(.* none\)"):
        evaluated(config, others, Path("nowhere"))


@dataclass(frozen=True)
class Served(Fixed):
    """Answers are sent to a server."""

    def submission(self, predictions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        return "answers.json", json.dumps({row["id"]: row["prediction"] for row in predictions})


@pytest.mark.parametrize("secret", [True, False])
def test_a_server_gets_its_file_where_answers_are_secret(full: Predictor, root: Path, secret: bool):
    data = Served(tuple(replace(item, answer="" if secret else "red") for item in QUESTIONS))
    found = evaluated(AnswerAccuracy.Config(data=data), full, root)
    if not secret:
        assert found.files == {}
        return
    assert found.scores == {}
    assert json.loads(found.files["answers.json"]) == {row["id"]: row["prediction"] for row in found.predictions}
    assert [(row["truth"], row["correct"]) for row in found.predictions] == [(None, None)] * 3


def test_a_server_gets_no_file_with_gaps(full: Predictor, root: Path, caplog: pytest.LogCaptureFixture):
    data = Served((*(replace(item, answer="") for item in QUESTIONS), example("broken", "what?", answer="", id="no")))
    found = evaluated(AnswerAccuracy.Config(data=data, allow_missing=True), full, root)
    assert found.files == {}
    assert "1 videos are missing" in caplog.text
