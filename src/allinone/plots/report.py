"""One self-contained HTML page about a run: tables against chance, curves, contact sheets of hits, answers."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from allinone.plots.curves import loss_curves
from allinone.plots.sheets import contact_sheet

NUM_SHEET_FRAMES = 4


@dataclass(frozen=True)
class Row:
    """A number in percent, what guessing would reach, and a note."""

    name: str
    value: float
    chance: float | None = None
    note: str = ""


@dataclass(frozen=True)
class ShownHit:
    """A hit of a search, with the true caption of its clip, and whether it is the clip that was looked for."""

    video: Path
    start_sec: float
    end_sec: float
    score: float
    caption: str
    right: bool

    @property
    def sheet(self) -> str:
        return inlined(contact_sheet(self.video, middles(self.start_sec, self.end_sec)))


@dataclass(frozen=True)
class ShownQuery:
    text: str
    hits: Sequence[ShownHit]


@dataclass(frozen=True)
class ShownAnswer:
    """A question about a clip of some seconds, its true answer, and the model's with their probabilities."""

    video: Path
    duration_sec: float
    question: str
    truth: str
    answers: Sequence[tuple[str, float]]

    @property
    def sheet(self) -> str:
        return inlined(contact_sheet(self.video, middles(0, self.duration_sec)))


@dataclass(frozen=True)
class Report:
    title: str
    summary: str
    tables: Mapping[str, Sequence[Row]]
    metrics_files: Sequence[Path]
    queries: Sequence[ShownQuery]
    answers: Sequence[ShownAnswer]
    facts: Mapping[str, str]

    @property
    def curves(self) -> str:
        return inlined(loss_curves(self.metrics_files))


def write_report(path: Path, report: Report) -> None:
    """Write the page, whole or not at all. ImportError names the extra that is missing."""
    try:
        from jinja2 import Environment, PackageLoader
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"a report needs {error.name}: pip install 'allinone[plots]'") from error

    pages = Environment(loader=PackageLoader("allinone", "plots"), autoescape=True, trim_blocks=True)
    page = pages.get_template("report.html").render(report=report)
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(path)


def middles(start_sec: float, end_sec: float) -> list[float]:
    """The middles of equal parts of a stretch of time."""
    length = (end_sec - start_sec) / NUM_SHEET_FRAMES
    return [start_sec + (i + 0.5) * length for i in range(NUM_SHEET_FRAMES)]


def inlined(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"
