import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from allinone.apps.compare import compare
from allinone.data.example import Example
from allinone.evaluators.base import Evaluation, Prediction, row_of
from allinone.evaluators.choice import Graded, summary
from allinone.evaluators.results import write_results
from allinone.evaluators.retrieval import found_first, scores_of


def question(number: int, video: str, kind: str | None, correct: bool | None) -> Prediction:
    return {
        "id": f"q{number}", "video_id": video, "kind": kind, "text": "what?", "prediction": 0, "truth": 0,
        "correct": correct,
    }  # fmt: skip


def answers(correct: Sequence[bool | None], first: int = 0) -> Evaluation:
    """Two questions about each video, of two kinds."""
    numbers = range(first, first + len(correct))
    rows = [question(n, f"v{n // 2}", "ab"[n % 2], right) for n, right in zip(numbers, correct, strict=True)]
    scores = summary([Graded(row["video_id"], row["kind"], row["correct"], 0.5) for row in rows])
    return Evaluation(scores=scores, predictions=rows, num_samples=len(rows))


def written(folder: Path, evaluation: Evaluation, **controls: Evaluation) -> Path:
    return write_results(folder, {"checkpoint": "m"}, {"test": {"score": evaluation, **controls}})


def test_a_difference_that_every_sample_shows_is_certain_though_the_scores_overlap(tmp_path: Path):
    first = [n % 3 == 0 for n in range(60)]
    second = [right or n % 10 == 1 for n, right in enumerate(first)]
    a, b = answers(first), answers(second)
    low, high = a.scores["accuracy"].high, b.scores["accuracy"].low
    assert low is not None
    assert high is not None
    assert low > high
    found = compare(written(tmp_path / "a", a), written(tmp_path / "b", b))["test"]
    accuracy = found.scores["accuracy"]
    assert (accuracy.first, accuracy.second) == (a.scores["accuracy"].value, b.scores["accuracy"].value)
    assert accuracy.difference.value == pytest.approx(accuracy.second - accuracy.first)
    assert accuracy.difference.low is not None
    assert accuracy.difference.low > 0
    assert set(found.scores) == {"accuracy", "accuracy/a", "accuracy/b"}
    assert found.num_unpaired == (0, 0)


def test_only_samples_that_both_have_are_compared_and_the_others_counted(tmp_path: Path):
    first, second = answers([True, False, True, True]), answers([False, False, None, True], first=2)
    found = compare(written(tmp_path / "a", first), written(tmp_path / "b", second))["test"]
    accuracy = found.scores["accuracy"]
    assert (accuracy.first, accuracy.second, accuracy.num_pairs) == (100, 0, 2)
    assert found.num_unpaired == (2, 2)
    with pytest.raises(ValueError, match="no scored sample in common"):
        compare(tmp_path / "a", written(tmp_path / "c", answers([True], first=9)))


def test_retrieval_is_compared_in_both_directions(tmp_path: Path):
    examples = [Example(video=Path(f"{n}.mp4"), video_id=str(n), text=f"caption {n}") for n in range(4)]
    relevant = torch.eye(4).bool()
    evaluations = []
    for seed in (0, 1):
        similarity = torch.rand(4, 4, generator=torch.Generator().manual_seed(seed))
        arguments: Any = (similarity, similarity.T, relevant, examples, examples)
        rows = found_first(*arguments)
        evaluations.append(Evaluation(scores=scores_of(*arguments), predictions=rows, num_samples=4))
    found = compare(written(tmp_path / "a", evaluations[0]), written(tmp_path / "b", evaluations[1]))["test"]
    assert set(found.scores) == {f"{way}/{name}" for way in ("t2v", "v2t") for name in ("R@1", "R@5", "R@10", "MeanR")}
    for name, score in found.scores.items():
        assert (score.first, score.second) == tuple(evaluation.scores[name].value for evaluation in evaluations)


def test_a_control_can_be_compared(tmp_path: Path):
    blind = answers([False, True])
    one, other = (written(tmp_path / name, answers([True, True]), blind=blind) for name in "ab")
    assert compare(one, other, "blind")["test"].scores["accuracy"].first == 50
    with pytest.raises(ValueError, match=r"no evaluator with the column 'single_frame' is in both"):
        compare(one, other, "single_frame")


def test_a_score_that_is_no_mean_over_its_predictions_is_left_out(tmp_path: Path):
    """As the accuracy over both stages of visual commonsense reasoning."""
    folder = written(tmp_path / "a", answers([True, False]))
    scores = json.loads((folder / "scores.json").read_text())
    scores["evaluators"]["test"]["score"]["accuracy"]["value"] = 25.0
    (folder / "scores.json").write_text(json.dumps(scores))
    assert set(compare(folder, folder)["test"].scores) == {"accuracy/a", "accuracy/b"}


@pytest.mark.parametrize("damage", ["none", "missing", "broken"])
def test_a_folder_that_cannot_be_compared_is_named(tmp_path: Path, damage: str):
    folder = written(tmp_path / "a", answers([True, False]))
    if damage == "missing":
        (folder / "test.predictions.jsonl").unlink()
    elif damage == "broken":
        (folder / "test.predictions.jsonl").write_text("{}\n{")
    with pytest.raises(ValueError, match="evaluation" if damage == "none" else "evaluate again"):
        compare(tmp_path if damage == "none" else folder, folder)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("test.predictions.jsonl", '"correct"', '"corect"'),
        ("test.predictions.jsonl", '"correct": true', '"correct": [1]'),
        ("test.predictions.jsonl", '"v0"', '["v0"]'),
        ("test.predictions.jsonl", "{", "[" * 100_000),
        ("scores.json", '"value": 50.0', '"value": [50]'),
        ("scores.json", '"value"', '"valu"'),
        ("scores.json", '"evaluators": {', '"evaluators": 5, "x": {'),
        ("scores.json", '"test": {', '"test": 5, "x": {'),
    ],
)
def test_values_of_another_type_in_an_evaluation_are_one_error(tmp_path: Path, name: str, before: str, after: str):
    folder = written(tmp_path / "a", answers([True, False]))
    text = (folder / name).read_text()
    assert before in text
    (folder / name).write_text(text.replace(before, after))
    with pytest.raises(ValueError, match=f"{name}: .*evaluate again") as error:
        compare(folder, folder)
    assert len(str(error.value)) < 300 + len(str(folder))


def test_a_prediction_says_what_was_asked():
    first, second = (Example(video=Path(f"{n}.mp4"), video_id=n, text="a dog") for n in "ab")
    asked = Example(
        video=Path("v.mp4"), video_id="v", text="why?", start_sec=2.0, end_sec=3.5, options=("x", "y"), id="q"
    )
    assert row_of(asked) == {
        "id": "q", "video_id": "v", "kind": None, "text": "why?", "options": ["x", "y"], "files": ["v.mp4"],
        "start_sec": 2.0, "end_sec": 3.5,
    }  # fmt: skip
    between = row_of(Example(video=Path("a.mp4"), video_id="a", text="a cat", clips=(first, second)))
    assert (between["options"], between["files"]) == (["a", "b"], ["a.mp4", "b.mp4"])
