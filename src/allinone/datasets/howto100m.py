"""HowTo100M: YouTube videos that teach, with what is said in them, 136 million captions (Miech et al., ICCV 2019).

Licence: Apache 2.0 for the lists; the videos are YouTube's. Lists and captions (`HowTo100M.zip`, `raw_caption.zip`):
di.ens.fr/willow/research/howto100m. Sentences: robots.ox.ac.uk/~vgg/research/tan (Han et al., CVPR 2022).

    root/HowTo100M_v1.csv           ids of the videos (column video_id; or video_path: howto100m_videos.csv)
    root/caption.json               `processed`: without stop words
    root/raw_caption.json           `raw`: as YouTube has heard it
    root/sentencified_htm_1200k.json    `sentences`: whole sentences, of 1200k, 730k or 370k videos
    root/videos/nVbIUDjzWY4.mp4     or .webm, .mkv

Some 1.2 million videos. Without a list of ids all videos that have captions are taken. The file of captions, which is
larger than most memories, is read video by video.

A caption lasts a few seconds, often fewer than what it tells of: `min_sec` joins neighbours until the text lasts so
long. A pause of more than `min_sec` ends a text all the same. Captions in which nothing is left (stop words were all)
add no text, but count in time. What has no length is given a tenth of a second.

For pre-training; no score.

One record of each list:

    nVbIUDjzWY4,52907,88,Cars & Other Vehicles,Motorcycles
    "nVbIUDjzWY4": {"start": [14.89, 19.05], "end": [19.05, 22.39], "text": ["turn key", "check oil level"]}
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader, part, with_texts
from allinone.datasets.files import Videos, bare, find, find_some
from allinone.datasets.records import Record, tidy

log = logging.getLogger(__name__)

SPLITS = {"train": SplitSize()}
LISTS = {"HowTo100M_v1.csv": "video_id", "howto100m_videos.csv": "video_path"}
"""Names of the list of ids, and the column that has them."""

CAPTIONS = {"processed": "caption.json", "raw": "raw_caption.json", "sentences": "sentencified_htm_*.json"}
SHORTEST_SEC = 0.1

Spoken = tuple[float, float, str]
"""Start, end and text."""


@dataclass(frozen=True, kw_only=True)
class Captions(SplitDataset):
    """Every text with its part of the video, in the order of the file of captions."""

    splits = SPLITS
    split: str = "train"
    text: str = "processed"
    min_sec: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.text not in CAPTIONS:
            raise ValueError(f"no text {self.text!r}; there are: {', '.join(CAPTIONS)}")
        if self.min_sec < 0:
            raise ValueError(f"min_sec is a number of seconds, at least 0; got {self.min_sec}")

    def examples(self, root: Path) -> Iterator[Example]:
        file, videos = find(root, CAPTIONS[self.text]), Videos(root, search_below=False)
        listed = listed_ids(root)

        def examples() -> Iterator[Example]:
            missing, num_silent = set(listed), 0
            for video, record in file.members():
                missing.discard(video)
                if not listed or video in listed:
                    path = videos.path(video, f"{video}.webm", f"{video}.mkv")
                    captions = spoken(record)
                    num_silent += not captions
                    for number, (start, end, text) in enumerate(joined(captions, self.min_sec)):
                        yield part(path, video, start, end, text, f"{video}#{number}")
            if num_silent:
                log.warning("%s: no caption in %d videos", file, num_silent)
            if missing:
                log.warning("%s: no captions of %d listed videos (%s, ...)", file, len(missing), min(missing))

        return with_texts(examples(), file)


def listed_ids(root: Path) -> frozenset[str]:
    """The ids of the list; none where there is no list."""
    for name, column in LISTS.items():
        for file in find_some(root, name):
            return frozenset(bare(row[column]) for row in file.rows(column))
    return frozenset()


def spoken(record: Record) -> list[Spoken]:
    """The captions of a video; maybe none."""
    starts, ends, texts = (record.items_of(name, may_be_empty=True) for name in ("start", "end", "text"))
    if not len(starts) == len(ends) == len(texts):
        raise record.error(f"wanted as many of start, end and text, got {len(starts)}, {len(ends)} and {len(texts)}")
    found = []
    for start, end, text in zip(starts, ends, texts, strict=True):
        said = Record({"start": start, "end": end, "text": text}, f"{record.where}, caption {len(found)}")
        first = max(0.0, said.number("start"))
        found.append((first, max(said.number("end"), first + SHORTEST_SEC), said.text("text", may_be_empty=True)))
    return found


def joined(captions: Iterable[Spoken], min_sec: float) -> Iterator[Spoken]:
    """Neighbouring captions as one, until it lasts `min_sec` or a pause of more than that follows."""
    open_: list[Spoken] = []
    for caption in captions:
        if open_ and (lasts(open_) >= min_sec or caption[0] - open_[-1][1] > min_sec):
            yield as_one(open_)
            open_ = []
        open_.append(caption)
    if open_:
        yield as_one(open_)


def lasts(captions: list[Spoken]) -> float:
    return max(end for _, end, _ in captions) - captions[0][0]


def as_one(captions: list[Spoken]) -> Spoken:
    return captions[0][0], captions[0][0] + lasts(captions), tidy(" ".join(text for _, _, text in captions))


CARD = Card(
    title="HowTo100M: 1.2 million YouTube videos that teach, with 136 million captions of what is said",
    licence="Apache 2.0 for the lists; videos of YouTube",
    get="di.ens.fr/willow/research/howto100m",
    metric="none: for pre-training",
    readings={"captions": TaskReader(reader=Captions, splits=SPLITS)},
)
