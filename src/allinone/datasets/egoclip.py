"""EgoClip and EgoMCQ: narrated actions in the first-person videos of Ego4D (Lin et al., EgoVLP, NeurIPS 2022).

Licence: MIT for the lists; the videos want a signed agreement with Ego4D (ego4d-data.org). Lists: the README of
github.com/showlab/EgoVLP.

    root/egoclip.csv                also called egoclip_metadata.csv; tabs between columns
    root/egomcq.json
    root/videos/001e3e4e-2743-47fc-8564-d5efd11f9e90.mp4        whole videos, or, as EgoVLP cuts them,
    root/videos/001e3e4e-2743-47fc-8564-d5efd11f9e90/0.mp4      1.mp4, ...: pieces of 600 s

`Captions` of `train`: 3,847,723 clips of about a second, each with the narration of its action. They are read one by
one and taken as they come. A time before the beginning of the video is its beginning. Of a clip that lies in two
pieces, the part in that piece is taken in which its middle lies. What has no length is given a tenth of a second.

`Choices` of `val` is EgoMCQ: 39,751 narrations, for each of which the right one of five clips is to be chosen. The
others are of other videos (kind `inter`, 24,384 questions) or of the same one, close in time (kind `intra`, 15,367).

Scored by accuracy, inter and intra apart. The answers are public: there is no server, and no format for one.

One record of `egoclip.csv` (some columns), and of `egomcq.json` (clips have the columns of `egoclip.csv`):

    clip_idx  video_uid     narration_time  clip_start  clip_end  clip_text
    0         001e3e4e-...  3.3445          2.967651    3.721266  #C C picks a bag of clothes from the floor
    "0": {"answer": 3, "types": 1, "query": {"clip_text": "#C C turns", ...}, "choices": {"0": {"video_uid": ...}, ...}}
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader, distinct, part, with_texts
from allinone.datasets.files import Videos, find
from allinone.datasets.questions import right_option
from allinone.datasets.records import Record, shown

CAPTIONS = {"train": SplitSize(records=3_847_723)}
CHOICES = {"val": SplitSize(records=39_751)}
KINDS = {"1": "inter", "2": "intra"}
PIECE_SEC = 600
SHORTEST_SEC = 0.1


@dataclass(frozen=True)
class Captions(SplitDataset):
    """Every narration with its clip, in the order of the file."""

    splits = CAPTIONS
    split: str = "train"

    def examples(self, root: Path) -> Iterator[Example]:
        file, clips = find(root, "egoclip.csv", "egoclip_metadata.csv"), Clips(root)

        def examples() -> Iterator[Example]:
            rows = file.rows("video_uid", "clip_start", "clip_end", delimiter="\t", may_be_empty=("clip_text",))
            for number, row in enumerate(rows):
                name = row.get("clip_idx") or str(number)
                yield clips.example(row, row.text("clip_text", may_be_empty=True), name)

        return distinct(with_texts(examples(), file), file)


@dataclass(frozen=True)
class Choices(SplitDataset):
    """Which of five clips does the narration tell?"""

    splits = CHOICES
    split: str = "val"

    def examples(self, root: Path) -> Iterator[Example]:
        file, places = find(root, "egomcq.json"), Clips(root)
        for number, record in file.members():
            clips = tuple(places.example(clip, "", None) for clip in choices_of(record))
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
    """The clips to choose from, which stand in a list or under the names "0", "1", ..."""
    if isinstance(record.field("choices"), list):
        return record.objects("choices")
    numbered = record.object("choices")
    if not numbered:
        raise record.error("choices must not be empty")
    return [numbered.object(str(number)) for number in range(len(numbered))]


@dataclass
class Clips:
    """Where clips lie, in whole videos or in pieces of ten minutes."""

    root: Path
    paths: dict[str, Path] = field(default_factory=dict)
    in_pieces: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self):
        self.videos = Videos(self.root, search_below=False)

    def example(self, clip: Record, text: str, name: str | None) -> Example:
        video, start, end = clip.text("video_uid"), clip.number("clip_start"), clip.number("clip_end")
        piece = max(0, int((start + end) / 2 // PIECE_SEC))
        if self.is_in_pieces(video):
            video = f"{video}/{piece}"
            start, end = start - piece * PIECE_SEC, min(end - piece * PIECE_SEC, PIECE_SEC)
        start = max(0.0, start)
        return part(self.path(video), video, start, max(end, start + SHORTEST_SEC), text, name)

    def is_in_pieces(self, video: str) -> bool:
        if video not in self.in_pieces:
            self.in_pieces[video] = any(self.videos.tree.is_dir(place / video) for place in self.videos.places)
        return self.in_pieces[video]

    def path(self, video: str) -> Path:
        if video not in self.paths:
            self.paths[video] = self.videos.path(video)
        return self.paths[video]


CARD = Card(
    title="EgoClip and EgoMCQ: 3.8 million narrated clips of Ego4D, and choices between five clips",
    licence="MIT for the lists; videos by agreement with Ego4D",
    get="github.com/showlab/EgoVLP; videos: ego4d-data.org",
    metric="choices: accuracy, inter-video and intra-video apart",
    readings={
        "captions": TaskReader(reader=Captions, splits=CAPTIONS),
        "choices": TaskReader(reader=Choices, splits=CHOICES),
    },
)
