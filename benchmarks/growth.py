"""How cost grows: with frames for three ways of modeling time, with the length of the text, with the batch.

    python benchmarks/growth.py [--size base] [--to FILE.json] [--picture FILE.png]

Token rolling is ours. Flattened attention lets all tokens of all frames and one copy of the text attend to each other;
divided attention lets each patch attend to its place in the other frames (an attention and a linear layer more in each
block, as in TimeSformer), and then to its own frame and the text. Both exist only here. Prints seconds per clip (joint
mode, float32, all tokens computed) and the operations counted by torch.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench import real_tokens, some_frames
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from measure import machine
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from training import some_tokenizer, texts

from allinone.inference import Predictor
from allinone.model.config import SIZES, ModelConfig
from allinone.model.encoder import VideoTextEncoder
from allinone.model.heads import MatchingHead
from allinone.model.layers import Attention
from allinone.model.model import AllInOne

Tokens = Float[Tensor, "B T S D"]


class TimeModels(nn.Module):
    """The three ways on the blocks of one encoder."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.encoder = VideoTextEncoder(config)
        self.over_time = nn.ModuleList(
            Attention(config.width, config.num_heads, config.dropout) for _ in range(config.depth)
        )
        self.after_time = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.depth))

    def inputs(self, frames: Tensor, ids: Tensor) -> tuple[Float[Tensor, "B L D"], Tokens]:
        vision = self.encoder.vision(self.encoder.normalize(frames))
        return self.encoder.text(ids), vision

    def rolling(self, frames: Tensor, ids: Tensor, mask: Bool[Tensor, "B L"]) -> Tensor:
        return self.encoder(frames, ids, mask).text

    def flattened(self, frames: Tensor, ids: Tensor, mask: Bool[Tensor, "B L"]) -> Tensor:
        words, vision = self.inputs(frames, ids)
        x = torch.cat([words, vision.flatten(1, 2)], dim=1)
        key_mask = torch.cat([mask, mask.new_ones(vision.flatten(1, 2).shape[:2])], dim=1)
        for block in self.encoder.blocks:
            x = block(x, key_mask)
        return self.encoder.norm(x)

    def divided(self, frames: Tensor, ids: Tensor, mask: Bool[Tensor, "B L"]) -> Tensor:
        words, vision = self.inputs(frames, ids)
        batch, num_frames, num_words = len(frames), frames.shape[1], ids.shape[1]
        x = torch.cat([words[:, None].expand(-1, num_frames, -1, -1), vision], dim=2)
        key_mask = torch.cat([mask, mask.new_ones(vision.shape[0], vision.shape[2])], dim=1)
        key_mask = key_mask.repeat_interleave(num_frames, dim=0)
        for block, over_time, after_time in zip(self.encoder.blocks, self.over_time, self.after_time, strict=True):
            patches = x[:, :, num_words:].transpose(1, 2).flatten(0, 1)  # [B x N, T, D]
            moved = over_time(patches, None)
            patches = (patches + after_time(moved)).unflatten(0, (batch, -1)).transpose(1, 2)
            x = torch.cat([x[:, :, :num_words], patches], dim=2)
            x = block(x.flatten(0, 1), key_mask).unflatten(0, (batch, num_frames))
        return self.encoder.norm(x).mean(dim=1)


def cost(work: Callable[[], object], rounds: int = 3) -> dict[str, float]:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # the fused one is not counted
        work()
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return {"seconds": statistics.median(seconds), "gflop": counter.get_total_flops() / 1e9}


def over_frames(config: ModelConfig, counts: tuple[int, ...]) -> list[dict[str, float | str]]:
    """One clip with a text of twelve tokens."""
    rows = []
    for num_frames in counts:
        longer = config.replace(num_frames=num_frames, patch_order="raster")
        models = TimeModels(longer).eval()
        frames, _ = some_frames(longer, 1)
        ids, mask = (tensor[:, :12] for tensor in texts(longer, (12,)))
        for way in ("rolling", "flattened", "divided"):
            found = cost(partial(getattr(models, way), frames, ids, mask))
            rows.append({"way": way, "frames": num_frames, **found})
            print(f"{num_frames:3} frames, {way:10} {found['seconds']:8.3f} s  {found['gflop']:8.1f} GFLOP", flush=True)
    return rows


def over_text_and_batch(config: ModelConfig) -> list[dict[str, float | str]]:
    """Pairs through the matching head in the default precision: texts of 10 to 80 tokens, batches of 1 to 64."""
    rows = []
    longer = config.replace(max_text_len=80)
    model = AllInOne.build(longer, {"matching": MatchingHead.Config()})
    predictor = Predictor(model, some_tokenizer(longer))
    for name, counts in (("text", (10, 20, 40, 80)), ("batch", (1, 2, 4, 8, 16, 32, 64))):
        for count in counts:
            length, batch = (count, 4) if name == "text" else (12, count)
            frames, _ = some_frames(longer, batch)
            tokens = real_tokens(*texts(longer, (length,) * batch))
            pairs = torch.arange(batch)[:, None].expand(-1, 2)
            seconds = []
            for _ in range(3):
                begin = time.perf_counter()
                predictor.log_odds(frames[:, None], tokens, pairs)
                seconds.append((time.perf_counter() - begin) / batch)
            rows.append({"way": predictor.precision, name: count, "seconds": statistics.median(seconds)})
            print(f"{name} {count:3}: {rows[-1]['seconds']:.3f} s a clip", flush=True)
    return rows


def draw(rows: list[dict[str, Any]], picture: Path) -> None:
    """Seconds a clip against frames, tokens of text, and clips of a batch."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    for axis, axes in zip(("frames", "text", "batch"), figure.subplots(1, 3), strict=True):
        shown = [row for row in rows if axis in row]
        for way in dict.fromkeys(row["way"] for row in shown):
            points = [(row[axis], row["seconds"]) for row in shown if row["way"] == way]
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=way)
        axes.set_xscale("log", base=2)
        ticks = list(dict.fromkeys(row[axis] for row in shown))
        axes.set_xticks(ticks, map(str, ticks))
        axes.set_xlabel({"frames": "frames", "text": "tokens of text", "batch": "clips in a batch"}[axis])
        axes.set_ylim(0, 1.1 * max(row["seconds"] for row in shown))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.supylabel("seconds a clip", fontsize=10)
    figure.savefig(picture, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="base")
    parser.add_argument("--frames", type=int, nargs="+", default=(1, 2, 3, 4, 8, 16, 32))
    parser.add_argument("--to", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    with torch.inference_mode():
        rows = over_frames(SIZES[args.size], tuple(args.frames)) + over_text_and_batch(SIZES[args.size])
    if args.picture:
        draw(rows, args.picture)
    if args.to:
        args.to.parent.mkdir(parents=True, exist_ok=True)
        args.to.write_text(json.dumps(machine() | {"size": args.size, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
