"""YouCook2: cooking videos of YouTube in steps, each with its time and an instruction (Zhou et al., AAAI 2018).

License: MIT for the annotations; videos of YouTube.
Get: youcook2.eecs.umich.edu/download (`youcookii_annotations_trainval.tar.gz`; unpack it).

    root/youcookii_annotations_trainval.json            also called yc2_annotations_trainval.json
    root/raw_videos/training/113/GLd3aX16zBg.mp4        or in any other folder there, any extension

Also read: `validation_youcook.csv` (MIL-NCE; columns video_id, start, end, text), which is `val`, and the files of
dense captioning (PDVC and others), `train_yc2.json` and `val_yc2.json`, in the layout of ActivityNet Captions:
"GLd3aX16zBg": {"duration": 241.62, "timestamps": [[90, 102]], "sentences": ["spread margarine on the bread"]}.

A clip is a step: its span of the video, and its instruction. The steps of the test videos are secret. Many papers have
fewer clips, because videos are gone from YouTube: on `val` 3,350 clips of 436 videos since Miech et al. (2019; their
table has one span twice, with two texts), or 3,305.

Scored by: recall at 1, 5, 10 and median rank among the clips of `val`, text to video.

One record, under "database":

    "GLd3aX16zBg": {"duration": 241.62, "subset": "training", "recipe_type": "113", "video_url": "...",
                    "annotations": [{"segment": [90, 102], "id": 0, "sentence": "spread margarine on the bread"}, ...]}
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset, distinct
from allinone.datasets.fields import Record, shown
from allinone.datasets.files import Annotation, find
from allinone.datasets.spans import parse_span, part, timed_sentences
from allinone.datasets.videos import Videos, bare

FILES = ("youcookii_annotations_trainval.json", "yc2_annotations_trainval.json")
FILES_OF_SPLIT = {
    "train": ("train_yc2.json", "yc2_train.json"),
    "val": ("val_yc2.json", "yc2_val.json", "validation_youcook.csv"),
}
SUBSETS = {"train": "training", "val": "validation"}
KNOWN_SUBSETS = (*SUBSETS.values(), "testing")


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every step with its instruction, in the order of the annotation file."""

    splits = {"train": SplitSize(records=10_337, videos=1_333), "val": SplitSize(records=3_492, videos=457)}

    def examples(self, root: Path) -> Iterator[Example]:
        videos = Videos(root, folders=("raw_videos", "videos"))
        file = find(root, *FILES, *FILES_OF_SPLIT[self.split])

        def example(step: Step) -> Example:
            name = f"{step.video}#{step.id}"
            start_sec, end_sec = parse_span(step.start, step.end, f"{step.where}: step {shown(name)}")
            path = videos.path(step.video, step.video.removeprefix("v_"))
            return part(path, step.video, start_sec, end_sec, step.text, name)

        return distinct(map(example, steps_of(file, self.split)), file)


class Step(NamedTuple):
    """A step of a recipe; `where` is its file and its position there, for errors."""

    id: str
    video: str
    text: str
    start: Any
    end: Any
    where: str


def steps_of(file: Annotation, split: str) -> Iterator[Step]:
    """Return the steps of a file of any of the layouts."""
    if file.name.endswith(".csv"):
        return steps_of_table(file)
    content = file.object()
    if "database" in content:
        return steps_of_database(content.object("database"), file, SUBSETS[split])
    return steps_of_sentences(content)


def steps_of_database(database: Record, file: Annotation, subset: str) -> Iterator[Step]:
    """Yield the steps of a subset from the official file."""
    is_empty = True
    for video in database:
        record = Record(database.object(video), f"{file}: {shown(video)}")
        if (named := record.text("subset")) not in KNOWN_SUBSETS:
            raise record.error(f"no subset {shown(named)}; there are: {', '.join(KNOWN_SUBSETS)}")
        # Those of `testing` are secret, so the field may be missing.
        for step in record.objects("annotations") if named == subset else ():
            is_empty = False
            if len(segment := step.items_of("segment")) != 2:
                raise step.error(f"wanted a segment [start, end], got {shown(segment)}")
            start, end = segment
            yield Step(step.name("id"), bare(video), step.text("sentence"), start, end, step.where)
    if is_empty:
        raise file.error(f"no video of the subset {subset}")


def steps_of_sentences(videos: Record) -> Iterator[Step]:
    """Yield the steps of a file in the layout of ActivityNet Captions."""
    for video in videos:
        record = videos.object(video)
        for number, (start, end, sentence) in enumerate(timed_sentences(record)):
            yield Step(str(number), bare(video), sentence, start, end, record.where)


def steps_of_table(file: Annotation) -> Iterator[Step]:
    """Yield the steps of MIL-NCE's table."""
    numbers: Counter[str] = Counter()
    # Rows have no id, so all columns are the key: one span with two texts is two steps.
    for row in distinct(file.rows("video_id", "start", "end", "text"), file, key=lambda row: tuple(row.values())):
        video = bare(row["video_id"])
        yield Step(str(numbers[video]), video, row.text("text"), row["start"], row["end"], row.where)
        numbers[video] += 1


CARD = Card.of(__doc__, captions=Captions)
