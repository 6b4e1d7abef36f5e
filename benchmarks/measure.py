"""Timing helpers: the alternatives take turns in one process, so that a busy moment hits both."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from allinone.model.config import ModelConfig
from allinone.model.packed import PackedLinear

Work = Callable[[], Any]
ROOT = Path(__file__).parents[1]


def in_turns(
    works: Mapping[str, Work], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each piece of work, round by round, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            begin = clock()
            work()
            if number:
                seconds[name].append(clock() - begin)
    return seconds


def median_ratio(slow: list[float], fast: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


@dataclass(frozen=True)
class Row:
    """A figure: ours in `unit`, the reference's, how many times better it is, and its share of the machine's limit.

    `at_least` and `aim` are about `ratio`, or about `share`, as `wanted_of` says.
    """

    name: str
    ours: float
    unit: str
    reference: float | None = None
    ratio: float | None = None
    share: float | None = None
    at_least: float | None = None
    aim: float | None = None
    wanted_of: str = "ratio"

    @property
    def reaches(self) -> bool | None:
        wanted = getattr(self, self.wanted_of)
        return None if self.at_least is None or wanted is None else wanted >= self.at_least

    def __str__(self) -> str:
        def number(value: float | None, digits: int = 3) -> str:
            return "" if value is None else f"{value:.{digits}g}"

        share = "" if self.share is None else f"{100 * self.share:.0f} %"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}x"
        verdict = {None: "", True: "yes", False: "no"}[self.reaches]
        goal = "" if self.at_least is None else f"{number(self.at_least)} / {number(self.aim)}"
        return (
            f"{self.name:46} {number(self.ours):>8} {self.unit:9} {number(self.reference):>8} {ratio:>7} {share:>6} "
            f"{goal:>11} {verdict}"
        ).rstrip()


HEADER = (
    f"{'':46} {'ours':>8} {'':9} {'ref.':>8} {'ratio':>7} {'limit':>6} {'least / aim':>11} reached\n"
    "ratio: to the plain reference; limit: share of what this machine's arithmetic (or decoder) can do"
)


@dataclass
class Report:
    """Rows, printed as they come, and what they were measured on."""

    rows: list[Row] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(row, flush=True)

    def finish(self, path: Path | None) -> None:
        """Write the JSON, and print the last line."""
        verdicts = [row.reaches for row in self.rows if row.reaches is not None]
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            report = self.about | {"rows": [asdict(row) for row in self.rows]}
            path.write_text(json.dumps(report, indent=1) + "\n")
            print(f"written to {path}")
        print(f"{sum(verdicts)} of {len(verdicts)} figures reach 'at least'")


def machine() -> dict[str, Any]:
    """What decides how fast things are here."""
    can = torch.cpu.get_capabilities()
    wanted = ("avx512_f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "src", "benchmarks"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "cpu": can.get("cpu_name") or platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": [name for name in wanted if can.get(name)],
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "av", "numpy", "tokenizers")},
        "commit": commit.stdout.strip() + (" (changed)" if changed.stdout.strip() else ""),
    }


def product(dtype: torch.dtype, rows: int, inner: int, outer: int) -> Work:
    """One product of matrices, as fast as torch does it here (bfloat16 with weights that are laid out already)."""
    if dtype == torch.int8:
        numbers, weights = (torch.randint(-127, 127, (n, inner), dtype=dtype) for n in (rows, outer))
        return partial(torch.ops.aten._int_mm, numbers, weights.T.contiguous())
    x, weight, bias = torch.randn(rows, inner).to(dtype), torch.randn(outer, inner).to(dtype), torch.zeros(outer)
    if dtype == torch.float32:
        return partial(F.linear, x, weight, bias)
    return partial(PackedLinear(weight, bias), x)


def best_product(dtype: torch.dtype, seconds: float = 2.0) -> float:
    """The most operations a second that a product reached here: a square one, or one of the model's shapes."""
    best, shapes = 0.0, ((2048, 2048, 2048), (2532, 768, 3072), (2532, 3072, 768), (633, 768, 2304))
    with torch.inference_mode():
        for rows, inner, outer in shapes:
            work = product(dtype, rows, inner, outer)
            until = time.perf_counter() + seconds / len(shapes)
            while time.perf_counter() < until:
                begin = time.perf_counter()
                work()
                best = max(best, 2 * rows * inner * outer / (time.perf_counter() - begin))
    return best


def copied_bytes() -> float:
    """Bytes a second, read and written, of copying 256 MB."""
    source = torch.zeros(1 << 28, dtype=torch.uint8)
    target = torch.ones_like(source)
    seconds = in_turns({"copy": lambda: target.copy_(source)}, rounds=5)["copy"]
    return 2 * source.numel() / min(seconds)


def needed_operations(config: ModelConfig, frames: int, text: float, video: bool = True) -> float:
    """Operations (a multiplication and an addition are two) that token 0 of one clip, or text, needs.

    `text` is how many text tokens are real. The last block computes keys and values for all tokens, and the rest for
    token 0 only.
    """
    width, tokens = config.width, text + (config.num_special + config.num_patches if video else 0)
    full = 2 * (4 + 2 * config.mlp_ratio) * tokens * width**2 + 4 * tokens**2 * width
    last = 2 * (2 * tokens + 2 + 2 * config.mlp_ratio) * width**2 + 4 * tokens * width
    patches = 2 * config.num_patches * width * 3 * config.patch_size**2 if video else 0
    return frames * ((config.depth - 1) * full + last + patches)


def child(*arguments: str) -> dict[str, Any]:
    """What another process of this folder prints as JSON in its last line: for peak memory, which has no way down."""
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT / "benchmarks", capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])
