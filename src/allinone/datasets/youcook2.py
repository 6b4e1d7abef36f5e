"""YouCook2: cooking videos of YouTube in steps, each with its time and an instruction (Zhou et al., AAAI 2018).

Licence: MIT for the annotations; the videos are YouTube's. Annotations (`youcookii_annotations_trainval.tar.gz`,
unpacked): youcook2.eecs.umich.edu/download.

    root/youcookii_annotations_trainval.json            also called yc2_annotations_trainval.json
    root/raw_videos/training/113/GLd3aX16zBg.mp4        or in any other folder there, with whatever extension

Also read: `validation_youcook.csv` (MIL-NCE; columns video_id, start, end, text), which is `val`.

A clip is a step: its span of the video, and the instruction for it. Splits: `train` 10,337 clips of 1,333 videos, `val`
3,492 of 457; those of the test videos are secret. Many papers have fewer, since videos are gone from YouTube: on `val`
3,350 clips of 436 videos since Miech et al. (2019; their table has one span twice, with two texts), or 3,305.

Scored by recall at 1, 5, 10 and the median rank among the clips of `val`, text to video.

One record, under "database":

    "GLd3aX16zBg": {"duration": 241.62, "subset": "training", "recipe_type": "113", "video_url": "...",
                    "annotations": [{"segment": [90, 102], "id": 0, "sentence": "spread margarine on the bread"}, ...]}
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allinone.data.example import Example
from allinone.datasets.base import Card, OfSplit, Reading, Size, distinct, part
from allinone.datasets.files import Annotation, Videos, bare, find, parse_span, tidy

SPLITS = {"train": Size(records=10_337, videos=1_333), "val": Size(records=3_492, videos=457)}
SUBSETS = {"train": "training", "val": "validation"}
NAMES = ("youcookii_annotations_trainval.json", "yc2_annotations_trainval.json")

Step = tuple[str, str, str, Any, Any]
"""Number, video, text, start and end."""


@dataclass(frozen=True)
class Captions(OfSplit):
    """Every step with its instruction, in the order of the annotation file."""

    splits = SPLITS

    def examples(self, root: Path) -> Iterator[Example]:
        videos = Videos(root, folders=("raw_videos", "videos"))
        file = find(root, *NAMES, *["validation_youcook.csv"] * (self.split == "val"))
        is_table = file.name.endswith(".csv")
        steps = steps_of_table(file) if is_table else steps_of_database(file, SUBSETS[self.split])

        def examples() -> Iterator[Example]:
            for number, video, text, start, end in steps:
                name = f"{video}#{number}"
                start_sec, end_sec = parse_span(start, end, f"{file}: step {name}")
                yield part(videos.path(video), video, start_sec, end_sec, tidy(text), name)

        return distinct(examples(), file)


def steps_of_database(file: Annotation, subset: str) -> Iterator[Step]:
    video, record, content = "database", None, file.json()
    try:
        for video, record in content["database"].items():
            if record["subset"] == subset:
                for step in record["annotations"]:
                    start, end = step["segment"]
                    yield str(step["id"]), video, step["sentence"], start, end
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        wanted = "videos with a subset, and annotations with id, segment and sentence"
        raise ValueError(f"{file}: {video}: wanted {wanted}, got {record!r:.80}") from error


def steps_of_table(file: Annotation) -> Iterator[Step]:
    numbers: Counter[str] = Counter()
    rows = file.rows("video_id", "start", "end", "text")
    for row in distinct(rows, file, key=lambda row: tuple(row.values())):
        video = bare(row["video_id"])
        yield str(numbers[video]), video, row["text"], row["start"], row["end"]
        numbers[video] += 1


CARD = Card(
    title="YouCook2: 2,000 cooking videos of YouTube in steps with instructions",
    licence="MIT for the annotations; videos of YouTube",
    get="youcook2.eecs.umich.edu/download",
    metric="recall at 1, 5, 10 and median rank among the clips of val, text to video",
    readings={"captions": Reading(reader=Captions, splits=SPLITS)},
)
