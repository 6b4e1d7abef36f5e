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

Scored by recall at 1, 5, 10 and the median rank; every caption is a query (the multi-caption protocol). For video to
text the best-ranked of a clip's captions counts.

`captions_msvd.json`, and a row of the authors' table:

    {"-4wsuPCjDBc_5_15": ["a squirrel is eating a peanut in it s shell", "a chipmunk is eating"], ...}
    mv89psg6zh4,33,46,588702,unverified,55,English,A bird in a sink keeps getting under the running water.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, OfSplit, Reading, Size, with_texts
from allinone.datasets.files import Annotation, Videos, bare, find, find_some, tidy
from allinone.datasets.msvd_qa import clip_names
from allinone.datasets.pairs import pairs

SPLITS = {
    "train": Size(records=48_774, videos=1_200),
    "val": Size(records=4_290, videos=100),
    "test": Size(records=27_763, videos=670),
}
SOURCES = ("captions_msvd.json", "*video*corpus*.csv", "AllVideoDescriptions.txt")


@dataclass(frozen=True)
class Captions(OfSplit):
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
    if files := find_some(root, f"msvd_ret_{split}.json"):
        for video, texts in pairs(files[0]):
            found.setdefault(bare(video), []).extend(texts)
        return files[0], found
    clips = find(root, f"{split}_list.txt")
    source = find(root, *SOURCES)
    for clip, texts in described(source):
        found.setdefault(clip, []).extend(texts)
    wanted = [bare(clip) for clip in clips.lines()]
    if missing := [clip for clip in wanted if clip not in found]:
        raise ValueError(f"{source}: no caption of {len(missing)} clips that {clips} lists: {', '.join(missing[:3])}")
    return source, {clip: found[clip] for clip in wanted}


def described(source: Annotation) -> Iterator[tuple[str, list[str]]]:
    """Clips with captions; a clip may come several times."""
    if source.name.endswith(".json"):
        for clip, texts in source.members():
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise ValueError(f"{source}: clip {clip}: wanted a list of captions, got {texts!r:.40}")
            yield bare(clip), texts
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
    readings={"captions": Reading(reader=Captions, splits=SPLITS)},
)
