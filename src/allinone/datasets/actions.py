"""What action recognition's data sets share: names of classes in readable words, and lists of clips with classes."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path, PurePosixPath

from allinone.data.example import Example
from allinone.datasets.base import distinct
from allinone.datasets.files import Annotation, Videos
from allinone.datasets.records import shown, tidy
from allinone.video.names import is_media


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


def class_names(file: Annotation, names: Iterable[str]) -> list[str]:
    """The classes of a list, in words; one that is empty or there twice would move the numbers of others."""
    classes = [words(name) for name in names]
    if "" in classes:
        raise file.error(f"class {classes.index('') + 1} has no name")
    if twice := [name for name, count in Counter(map(key, classes)).items() if count > 1]:
        raise file.error(f"the class {shown(twice[0])} is there twice")
    return classes


def listed(file: Annotation, classes: Sequence[str], source: Annotation | None = None) -> Iterator[Clip]:
    """The clips of a list `folder/name.mp4 number`, all without the folder or all without the number.

    Numbers of classes start at 0, or at 1 where folders named after classes say so; a number that belongs to
    another class than its folder is an error. `source` is the file of the classes.
    """
    places = {key(name): place for place, name in enumerate(classes)}
    first: int | None = None
    has_numbers: bool | None = None
    for line, content in file.numbered():
        name, number = split_number(content.strip().replace("\\", "/"))
        has_numbers = number is not None if has_numbers is None else has_numbers
        folder = PurePosixPath(name).parent.name
        place = places.get(key(folder))
        if number is not None and place is not None and first is None:
            first = min(max(number - place, 0), 1)
        told = place if number is None else number - (first or 0)
        got = f"{shown(name)} and {'no number' if number is None else f'class {number}'}"
        if source and ((folder and place is None) or (told or 0) >= len(classes)):
            raise source.error(f"{len(classes)} classes, without that of {got} in {file}: line {line}")
        if told is None or not 0 <= told < len(classes) or place not in (None, told):
            wanted = f"a folder or a number of one of {len(classes)} classes, which agree"
            raise file.error(f"line {line}: wanted {wanted}; got {got}")
        if (number is not None) != has_numbers:
            others = "have a number" if has_numbers else "have none"
            raise file.error(f"line {line}: got {got}, where other lines {others}")
        yield Clip(name.removesuffix(Path(name).suffix) if is_media(name) else name, classes[told], (name,))


def split_number(line: str) -> tuple[str, int | None]:
    """What a line says before the number at its end, and the number; None where there is none."""
    name = line.rstrip("0123456789")
    number = line[len(name) :]
    if not number or len(number) > 9 or not name or name[-1] not in " \t,":
        return line, None
    return name.rstrip(" \t,"), int(number)
