"""`Example`: one record of a data set, as plain Python. Readers yield it, loaders turn it into tensors."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

Task = Literal["caption", "question", "choice", "number", "label"]
"""What is asked of a model: does the text fit, an open answer, one of several options, a number, or a class."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Region:
    """An area to be tinted in a picture: polygons of (x, y) in shares of its width and height, and which colour."""

    polygons: tuple[tuple[Point, ...], ...]
    color: int


@dataclass(frozen=True, kw_only=True)
class Example:
    """One text about one video (or image).

    `video` is the file, or several images that together make one clip; it need not be there. `video_id` names what is
    seen in scores and logs: two examples with the same id show the same clip. `start_sec` and `end_sec` cut a span
    out of the file; None means its beginning or end. `regions` are tinted before a model sees them.

    `text` is a caption, a question, or empty. One of these makes it a question (see `task`):
    `answer`, with `human_answers` where several people were asked (both empty where they are kept secret);
    `options`, the texts to choose from, or `clips`, the examples whose clips are to choose from, with `right`, the
    number of the right one, None where it is kept secret; a `number` to be counted; a `label`, the class that the
    clip shows. `kind` names the type of question, for scores per type; `id` is the record's own name in its data set.
    """

    video: Path | tuple[Path, ...]
    video_id: str
    text: str
    start_sec: float | None = None
    end_sec: float | None = None
    regions: tuple[Region, ...] = ()
    answer: str | None = None
    human_answers: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    clips: tuple["Example", ...] = ()
    right: int | None = None
    number: int | None = None
    label: str | None = None
    kind: str | None = None
    id: str | None = None

    def __post_init__(self):
        num_options = len(self.options) or len(self.clips)
        if self.right is not None and not 0 <= self.right < num_options:
            raise ValueError(f"{self.id or self.video_id}: option {self.right} is right, but there are {num_options}")

    @property
    def task(self) -> Task:
        if self.options or self.clips:
            return "choice"
        if self.number is not None:
            return "number"
        if self.label is not None:
            return "label"
        return "caption" if self.answer is None else "question"

    @property
    def texts(self) -> tuple[str, ...]:
        """What a model reads: the text, or the question with each of its options."""
        return option_texts(self.text, self.options) if self.options else (self.text,)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that is needed to see it."""
        if self.clips:
            return tuple(path for clip in self.clips for path in clip.files)
        return self.video if isinstance(self.video, tuple) else (self.video,)


def option_texts(question: str, options: Iterable[str]) -> tuple[str, ...]:
    """The question, if there is one, and each option."""
    return tuple(f"{question} {option}".strip() for option in options)


@runtime_checkable
class Dataset(Protocol):
    """What a reader in `datasets/` is: a frozen record of a choice (split, variant) that yields its examples.

    `examples` raises ValueError, with the way out, where annotation files are missing or broken. It does not look
    whether videos are there.
    """

    def examples(self, root: Path) -> Iterable[Example]: ...


@dataclass(frozen=True, kw_only=True)
class SplitSize:
    """Published size of a split: records (the examples of its reader) and distinct video files; None if unknown."""

    records: int | None = None
    videos: int | None = None


@runtime_checkable
class HasPublishedSize(Protocol):
    """A data set whose publication gives the size of the split."""

    @property
    def published(self) -> SplitSize: ...


@runtime_checkable
class HasClasses(Protocol):
    """A data set of labels with a closed list of classes, some of which a split may not show."""

    def classes(self, root: Path) -> Sequence[str]: ...


@runtime_checkable
class HasServer(Protocol):
    """A data set whose test answers are secret: `submission` gives the name and the text of the file for its server.

    `predictions` are what an evaluator writes for each example (`evaluators/base.py`), in the data set's order.
    """

    def submission(self, predictions: Sequence[Mapping[str, Any]]) -> tuple[str, str]: ...
