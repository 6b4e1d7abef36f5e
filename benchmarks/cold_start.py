"""How long a first command takes, next to `import torch`: medians of 5 in turns, with a base-size model.

    python benchmarks/cold_start.py [--size base] [--rounds 5] [--keep FOLDER]

Makes a random checkpoint with a vocabulary of BERT's size and an index of a few videos in a temporary folder (or in
FOLDER, where it is found again), and runs each command in a new process with warm file caches.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from allinone.model.config import SIZES

NUM_VIDEOS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="base")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        if not (folder / "index").exists():
            make(folder, options.size)
        commands = {
            "import torch": ["-c", "import torch"],
            "allinone --help": ["-m", "allinone", "--help"],
            "allinone search": ["-m", "allinone", "search", "a dog runs", "--index", str(folder / "index")],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for round_ in range(options.rounds + 1):
            for name, arguments in commands.items():
                began = time.perf_counter()
                subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
                if round_:  # the first round warms the file caches
                    seconds[name].append(time.perf_counter() - began)
    torch_sec = statistics.median(seconds["import torch"])
    for name, each in seconds.items():
        median = statistics.median(each)
        spread = f"{min(each):.2f} to {max(each):.2f}"
        print(f"{name:16} {median:6.2f} s  ({spread})  {median / torch_sec:5.2f} x import torch")


def make(folder: Path, size: str) -> None:
    """Write a random checkpoint, a few short videos, and their index."""
    from allinone.apps.search import VideoIndex
    from allinone.checkpoint import save_checkpoint
    from allinone.inference import load
    from allinone.model.heads import ContrastiveHead, MatchingHead
    from allinone.model.model import AllInOne
    from allinone.text.tokenizer import SPECIAL, Tokenizer
    from allinone.video.encode import write_mp4

    config = SIZES[size]
    words = [*SPECIAL, "a", "dog", "runs"]
    words += [f"word{i}" for i in range(config.vocab_size - len(words))]
    (folder / "videos").mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    model = AllInOne.build(config, {head.kind: head.Config() for head in (ContrastiveHead, MatchingHead)})
    save_checkpoint(folder / "model", model, Tokenizer.from_vocab(folder / "vocab.txt"))
    rng = np.random.default_rng(0)
    for i in range(NUM_VIDEOS):
        write_mp4(folder / "videos" / f"{i}.mp4", rng.integers(0, 256, (8, 64, 64, 3), np.uint8), 8)
    index = VideoIndex.open(folder / "index", load(folder / "model"))
    index.add(folder / "videos")


if __name__ == "__main__":
    main()
