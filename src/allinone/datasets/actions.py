"""What action recognition's data sets share: names of classes in readable words, and lists of clips with classes."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path, PurePosixPath

from allinone.data.example import Example
from allinone.datasets.base import distinct
from allinone.datasets.files import Annotation, Videos, tidy
from allinone.video.names import is_media

LINE = re.compile(r"(.+?)(?:[\s,]+(\d+))?")


@dataclass(frozen=True)
class Clip:
    """One line of a list: the class of a video that may have one of several file names, the likeliest first."""

    video_id: str
    label: str
    names: tuple[str, ...]


def labelled(clips: Iterable[Clip], videos: Videos, source: object) -> Iterator[Example]:
    """An example for each clip; `source` names the list in warnings and errors."""
    for clip in distinct(clips, source, key=attrgetter("video_id")):
        path = videos.path(*clip.names)
        yield Example(id=clip.video_id, video=path, video_id=clip.video_id, text="", label=clip.label)


def words(name: str) -> str:
    """The name of a class as one says it: `ApplyEyeMakeup` and `apply_eye_makeup` are both 'apply eye makeup'."""
    if name.isalpha() and name[0].isupper():
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return tidy(name.replace("_", " "))


def key(name: str) -> str:
    """What is left of a class's name without spaces, underscores and capitals, in which copies of a set differ."""
    return words(name).replace(" ", "").lower()


def listed(file: Annotation, classes: Sequence[str]) -> Iterator[Clip]:
    """The clips of a list `folder/name.mp4 number`, without the folder or without the number.

    Numbers of classes start at 0, or at 1 where folders named after classes say so; a number that belongs to
    another class than its folder is an error.
    """
    places = {key(name): place for place, name in enumerate(classes)}
    first: int | None = None
    for line, content in file.numbered():
        match = LINE.fullmatch(content.strip())
        assert match
        name, number = match[1].replace("\\", "/"), match[2]
        place = places.get(key(PurePosixPath(name).parent.name))
        if number is not None and place is not None and first is None:
            first = min(max(int(number) - place, 0), 1)
        told = place if number is None else int(number) - (first or 0)
        if told is None or not 0 <= told < len(classes) or place not in (None, told):
            problem = "no class" if number is None else f"class {number}"
            raise ValueError(
                f"{file}: line {line}: wanted a folder or a number of one of {len(classes)} classes, which agree; "
                f"got {problem} for {name!r}"
            )
        yield Clip(name.removesuffix(Path(name).suffix) if is_media(name) else name, classes[told], (name,))
