"""MSVD: short YouTube clips, most of them of a single action, with some 40 captions each (Chen and Dolan, ACL 2011).

License: none stated; videos of YouTube, for research.
Get: clips (`YouTubeClips.tar`) and a table of descriptions: cs.utexas.edu/users/ml/clamp/videoDescription; captions as
JSON and lists of the splits: https://github.com/layer6ai-labs/xpool, `data/MSVD`. Others publish `raw-captions.pkl`, a
pickle, which is not read.

    root/captions_msvd.json                     clip -> captions; or one of the authors' files:
    root/MSR Video Description Corpus.csv       a row for each description; those in English are used
    root/AllVideoDescriptions.txt               a line for each description, English
    root/train_list.txt                         clips of the split; val_list.txt, test_list.txt
    root/YouTubeClips/-4wsuPCjDBc_5_15.avi      or, with youtube_mapping.txt, vid1.avi

Also read: `msvd_ret_train.json` and the like (Singularity, UMT). A sentence that several people wrote counts each time.

`label-train` and `label-test` are the splits of courses on captioning, in `training_label.json` and
`testing_label.json`, JSON lists of {"id": "TZ860P4iTaM_15_28.avi", "caption": [...]}. Some clips of `label-train` are
in `test`.

Scored by: recall at 1, 5, 10 and median rank, both directions; every caption is a query (the multi-caption protocol).
For video to text the best-ranked of a clip's captions counts.

`captions_msvd.json`, and a row of the authors' table:

    {"-4wsuPCjDBc_5_15": ["a squirrel is eating a peanut in it s shell", "a chipmunk is eating"], ...}
    mv89psg6zh4,33,46,588702,unverified,55,English,A bird in a sink keeps getting under the running water.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset, distinct, with_texts
from allinone.datasets.fields import Record, listing, shown
from allinone.datasets.files import Annotation, find, find_some
from allinone.datasets.msvd_qa import clip_names
from allinone.datasets.records import CAPTIONS, Fields, caption_examples, numbered, read_captions
from allinone.datasets.videos import Videos, bare

LABELS = {"label-train": "training_label.json", "label-test": "testing_label.json"}
LISTED = Fields(video=(*CAPTIONS.video, "id"), text=CAPTIONS.text)
SOURCES = ("captions_msvd.json", "*video*corpus*.csv", "AllVideoDescriptions.txt")


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every caption with its clip; clips in the order of the split's list."""

    splits = {
        "train": SplitSize(records=48_774, videos=1_200),
        "val": SplitSize(records=4_290, videos=100),
        "test": SplitSize(records=27_763, videos=670),
        "label-train": SplitSize(videos=1_450),
        "label-test": SplitSize(videos=100),
    }

    def examples(self, root: Path) -> Iterator[Example]:
        videos = Videos(root, folders=("YouTubeClips", "videos", "clips"), suffix=".avi")
        numbers = {clip: (number,) for number, clip in clip_names(Path(root)).items()}
        source, captions = captions_of(root, self.split)
        clips = (numbered((clip, *numbers.get(clip, ())), texts) for clip, texts in captions.items())
        return with_texts(caption_examples(clips, videos), source)


def captions_of(root: Path, split: str) -> tuple[Annotation, dict[str, list[str]]]:
    """Return the captions of each clip of a split, and their file."""
    captions: dict[str, list[str]] = {}
    # 1. A file of the split that has its captions.
    for file in [find(root, LABELS[split])] if split in LABELS else find_some(root, f"msvd_ret_{split}.json"):
        for video, texts in read_captions(file, LISTED, may_be_empty=True):
            captions.setdefault(bare(video), []).extend(texts)
        return file, captions
    # 2. A list of the split's clips, with all captions in one other file.
    clips = find(root, f"{split}_list.txt")
    source = find(root, *SOURCES)
    for clip, texts in descriptions(source):
        captions.setdefault(clip, []).extend(texts)
    listed = list(distinct(map(bare, clips.lines()), clips, key=str))
    if missing := [clip for clip in listed if clip not in captions]:
        raise source.error(f"no caption of {len(missing)} clips that {clips} lists: {listing(missing[:3])}")
    return source, {clip: captions[clip] for clip in listed}  # in the order of the list


def descriptions(source: Annotation) -> Iterator[tuple[str, list[str]]]:
    """Yield clips with captions; a clip occurs several times in files with one caption for each line."""
    if source.name.endswith(".json"):
        values = source.values_by_name()
        records = ((clip, Record({"captions": texts}, f"{source}: clip {shown(clip)}")) for clip, texts in values)
        clips = ((bare(clip), record.texts("captions", may_be_empty=True)) for clip, record in records)
        yield from distinct(clips, source, key=itemgetter(0))
    elif source.name.endswith(".txt"):
        for line in source.lines():
            clip, _, text = line.partition(" ")
            if not clip.startswith("#"):  # a comment: ids of YouTube begin with no other sign than - and _
                yield bare(clip), [text]
    else:
        for row in source.rows("videoid", "start", "end", may_be_empty=("language", "description")):
            if row["language"].lower() == "english":
                yield f"{row['videoid']}_{row['start']}_{row['end']}", [row["description"]]


CARD = Card.of(__doc__, captions=Captions)
