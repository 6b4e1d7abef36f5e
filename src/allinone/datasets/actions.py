"""Shared by the data sets of action recognition: readable names of classes, and lists of clips with classes."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path, PurePosixPath

from allinone.data.example import Example
from allinone.datasets.base import distinct
from allinone.datasets.fields import collapse_spaces, shown
from allinone.datasets.files import Annotation
from allinone.datasets.videos import Videos
from allinone.video.names import is_media


@dataclass(frozen=True)
class Clip:
    """One line of a list: a video, its class, and names that its file may have, the likeliest first."""

    video_id: str
    label: str
    names: tuple[str, ...]


def labeled(clips: Iterable[Clip], videos: Videos, source: object) -> Iterator[Example]:
    """Yield an example for each clip, without exact repeats; `source` is the list in warnings and errors."""
    for clip in distinct(clips, source, key=attrgetter("video_id")):
        path = videos.path(*clip.names)
        yield Example(id=clip.video_id, video=path, video_id=clip.video_id, text="", label=clip.label)


def words(name: str) -> str:
    """Return the name of a class in words: `ApplyEyeMakeup` and `apply_eye_makeup` become 'apply eye makeup'."""
    # UCF101 writes classes in camel case. A name with spaces or underscores already has its words apart.
    if name.isalpha() and name[0].isupper():
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return collapse_spaces(name.replace("_", " "))


def key(name: str) -> str:
    """Return the name of a class without spaces, underscores and capitals, in which copies of a data set differ."""
    return words(name).replace(" ", "").lower()


def class_names(file: Annotation, names: Iterable[str]) -> list[str]:
    """Return the classes of a list, in words.

    Raises:
        ValueError: a class is empty or occurs twice, which would shift the indices of others.
    """
    classes = [words(name) for name in names]
    if "" in classes:
        raise file.error(f"class {classes.index('') + 1} has no name")
    if repeated := [name for name, count in Counter(map(key, classes)).items() if count > 1]:
        raise file.error(f"the class {shown(repeated[0])} is there twice")
    return classes


def listed(file: Annotation, classes: Sequence[str], source: Annotation | None = None) -> Iterator[Clip]:
    """Yield the clips of a list `folder/name.mp4 number`, all without the folder or all without the number.

    Numbers of classes start at 0, or at 1 if the folders, which are named after classes, show that. `source` is the
    file of the classes.

    Raises:
        ValueError: folder and number are of different classes, a class is unknown, or only some lines have a number.
    """
    index_of = {key(name): index for index, name in enumerate(classes)}
    first: int | None = None  # number of the first class: known from the first line with both folder and number
    for line, name, number in numbered_names(file):
        folder = PurePosixPath(name).parent.name
        of_folder = index_of.get(key(folder))
        if first is None and number is not None and of_folder is not None:
            # UCF101's lists count from 1, mmaction2's from 0. Any other difference is a wrong number, counted as 0 or 1
            # here, so that the check below reports it.
            first = min(max(number - of_folder, 0), 1)
        index = of_folder if number is None else number - (first or 0)
        # The list of classes lacks a class, or line and list contradict each other: the error names the file to
        # correct.
        if source and ((folder and of_folder is None) or (index or 0) >= len(classes)):
            wrong = described(name, number)
            raise source.error(f"{len(classes)} classes, without that of {wrong} in {file}: line {line}")
        if index is None or not 0 <= index < len(classes) or of_folder not in (None, index):
            wanted = f"a folder or a number of one of {len(classes)} classes, which agree"
            raise file.error(f"line {line}: wanted {wanted}; got {described(name, number)}")
        yield Clip(name.removesuffix(Path(name).suffix) if is_media(name) else name, classes[index], (name,))


def numbered_names(file: Annotation) -> Iterator[tuple[int, str, int | None]]:
    """Yield line, name and number of a class; either all lines have a number or none has."""
    has_numbers: bool | None = None
    for line, content in file.numbered():
        name, number = split_number(content.strip().replace("\\", "/"))
        has_numbers = number is not None if has_numbers is None else has_numbers
        if (number is not None) != has_numbers:
            others = "have a number" if has_numbers else "have none"
            raise file.error(f"line {line}: got {described(name, number)}, where other lines {others}")
        yield line, name, number


def described(name: str, number: int | None) -> str:
    """Return a line of a list as errors show it."""
    return f"{shown(name)} and {'no number' if number is None else f'class {number}'}"


def split_number(line: str) -> tuple[str, int | None]:
    """Split a line into its text and the number at its end; None if there is none."""
    name = line.rstrip("0123456789")
    number = line[len(name) :]
    # Only after a separator, because names of videos may end in digits, too.
    if not number or len(number) > 9 or not name or name[-1] not in " \t,":
        return line, None
    return name.rstrip(" \t,"), int(number)
