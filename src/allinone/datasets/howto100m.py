"""HowTo100M: 1.2 million instructional YouTube videos with 136 million captions of speech (Miech et al., ICCV 2019).

License: Apache 2.0 for the lists; videos of YouTube.
Get: https://www.di.ens.fr/willow/research/howto100m (`HowTo100M.zip`, `raw_caption.zip`); sentences:
robots.ox.ac.uk/~vgg/research/tan (Han et al., CVPR 2022).

    root/HowTo100M_v1.csv           ids of the videos (column video_id; or video_path: howto100m_videos.csv)
    root/caption.json               `processed`: without stop words
    root/raw_caption.json           `raw`: as YouTube recognized it
    root/sentencified_htm_1200k.json    `sentences`: whole sentences, of 1200k, 730k or 370k videos
    root/videos/nVbIUDjzWY4.mp4     or .webm, .mkv

Without a list of ids all videos with captions are used. The file of captions, which is larger than most memories, is
read video by video.

A caption lasts a few seconds, often less than the action it describes: `min_sec` joins neighbors until the text lasts
that long. A pause of more than `min_sec` ends a text all the same. Empty captions (all stop words) add no text, but
their time counts. A caption without a length gets 0.1 s.

Scored by: nothing (pre-training).

One record of each list:

    nVbIUDjzWY4,52907,88,Cars & Other Vehicles,Motorcycles
    "nVbIUDjzWY4": {"start": [14.89, 19.05], "end": [19.05, 22.39], "text": ["turn key", "check oil level"]}
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset, with_texts
from allinone.datasets.fields import Record, collapse_spaces
from allinone.datasets.files import Annotation, find, find_some
from allinone.datasets.spans import Sentence, part
from allinone.datasets.videos import Videos, bare

log = logging.getLogger(__name__)

LISTS = {"HowTo100M_v1.csv": "video_id", "howto100m_videos.csv": "video_path"}
"""Names of the list of ids, and the column of the ids."""

FILES = {"processed": "caption.json", "raw": "raw_caption.json", "sentences": "sentencified_htm_*.json"}
SHORTEST_SEC = 0.1  # some captions end where they begin, and a span needs a length


@dataclass(frozen=True, kw_only=True)
class Captions(SplitDataset):
    """Every text with its part of the video, in the order of the file of captions."""

    splits = {"train": SplitSize()}
    split: str = "train"
    text: str = "processed"
    min_sec: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.text not in FILES:
            raise ValueError(f"no text {self.text!r}; there are: {', '.join(FILES)}")
        if self.min_sec < 0:
            raise ValueError(f"min_sec is a number of seconds, at least 0; got {self.min_sec}")

    def examples(self, root: Path) -> Iterator[Example]:
        file = find(root, FILES[self.text])
        return with_texts(self.texts(file, Videos(root, search_below=False), listed_ids(root)), file)

    def texts(self, file: Annotation, videos: Videos, listed: frozenset[str]) -> Iterator[Example]:
        """Yield the texts of the listed videos, or of all if none are listed; warnings count missing captions."""
        missing, num_silent = set(listed), 0
        for video, record in file.members():
            missing.discard(video)
            if listed and video not in listed:
                continue
            # Other endings by name, because `search_below` is off: 1.2 million videos are not listed.
            path = videos.path(video, f"{video}.webm", f"{video}.mkv")
            captions = captions_of(record)
            num_silent += not captions
            for number, (start, end, text) in enumerate(joined(captions, self.min_sec)):
                yield part(path, video, start, end, text, f"{video}#{number}")
        if num_silent:
            log.warning("%s: no caption in %d videos", file, num_silent)
        if missing:
            log.warning("%s: no captions of %d listed videos (%s, ...)", file, len(missing), min(missing))


def listed_ids(root: Path) -> frozenset[str]:
    """Return the ids of the list; empty if there is no list."""
    for name, column in LISTS.items():
        for file in find_some(root, name):
            return frozenset(bare(row[column]) for row in file.rows(column))
    return frozenset()


def captions_of(record: Record) -> list[Sentence]:
    """Return the captions of a video; maybe none."""
    starts, ends, texts = (record.items_of(name, may_be_empty=True) for name in ("start", "end", "text"))
    if not len(starts) == len(ends) == len(texts):
        raise record.error(f"wanted as many of start, end and text, got {len(starts)}, {len(ends)} and {len(texts)}")
    captions = []
    for start, end, text in zip(starts, ends, texts, strict=True):
        # As a record, so that a text in place of a number is an error with the number of its caption.
        one = Record({"start": start, "end": end, "text": text}, f"{record.where}, caption {len(captions)}")
        first = max(0.0, one.number("start"))
        captions.append((first, max(one.number("end"), first + SHORTEST_SEC), one.text("text", may_be_empty=True)))
    return captions


def joined(captions: Iterable[Sentence], min_sec: float) -> Iterator[Sentence]:
    """Join neighbors until a text lasts `min_sec`, or a pause of more than that follows."""
    group: list[Sentence] = []
    for caption in captions:
        # With min_sec = 0 the first condition always holds, so nothing is joined.
        if group and (duration(group) >= min_sec or caption[0] - group[-1][1] > min_sec):
            yield merged(group)
            group = []
        group.append(caption)
    if group:
        yield merged(group)


def duration(captions: list[Sentence]) -> float:
    """Return the seconds from the first start to the last end; captions may overlap."""
    return max(end for _, end, _ in captions) - captions[0][0]


def merged(captions: list[Sentence]) -> Sentence:
    """Return several captions as one."""
    start, text = captions[0][0], " ".join(text for _, _, text in captions)
    return start, start + duration(captions), collapse_spaces(text)


CARD = Card.of(__doc__, captions=Captions)
