"""MSR-VTT: ten thousand web video clips of 10 to 30 s with 20 captions each (Xu et al., CVPR 2016).

License: none stated; videos of YouTube, for research.
Get: ms-multimedia-challenge.com/2017 (`train_val_annotation.zip`, `test_videodatainfo.json`), or in one file
`MSRVTT_data.json` with the lists of train9k, train7k and 1kA: https://github.com/layer6ai-labs/xpool. The clips are
packed as `MSRVTT.zip` and elsewhere.

    root/MSRVTT_data.json                  all 10,000 videos; or the two files of the challenge, zipped or not:
    root/train_val_videodatainfo.json      video0 to video7009
    root/test_videodatainfo.json           video7010 to video9999
    root/MSRVTT_train.9k.csv               ids of `train9k`      root/MSRVTT_train.7k.csv   those of `train7k`
    root/MSRVTT_JSFUSION_test.csv          the 1,000 pairs of `1kA`
    root/msrvtt_mc_test.jsonl              the choices
    root/videos/video0.mp4

Also read: `annotation/MSR_VTT.json` and `train_list_jsfusion.txt`, captions and ids of `train9k` in `MSRVTT.zip`
(Frozen, All-in-One); `msrvtt_test.csv`, MIL-NCE's name of the pairs of `1kA`; and Singularity's lists of captions,
`msrvtt_ret_train9k.json`, `msrvtt_ret_train7k.json` and `msrvtt_ret_test1k.json`.

Splits: `full-train`, `full-val` and `full-test` are those of 2016; all 20 captions of a video are queries. `1kA` has
one caption for each test video (Yu et al., JSFusion, 2018); `train9k` is all others, `train7k` is `full-train` and
`full-val`. Results on `1kA` after `train9k` and `train7k` differ by about 2 points of R@1: say which.

Choices: for each video of `full-test` one of its captions and four of other videos (JSFusion too); this split is called
`test`, and there is none for training. Read are ClipBERT's lines, Singularity's list (`msrvtt_mc_test.json`: video,
caption with five texts, answer) and JSFusion's table (`MSR_MC_test.csv`: tabs, columns a1 to a5 and answer from 0 to
4).

Scored by: captions: recall at 1, 5, 10 and median rank, both directions; choices: accuracy.

One record of `MSRVTT_data.json`, under "sentences", of `MSRVTT_JSFUSION_test.csv` and of `msrvtt_mc_test.jsonl`:

    {"caption": "a man is cooking", "video_id": "video0", "sen_id": 17}
    ret0,msr9770,video9770,a man is cooking
    {"qid": 0, "clip_name": "video7010", "answer": 3, "options": ["a dog runs", "a man sings", ...]}
"""

import logging
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset, distinct
from allinone.datasets.fields import Record, collapse_spaces
from allinone.datasets.files import Annotation, MissingFile, find, find_some
from allinone.datasets.records import Fields, one_of, read_captions
from allinone.datasets.videos import Videos, bare

log = logging.getLogger(__name__)

FULL = {"full-train": range(6513), "full-val": range(6513, 7010), "full-test": range(7010, 10000)}
"""Numbers of the videos of the splits of 2016."""

LISTS = {
    "train9k": ("MSRVTT_train.9k.csv", "msrvtt_ret_train9k.json", "train_list_jsfusion.txt"),
    "train7k": ("MSRVTT_train.7k.csv", "msrvtt_ret_train7k.json"),
    "1kA": ("MSRVTT_JSFUSION_test.csv", "msrvtt_test.csv", "msrvtt_ret_test1k.json"),
}
WHOLE = ("MSRVTT_data.json", "MSR_VTT.json")
PARTS = ("train_val_videodatainfo.json", "test_videodatainfo.json")
SENTENCES = Fields(id=("sen_id", "id"), video=("video_id", "image_id"), text=("caption",))
"""Fields of a caption: as published, and in `MSR_VTT.json`."""

CHOICE_FILES = ("msrvtt*_mc_test.jsonl", "msrvtt_mc_test.json", "MSR_MC_test.csv", "MSRVTT_MC_test.csv")
CHOICES = Fields(
    video=("clip_name", "video_id", "video", "vid_key", "gif_name"), id=("qid", "key"), options=("options", "caption")
)

Caption = tuple[str, str, str]
"""Id, video and text."""


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every caption with its video, in the order of the annotation file."""

    splits = {
        "train9k": SplitSize(records=180_000, videos=9_000),
        "train7k": SplitSize(records=140_200, videos=7_010),
        "1kA": SplitSize(records=1_000, videos=1_000),
        "full-train": SplitSize(records=130_260, videos=6_513),
        "full-val": SplitSize(records=9_940, videos=497),
        "full-test": SplitSize(records=59_800, videos=2_990),
    }

    def examples(self, root: Path) -> Iterator[Example]:
        path = cache(Videos(root).path)
        for name, video, caption in captions(root, self.split):
            yield Example(id=name, video=path(video), video_id=video, text=collapse_spaces(caption))


@dataclass(frozen=True)
class Choices(SplitDataset):
    """Which of five captions is the video's?"""

    splits = {"test": SplitSize(records=2_990, videos=2_990)}
    split: str = "test"

    def examples(self, root: Path) -> Iterator[Example]:
        file, videos, choice = find(root, *CHOICE_FILES), Videos(root), one_of(5)

        def example(record: Record) -> Example:
            number = bare(record.text(*CHOICES.video)).removeprefix("msr")  # JSFusion writes msr7010
            video = f"video{number}" if number.isdigit() else number
            name = record.optional(*CHOICES.id) or video
            return Example(id=name, video=videos.path(video), video_id=video, text="", **choice(record, CHOICES))

        return distinct(map(example, file.records()), file)


def captions(root: Path, split: str) -> Iterator[Caption]:
    """Return the captions of a split."""
    # 1. The splits of 2016 are ranges of numbers, and need no list.
    if split in FULL:
        return chosen(root, {f"video{number}" for number in FULL[split]}, split)
    file = find(root, *LISTS[split])
    # 2. A list that has captions: Singularity's, or the pairs of 1kA.
    if file.name.endswith(".json"):
        pairs = ((bare(video), text) for video, texts in read_captions(file) for text in texts)
        return ((f"{video}#{number}", video, text) for number, (video, text) in enumerate(pairs))
    if split == "1kA":
        rows = file.rows("key", "video_id", "sentence")
        return distinct(((row["key"], bare(row["video_id"]), row["sentence"]) for row in rows), file, key=itemgetter(0))
    # 3. A list of ids, with the captions in the annotation files.
    names = file.lines() if file.name.endswith(".txt") else (row["video_id"] for row in file.rows("video_id"))
    return chosen(root, set(distinct(map(bare, names), file, key=str)), split)


def chosen(root: Path, videos: Set[str], split: str) -> Iterator[Caption]:
    """Yield the captions of these videos from the annotation files; a warning counts the videos without any."""
    # One file with all videos, else the two parts. Never both, because captions would be read twice.
    files = find_some(root, *WHOLE)[:1] or find_some(root, *PARTS) or [find(root, *WHOLE, *PARTS)]
    missing = set(videos)
    for file in files:
        for caption in distinct(sentences(file), file, key=itemgetter(0)):
            if caption[1] in videos:
                missing.discard(caption[1])
                yield caption
    # Suggest the part that is missing, not the one that was read.
    absent = f"add {' or '.join(PARTS if len(files) > 1 or files[0].name != PARTS[0] else PARTS[1:])}, or {WHOLE[0]}"
    read = " and ".join(map(str, files))
    if len(missing) == len(videos):
        raise MissingFile(f"{read}: no caption of {split}; {absent}")
    if missing:
        log.warning(
            "%s: no caption of %d of the %d videos of %s (%s, ...); %s",
            read, len(missing), len(videos), split, min(missing), absent,
        )  # fmt: skip


def sentences(file: Annotation) -> Iterator[Caption]:
    """Yield every caption of an annotation file."""
    for sentence in file.under("annotations" if file.name == "msr_vtt.json" else "sentences"):
        yield sentence.name(*SENTENCES.id), sentence.text(*SENTENCES.video), sentence.text(*SENTENCES.text)


CARD = Card.of(__doc__, captions=Captions, choices=Choices)
