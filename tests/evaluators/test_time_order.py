from pathlib import Path

import pytest
import torch

from allinone.data.example import Example
from allinone.data.loader import DataConfig
from allinone.evaluators.time_order import Order
from allinone.inference import Predictor
from allinone.video import VideoError
from allinone.video.encode import write_mp4
from fixed import Fixed, evaluated, example, values
from tiny import tiny_frames

PAIRS = Fixed(
    tuple(
        example(v + turned, "red left" if not turned else "red right", kind="left or right" if v < 4 else "other")
        for v in range(6)
        for turned in (0, 10)
    )
)


@pytest.mark.parametrize("mode", ["dual", "joint"])
def test_order_pairs_prefer_their_own(predictor: Predictor, root: Path, mode):
    results = values(Order.Config(data=PAIRS, mode=mode), predictor, root)
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
    rows = evaluated(Order.Config(data=PAIRS, mode=mode), predictor, root).predictions
    assert sum(row["correct"] for row in rows) == t2v
    assert sum(row["clip_correct"] for row in rows) == v2t
    assert all((row["prediction"] == row["truth"]) == row["correct"] for row in rows)
    by_kind = [results[f"t2v/pairs/{kind}"] for kind in ("left or right", "other")]
    assert results["t2v/pairs"] == pytest.approx((2 * by_kind[0] + by_kind[1]) / 3)


class Told(Predictor):
    """It compares nothing but the frame numbered `at` with the truth: brighter belongs to the first text."""

    def __init__(self, other: Predictor, at: int):
        super().__init__(other.model, other.tokenizer, data=other.data)
        self.at = at

    def using(self, data: DataConfig) -> "Told":
        return self

    def log_odds(self, clips, token_ids, pairs, *, on_progress=None):
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
    results = values(Order.Config(data=Fixed(tuple(items))), told, tmp_path)
    assert results["t2v/pairs"] == 100
    assert results["single_frame/t2v/pairs"] == pytest.approx(50)
    without = values(Order.Config(data=Fixed(tuple(items)), control=False), told, tmp_path)
    assert set(without) == {"t2v/pairs", "v2t/pairs"}


def test_clips_without_any_difference_are_wrong_and_the_control_says_half(predictor: Predictor, root: Path, tmp_path):
    still = tiny_frames(0, 1).repeat(8, axis=0)
    for name in ("a", "b"):
        write_mp4(tmp_path / f"{name}.mp4", still, 8)
    data = Fixed((example("a", "red left"), example("b", "red right")))
    results = values(Order.Config(data=data, mode="dual"), predictor, tmp_path)
    assert results["t2v/pairs"] == 0
    assert results["single_frame/t2v/pairs"] == 50


def test_examples_that_are_no_pairs_are_refused(predictor: Predictor, root: Path):
    def evaluate(*items: Example) -> None:
        evaluated(Order.Config(data=Fixed(items)), predictor, root)

    with pytest.raises(ValueError, match="has 1 examples, which make no pairs"):
        evaluate(example(0, "red"))
    with pytest.raises(ValueError, match=r"examples 2 and 3 of .* are no pair"):
        evaluate(*PAIRS.items[:2], example(0, "red"), example(1, "red"))
    with pytest.raises(ValueError, match="are no pair"):
        evaluate(example(0, "red"), example(0, "a dog"))


def test_a_pair_with_a_missing_video_is_skipped(predictor: Predictor, root: Path):
    data = Fixed((*PAIRS.items, example("broken", "red"), example(1, "a dog")))
    with pytest.raises(VideoError, match="broken"):
        evaluated(Order.Config(data=data), predictor, root)
    allowing = values(Order.Config(data=data, allow_missing=True), predictor, root)
    whole = values(Order.Config(data=PAIRS), predictor, root)
    assert allowing == whole | {"missing": 1}
    nothing = Fixed((example("broken", "red"), example("bad", "a dog")))
    with pytest.raises(ValueError, match="none of the 2 videos"):
        evaluated(Order.Config(data=nothing, allow_missing=True), predictor, root)
