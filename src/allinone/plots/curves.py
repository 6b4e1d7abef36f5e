"""Training curves from the logs of a run."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def loss_curves(metrics_files: Sequence[Path]) -> bytes:
    """A PNG with one panel for each objective: its loss against the steps of consecutive stages, raw and smoothed."""
    from matplotlib.figure import Figure

    curves: dict[str, list[tuple[int, float]]] = {}
    borders, first = [], 0
    for path in metrics_files:
        last = 0
        for row in read_steps(path):
            last = row["step"]
            for name, value in row.items():
                if name.endswith("/loss") and value is not None:
                    curves.setdefault(name.removesuffix("/loss"), []).append((first + last, value))
        first += last
        borders.append(first)
    figure = Figure(figsize=(9, 1.9 * max(len(curves), 1)), layout="constrained")
    for i, (name, points) in enumerate(curves.items()):
        axes = figure.add_subplot(len(curves), 1, i + 1)
        steps, losses = zip(*points, strict=True)
        axes.plot(steps, losses, color="#c7d3e3", linewidth=0.8)
        axes.plot(steps, smoothed(losses), color="#2b5c9e", linewidth=1.6)
        for border in borders[:-1]:
            axes.axvline(border, color="#999999", linewidth=0.8, linestyle=":")
        axes.set_xlim(0, first)
        axes.set_ylabel(name)
        axes.grid(alpha=0.25)
        if i == len(curves) - 1:
            axes.set_xlabel("step")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return picture.getvalue()


def read_steps(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl` that are about a step."""
    rows = (json.loads(line) for line in path.read_text().splitlines())
    return [row for row in rows if "loss" in row]


def smoothed(values: Sequence[float], memory: float = 0.9) -> list[float]:
    """A running mean that forgets."""
    mean, weight, found = 0.0, 0.0, []
    for value in values:
        mean, weight = memory * mean + (1 - memory) * value, memory * weight + 1 - memory
        found.append(mean / weight)
    return found
