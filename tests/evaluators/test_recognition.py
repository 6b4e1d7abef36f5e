from pathlib import Path

import pytest
import torch

from allinone.evaluators.recognition import RecognitionAccuracy
from allinone.inference import Predictor
from fixed import Fixed, evaluated, example, values
from tiny import HEADS, tiny_predictor

NAMES = ("jump", "red", "a dog", "run", "a ball", "green", "two dogs")
SHOWN = ["red", "a dog", "red", "green", "red", "a dog"]
DATA = Fixed(tuple(example(v, label=name, id=str(v)) for v, name in enumerate(SHOWN)), NAMES)


def places(scores: torch.Tensor, names: list[str]) -> list[int]:
    """From 0, of the true class of each clip."""
    return [int((row > row[names.index(name)]).sum()) for row, name in zip(scores, SHOWN, strict=True)]


def check(found, ranks: list[int]) -> None:
    scores = {name: score.value for name, score in found.scores.items()}
    hits = [rank == 0 for rank in ranks]
    mean_class_accuracy = [
        [hit for hit, name in zip(hits, SHOWN, strict=True) if name == n] for n in ("red", "a dog", "green")
    ]
    assert scores == pytest.approx(
        {
            "accuracy": 100 * sum(hits) / 6,
            "chance": 50,
            "mean_class_accuracy": 100 * sum(sum(some) / len(some) for some in mean_class_accuracy) / 3,
            "top5": 100 * sum(rank < 5 for rank in ranks) / 6,
        }
    )
    assert [row["correct"] for row in found.predictions] == hits
    for row, rank in zip(found.predictions, ranks, strict=True):
        assert row["prediction"] == row["best"][0]
        assert (row["truth"] in row["best"]) == (rank < 5)


@pytest.mark.parametrize("template", ["{}", "a video of {}"])
def test_classes_are_texts_in_a_template(predictor: Predictor, root: Path, template: str):
    found = evaluated(RecognitionAccuracy.Config(data=DATA, template=template), predictor, root)
    text = predictor.embed_text([template.format(name) for name in NAMES])
    similarity = predictor.embed_video([root / f"{v:02}.mp4" for v in range(6)]) @ text.T
    check(found, places(similarity, list(NAMES)))
    assert found.predictions[0]["probabilities"][0] == pytest.approx(
        (similarity[0] / HEADS["contrastive"].temperature).softmax(dim=0).max().item(), abs=1e-4
    )


def test_the_matching_head_recognises_too(predictor: Predictor, root: Path):
    found = evaluated(RecognitionAccuracy.Config(data=DATA, mode="joint"), predictor, root)
    odds = torch.stack([predictor.match(root / f"{v:02}.mp4", list(NAMES)) for v in range(6)])
    check(found, places(odds, list(NAMES)))


def test_a_trained_head_is_asked_for_its_own_classes(full: Predictor, root: Path):
    found = values(RecognitionAccuracy.Config(data=DATA, mode="head"), full, root)
    frames = torch.cat([clips for _, clips in full.clips([root / f"{v:02}.mp4" for v in range(6)])])
    with torch.no_grad():
        head = full.model.get_submodule("heads.label")
        logits = head(full.model.encoder.encode_video(frames[:, 0]))
    ranks = places(logits, ["green", "red", "a dog", "another"])
    assert found["accuracy"] == pytest.approx(100 * sum(rank == 0 for rank in ranks) / 6)
    assert "top5" not in found  # of four classes


def test_a_head_of_other_classes_is_refused(full: Predictor, root: Path):
    data = Fixed((*DATA.items, example(0, label="jump"), example(1, label="sit")))
    with pytest.raises(ValueError, match=r"2 classes of .* are not among the 4 to choose from: jump, sit"):
        evaluated(RecognitionAccuracy.Config(data=data, mode="head"), full, root)


def test_captions_are_classes_by_their_distinct_texts(predictor: Predictor, root: Path):
    captions = Fixed(tuple(example(v, name) for v, name in enumerate(SHOWN)))
    found = values(RecognitionAccuracy.Config(data=captions), predictor, root)
    names = ["red", "a dog", "green"]
    similarity = predictor.embed_video([root / f"{v:02}.mp4" for v in range(6)]) @ predictor.embed_text(names).T
    assert found["accuracy"] == pytest.approx(100 * sum(rank == 0 for rank in places(similarity, names)) / 6)
    assert found["chance"] == 50


def test_ties_are_lost(root: Path):
    predictor = tiny_predictor()
    with torch.no_grad():
        for parameter in predictor.model.heads.parameters():
            parameter.zero_()
    found = evaluated(RecognitionAccuracy.Config(data=DATA), predictor, root)
    assert found.scores["accuracy"].value == found.scores["top5"].value == 0
    assert all(row["prediction"] != row["truth"] for row in found.predictions)


def test_a_template_has_one_gap():
    with pytest.raises(ValueError, match=r"one \{\} for the name of the class, got 'a video'"):
        RecognitionAccuracy.Config(data=DATA, template="a video")
