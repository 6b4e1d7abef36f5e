"""EgoClip and EgoMCQ: narrated actions in the first-person videos of Ego4D (Lin et al., EgoVLP, NeurIPS 2022).

License: MIT for the lists; videos by a signed agreement with Ego4D.
Get: lists: README of https://github.com/showlab/EgoVLP; videos: https://ego4d-data.org.

    root/egoclip.csv                also called egoclip_metadata.csv; tabs between columns
    root/egomcq.json
    root/videos/001e3e4e-2743-47fc-8564-d5efd11f9e90.mp4        whole videos, or, as EgoVLP cuts them,
    root/videos/001e3e4e-2743-47fc-8564-d5efd11f9e90/0.mp4      1.mp4, ...: pieces of 600 s

`Captions`: clips of about a second, each with the narration of its action, read one by one. A negative start becomes 0.
A clip that crosses two pieces is cut to the piece that has its middle. A clip without a length gets 0.1 s.

`Choices` is EgoMCQ: a narration, and five clips, one of which is right. The others are of other videos (kind `inter`,
24,384 questions) or of the same one, close in time (kind `intra`, 15,367).

Scored by: choices: accuracy, inter-video and intra-video apart. The answers are public: there is no server, and no
format for one.

One record of `egoclip.csv` (some columns), and of `egomcq.json` (clips have the columns of `egoclip.csv`):

    clip_idx  video_uid     narration_time  clip_start  clip_end  clip_text
    0         001e3e4e-...  3.3445          2.967651    3.721266  #C C picks a bag of clothes from the floor
    "0": {"answer": 3, "types": 1, "query": {"clip_text": "#C C turns", ...}, "choices": {"0": {"video_uid": ...}, ...}}
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset, distinct, with_texts
from allinone.datasets.fields import Record, shown
from allinone.datasets.files import find
from allinone.datasets.records import right_option
from allinone.datasets.spans import part
from allinone.datasets.videos import Videos

KINDS = {"1": "inter", "2": "intra"}
PIECE_SEC = 600  # EgoVLP cuts the videos into pieces of ten minutes
SHORTEST_SEC = 0.1  # some clips end where they begin, and a span needs a length


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every narration with its clip, in the order of the file."""

    splits = {"train": SplitSize(records=3_847_723)}
    split: str = "train"

    def examples(self, root: Path) -> Iterator[Example]:
        file, clips = find(root, "egoclip.csv", "egoclip_metadata.csv"), Clips(root)
        rows = file.rows("video_uid", "clip_start", "clip_end", delimiter="\t", may_be_empty=("clip_text",))
        examples = (
            clips.example(row, row.text("clip_text", may_be_empty=True), row.get("clip_idx") or str(number))
            for number, row in enumerate(rows)
        )
        return distinct(with_texts(examples, file), file)


@dataclass(frozen=True)
class Choices(SplitDataset):
    """Which of five clips does the narration describe?"""

    splits = {"val": SplitSize(records=39_751)}
    split: str = "val"

    def examples(self, root: Path) -> Iterator[Example]:
        file, finder = find(root, "egomcq.json"), Clips(root)
        for number, record in file.members():
            clips = tuple(finder.example(clip, "", None) for clip in choices_of(record))
            if (kind := record.name("types")) not in KINDS:
                raise record.error(f"wanted types 1 or 2, got {shown(kind)}")
            yield Example(
                id=number,
                video=clips[0].video,
                video_id=f"egomcq#{number}",
                text=record.object("query").text("clip_text"),
                clips=clips,
                right=right_option(record.field("answer"), len(clips), record.where),
                kind=KINDS[kind],
            )


def choices_of(record: Record) -> list[Record]:
    """Return the clips to choose from, which are a list, or an object with the names "0", "1", ..."""
    if isinstance(record.field("choices"), list):
        return record.objects("choices")
    by_index = record.object("choices")
    if not by_index:
        raise record.error("choices must not be empty")
    return [by_index.object(str(index)) for index in range(len(by_index))]


class Clips:
    """Makes examples of clips, which are parts of whole videos or of pieces of ten minutes."""

    def __init__(self, root: Path):
        # Millions of clips, so only the exact path is tried, and once for each video.
        self.videos = Videos(root, search_below=False)
        self.path = cache(self.videos.path)
        self.is_in_pieces = cache(
            lambda video: any(self.videos.tree.is_dir(folder / video) for folder in self.videos.searched)
        )

    def example(self, clip: Record, text: str, name: str | None) -> Example:
        """Return an example about a clip; `name` is its id."""
        video, start, end = clip.text("video_uid"), clip.number("clip_start"), clip.number("clip_end")
        if self.is_in_pieces(video):
            piece = max(0, int((start + end) / 2 // PIECE_SEC))  # the piece that has the middle of the clip
            video = f"{video}/{piece}"
            start, end = start - piece * PIECE_SEC, min(end - piece * PIECE_SEC, PIECE_SEC)  # on the clock of the piece
        start = max(0.0, start)
        return part(self.path(video), video, start, max(end, start + SHORTEST_SEC), text, name)


CARD = Card.of(__doc__, captions=Captions, choices=Choices)
