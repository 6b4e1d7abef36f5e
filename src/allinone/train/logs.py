"""Logs of a run: `metrics.jsonl`, TensorBoard, and a progress bar, or log lines where there is no terminal."""

import json
import logging
import math
import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from allinone.files.whole import whole_file
from allinone.progress import clock

log = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
LINE_EVERY_SEC = 30.0
"""Interval between the log lines of a run without a terminal."""

SMOOTHING = 0.9
"""Weight of the past in the moving average of the loss and speed that are shown; files get the values as they are."""

FORECAST_STEPS = 200
"""The time left is computed from the mean of the last 200 steps, so that one slow step does not change it much."""


class RunLog:
    """Writes the logs; only the main process has one. Open it as a context.

    A line of `metrics.jsonl` is `{"step": ..., "loss": ...}` of a training step or `{"step": ..., "eval": {...}}`; a
    value that is not finite is null. A resumed run starts after `step`: later lines, and evaluations later than
    `evaluated`, belong to work that was lost, and are removed.
    """

    def __init__(self, run_dir: Path, step: int, evaluated: int, num_steps: int, tensorboard: bool):
        self.path = run_dir / METRICS
        cut(self.path, step, evaluated)
        self.file = self.path.open("a", encoding="utf-8")
        self.board = open_board(run_dir / "tensorboard", step) if tensorboard else None
        self.step, self.num_steps = step, num_steps
        self.shown: dict[str, float] = {}
        self.step_secs: deque[float] = deque(maxlen=FORECAST_STEPS)
        self.last_line = time.monotonic()
        self.bar = progress_bar() if sys.stderr.isatty() else None
        self.task = self.bar.add_task("training", total=num_steps, completed=step, shown="") if self.bar else None

    def __enter__(self) -> "RunLog":
        if self.bar is not None:
            self.bar.start()
        return self

    def write(self, line: Mapping[str, Any]) -> None:
        """Write a line to `metrics.jsonl`, and its numbers to TensorBoard."""
        self.file.write(json.dumps(finite(line)) + "\n")
        self.file.flush()  # a killed run keeps its lines
        if self.board is not None:
            step = line["step"]
            for prefix, metrics in (("train", line), ("eval", line.get("eval", {}))):
                for name, value in metrics.items():
                    if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                        self.board.add_scalar(f"{prefix}/{name}", value, step)

    def show(self, step: int, loss: float, clips_per_sec: float, step_sec: float) -> None:
        """Advance the progress bar, or log a line if the last one was `LINE_EVERY_SEC` ago."""
        for name, value in {"loss": loss, "clips_per_sec": clips_per_sec}.items():
            if math.isfinite(value):
                before = self.shown.get(name, value)
                self.shown[name] = SMOOTHING * before + (1 - SMOOTHING) * value
        if step == self.step + 2:
            self.step_secs.clear()  # the first step also starts workers and fills caches
        self.step_secs.append(step_sec)
        left = clock((self.num_steps - step) * sum(self.step_secs) / len(self.step_secs))
        text = f"loss {self.shown.get('loss', math.nan):.4f}  {self.shown['clips_per_sec']:.1f} clips/s  {left} left"
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=step, shown=text)
        elif step in (self.step + 1, self.num_steps) or time.monotonic() - self.last_line > LINE_EVERY_SEC:
            log.info("step %d of %d  %s", step, self.num_steps, text)
            self.last_line = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
        if self.board is not None:
            self.board.close()
        os.fsync(self.file.fileno())
        self.file.close()


def progress_bar() -> Progress:
    """Return a bar on stderr with a text that updates pass as `shown`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[shown]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )


def cut(path: Path, step: int, evaluated: int) -> None:
    """Keep the lines up to this step and this evaluation. Broken lines are dropped with a warning.

    A killed run can leave its last line unfinished.
    """
    if not path.is_file():
        return
    kept, broken = [], []
    # As bytes: a line that broke inside a character would not decode.
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        try:
            # A line without its newline was cut off, and the next line would be appended to it.
            written = json.loads(line) if line.endswith(b"\n") else None
        except (ValueError, RecursionError):
            written = None
        # `type`, because True is an `int` too.
        if not isinstance(written, dict) or type(written.get("step")) is not int:
            broken.append(str(number))
        elif written["step"] <= (evaluated if "eval" in written else step):
            kept.append(line)
    if broken:
        lines = f"lines {', '.join(broken[:5])}" if len(broken) > 1 else f"line {broken[0]}"
        log.warning("%s: %s broken, and dropped", path, lines)
    with whole_file(path) as new:
        new.write_bytes(b"".join(kept))


def finite(value: Any) -> Any:
    """Return a value for JSON, which has no NaN or infinity: they become null."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def open_board(folder: Path, step: int) -> Any:
    """Return TensorBoard's writer, or None if it is not installed. It hides what an earlier run wrote after `step`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that TensorBoard imports
        try:
            from torch.utils.tensorboard import SummaryWriter  # imported here: optional, and slow to import
        except ImportError:
            log.info("no TensorBoard logs: it is not installed (pip install 'allinone[plots]')")
            return None
    return SummaryWriter(str(folder), purge_step=step + 1)
