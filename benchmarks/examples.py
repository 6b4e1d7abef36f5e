"""Examples by the million: how long a table of captions takes to build and to open, and what memory that takes.

    python benchmarks/examples.py --captions 1000000                  # quick
    python benchmarks/examples.py --captions 10000000 --json benchmarks/results/examples.json

Makes annotations like those of HowTo100M: 100 captions of 2 to 9 words for each video, with links to one real clip as
its videos. Then it measures in a new process each: building (reading the annotations, writing the table, counting its
tokens), and opening (the table, its checks, a loader, a shuffled epoch, the first batch with decoding). The processor
time of a step is given with its wall time, which other programs lengthen. Memory is the peak of the pages that a
process does not share (`Private` in /proc/self/smaps_rollup): all of it while building, what it adds while opening.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from allinone.data.completeness import Tables
from allinone.data.loader import DataConfig, example_loader
from allinone.datasets.howto100m import Captions
from allinone.text.tokenizer import Tokenizer
from allinone.video.encode import write_mp4
from allinone.video.transforms import Transform

CAPTIONS_PER_VIDEO = 100
NUM_WORDS = 20_000
MAX_LINKS = 50_000
"""Links to one file; ext4 allows 65,000."""

LIMITS = {
    "build_cpu_sec": 600, "build_peak_mb": 500, "open_cpu_sec": 1, "open_private_mb": 300, "first_batch_cpu_sec": 5,
}  # fmt: skip
"""For 10 million captions. All on one core; processor time, since the machine has other users."""

DATASET = Captions()


def make_annotations(root: Path, num_captions: int) -> None:
    """Write `caption.json` in HowTo100M's layout, and a link to one clip for each video."""
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, 97 + rng.integers(0, 26, rng.integers(2, 10)))) for _ in range(NUM_WORDS)]
    (root / "videos").mkdir(parents=True)
    frames = rng.integers(0, 255, (32, 64, 64, 3), dtype=np.uint8)
    with (root / "caption.json").open("w") as file:
        for video in range(num_captions // CAPTIONS_PER_VIDEO):
            name = f"v{video:010}"
            clip = root / f"clip{video // MAX_LINKS}.mp4"
            if video % MAX_LINKS == 0:
                write_mp4(clip, frames, 8, crf=30)
            os.link(clip, root / "videos" / f"{name}.mp4")
            # Word frequencies as in speech: a few words make most of the text.
            ranks = (NUM_WORDS ** rng.random(10 * CAPTIONS_PER_VIDEO)).astype(int) - 1
            sizes = rng.integers(2, 10, CAPTIONS_PER_VIDEO)
            starts = np.linspace(0, 3.0, CAPTIONS_PER_VIDEO).round(3)  # the clip has four seconds
            texts = [" ".join(words[w] for w in ranks[10 * i : 10 * i + n]) for i, n in enumerate(sizes.tolist())]
            record = {"start": starts.tolist(), "end": (starts + 0.9).tolist(), "text": texts}
            file.write(("{" if video == 0 else ", ") + f"{json.dumps(name)}: {json.dumps(record)}")
        file.write("}")
    for path in (root / "caption.json", root / "videos", root):
        os.utime(path, (1e9, 1e9))  # what changed a moment ago is read again
    Tokenizer.train(words * 2, 12_000).save(root.parent / "tokenizer.json")


@contextmanager
def timed(results: dict[str, Any], name: str) -> Iterator[None]:
    """Add the wall and the processor time of a step."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    results[f"{name}_sec"] = round(time.perf_counter() - wall, 2)
    results[f"{name}_cpu_sec"] = round(time.process_time() - cpu, 2)


class PeakMemory:
    """Samples `private_mb` in a thread; `peak_mb` is the highest value."""

    def __enter__(self) -> "PeakMemory":
        self.peak_mb = private_mb()
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        return self

    def sample(self) -> None:
        while not self.stopped.wait(0.2):
            self.peak_mb = max(self.peak_mb, private_mb())

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self.thread.join()


def private_mb() -> float:
    """Return the memory of this process that it shares with no other."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


def build(root: Path) -> dict[str, Any]:
    results: dict[str, Any] = {}
    tokenizer = Tokenizer.load(root.parent / "tokenizer.json")
    with PeakMemory() as memory, timed(results, "build"):
        with timed(results, "table"):
            table = Tables().open(DATASET, root).examples
        table.token_counts(tokenizer)
    assert table.folder is not None
    size_mb = sum(path.stat().st_size for path in table.folder.iterdir()) >> 20
    return results | {"num_examples": len(table), "table_mb": size_mb, "build_peak_mb": round(memory.peak_mb)}


def open_again(root: Path) -> dict[str, Any]:
    results: dict[str, Any] = {}
    tokenizer = Tokenizer.load(root.parent / "tokenizer.json")
    config = DataConfig(transform=Transform.Config(resize=64, crop=64))
    before = private_mb()
    with PeakMemory() as memory:
        with timed(results, "open"):
            table = Tables().open(DATASET, root).examples
        with timed(results, "first_batch"):
            loader = example_loader(
                table, tokenizer, config, training=True, num_frames=3, max_text_len=40, rank=1, world_size=8
            )
            batches = loader.indexed()
            first, _ = next(batches)
    # A run that goes on after this batch gets the same second one.
    resumed = example_loader(
        table, tokenizer, config, training=True, num_frames=3, max_text_len=40, rank=1, world_size=8
    )
    resumed.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    second, _ = next(batches)
    assert next(resumed.indexed())[0] == second != first
    return results | {"open_private_mb": round(memory.peak_mb - before)}


def in_new_process(step: str, root: Path) -> dict[str, Any]:
    """Run one step with a cache folder beside the data."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(root.parent / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--step", step, "--root", str(root)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(num_captions: int) -> dict[str, Any]:
    """Return all figures for this number of captions."""
    folder = Path(tempfile.mkdtemp(prefix="examples-"))
    try:
        root = folder / "howto100m"
        make_annotations(root, num_captions)
        figures = {"num_captions": num_captions, **in_new_process("build", root), **in_new_process("open", root)}
    finally:
        shutil.rmtree(folder)
    return figures | {"reached": {name: figures[name] <= limit for name, limit in LIMITS.items()}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--step", choices=["build", "open"], help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps({"build": build, "open": open_again}[options.step](options.root)))
    else:
        text = json.dumps(measure(options.captions), indent=2)
        print(text)
        if options.json:
            options.json.write_text(text + "\n")
