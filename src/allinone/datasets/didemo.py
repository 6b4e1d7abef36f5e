"""DiDeMo: Flickr videos of 25 to 30 s with descriptions of moments of 5 s and more (Hendricks et al., ICCV 2017).

License: none stated for the annotations (the code: BSD 2-Clause); videos of Flickr's users.
Get: https://github.com/LisaAnne/LocalizingMoments, `data`; lists: https://github.com/albanie/collaborative-experts,
`misc/datasets/didemo`.

    root/train_data.json    val_data.json    test_data.json     a record for each moment
    root/train_list.txt     val_list.txt     test_list.txt      file names of the videos of the retrieval protocol
    root/videos/35034348999@N01_6060447507_dc1a90b8ef.mov       any extension, or none

Also read: `didemo_ret_train.json` (Singularity), `DiDeMo_train.tsv` (Frozen, All-in-One) and `train.jsonl` (ClipBERT).

Paragraph to video: all descriptions of a video, in order of time, are one text. A moment has the start and end that
most of its annotators chose; moments at the same time keep the order of the file. Others join the descriptions in the
order of the file.

Splits are those of the lists. The paper has 8,395 videos in `train`; three are no longer available. `val_data.json`
describes 29 videos more (71 of its 4,180 moments) and `test_data.json` 33, which count nowhere; most of them differ
from a name of the list in the extension only, so whole names are compared.

Scored by: recall at 1, 5, 10 and median rank, both directions; a paragraph for each video.

One record of `val_data.json`; times are segments of 5 s:

    {"annotation_id": 49152, "video": "35034348999@N01_6060447507_dc1a90b8ef.mov", "num_segments": 6,
     "description": "the man bends over the machine", "times": [[1, 1], [1, 1], [1, 1], [0, 0]], "dl_link": "..."}
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset, distinct
from allinone.datasets.fields import Record, listing, shown
from allinone.datasets.files import Annotation, find, find_some
from allinone.datasets.records import Captioned, caption_examples, read_captions
from allinone.datasets.spans import Sentence, in_order_of_time, is_span
from allinone.datasets.videos import Videos, bare


@dataclass(frozen=True)
class Captions(SplitDataset):
    """One paragraph for each video, in the order of the annotation file."""

    splits = {
        "train": SplitSize(records=8_392, videos=8_392),
        "val": SplitSize(records=1_065, videos=1_065),
        "test": SplitSize(records=1_004, videos=1_004),
    }

    def examples(self, root: Path) -> Iterator[Example]:
        file, described = paragraphs(root, self.split)
        captioned = (Captioned((name, bare(name).rstrip(".")), ((bare(name), text),)) for name, text in described)
        return distinct(caption_examples(captioned, Videos(root, folders=("videos", "video"))), file)


def paragraphs(root: Path, split: str) -> tuple[Annotation, Iterator[tuple[str, str]]]:
    """Return the annotation file of a split, and file name and text of each of its videos."""
    official = find_some(root, f"{split}_data.json")
    if not official and (files := find_some(root, f"didemo_ret_{split}.json", f"DiDeMo_{split}.tsv", f"{split}.jsonl")):
        return files[0], ((video, " ".join(texts)) for video, texts in read_captions(files[0]))
    file, names = find(root, f"{split}_data.json"), find(root, f"{split}_list.txt")
    moments: dict[str, list[Sentence]] = {}
    records = file.objects("annotation_id", "video", "description", "times")
    for record in distinct(records, file, key=lambda record: record.name("annotation_id")):
        moments.setdefault(record.text("video"), []).append(moment(record))
    # Whole names, with extension: another extension is another video here.
    listed = set(distinct(names.lines(), names, key=str))
    if missing := sorted(listed - moments.keys()):
        raise file.error(f"no description of {len(missing)} videos of {names}: {listing(missing[:3])}")
    return file, ((video, in_order_of_time(found)) for video, found in moments.items() if video in listed)


def moment(record: Record) -> Sentence:
    """Return start and end as most annotators chose them (the earliest, if two are as common), and the description."""
    times = record.items_of("times")
    if wrong := [span for span in times if not is_span(span)]:
        raise record.error(f"wanted times [[start, end], ...], got {shown(wrong[0])}")
    chosen = Counter((float(start), float(end)) for start, end in times)
    most = max(chosen.values())
    start, end = min(span for span, count in chosen.items() if count == most)
    return start, end, record.text("description")


CARD = Card.of(__doc__, captions=Captions)
