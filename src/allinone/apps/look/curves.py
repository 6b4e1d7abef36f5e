"""Training curves from the logs of a run."""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

Curve = list[tuple[int, float]]
"""(step, loss) pairs."""


def loss_curves(metrics_files: Sequence[Path]) -> bytes:
    """Return a PNG with one panel per objective: its loss against the step, raw and smoothed.

    Each file is the `metrics.jsonl` of one stage of training; steps go on from stage to stage, with a dotted line
    between them. Losses that are not finite are skipped.
    """
    with needs_plots("curves"):
        from matplotlib.figure import Figure

    # 1. The losses by stage, and the step at which each stage begins on the common axis.
    logs = [read_steps(path) for path in metrics_files]
    stages = [losses(log) for log in logs]
    ends = list(accumulate((log[-1]["step"] if log else 0 for log in logs), initial=0))
    names = list(dict.fromkeys(name for stage in stages for name in stage))
    # 2. A panel for each objective; a log without losses still gives a picture, which says so.
    figure = Figure(figsize=(9, 0.4 + 1.8 * max(len(names), 1)), layout="constrained")
    panels = figure.subplots(max(len(names), 1), sharex=True, squeeze=False)[:, 0]
    if not names:
        panels[0].text(0.5, 0.5, "no losses in the log", transform=panels[0].transAxes, ha="center", color="#666666")
    for name, axes in zip(names, panels, strict=False):
        for stage, begin in zip(stages, ends, strict=False):
            if curve := stage.get(name):
                steps = [begin + step for step, _ in curve]
                values = [value for _, value in curve]
                axes.plot(steps, values, color="#c7d3e3", linewidth=0.8)
                axes.plot(steps, smoothed(values), color="#2b5c9e", linewidth=1.6)
        axes.set_title(name, loc="left", fontsize=10, parse_math=False)  # a name may have a $
    # 3. The same axis of steps in all panels, with the borders of the stages.
    for axes in panels:
        for border in ends[1:-1]:
            axes.axvline(border, color="#888888", linewidth=1, linestyle=":")
        axes.set_xlim(0, max(ends[-1], 1))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("step")
    figure.supylabel("loss", fontsize=10)
    picture = io.BytesIO()
    # Without the version: the same curves give the same file.
    figure.savefig(picture, format="png", dpi=100, metadata={"Software": None})
    return picture.getvalue()


def losses(rows: Sequence[dict[str, Any]]) -> dict[str, Curve]:
    """Return the curve of each objective that has one in the lines of a log."""
    curves: dict[str, Curve] = {}
    for row in rows:
        for name, value in row.items():
            if name.endswith("/loss"):
                curve = curves.setdefault(name.removesuffix("/loss"), [])
                if value is not None:
                    curve.append((row["step"], value))
    return {name: curve for name, curve in curves.items() if curve}


def read_steps(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a `metrics.jsonl` with a training step. Broken lines, from a killed run, are skipped."""
    rows = []
    for line in path.read_bytes().splitlines():
        with suppress(ValueError, RecursionError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict) and "loss" in row and type(row.get("step")) is int]


def smoothed(values: Sequence[float], memory: float = 0.9) -> list[float]:
    """Return the exponential moving average, without bias to the start (as in Adam)."""
    mean, weight, means = 0.0, 0.0, []
    for value in values:
        mean, weight = memory * mean + (1 - memory) * value, memory * weight + 1 - memory
        means.append(mean / weight)
    return means


@contextmanager
def needs_plots(what: str) -> Iterator[None]:
    """Name the extra `plots` if an import inside fails; `what` is the thing that needs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        message = f"{what}: the package {package} is missing; pip install 'allinone[plots]'"
        raise ModuleNotFoundError(message, name=error.name) from error
