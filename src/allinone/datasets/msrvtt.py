"""MSR-VTT: ten thousand web video clips of 10 to 30 s with 20 captions each (Xu et al., CVPR 2016).

Licence: none is stated; the videos are YouTube's, for research. Annotations: the authors' page of the 2016 challenge
(`train_val_annotation.zip`, `test_videodatainfo.json`), or the one file `MSRVTT_data.json` that the lists of the
1kA split come with. The clips are packed as `MSRVTT.zip` and elsewhere.

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

Splits: `full-train`, `full-val` and `full-test` are those of 2016 (6,513, 497 and 2,990 videos; 20 captions each, all
of them queries). `1kA` has 1,000 test videos with one caption each (Yu et al., JSFusion, 2018); `train9k` is all
others, `train7k` is `full-train` and `full-val`. Results on `1kA` after `train9k` and `train7k` differ by about 2
points of R@1: say which.

Choices: for each of the 2,990 videos of `full-test` one of its captions and four of other videos (JSFusion too); this
split is called `test`, and there is none for training. Read are ClipBERT's lines, Singularity's list
(`msrvtt_mc_test.json`: video, caption with five texts, answer) and JSFusion's table (`MSR_MC_test.csv`: tabs, columns
a1 to a5 and answer from 0 to 4).

Captions are scored by recall at 1, 5, 10 and the median rank, text to video and video to text; choices by accuracy.

One record of `MSRVTT_data.json`, under "sentences", of `MSRVTT_JSFUSION_test.csv` and of `msrvtt_mc_test.jsonl`:

    {"caption": "a man is cooking", "video_id": "video0", "sen_id": 17}
    ret0,msr9770,video9770,a man is cooking
    {"qid": 0, "clip_name": "video7010", "answer": 3, "options": ["a dog runs", "a man sings", ...]}
"""

import logging
from collections.abc import Iterator, Set
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader, distinct
from allinone.datasets.files import Annotation, MissingFile, Videos, bare, find, find_some
from allinone.datasets.pairs import pairs
from allinone.datasets.questions import right_option
from allinone.datasets.records import Record, tidy

log = logging.getLogger(__name__)

SPLITS = {
    "train9k": SplitSize(records=180_000, videos=9_000),
    "train7k": SplitSize(records=140_200, videos=7_010),
    "1kA": SplitSize(records=1_000, videos=1_000),
    "full-train": SplitSize(records=130_260, videos=6_513),
    "full-val": SplitSize(records=9_940, videos=497),
    "full-test": SplitSize(records=59_800, videos=2_990),
}
FULL = {"full-train": range(6513), "full-val": range(6513, 7010), "full-test": range(7010, 10000)}
"""Numbers of the videos of the splits of 2016."""

LISTS = {
    "train9k": ("MSRVTT_train.9k.csv", "msrvtt_ret_train9k.json", "train_list_jsfusion.txt"),
    "train7k": ("MSRVTT_train.7k.csv", "msrvtt_ret_train7k.json"),
    "1kA": ("MSRVTT_JSFUSION_test.csv", "msrvtt_test.csv", "msrvtt_ret_test1k.json"),
}
WHOLE = ("MSRVTT_data.json", "MSR_VTT.json")
SENTENCES = ("sentences", "sen_id", "video_id", "caption")
ANNOTATIONS = ("annotations", "id", "image_id", "caption")
"""The list of an annotation file, and the fields of a caption: as they are published, and in `MSR_VTT.json`."""

PARTS = ("train_val_videodatainfo.json", "test_videodatainfo.json")

CHOICES = {"test": SplitSize(records=2_990, videos=2_990)}
CHOICE_NAMES = ("msrvtt*_mc_test.jsonl", "msrvtt_mc_test.json", "MSR_MC_test.csv", "MSRVTT_MC_test.csv")
CHOICE_VIDEO = ("clip_name", "video_id", "video", "vid_key", "gif_name")
NUM_OPTIONS = 5

Caption = tuple[str, str, str]
"""Number, video and text."""


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every caption with its video, in the order of the annotation file."""

    splits = SPLITS

    def examples(self, root: Path) -> Iterator[Example]:
        videos = Videos(root)
        paths: dict[str, Path] = {}
        for name, video, caption in captions(root, self.split):
            path = paths.get(video) or paths.setdefault(video, videos.path(video))
            yield Example(id=name, video=path, video_id=video, text=tidy(caption))


@dataclass(frozen=True)
class Choices(SplitDataset):
    """Which of five captions is the video's own?"""

    splits = CHOICES
    split: str = "test"

    def examples(self, root: Path) -> Iterator[Example]:
        file, videos = find(root, *CHOICE_NAMES), Videos(root)
        is_table = file.name.endswith(".csv")
        records = file.rows("answer", delimiter="\t") if is_table else file.objects("answer")
        return distinct((choice(record, videos) for record in records), file)


def choice(record: Record, videos: Videos) -> Example:
    """A record of any of the layouts."""
    options = record.texts("options") if record.has("options") else None
    if options is None and record.has("caption"):
        options = record.texts("caption")
    options = options or [record.text(f"a{number}") for number in range(1, NUM_OPTIONS + 1)]
    if len(options) != NUM_OPTIONS:
        raise record.error(f"wanted {NUM_OPTIONS} options, got {len(options)}")
    number = bare(record.text(*CHOICE_VIDEO)).removeprefix("msr")  # JSFusion says msr7010
    video = f"video{number}" if number.isdigit() else number
    return Example(
        id=record.optional("qid", "key") or video,
        video=videos.path(video),
        video_id=video,
        text="",
        options=tuple(options),
        right=right_option(record.field("answer"), NUM_OPTIONS, record.where),
    )


def captions(root: Path, split: str) -> Iterator[Caption]:
    """The captions of a split."""
    if split in FULL:
        return chosen(root, {f"video{number}" for number in FULL[split]}, split)
    file = find(root, *LISTS[split])
    if file.name.endswith(".json"):
        told = ((bare(video), text) for video, texts in pairs(file) for text in texts)
        return ((f"{video}#{number}", video, text) for number, (video, text) in enumerate(told))
    if split == "1kA":
        rows = file.rows("key", "video_id", "sentence")
        told = ((row["key"], bare(row["video_id"]), row["sentence"]) for row in rows)
        return distinct(told, file, key=itemgetter(0))
    names = file.lines() if file.name.endswith(".txt") else (row["video_id"] for row in file.rows("video_id"))
    return chosen(root, set(distinct(map(bare, names), file, key=str)), split)


def chosen(root: Path, videos: Set[str], split: str) -> Iterator[Caption]:
    """Those captions of the annotation files that are of these videos."""
    files = find_some(root, *WHOLE)[:1] or find_some(root, *PARTS) or [find(root, *WHOLE, *PARTS)]
    missing = set(videos)
    for file in files:
        for caption in distinct(sentences(file), file, key=itemgetter(0)):
            if caption[1] in videos:
                missing.discard(caption[1])
                yield caption
    absent = f"add {' or '.join(PARTS if len(files) > 1 or files[0].name != PARTS[0] else PARTS[1:])}, or {WHOLE[0]}"
    there = " and ".join(map(str, files))
    if len(missing) == len(videos):
        raise MissingFile(f"{there}: no caption of {split}; {absent}")
    if missing:
        log.warning(
            "%s: no caption of %d of the %d videos of %s (%s, ...); %s",
            there, len(missing), len(videos), split, min(missing), absent,
        )  # fmt: skip


def sentences(file: Annotation) -> Iterator[Caption]:
    """Every caption of an annotation file."""
    name, *fields = ANNOTATIONS if file.name == "msr_vtt.json" else SENTENCES
    number, video, caption = fields
    for said in file.under(name, *fields):
        yield said.name(number), said.text(video), said.text(caption)


CARD = Card(
    title="MSR-VTT: 10,000 web video clips with 20 captions each",
    licence="none stated; videos of YouTube, for research",
    get="ms-multimedia-challenge.com/2017; lists of train9k, train7k and 1kA: github.com/layer6ai-labs/xpool",
    metric="captions: recall at 1, 5, 10 and median rank, both directions; choices: accuracy",
    readings={
        "captions": TaskReader(reader=Captions, splits=SPLITS),
        "choices": TaskReader(reader=Choices, splits=CHOICES),
    },
)
