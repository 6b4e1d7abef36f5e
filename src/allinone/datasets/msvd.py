"""MSVD: short YouTube clips, most of them of a single action, with some 40 captions each (Chen and Dolan, ACL 2011).

Licence: none is stated; the videos are YouTube's, for research. Clips (`YouTubeClips.tar`) and a table of descriptions:
the authors' page, cs.utexas.edu/users/ml/clamp/videoDescription. Captions as JSON and the lists of the splits:
github.com/layer6ai-labs/xpool, `data/MSVD`. The `raw-captions.pkl` that others give is a pickle and is not read.

    root/captions_msvd.json                     clip -> captions; or one of the authors' files:
    root/MSR Video Description Corpus.csv       a row a description, in many languages; the English ones are taken
    root/AllVideoDescriptions.txt               a line a description, English
    root/train_list.txt                         clips of the split; val_list.txt, test_list.txt
    root/YouTubeClips/-4wsuPCjDBc_5_15.avi      or, where youtube_mapping.txt is there, vid1.avi

Also read: `msvd_ret_train.json` and the like (Singularity, UMT). Splits (captions in `captions_msvd.json`): `train`
48,774 on 1,200 clips, `val` 4,290 on 100, `test` 27,763 on 670. Sentences that several people wrote are there as often.

`label-train` and `label-test` are another division, of courses on captioning: 1,450 and 100 of the clips, in
`training_label.json` and `testing_label.json`, JSON lists of {"id": "TZ860P4iTaM_15_28.avi", "caption": [...]}. Some of
`label-train` are in `test`.

Scored by recall at 1, 5, 10 and the median rank; every caption is a query (the multi-caption protocol). For video to
text the best-ranked of a clip's captions counts.

`captions_msvd.json`, and a row of the authors' table:

    {"-4wsuPCjDBc_5_15": ["a squirrel is eating a peanut in it s shell", "a chipmunk is eating"], ...}
    mv89psg6zh4,33,46,588702,unverified,55,English,A bird in a sink keeps getting under the running water.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader, distinct, with_texts
from allinone.datasets.files import Annotation, Videos, bare, find, find_some
from allinone.datasets.msvd_qa import clip_names
from allinone.datasets.pairs import pairs
from allinone.datasets.records import Record, listing, shown, tidy

SPLITS = {
    "train": SplitSize(records=48_774, videos=1_200),
    "val": SplitSize(records=4_290, videos=100),
    "test": SplitSize(records=27_763, videos=670),
    "label-train": SplitSize(videos=1_450),
    "label-test": SplitSize(videos=100),
}
LABELS = {"label-train": "training_label.json", "label-test": "testing_label.json"}
SOURCES = ("captions_msvd.json", "*video*corpus*.csv", "AllVideoDescriptions.txt")


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every caption with its clip; clips in the order of the split's list."""

    splits = SPLITS

    def examples(self, root: Path) -> Iterator[Example]:
        videos = Videos(root, folders=("YouTubeClips", "videos", "clips"), suffix=".avi")
        numbers = {clip: number for number, clip in clip_names(Path(root)).items()}
        source, captions = captions_of(root, self.split)

        def examples() -> Iterator[Example]:
            for clip, texts in captions.items():
                path = videos.path(clip, *([numbers[clip]] if clip in numbers else []))
                for number, text in enumerate(texts):
                    yield Example(id=f"{clip}#{number}", video=path, video_id=clip, text=tidy(text))

        return with_texts(examples(), source)


def captions_of(root: Path, split: str) -> tuple[Annotation, dict[str, list[str]]]:
    """The captions of each clip of a split, and the file that they come from."""
    found: dict[str, list[str]] = {}
    if split in LABELS:
        file = find(root, LABELS[split])
        records = distinct(file.objects("id", "caption"), file, key=lambda record: bare(record.text("id")))
        return file, {bare(record.text("id")): record.texts("caption", may_be_empty=True) for record in records}
    if files := find_some(root, f"msvd_ret_{split}.json"):
        for video, texts in pairs(files[0], may_be_empty=True):
            found.setdefault(bare(video), []).extend(texts)
        return files[0], found
    clips = find(root, f"{split}_list.txt")
    source = find(root, *SOURCES)
    for clip, texts in described(source):
        found.setdefault(clip, []).extend(texts)
    wanted = list(distinct(map(bare, clips.lines()), clips, key=str))
    if missing := [clip for clip in wanted if clip not in found]:
        raise source.error(f"no caption of {len(missing)} clips that {clips} lists: {listing(missing[:3])}")
    return source, {clip: found[clip] for clip in wanted}


def described(source: Annotation) -> Iterator[tuple[str, list[str]]]:
    """Clips with captions; in files of a caption a line a clip comes several times."""
    if source.name.endswith(".json"):
        values = source.values_by_name()
        records = ((clip, Record({"captions": texts}, f"{source}: clip {shown(clip)}")) for clip, texts in values)
        told = ((bare(clip), record.texts("captions", may_be_empty=True)) for clip, record in records)
        yield from distinct(told, source, key=itemgetter(0))
    elif source.name.endswith(".txt"):
        for line in source.lines():
            clip, _, text = line.partition(" ")
            if not clip.startswith("#"):  # remarks; ids may begin with - and _ alone
                yield bare(clip), [text]
    else:
        for row in source.rows("videoid", "start", "end", may_be_empty=("language", "description")):
            if row["language"].lower() == "english":
                yield f"{row['videoid']}_{row['start']}_{row['end']}", [row["description"]]


CARD = Card(
    title="MSVD: 1,970 YouTube clips with some 40 captions each",
    licence="none stated; videos of YouTube, for research",
    get="cs.utexas.edu/users/ml/clamp/videoDescription; captions and lists: github.com/layer6ai-labs/xpool",
    metric="recall at 1, 5, 10 and median rank, both directions; every caption is a query",
    readings={"captions": TaskReader(reader=Captions, splits=SPLITS)},
)
