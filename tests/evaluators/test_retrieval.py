from pathlib import Path

import pytest
import torch

from allinone.data.loader import DataConfig
from allinone.evaluators.retrieval import Retrieval, shortlist_first
from allinone.inference import Predictor
from allinone.metrics import retrieval_ranks, top_k_indices
from allinone.scoring import all_pairs
from allinone.video.source import VideoSource
from fixed import Fixed, evaluated, example, values
from tiny import HEADS, TEXTS, tiny_predictor

CAPTIONS = Fixed(tuple(example(v, text) for v, text in zip([3, 0, 1, 3, 2], TEXTS, strict=True)))
VIDEOS, OWN = ["03", "00", "01", "02"], torch.tensor([0, 1, 2, 0, 3])


def expected(t2v: torch.Tensor, v2t: torch.Tensor) -> dict[str, float]:
    relevant = OWN[:, None] == torch.arange(len(VIDEOS))
    ranks = {"t2v": retrieval_ranks(t2v, relevant), "v2t": retrieval_ranks(v2t, relevant.T)}
    return {f"{d}/R@1": 100 * (r < 1).double().mean().item() for d, r in ranks.items()} | {
        f"{d}/MeanR": (r + 1).double().mean().item() for d, r in ranks.items()
    }


def scores(predictor: Predictor, root: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and matching log-odds of every caption with every video, text by video."""
    paths = [root / f"{name}.mp4" for name in VIDEOS]
    similarity = predictor.embed_text(TEXTS) @ predictor.embed_video(paths).T
    frames = torch.cat([clips for _, clips in predictor.clips(paths)])
    odds = predictor.log_odds(frames, predictor.tokenize(TEXTS), all_pairs(len(VIDEOS), len(TEXTS)))
    return similarity, odds.reshape(len(VIDEOS), len(TEXTS)).T


def test_dual_stream_retrieval_ranks_by_cosine(predictor: Predictor, root: Path):
    results = values(Retrieval.Config(data=CAPTIONS), predictor, root)
    similarity, _ = scores(predictor, root)
    assert expected(similarity, similarity.T).items() <= results.items()
    assert set(results) == {f"{d}/{m}" for d in ("t2v", "v2t") for m in ("R@1", "R@5", "R@10", "MedR", "MeanR")}
    assert results["t2v/R@5"] == 100  # four videos


def test_predictions_tell_what_each_caption_and_each_video_finds_first(predictor: Predictor, root: Path):
    rows = evaluated(Retrieval.Config(data=CAPTIONS), predictor, root).predictions
    similarity, _ = scores(predictor, root)
    for row, text, found, own in zip(rows, TEXTS, similarity, OWN.tolist(), strict=False):
        assert (row["text"], row["truth"]) == (text, VIDEOS[own])
        assert row["prediction"] == VIDEOS[int(found.argmax())]
        assert row["rank"] == 1 + int((found > found[own]).sum())
        assert row["correct"] == (row["rank"] == 1)
    for row, video, found in zip(rows[5:], VIDEOS, similarity.T, strict=True):
        assert (row["direction"], row["video_id"]) == ("v2t", video)
        assert row["prediction"] == TEXTS[int(found.argmax())]
        assert row["correct"] == (row["prediction"] in row["truth"])


def test_what_comes_first_among_equals_is_wrong(root: Path):
    same = tiny_predictor()
    with torch.no_grad():
        for parameter in same.model.heads.parameters():
            parameter.zero_()
    rows = evaluated(Retrieval.Config(data=CAPTIONS), same, root).predictions
    assert all(row["prediction"] != row["truth"] and row["rank"] == 4 for row in rows[:5])


def test_joint_retrieval_ranks_by_matching(predictor: Predictor, root: Path):
    results = values(Retrieval.Config(data=CAPTIONS, mode="joint"), predictor, root)
    _, odds = scores(predictor, root)
    assert expected(odds, odds.T).items() <= results.items()


def test_two_stages_over_the_whole_list_are_the_joint_mode(predictor: Predictor, root: Path):
    evaluators = [Retrieval.Config(data=CAPTIONS, mode=mode, top_k=9) for mode in ("dual", "joint", "two_stage")]
    dual, joint, both = (values(e, predictor, root) for e in evaluators)
    assert both == joint | {f"dual/{name}": value for name, value in dual.items()}


@pytest.mark.parametrize("top_k", [1, 2, 3])
@pytest.mark.parametrize("add_cosine", [False, True])
def test_the_second_stage_reorders_the_head_alone(predictor: Predictor, root: Path, top_k: int, add_cosine: bool):
    config = Retrieval.Config(data=CAPTIONS, mode="two_stage", top_k=top_k, add_cosine=add_cosine)
    results = values(config, predictor, root)
    similarity, odds = scores(predictor, root)
    second = odds + similarity / HEADS["contrastive"].temperature if add_cosine else odds

    def listed(first: torch.Tensor, again: torch.Tensor) -> torch.Tensor:
        """Minus the place in each list."""
        placed = torch.zeros_like(first)
        for row in range(len(first)):
            order = first[row].argsort(descending=True).tolist()
            order[:top_k] = sorted(order[:top_k], key=lambda i: -again[row, i])
            placed[row, order] = -torch.arange(len(order), dtype=placed.dtype)
        return placed

    assert expected(listed(similarity, second), listed(similarity.T, second.T)).items() <= results.items()


def test_at_the_edge_of_the_head_ties_count_against_us():
    relevant = torch.eye(6, dtype=torch.bool)
    constant = torch.zeros(6, 6)
    head = top_k_indices(constant, relevant, 3)
    assert not relevant.gather(1, head).any()
    assert retrieval_ranks(shortlist_first(constant, constant, head), relevant).tolist() == [5] * 6


def test_the_head_stands_before_the_rest_whatever_its_scores():
    similarity = torch.tensor([[0.9, 0.8, 0.7, 0.6]])
    matched = torch.tensor([[-50.0, -40.0, 0.0, 0.0]])
    listed = shortlist_first(similarity, matched, torch.tensor([[0, 1]]))
    assert listed.argsort(descending=True).tolist() == [[1, 0, 2, 3]]


def test_each_video_is_read_once(predictor: Predictor, root: Path, monkeypatch: pytest.MonkeyPatch):
    opened = []
    real = VideoSource.open
    monkeypatch.setattr(VideoSource, "open", lambda self, quickly: (opened.append(self.name), real(self, quickly))[1])
    evaluated(Retrieval.Config(data=CAPTIONS), predictor, root)
    once = sorted(opened)
    assert {Path(name).stem for name in once} == set(VIDEOS)
    for mode in ("joint", "two_stage"):
        opened.clear()
        evaluated(Retrieval.Config(data=CAPTIONS, mode=mode), predictor, root)
        assert sorted(opened) == once


def test_the_number_of_frames_is_that_of_the_model(root: Path):
    predictor = tiny_predictor(num_frames=6)
    training = DataConfig(transform=predictor.data.transform)
    results = values(Retrieval.Config(data=CAPTIONS), predictor, root, data=training)
    similarity, _ = scores(predictor, root)
    assert expected(similarity, similarity.T).items() <= results.items()


def test_impossible_settings_are_refused(predictor: Predictor, root: Path):
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        Retrieval.Config(data=CAPTIONS, top_k=0)
    with pytest.raises(ValueError, match="two_stage"):
        Retrieval.Config(data=CAPTIONS, mode="joint", add_cosine=True)
    with pytest.raises(ValueError, match="no examples"):
        evaluated(Retrieval.Config(data=Fixed(())), predictor, root)
    dual = tiny_predictor(heads={"contrastive": HEADS["contrastive"]})
    with pytest.raises(ValueError, match="no matching head"):
        evaluated(Retrieval.Config(data=CAPTIONS, mode="two_stage"), dual, root)


def test_progress_of_clips_texts_and_pairs_is_told(predictor: Predictor, root: Path):
    told = []
    config = Retrieval.Config(data=CAPTIONS, mode="two_stage", top_k=1)
    evaluated(config, predictor, root, on_progress=lambda what, done, total: told.append((what, done, total)))
    last = {what: (done, total) for what, done, total in told}
    assert last["clips"] == (4, 4)
    assert last["texts"] == (5, 5)
    assert last["pairs"][0] == last["pairs"][1] > 0
