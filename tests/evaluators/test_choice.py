from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from allinone.data.example import Example
from allinone.evaluators.choice import ChoiceAccuracy, best_option
from allinone.inference import Predictor
from allinone.model.heads import ChoiceHead, RankingHead
from fixed import Fixed, evaluated, example, values
from tiny import HEADS, tiny_predictor

ASKED = (
    example(0, "what?", options=("red", "a dog"), right=0, kind="thing", id="a"),
    example(1, "who?", options=("a dog", "a cat", "two dogs"), right=2, kind="animal", id="b"),
    example(0, "who?", options=("a cat", "red", "green", "a ball"), right=1, kind="animal", id="c"),
    example(3, "", options=("two dogs run", "a dark ball"), right=1, id="d"),
)
QUESTIONS = Fixed(ASKED)


def path(root: Path, item: Example) -> Path:
    return root / item.files[0]


@pytest.mark.parametrize("head", [ChoiceHead, RankingHead, None])
def test_options_are_chosen_as_the_predictor_does_with_the_head_there_is(root: Path, head):
    heads = {head.kind: head.Config()} if head else {}
    predictor = tiny_predictor(heads={**HEADS, **heads, **({"ranking": RankingHead.Config()} if head else {})})
    found = evaluated(ChoiceAccuracy.Config(data=QUESTIONS), predictor, root)
    wanted = [predictor.choose(path(root, item), item.text, item.options) for item in ASKED]
    assert [row["probabilities"] for row in found.predictions] == [pytest.approx(p.tolist(), abs=1e-5) for p in wanted]
    assert [row["prediction"] for row in found.predictions] == [int(p.argmax()) for p in wanted]
    right = [int(p.argmax()) == item.right for p, item in zip(wanted, ASKED, strict=True)]
    assert [row["correct"] for row in found.predictions] == right
    scores = {name: score.value for name, score in found.scores.items()}
    assert scores == pytest.approx(
        {
            "accuracy": 25 * sum(right),
            "chance": 100 * (1 / 2 + 1 / 3 + 1 / 4 + 1 / 2) / 4,
            "accuracy/animal": 50 * (right[1] + right[2]),
            "accuracy/thing": 100 * right[0],
            "chance/animal": 100 * (1 / 3 + 1 / 4) / 2,
            "chance/thing": 50,
        }
    )


def test_the_two_streams_choose_by_cosine(predictor: Predictor, root: Path):
    found = evaluated(ChoiceAccuracy.Config(data=QUESTIONS, mode="dual"), predictor, root)
    for row, item in zip(found.predictions, ASKED, strict=True):
        cosines = predictor.embed_text([f"{item.text} {o}".strip() for o in item.options]) @ predictor.embed_video(
            path(root, item)
        ).T.squeeze(1)
        wanted = (cosines / HEADS["contrastive"].temperature).softmax(dim=0)
        assert row["probabilities"] == pytest.approx(wanted.tolist(), abs=1e-4)


@pytest.mark.parametrize("mode", ["joint", "dual"])
def test_clips_are_options_too(predictor: Predictor, root: Path, mode):
    items = (
        example(0, "a dog", clips=tuple(example(v) for v in (0, 3, 4)), right=1, kind="inter", id="x"),
        example(5, "red", clips=tuple(example(v) for v in (3, 5)), right=0, kind="intra", id="y"),
    )
    found = evaluated(ChoiceAccuracy.Config(data=Fixed(items), mode=mode), predictor, root)
    for row, item in zip(found.predictions, items, strict=True):
        clips = [path(root, clip) for clip in item.clips]
        if mode == "dual":
            scores = (predictor.embed_video(clips) @ predictor.embed_text(item.text).T)[:, 0] / 0.05
        else:
            scores = torch.cat([predictor.match(clip, item.text) for clip in clips]).logit()
        assert row["probabilities"] == pytest.approx(scores.softmax(dim=0).tolist(), abs=1e-3)
    assert {"accuracy/inter", "accuracy/intra"} <= set(found.scores)
    assert found.scores["chance/inter"].value == pytest.approx(100 / 3)


def test_a_clip_that_is_missing_takes_its_question_with_it(predictor: Predictor, root: Path):
    items = (
        example(0, "a dog", clips=(example(0), example("broken")), right=1, id="x"),
        example(5, "red", clips=(example(3), example(5)), right=0, id="y"),
    )
    found = evaluated(ChoiceAccuracy.Config(data=Fixed(items), allow_missing=True), predictor, root)
    assert [row["id"] for row in found.predictions] == ["y"]
    assert found.scores["missing"].value == 1
    assert found.num_samples == 1


def test_a_tie_is_lost():
    assert best_option([1.0, 1.0, 0.5], right=0) == 1
    assert best_option([1.0, 1.0, 0.5], right=1) == 0
    assert best_option([1.0, 2.0, 0.5], right=1) == 1
    assert best_option([0.0, 0.0], right=None) == 0
    assert best_option([3.0], right=0) == 0


def test_equal_options_are_never_right(predictor: Predictor, root: Path):
    items = tuple(example(v, "what?", options=("red",) * 3, right=v % 3) for v in range(6))
    assert values(ChoiceAccuracy.Config(data=Fixed(items)), predictor, root)["accuracy"] == 0


def test_the_question_may_be_withheld(predictor: Predictor, root: Path):
    without = tuple(replace(item, text="") for item in ASKED)
    withheld = evaluated(ChoiceAccuracy.Config(data=QUESTIONS, with_question=False), predictor, root)
    wanted = evaluated(ChoiceAccuracy.Config(data=Fixed(without)), predictor, root)
    whole = evaluated(ChoiceAccuracy.Config(data=QUESTIONS), predictor, root)
    assert [row["probabilities"] for row in withheld.predictions] == [
        row["probabilities"] for row in wanted.predictions
    ]
    assert withheld.predictions[0] != whole.predictions[0]
    assert withheld.predictions[3] == whole.predictions[3]  # which has no question


@dataclass(frozen=True)
class Stage(Fixed):
    """One of two stages, with a server that wants both."""

    def submission(self, predictions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        return "both.csv", "".join(f"{row['kind']},{row['id']},{len(row['probabilities'])}\n" for row in predictions)


def stages(secret: bool = False) -> tuple[Stage, Stage]:
    """Four questions with an answer and a reason, under ids that agree up to the `#`."""
    words = ("red", "a dog", "a cat", "two dogs")
    rights = [(0, 1), (1, 2), (2, 3), (3, 0)]
    answers = [
        example(v, "what?", options=words, right=None if secret else a, kind="Q->A", id=f"t-{v}")
        for v, (a, _) in enumerate(rights)
    ]
    given = range(4) if secret else range(1)
    reasons = [
        replace(answers[v], text=f"why? {g}", right=None if secret else r, kind="QA->R", id=f"t-{v}#{g}")
        for v, (_, r) in enumerate(rights)
        for g in given
    ]
    return Stage(tuple(answers)), Stage(tuple(reasons))


def test_two_stages_are_right_where_both_are(predictor: Predictor, root: Path):
    first, second = stages()
    alone = [evaluated(ChoiceAccuracy.Config(data=data), predictor, root) for data in (first, second)]
    found = evaluated(ChoiceAccuracy.Config(data=first, followup=second), predictor, root)
    both = [a["correct"] and r["correct"] for a, r in zip(alone[0].predictions, alone[1].predictions, strict=True)]
    assert found.scores["accuracy"].value == 100 * sum(both) / 4
    assert found.scores["chance"].value == pytest.approx(100 / 16)
    for stage, kind in zip(alone, ("Q->A", "QA->R"), strict=True):
        assert found.scores[f"accuracy/{kind}"] == stage.scores["accuracy"]
        assert found.scores[f"chance/{kind}"].value == 25
    assert found.predictions == [*alone[0].predictions, *alone[1].predictions]
    assert found.num_samples == 4
    assert found.files == {}


def test_a_server_gets_both_stages_in_one_file(predictor: Predictor, root: Path):
    first, second = stages(secret=True)
    found = evaluated(ChoiceAccuracy.Config(data=first, followup=second), predictor, root)
    assert found.scores == {}
    lines = found.files["both.csv"].splitlines()
    assert lines[:4] == [f"Q->A,t-{v},4" for v in range(4)]
    assert lines[4:] == [f"QA->R,t-{v}#{g},4" for v in range(4) for g in range(4)]


def test_stages_without_a_common_question_are_refused(predictor: Predictor, root: Path):
    first, second = stages()
    other = Stage(tuple(replace(item, id=f"other-{n}") for n, item in enumerate(second.items)))
    with pytest.raises(ValueError, match="no question is in both stages"):
        evaluated(ChoiceAccuracy.Config(data=first, followup=other), predictor, root)


def test_missing_videos_of_both_stages_are_counted_once(predictor: Predictor, root: Path):
    first, second = stages()
    more = [replace(data.items[0], video=Path("bad.mp4"), video_id="bad", id="t-9") for data in (first, second)]
    first, second = Stage((*first.items, more[0])), Stage((*second.items, more[1]))
    found = evaluated(ChoiceAccuracy.Config(data=first, followup=second, allow_missing=True), predictor, root)
    assert found.scores["missing"].value == 1
    assert found.num_samples == 4
