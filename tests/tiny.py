"""A model of two layers, a vocabulary and a few short videos, for tests of everything that stands on a predictor."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from allinone.data.loader import DataConfig
from allinone.inference import Predictor
from allinone.model.config import NANO
from allinone.model.heads import AnswerHead, ContrastiveHead, MatchingHead
from allinone.model.model import AllInOne
from allinone.scoring import Precision
from allinone.text.tokenizer import Tokenizer
from allinone.video.encode import write_mp4
from allinone.video.transforms import Transform

TEXTS = [
    "red",
    "a dark green ball",
    "the ball moves to the left and then, after a while, to the right",
    "a dog",
    "two dogs run before a cat",
]
ANSWERS = ("red", "green", "two")
HEADS = {
    "contrastive": ContrastiveHead.Config(),
    "matching": MatchingHead.Config(),
    "answer": AnswerHead.Config(answers=ANSWERS),
}
CONFIG = NANO.replace(width=32, num_heads=2, depth=2, image_size=32, patch_size=8, vocab_size=120, shared_dim=16)


def tiny_tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS * 3, vocab_size=120)


def tiny_predictor(
    *,
    heads: dict[str, Any] | None = None,
    batch_size: int = 4,
    tokenizer: Tokenizer | None = None,
    seed: int = 0,
    precision: Precision = "float32",
    num_frames: int = 4,
) -> Predictor:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AllInOne.build(CONFIG.replace(num_frames=num_frames), HEADS if heads is None else heads)
    data = DataConfig(batch_size=batch_size, transform=Transform.Config(resize=32, crop=32))
    return Predictor(model, tokenizer or tiny_tokenizer(), data=data, precision=precision, name=f"tiny-{seed}")


def tiny_frames(seed: int, num_frames: int = 8) -> np.ndarray:
    """A bright square that wanders over a coloured ground."""
    rng = np.random.default_rng(seed)
    frames = np.broadcast_to(rng.integers(0, 200, 3), (num_frames, 32, 32, 3)).astype(np.uint8)
    row, steps = rng.integers(0, 24), rng.permutation(num_frames)
    for frame, step in zip(frames, steps, strict=True):
        frame[row : row + 8, 3 * step : 3 * step + 8] = 255
    return frames


def write_videos(folder: Path, num_videos: int, num_frames: int = 8, fps: int = 8) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:02}.mp4" for i in range(num_videos)]
    for seed, path in enumerate(paths):
        write_mp4(path, tiny_frames(seed, num_frames), fps, crf=10)
    return paths
