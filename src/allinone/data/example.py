"""`Example`: one record of a data set, in plain Python. Readers yield it, loaders turn it into tensors."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

Task = Literal["caption", "question", "choice", "number", "label"]
"""The problem: does the text fit, an open answer, one of several options, a count, or a class."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Region:
    """An area to tint in an image: polygons of (x, y) as fractions of width and height, and the index of the color."""

    polygons: tuple[tuple[Point, ...], ...]
    color: int


@dataclass(frozen=True, kw_only=True)
class Example:
    """One text about one video (or image).

    `video` is the file, or several images that together make one clip; it need not exist. `video_id` names the clip in
    scores and logs: two examples with the same id show the same clip. `start_sec` and `end_sec` cut a span out of the
    file; None means its beginning or end. `regions` are tinted before a model sees them.

    `text` is a caption, a question, or empty. One of these makes it a question (see `task`):
    `answer`, with `human_answers` if several people were asked (both empty if they are secret); `options`, the texts
    to choose from, or `clips`, examples to choose a clip from, with `right`, the index of the right one, None if it is
    secret; a `number`, the count; a `label`, the class of the clip. `kind` names the type of question, for scores per
    type; `id` is the name of the record in its data set.
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
        """Return the problem, which follows from the fields that are set."""
        # The first that fits counts, as in `ExampleTable.by_kind`.
        if self.options or self.clips:
            return "choice"
        if self.number is not None:
            return "number"
        if self.label is not None:
            return "label"
        return "caption" if self.answer is None else "question"

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the texts that a model reads: the text, or the question with each of its options."""
        return option_texts(self.text, self.options) if self.options else (self.text,)

    @property
    def files(self) -> tuple[Path, ...]:
        """Return every file that is needed."""
        if self.clips:
            return tuple(path for clip in self.clips for path in clip.files)
        return self.video if isinstance(self.video, tuple) else (self.video,)


def option_texts(question: str, options: Iterable[str]) -> tuple[str, ...]:
    """Return each option after the question, which may be empty."""
    return tuple(f"{question} {option}".strip() for option in options)


@runtime_checkable
class Dataset(Protocol):
    """A reader in `datasets/`: a frozen dataclass of settings (split, variant) that yields its examples.

    `examples` raises ValueError, with a way out, if annotation files are missing or broken. It does not check whether
    videos exist.
    """

    def examples(self, root: Path) -> Iterable[Example]: ...


@dataclass(frozen=True, kw_only=True)
class SplitSize:
    """Published size of a split: records (the examples of its reader) and distinct video files; None if unknown."""

    records: int | None = None
    videos: int | None = None


@runtime_checkable
class HasPublishedSize(Protocol):
    """A data set with a published size of its split."""

    @property
    def published(self) -> SplitSize: ...


@runtime_checkable
class HasClasses(Protocol):
    """A data set of labels with a closed list of classes; a split may lack some of them."""

    def classes(self, root: Path) -> Sequence[str]: ...


@runtime_checkable
class HasServer(Protocol):
    """A data set with secret test answers: `submission` returns name and text of the file for its server.

    `predictions` are those of an evaluator (`evaluators/base.py`), in the order of the data set.
    """

    def submission(self, predictions: Sequence[Mapping[str, Any]]) -> tuple[str, str]: ...
