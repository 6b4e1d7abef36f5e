"""ActivityNet Captions: YouTube videos of two minutes, told sentence by sentence (Krishna et al., ICCV 2017).

Licence: none is stated for the captions; the videos are YouTube's, for research. Captions (`captions.zip`):
cs.stanford.edu/people/ranjaykrishna/densevid. Videos: on request, activity-net.org/download.html. Questions on the same
videos are another data set, ActivityNet-QA.

    root/train.json     val_1.json    val_2.json        or as they come, in captions.zip
    root/videos/v_uqiMw7tQ1Cc.mp4                       with whatever extension, with or without `v_`

Also read: `train.jsonl`, `val1.jsonl`, `val2.jsonl` (ClipBERT), `anet_ret_train.json`, `anet_ret_val_1.json`
(Singularity).

Paragraph to video: all sentences of a video, in order of time, are one text. Splits: `train` 10,009 videos, `val_1`
4,917, `val_2` 4,885: the same validation videos told by others, with a few missing. Papers score on `val_1`, and leave
out those videos that they could not get; the table on the page, in which nothing is missing, counts all.

Scored by recall at 1, 5, 10 (some give 50) and the median rank, both directions.

One record of `val_1.json`:

    "v_uqiMw7tQ1Cc": {"duration": 55.15, "timestamps": [[0.28, 55.15], [13.79, 54.32]],
                      "sentences": ["A weight lifting tutorial is given.", "  The coach helps the guy in red."]}
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader, distinct
from allinone.datasets.files import Annotation, Videos, bare, find, in_order_of_time, timed_sentences
from allinone.datasets.pairs import pairs

SPLITS = {
    "train": SplitSize(records=10_009, videos=10_009),
    "val_1": SplitSize(records=4_917, videos=4_917),
    "val_2": SplitSize(records=4_885, videos=4_885),
}
REPUBLISHED = {
    "train": ("anet_ret_train.json", "actnet_ret_train.json", "train.jsonl"),
    "val_1": ("anet_ret_val_1.json", "val1.jsonl"),
    "val_2": ("anet_ret_val_2.json", "val2.jsonl"),
}


@dataclass(frozen=True)
class Captions(SplitDataset):
    """One paragraph a video, in the order of the annotation file."""

    splits = SPLITS

    def examples(self, root: Path) -> Iterator[Example]:
        videos = Videos(root, folders=("videos", "Activity_Videos"))
        file = find(root, f"{self.split}.json", *REPUBLISHED[self.split])
        told = paragraphs(file) if file.name == f"{self.split}.json" else pairs(file)

        def examples() -> Iterator[Example]:
            for name, sentences in told:
                video = bare(name)
                path = videos.path(video, video.removeprefix("v_"))
                yield Example(id=video, video=path, video_id=video, text=" ".join(sentences))

        return distinct(examples(), file)


def paragraphs(file: Annotation) -> Iterator[tuple[str, list[str]]]:
    """Each video and its sentences in order of time."""
    for video, record in file.members():
        paragraph = in_order_of_time(timed_sentences(record))
        if not paragraph:
            raise record.error("sentences must not be empty")
        yield video, [paragraph]


CARD = Card(
    title="ActivityNet Captions: some 20,000 YouTube videos of two minutes with the paragraphs that tell them",
    licence="none stated for the captions; videos of YouTube, for research",
    get="cs.stanford.edu/people/ranjaykrishna/densevid; videos: activity-net.org/download.html",
    metric="recall at 1, 5, 10 and median rank, both directions; a paragraph for each video",
    readings={"captions": TaskReader(reader=Captions, splits=SPLITS)},
)
