"""ActivityNet Captions: YouTube videos of two minutes, described sentence by sentence (Krishna et al., ICCV 2017).

License: none stated for the captions; videos of YouTube, for research.
Get: https://cs.stanford.edu/people/ranjaykrishna/densevid (`captions.zip`); videos on request:
activity-net.org/download.html.

    root/train.json     val_1.json    val_2.json        or in captions.zip
    root/videos/v_uqiMw7tQ1Cc.mp4                       any extension, with or without `v_`

Also read: `train.jsonl`, `val1.jsonl`, `val2.jsonl` (ClipBERT), `anet_ret_train.json`, `anet_ret_val_1.json`
(Singularity). Questions on the same videos are another data set, ActivityNet-QA.

Paragraph to video: all sentences of a video, in order of time, are one text. `val_1` and `val_2` are the same
validation videos described by different people; a few are missing. Papers score on `val_1`, without the videos that
they could not get; our results count all.

Scored by: recall at 1, 5, 10 (some give 50) and median rank, both directions; a paragraph for each video.

One record of `val_1.json`:

    "v_uqiMw7tQ1Cc": {"duration": 55.15, "timestamps": [[0.28, 55.15], [13.79, 54.32]],
                      "sentences": ["A weight lifting tutorial is given.", "  The coach helps the guy in red."]}
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset, distinct
from allinone.datasets.files import Annotation, find
from allinone.datasets.records import Captioned, caption_examples, read_captions
from allinone.datasets.spans import in_order_of_time, timed_sentences
from allinone.datasets.videos import Videos, bare

REPUBLISHED = {
    "train": ("anet_ret_train.json", "actnet_ret_train.json", "train.jsonl"),
    "val_1": ("anet_ret_val_1.json", "val1.jsonl"),
    "val_2": ("anet_ret_val_2.json", "val2.jsonl"),
}


@dataclass(frozen=True)
class Captions(SplitDataset):
    """One paragraph for each video, in the order of the annotation file."""

    splits = {
        "train": SplitSize(records=10_009, videos=10_009),
        "val_1": SplitSize(records=4_917, videos=4_917),
        "val_2": SplitSize(records=4_885, videos=4_885),
    }

    def examples(self, root: Path) -> Iterator[Example]:
        videos = Videos(root, folders=("videos", "Activity_Videos"))
        file = find(root, f"{self.split}.json", *REPUBLISHED[self.split])
        described = paragraphs(file) if file.name == f"{self.split}.json" else read_captions(file)
        names = ((bare(name), " ".join(sentences)) for name, sentences in described)
        captioned = (Captioned((name, name.removeprefix("v_")), ((name, text),)) for name, text in names)
        return distinct(caption_examples(captioned, videos), file)


def paragraphs(file: Annotation) -> Iterator[tuple[str, list[str]]]:
    """Yield each video and its sentences, joined in order of time."""
    for video, record in file.members():
        paragraph = in_order_of_time(timed_sentences(record))
        if not paragraph:
            raise record.error("sentences must not be empty")
        yield video, [paragraph]


CARD = Card.of(__doc__, captions=Captions)
