"""A self-contained HTML report of a run: scores against chance, loss curves, search hits and answers with frames."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from allinone.apps.look.curves import loss_curves, needs_plots
from allinone.apps.look.sheets import contact_sheet
from allinone.files.whole import whole_file
from allinone.progress import clock
from allinone.video import probe

NUM_SHEET_FRAMES = 4


@dataclass(frozen=True)
class Row:
    """A line of a table: a score, the score of guessing (`chance`), a note, and the score's 95 % interval.

    With `chance` the row has a bar; then both are in percent.
    """

    name: str
    value: float
    chance: float | None
    note: str = ""
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class ShownHit:
    """A hit of a search with the true caption of its clip; `right` if it is the clip that the query describes."""

    video: Path
    start_sec: float
    end_sec: float
    score: float
    caption: str | None
    right: bool


@dataclass(frozen=True)
class ShownQuery:
    """A query and its hits, best first."""

    text: str
    hits: tuple[ShownHit, ...]


@dataclass(frozen=True)
class ShownAnswer:
    """A question about a clip, its true answer, and the model's answers with probabilities, best first.

    The clip is the first `duration_sec` of the video, by default all of it.
    """

    video: Path
    question: str
    truth: str
    answers: tuple[tuple[str, float], ...]
    duration_sec: float | None = None

    @property
    def right(self) -> bool:
        """Whether the best answer is the true one, ignoring case and surrounding spaces."""
        return bool(self.answers) and self.answers[0][0].strip().lower() == self.truth.strip().lower()


@dataclass(frozen=True)
class Report:
    """The contents of a report, from top to bottom; empty parts get no heading. `facts` describe the run."""

    title: str
    summary: str
    tables: Mapping[str, Sequence[Row]]
    metrics_files: Sequence[Path]
    queries: Sequence[ShownQuery]
    answers: Sequence[ShownAnswer]
    facts: Mapping[str, str]


def write_report(path: Path, report: Report) -> None:
    """Write the report as an HTML file. ModuleNotFoundError if the extra `plots` is not installed."""
    with needs_plots("a report"):
        from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("allinone.apps", "look"),
        autoescape=True,
        undefined=StrictUndefined,  # a misspelt name is an error, not an empty place
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"clock": partial(clock, decimals=1), "percent": percent}
    page = pages.get_template("report.html").render(
        report=report,
        curves=inlined(loss_curves(report.metrics_files)) if report.metrics_files else None,
        hit_sheet=lambda hit: sheet(hit.video, hit.start_sec, hit.end_sec),
        answer_sheet=lambda shown: sheet(shown.video, 0.0, duration(shown)),
    )
    with whole_file(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")  # for names that are not UTF-8


def duration(shown: ShownAnswer) -> float:
    """Return the length of the clip in seconds; 0 for an image."""
    return shown.duration_sec if shown.duration_sec is not None else probe(shown.video).duration_sec or 0.0


def sheet(video: Path, start_sec: float, end_sec: float) -> str:
    """Return a contact sheet of a part of a video as a data URL."""
    return inlined(contact_sheet(video, middles(start_sec, end_sec)))


def middles(start_sec: float, end_sec: float) -> list[float]:
    """Return the middles of `NUM_SHEET_FRAMES` equal parts of a time span; of a span of length 0, its one moment."""
    if end_sec <= start_sec:
        return [start_sec]
    length = (end_sec - start_sec) / NUM_SHEET_FRAMES
    return [start_sec + (i + 0.5) * length for i in range(NUM_SHEET_FRAMES)]


def percent(value: float) -> str:
    """Return a percentage for CSS, limited to 0 to 100 %; 0 for NaN."""
    return f"{min(max(value, 0.0), 100.0) if math.isfinite(value) else 0.0:.2f}%"


def inlined(picture: bytes) -> str:
    """Return a data URL of a PNG or JPEG."""
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
