"""Text-only mode against repeating the text for three frames, as the released code does: texts a second of both.

    python benchmarks/text_mode.py [--size base]

Random weights, 16 texts of 40 tokens, the two alternating in one process; prints the medians and their ratio.
"""

import argparse
import statistics
import time

import torch

from allinone.model.config import SIZES
from allinone.model.encoder import VideoTextEncoder

NUM_TEXTS, LENGTH, NUM_FRAMES = 16, 40, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", choices=sorted(SIZES), default="tiny")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    encoder = VideoTextEncoder(SIZES[options.size]).eval()
    ids = torch.randint(0, encoder.config.vocab_size, (NUM_TEXTS, min(LENGTH, encoder.config.max_text_len)))
    mask = torch.ones_like(ids, dtype=torch.bool)

    def once() -> torch.Tensor:
        return encoder.encode_text(ids, mask)

    def repeated() -> torch.Tensor:
        words = encoder.text(ids) + encoder.modality[encoder.TEXT]
        return encoder.run(words[:, None].expand(-1, NUM_FRAMES, -1, -1), mask, num_text=None)

    seconds: dict[str, list[float]] = {"once": [], "repeated": []}
    with torch.inference_mode():
        assert torch.allclose(once(), repeated(), atol=1e-4)
        for _ in range(options.rounds):
            for name, run in (("once", once), ("repeated", repeated)):
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
    for name, times in seconds.items():
        print(f"{name:9} {NUM_TEXTS / statistics.median(times):8.1f} texts/s")
    ratio = statistics.median(b / a for a, b in zip(seconds["once"], seconds["repeated"], strict=True))
    print(f"{options.size}: text-only mode is {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
