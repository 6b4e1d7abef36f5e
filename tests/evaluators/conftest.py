from pathlib import Path
from typing import Any

import pytest

from allinone.inference import Predictor
from allinone.model.heads import LabelHead, NumberHead
from allinone.video.encode import write_mp4
from tiny import HEADS, tiny_frames, tiny_predictor, write_videos


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos; 10 to 15 are those, reversed; `broken` and `bad` cannot be read."""
    folder = tmp_path_factory.mktemp("videos")
    write_videos(folder, 6)
    for seed in range(6):
        write_mp4(folder / f"{seed + 10}.mp4", tiny_frames(seed)[::-1], 8, crf=10)
    for name in ("broken", "bad"):
        (folder / f"{name}.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return tiny_predictor()


@pytest.fixture(scope="session")
def full_heads() -> dict[str, Any]:
    """One of every kind that an evaluator asks, but those that choose: that is up to the matching head."""
    label = LabelHead.Config(classes=("green", "red", "a dog", "another"))
    return {**HEADS, "number": NumberHead.Config(hidden=8), "label": label}


@pytest.fixture(scope="session")
def full(full_heads: dict[str, Any]) -> Predictor:
    return tiny_predictor(heads=full_heads)
