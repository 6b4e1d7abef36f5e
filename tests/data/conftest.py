"""Short videos whose every frame says which video and which frame it is."""

from pathlib import Path

import numpy as np
import pytest

from allinone.data.example import Example
from allinone.text.tokenizer import Tokenizer
from allinone.video.encode import write_mp4

NUM_VIDEOS = 10
CAPTIONS = ["red", "a red dog", "a red dog runs after the ball", "the dog runs", "a ball"]


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten videos of 16 frames, 8 a second: video v is 10 + 24 v in the green channel, frame k is 15 k in the red."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [folder / f"{v}.mp4" for v in range(NUM_VIDEOS)]
    for v, path in enumerate(paths):
        frames = np.zeros((16, 32, 32, 3), np.uint8)
        frames[..., 0] = (np.arange(16) * 15)[:, None, None]
        frames[..., 1] = 10 + 24 * v
        write_mp4(path, frames, fps=8, crf=1)
    return paths


@pytest.fixture(scope="session")
def examples(videos: list[Path]) -> list[Example]:
    """Five captions for each video."""
    return [Example(video=path, video_id=path.stem, text=text) for path in videos for text in CAPTIONS]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(CAPTIONS * 3, vocab_size=80)
