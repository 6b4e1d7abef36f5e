"""`Item`: one record of a small synthetic data set, which the other modules here write in the layouts of real ones."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Item:
    """One record of a small synthetic data set."""

    video: Path
    split: str  # "train", "val" or "test"
    caption: str = ""
    question: str = ""
    answer: str = ""
    options: tuple[str, ...] = ()
    right: int = 0
    number: int = 0
    label: str = ""
    kind: str = ""
    start_sec: float = 0.0
    end_sec: float = 0.0


def place(video: Path, path: Path) -> None:
    """Put a video where a layout has it: as a hard link, or as a copy on another disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return
    try:
        os.link(video, path)
    except OSError:
        shutil.copyfile(video, path)
