"""DiDeMo: Flickr videos of 25 to 30 s, whose moments of 5 s and more are described (Hendricks et al., ICCV 2017).

Licence: BSD 2-Clause for the code; none is stated for the annotations; the videos are Flickr users'. Annotations:
github.com/LisaAnne/LocalizingMoments, `data`. Lists: github.com/albanie/collaborative-experts, `misc/datasets/didemo`.

    root/train_data.json    val_data.json    test_data.json     a record a moment
    root/train_list.txt     val_list.txt     test_list.txt      the videos of the retrieval protocol, a file name each
    root/videos/35034348999@N01_6060447507_dc1a90b8ef.mov       with whatever extension, or none

Also read: `didemo_ret_train.json` (Singularity), `DiDeMo_train.tsv` (Frozen, All-in-One) and `train.jsonl` (ClipBERT).

Paragraph to video: all descriptions of a video, in order of time, are one text. A moment begins and ends where most of
its annotators say; of moments at the same time, the one that comes first in the file is first. Others join the
descriptions in the order of the file.

Splits are those of the lists: `train` 8,392 videos, `val` 1,065, `test` 1,004. The paper has 8,395 in `train`; three
could no longer be had. `val_data.json` describes 29 videos more (71 of its 4,180 moments) and `test_data.json` 33,
which count nowhere; nearly all are called as one of the list but for the ending, so names are compared with it.

Scored by recall at 1, 5, 10 and the median rank, both directions.

One record of `val_data.json`; times are segments of 5 s:

    {"annotation_id": 49152, "video": "35034348999@N01_6060447507_dc1a90b8ef.mov", "num_segments": 6,
     "description": "the man bends over the machine", "times": [[1, 1], [1, 1], [1, 1], [0, 0]], "dl_link": "..."}
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader, distinct
from allinone.datasets.files import Annotation, Videos, bare, find, find_some, in_order_of_time, is_span
from allinone.datasets.pairs import pairs
from allinone.datasets.records import Record, listing, shown, tidy

SPLITS = {
    "train": SplitSize(records=8_392, videos=8_392),
    "val": SplitSize(records=1_065, videos=1_065),
    "test": SplitSize(records=1_004, videos=1_004),
}


@dataclass(frozen=True)
class Captions(SplitDataset):
    """One paragraph a video, in the order of the annotation file."""

    splits = SPLITS

    def examples(self, root: Path) -> Iterator[Example]:
        videos = Videos(root, folders=("videos", "video"))
        file, told = paragraphs(root, self.split)

        def examples() -> Iterator[Example]:
            for name, text in told:
                video = bare(name)
                yield Example(id=video, video=videos.path(name, video.rstrip(".")), video_id=video, text=text)

        return distinct(examples(), file)


def paragraphs(root: Path, split: str) -> tuple[Annotation, Iterator[tuple[str, str]]]:
    """The annotation file of a split, and file name and text of each of its videos."""
    official = find_some(root, f"{split}_data.json")
    if not official and (files := find_some(root, f"didemo_ret_{split}.json", f"DiDeMo_{split}.tsv", f"{split}.jsonl")):
        return files[0], ((video, " ".join(map(tidy, texts))) for video, texts in pairs(files[0]))
    file, names = find(root, f"{split}_data.json"), find(root, f"{split}_list.txt")
    moments: dict[str, list[tuple[float, float, str]]] = {}
    records = file.objects("annotation_id", "video", "description", "times")
    for record in distinct(records, file, key=lambda record: record.name("annotation_id")):
        moments.setdefault(record.text("video"), []).append(moment(record))
    wanted = set(distinct(names.lines(), names, key=str))
    if missing := sorted(wanted - moments.keys()):
        raise file.error(f"no description of {len(missing)} videos of {names}: {listing(missing[:3])}")
    return file, ((video, in_order_of_time(found)) for video, found in moments.items() if video in wanted)


def moment(record: Record) -> tuple[float, float, str]:
    """Start and end as most annotators chose them (the earliest, where two are as common), and the description."""
    times = record.items_of("times")
    if wrong := [span for span in times if not is_span(span)]:
        raise record.error(f"wanted times [[start, end], ...], got {shown(wrong[0])}")
    chosen = Counter((float(start), float(end)) for start, end in times)
    most = max(chosen.values())
    start, end = min(span for span, count in chosen.items() if count == most)
    return start, end, record.text("description")


CARD = Card(
    title="DiDeMo: 10,461 Flickr videos of half a minute with the paragraphs that describe them",
    licence="none stated for the annotations; videos of Flickr's users",
    get="github.com/LisaAnne/LocalizingMoments; lists: github.com/albanie/collaborative-experts",
    metric="recall at 1, 5, 10 and median rank, both directions; a paragraph for each video",
    readings={"captions": TaskReader(reader=Captions, splits=SPLITS)},
)
