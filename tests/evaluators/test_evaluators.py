from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from allinone.data.example import Example
from allinone.data.loader import DataConfig
from allinone.evaluators.base import Evaluator, EvaluatorConfig
from allinone.evaluators.classification import Classification
from allinone.evaluators.order import Order
from allinone.evaluators.retrieval import Retrieval, head_first, list_head
from allinone.inference import Predictor, all_pairs
from allinone.metrics import mean_rank, recall_at, retrieval_ranks
from allinone.video import decode
from allinone.video.decode import VideoError
from allinone.video.encode import write_mp4
from tiny import ANSWERS, HEADS, TEXTS, tiny_frames, tiny_predictor, write_videos


@dataclass(frozen=True)
class Fixed:
    """A data set that is written down."""

    items: tuple[Example, ...]

    def examples(self, root: Path) -> list[Example]:
        return [replace(item, video=root / item.video) for item in self.items]


def example(video: int | str, text: str, answer: str | None = None, kind: str | None = None) -> Example:
    name = f"{video:02}" if isinstance(video, int) else video
    return Example(video=Path(f"{name}.mp4"), video_id=name, text=text, answer=answer, kind=kind)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos; 10 to 15 are those, reversed; `broken` and `bad` cannot be read."""
    folder = tmp_path_factory.mktemp("videos")
    write_videos(folder, 6)
    for seed in range(6):
        write_mp4(folder / f"{seed + 10}.mp4", tiny_frames(seed)[::-1], 8, crf=10)
    for name in ("broken", "bad"):
        (folder / f"{name}.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return tiny_predictor()


CAPTIONS = Fixed(tuple(example(v, text) for v, text in zip([3, 0, 1, 3, 2], TEXTS, strict=True)))
VIDEOS, OWN = ["03", "00", "01", "02"], torch.tensor([0, 1, 2, 0, 3])
MISSING = Fixed((*CAPTIONS.items, example("broken", "red"), example("bad", "red"), example("broken", "a dog")))


def expected(t2v: torch.Tensor, v2t: torch.Tensor) -> dict[str, float]:
    relevant = OWN[:, None] == torch.arange(len(VIDEOS))
    ranks = {"t2v": retrieval_ranks(t2v, relevant), "v2t": retrieval_ranks(v2t, relevant.T)}
    return {f"{d}/R@1": recall_at(r, 1) for d, r in ranks.items()} | {
        f"{d}/MeanR": mean_rank(r) for d, r in ranks.items()
    }


def scores(predictor: Predictor, root: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and matching log-odds of every caption with every video, text by video."""
    paths = [root / f"{name}.mp4" for name in VIDEOS]
    similarity = predictor.embed_text(TEXTS) @ predictor.embed_video(paths).T
    frames = torch.cat([clips for _, clips in predictor.clips(paths)])
    odds = predictor.log_odds(frames, predictor.rows(TEXTS), all_pairs(len(VIDEOS), len(TEXTS)))
    return similarity, odds.reshape(len(VIDEOS), len(TEXTS)).T


def test_dual_stream_retrieval_ranks_by_cosine(predictor: Predictor, root: Path):
    results = Retrieval.Config(data=CAPTIONS).build().evaluate(predictor, root, predictor.data)
    similarity, _ = scores(predictor, root)
    assert expected(similarity, similarity.T).items() <= results.items()
    assert set(results) == {f"{d}/{m}" for d in ("t2v", "v2t") for m in ("R@1", "R@5", "R@10", "MedR", "MeanR")}
    assert results["t2v/R@5"] == 100  # four videos


def test_joint_retrieval_ranks_by_matching(predictor: Predictor, root: Path):
    results = Retrieval.Config(data=CAPTIONS, mode="joint").build().evaluate(predictor, root, predictor.data)
    _, odds = scores(predictor, root)
    assert expected(odds, odds.T).items() <= results.items()


def test_two_stages_over_the_whole_list_are_the_joint_mode(predictor: Predictor, root: Path):
    evaluators = [Retrieval.Config(data=CAPTIONS, mode=mode, top_k=9) for mode in ("dual", "joint", "two_stage")]
    dual, joint, both = (e.build().evaluate(predictor, root, predictor.data) for e in evaluators)
    assert both == joint | {f"dual/{name}": value for name, value in dual.items()}


@pytest.mark.parametrize("top_k", [1, 2, 3])
@pytest.mark.parametrize("fuse", [False, True])
def test_the_second_stage_reorders_the_head_alone(predictor: Predictor, root: Path, top_k: int, fuse: bool):
    config = Retrieval.Config(data=CAPTIONS, mode="two_stage", top_k=top_k, fuse=fuse)
    results = config.build().evaluate(predictor, root, predictor.data)
    similarity, odds = scores(predictor, root)
    second = odds + similarity / HEADS["contrastive"].temperature if fuse else odds

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
    head = list_head(constant, relevant, 3)
    assert not relevant.gather(1, head).any()
    assert retrieval_ranks(head_first(constant, constant, head), relevant).tolist() == [5] * 6


def test_the_head_stands_before_the_rest_whatever_its_scores():
    similarity = torch.tensor([[0.9, 0.8, 0.7, 0.6]])
    matched = torch.tensor([[-50.0, -40.0, 0.0, 0.0]])
    listed = head_first(similarity, matched, torch.tensor([[0, 1]]))
    assert listed.argsort(descending=True).tolist() == [[1, 0, 2, 3]]


def test_each_video_is_read_once(predictor: Predictor, root: Path, monkeypatch: pytest.MonkeyPatch):
    opened = []
    real = decode._Video.open
    monkeypatch.setattr(decode._Video, "open", lambda self: (opened.append(self.name), real(self))[1])
    Retrieval.Config(data=CAPTIONS).build().evaluate(predictor, root, predictor.data)
    once = sorted(opened)
    assert {Path(name).stem for name in once} == set(VIDEOS)
    for mode in ("joint", "two_stage"):
        opened.clear()
        Retrieval.Config(data=CAPTIONS, mode=mode).build().evaluate(predictor, root, predictor.data)
        assert sorted(opened) == once


@pytest.mark.parametrize("mode", ["dual", "joint", "two_stage"])
def test_unreadable_videos_are_an_error_or_a_number(predictor: Predictor, root: Path, mode):
    with pytest.raises(VideoError, match=r"2 videos cannot be read(.|\n)*broken(.|\n)*bad"):
        Retrieval.Config(data=MISSING, mode=mode).build().evaluate(predictor, root, predictor.data)
    allowing = Retrieval.Config(data=MISSING, mode=mode, allow_missing=True).build()
    whole = Retrieval.Config(data=CAPTIONS, mode=mode).build()
    results = allowing.evaluate(predictor, root, predictor.data)
    assert results == whole.evaluate(predictor, root, predictor.data) | {"missing": 2}


def test_the_batch_and_the_workers_change_no_result(predictor: Predictor, root: Path):
    evaluators: list[EvaluatorConfig] = [
        Retrieval.Config(data=CAPTIONS, mode="two_stage", top_k=2, num_views=2),
        Order.Config(data=PAIRS),
        Classification.Config(data=QUESTIONS),
    ]
    others = [replace(predictor.data, batch_size=1), replace(predictor.data, batch_size=50, num_workers=1)]
    for evaluator in evaluators:
        built = evaluator.build()
        assert isinstance(built, Evaluator)
        wanted = built.evaluate(predictor, root, predictor.data)
        for data in others:
            assert built.evaluate(predictor, root, data) == wanted


def test_the_number_of_frames_is_that_of_the_model(root: Path):
    predictor = tiny_predictor(num_frames=6)
    training = DataConfig(num_frames=4, transform=predictor.data.transform)
    results = Retrieval.Config(data=CAPTIONS).build().evaluate(predictor, root, training)
    similarity, _ = scores(predictor, root)
    assert expected(similarity, similarity.T).items() <= results.items()


def test_impossible_settings_are_refused(predictor: Predictor, root: Path):
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        Retrieval.Config(data=CAPTIONS, top_k=0)
    with pytest.raises(ValueError, match="two_stage"):
        Retrieval.Config(data=CAPTIONS, mode="joint", fuse=True)
    with pytest.raises(ValueError, match="no examples"):
        Retrieval.Config(data=Fixed(())).build().evaluate(predictor, root, predictor.data)
    dual = tiny_predictor(heads={"contrastive": HEADS["contrastive"]})
    with pytest.raises(ValueError, match="no matching head"):
        Retrieval.Config(data=CAPTIONS, mode="two_stage").build().evaluate(dual, root, dual.data)


QUESTIONS = Fixed(
    (
        example(0, "what colour?", "Red.", "colour"),
        example(1, "what colour?", "green", "colour"),
        example(0, "how many?", "two", "count"),
        example(2, "how many?", "seven", "count"),
        example(3, "what colour?", "red", "colour"),
        example(4, "what else?", "red"),
    )
)


def test_answers_are_scored_over_all_and_by_kind(predictor: Predictor, root: Path):
    results = Classification.Config(data=QUESTIONS).build().evaluate(predictor, root, predictor.data)
    given = [predictor.answer(root / q.video, q.text, top_k=1)[0][0] for q in QUESTIONS.items]
    right = [a == w for a, w in zip(given, ["red", "green", "two", "seven", "red", "red"], strict=True)]
    assert results == pytest.approx(
        {
            "accuracy": 100 * sum(right) / 6,
            "accuracy/colour": 100 * (right[0] + right[1] + right[4]) / 3,
            "accuracy/count": 100 * (right[2] + right[3]) / 2,
            "chance": 50,
            "chance/colour": 200 / 3,
            "chance/count": 50,
            "unlisted": 100 / 6,
        }
    )


def test_a_model_that_knows_the_answers_gets_them_right(root: Path):
    predictor = tiny_predictor()
    last = predictor.model.get_submodule("heads.answer.layers.4")
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([100.0, 0, 0]))
    results = Classification.Config(data=QUESTIONS).build().evaluate(predictor, root, predictor.data)
    assert ANSWERS[0] == "red"
    assert results["accuracy"] == results["chance"] == 50
    assert results["accuracy/count"] == 0


def test_answers_of_missing_videos_are_left_out(predictor: Predictor, root: Path):
    data = Fixed((*QUESTIONS.items, example("broken", "what?", "red", "colour")))
    with pytest.raises(VideoError, match="broken"):
        Classification.Config(data=data).build().evaluate(predictor, root, predictor.data)
    allowing = Classification.Config(data=data, allow_missing=True).build()
    whole = Classification.Config(data=QUESTIONS).build().evaluate(predictor, root, predictor.data)
    assert allowing.evaluate(predictor, root, predictor.data) == whole | {"missing": 1}


def test_captions_are_no_questions(predictor: Predictor, root: Path):
    with pytest.raises(ValueError, match=r"5 of 5 examples .* have no answer"):
        Classification.Config(data=CAPTIONS).build().evaluate(predictor, root, predictor.data)


PAIRS = Fixed(
    tuple(
        example(v + turned, "red left" if not turned else "red right", kind="left or right" if v < 4 else "other")
        for v in range(6)
        for turned in (0, 10)
    )
)


@pytest.mark.parametrize("mode", ["dual", "joint"])
def test_order_pairs_prefer_their_own(predictor: Predictor, root: Path, mode):
    results = Order.Config(data=PAIRS, mode=mode).build().evaluate(predictor, root, predictor.data)
    t2v = v2t = 0
    for v in range(6):
        clips, texts = [root / f"{v:02}.mp4", root / f"{v + 10}.mp4"], ["red left", "red right"]
        if mode == "dual":
            table = predictor.embed_text(texts) @ predictor.embed_video(clips).T
        else:
            table = torch.stack([predictor.match(clip, texts) for clip in clips], dim=1)
        t2v += int(table[0, 0] > table[0, 1]) + int(table[1, 1] > table[1, 0])
        v2t += int(table[0, 0] > table[1, 0]) + int(table[1, 1] > table[0, 1])
    assert results["t2v/pairs"] == pytest.approx(100 * t2v / 12)
    assert results["v2t/pairs"] == pytest.approx(100 * v2t / 12)
    by_kind = [results[f"t2v/pairs/{kind}"] for kind in ("left or right", "other")]
    assert results["t2v/pairs"] == pytest.approx((2 * by_kind[0] + by_kind[1]) / 3)


class Told(Predictor):
    """It compares nothing but the frame numbered `at` with the truth: brighter belongs to the first text."""

    def __init__(self, other: Predictor, at: int):
        super().__init__(other.model, other.tokenizer, data=other.data)
        self.at = at

    def using(self, data: DataConfig) -> "Told":
        return self

    def log_odds(self, clips, rows, pairs, *, on_progress=None):
        brightness = clips[:, 0, self.at].float().mean(dim=(1, 2, 3))[pairs[:, 0]]
        return torch.where(pairs[:, 1] % 2 == 0, brightness, -brightness)


def test_the_single_frame_control_is_at_chance_for_reversed_clips(predictor: Predictor, tmp_path: Path):
    items = []
    for v in range(4):
        steps = torch.arange(8).mul(20 + v).to(torch.uint8)
        frames = steps[:, None, None, None].expand(8, 32, 32, 3).numpy()
        write_mp4(tmp_path / f"{v:02}.mp4", frames[::-1], 8, crf=0)  # grows dark
        write_mp4(tmp_path / f"{v + 10}.mp4", frames, 8, crf=0)
        items += [example(v, "it grows dark"), example(v + 10, "it grows bright")]
    told = Told(predictor, at=0)
    results = Order.Config(data=Fixed(tuple(items))).build().evaluate(told, tmp_path, predictor.data)
    assert results["t2v/pairs"] == 100
    assert results["single_frame/t2v/pairs"] == pytest.approx(50)
    without = Order.Config(data=Fixed(tuple(items)), control=False).build()
    assert set(without.evaluate(told, tmp_path, predictor.data)) == {"t2v/pairs", "v2t/pairs"}


def test_clips_without_any_difference_are_wrong_and_the_control_says_half(predictor: Predictor, root: Path, tmp_path):
    still = tiny_frames(0, 1).repeat(8, axis=0)
    for name in ("a", "b"):
        write_mp4(tmp_path / f"{name}.mp4", still, 8)
    data = Fixed((example("a", "red left"), example("b", "red right")))
    results = Order.Config(data=data, mode="dual").build().evaluate(predictor, tmp_path, predictor.data)
    assert results["t2v/pairs"] == 0
    assert results["single_frame/t2v/pairs"] == 50


def test_examples_that_are_no_pairs_are_refused(predictor: Predictor, root: Path):
    def evaluate(*items: Example) -> None:
        Order.Config(data=Fixed(items)).build().evaluate(predictor, root, predictor.data)

    with pytest.raises(ValueError, match="has 1 examples, which make no pairs"):
        evaluate(example(0, "red"))
    with pytest.raises(ValueError, match=r"examples 2 and 3 of .* are no pair"):
        evaluate(*PAIRS.items[:2], example(0, "red"), example(1, "red"))
    with pytest.raises(ValueError, match="are no pair"):
        evaluate(example(0, "red"), example(0, "a dog"))


def test_a_pair_with_a_missing_video_is_left_out(predictor: Predictor, root: Path):
    data = Fixed((*PAIRS.items, example("broken", "red"), example(1, "a dog")))
    with pytest.raises(VideoError, match="broken"):
        Order.Config(data=data).build().evaluate(predictor, root, predictor.data)
    allowing = Order.Config(data=data, allow_missing=True).build().evaluate(predictor, root, predictor.data)
    whole = Order.Config(data=PAIRS).build().evaluate(predictor, root, predictor.data)
    assert allowing == whole | {"missing": 1}
    nothing = Fixed((example("broken", "red"), example("bad", "a dog")))
    with pytest.raises(ValueError, match="none of the 2 videos"):
        Order.Config(data=nothing, allow_missing=True).build().evaluate(predictor, root, predictor.data)


def test_progress_of_clips_texts_and_pairs_is_told(predictor: Predictor, root: Path):
    told = []
    evaluator = Retrieval.Config(data=CAPTIONS, mode="two_stage", top_k=1).build()
    evaluator.evaluate(predictor, root, predictor.data, lambda what, done, total: told.append((what, done, total)))
    last = {what: (done, total) for what, done, total in told}
    assert last["clips"] == (4, 4)
    assert last["texts"] == (5, 5)
    assert last["pairs"][0] == last["pairs"][1] > 0
