"""A small data set: clips in shades of grey and a photo, two splits that share a clip, and what was published of it."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from allinone.data.example import Example
from allinone.datasets import DatasetEntry
from allinone.datasets.base import Card, SplitSize, TaskReader
from allinone.datasets.files import find
from allinone.datasets.videos import Videos
from allinone.video.encode import write_image, write_mp4
from layouts.item import Item

RECORDS = {
    "train": [
        {"video": "a", "text": "grey", "answer": "one"}, {"video": "a", "text": "dark", "answer": "two"},
        {"video": "b", "text": "light", "answer": "one"}, {"video": "photo", "text": "a photo", "answer": ""},
    ],
    "test": [{"video": "b", "text": "light", "answer": "one", "start": 0.5, "end": 1.0}],
}  # fmt: skip


@dataclass(frozen=True)
class Questions:
    split: str

    def examples(self, root: Path) -> Iterator[Example]:
        videos = Videos(root)
        for n, row in enumerate(find(root, f"{self.split}.jsonl").objects("video", "text", "answer")):
            path, start, end = videos.path(row["video"]), row.get("start"), row.get("end")
            yield Example(
                id=f"{n}", video=path, video_id=path.stem, start_sec=start, end_sec=end, text=row["text"],
                answer=row["answer"],
            )  # fmt: skip


@dataclass(frozen=True)
class Choices(Questions):
    def examples(self, root: Path) -> Iterator[Example]:
        for example in super().examples(root):
            clip = Example(video=example.video, video_id=example.video_id, text="")
            yield Example(id=example.id, video=(), video_id="", text=example.text, clips=(clip, clip), right=0)


SPLITS = {"train": SplitSize(records=4, videos=3), "test": SplitSize(records=1)}
SMALL = DatasetEntry(
    "small",
    Card(
        title="t",
        license="l",
        get="g",
        metric="m",
        tasks={
            "questions": TaskReader(reader=Questions, splits=SPLITS),
            "choices": TaskReader(reader=Choices, splits={"train": SplitSize(records=5)}),
        },
    ),
    "about",
)


def write_small(root: Path) -> Path:
    """Lay it out: clips of 48 x 32 pixels and 1.5 s, and a photo."""
    (root / "videos").mkdir(parents=True)
    for shade, name in enumerate(("a", "b")):
        write_mp4(root / "videos" / f"{name}.mp4", np.full((12, 32, 48, 3), 60 + 90 * shade, np.uint8), fps=8)
    write_image(root / "videos" / "photo.jpg", np.full((32, 48, 3), 120, np.uint8))
    write_rows(root, RECORDS)
    return root


def write_rows(root: Path, records: dict[str, list[dict[str, object]]]) -> None:
    for split, rows in records.items():
        (root / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_official(root: Path, write: Callable[[Path, Sequence[Item]], None], clips: Sequence[Path]) -> None:
    """Lay clips out as a known data set, each in training and in test."""
    root.mkdir()
    splits = [(clip, n, split) for n, clip in enumerate(clips) for split in ("train", "test")]
    write(
        root,
        [
            Item(video=v, split=split, caption=f"clip {n}", question=f"is it {n}?", answer="true", label="run")
            for v, n, split in splits
        ],
    )


def state_of(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that must stay as it is: names, times and contents."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino, p.read_bytes()) for p in files}


def write_tvqa_frames(root: Path) -> None:
    """One question of TVQA's about six of a clip's 60 frames, which its reader chooses among all in the folder."""
    clip = "friends_s01e01_seg01_clip_00"
    frames = root / "frames_hq" / "friends_frames" / clip
    frames.mkdir(parents=True)
    for number in range(1, 61):
        write_image(frames / f"{number:05}.jpg", np.zeros((16, 16, 3), np.uint8))
    row: dict[str, object] = {"qid": 1, "q": "who?", "vid_name": clip, "ts": "1.0-3.0", "answer_idx": 0}
    write_rows(root, {"tvqa_val": [row | {f"a{n}": "Ann" for n in range(5)} | {"show_name": "Friends"}]})
