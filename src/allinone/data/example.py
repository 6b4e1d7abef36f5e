"""`Example`: one record of a data set, as plain Python. Readers yield it, loaders turn it into tensors."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class Example:
    """One text about one video (or image).

    `video` is the file; `video_id` names it in scores and logs, and two examples with the same id show the same clip.
    `start_sec` and `end_sec` cut a span out of the file; None means its beginning or end.
    `text` is a caption, or a question where `answer` is given. `kind` names the type of question, for scores per type.
    """

    video: Path
    video_id: str
    text: str
    start_sec: float | None = None
    end_sec: float | None = None
    answer: str | None = None
    kind: str | None = None


@runtime_checkable
class Dataset(Protocol):
    """What a reader in `datasets/` is: a frozen record of a choice (split, variant) that yields its examples.

    `examples` raises ValueError, with the way out, where annotation files are missing or broken.
    """

    def examples(self, root: Path) -> Iterable[Example]: ...
