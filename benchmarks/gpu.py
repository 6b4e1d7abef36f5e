"""On one GPU: clips a second of inference and training for each size, model FLOPs utilization, memory, profile.

    python benchmarks/gpu.py [--size tiny small base] [--batch 64] [--profile] [--to FILE.json]

Training is MLM and matching in bfloat16 with a compiled encoder, from frames that are on the GPU already. Utilization
counts the operations that the model needs (forward, and twice that backward; nothing for recomputation), against the
dense bfloat16 peak of the card's data sheet.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from measure import machine, needed_operations
from torch.profiler import ProfilerActivity, profile
from training import LENGTHS, some_tokenizer, texts

from allinone.model.config import SIZES, ModelConfig
from allinone.model.encoder import VideoTextEncoder
from allinone.objectives.base import BuildContext
from allinone.objectives.mlm import MLM
from allinone.objectives.vtm import VTM
from allinone.train.optim import Optim
from allinone.train.step import TrainingModel
from allinone.types import Batch

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
"""Dense bfloat16 operations a second (SXM where there are several), by a part of the card's name."""


def peak_of(card: str) -> float | None:
    return next((peak for name, peak in PEAKS.items() if name in card), None)


def timed(work: Callable[[], object], rounds: int = 10, warm: int = 3) -> float:
    seconds = []
    for number in range(rounds + warm):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        torch.cuda.synchronize()
        if number >= warm:
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def some_batch(config: ModelConfig, batch_size: int) -> Batch:
    ids, mask = texts(config, (LENGTHS * batch_size)[:batch_size])
    length = max(LENGTHS)
    shape = (batch_size, config.num_frames, 3, config.image_size, config.image_size)
    return Batch(
        frames=torch.randint(0, 256, shape, dtype=torch.uint8),
        text_ids=ids[:, :length],
        text_mask=mask[:, :length],
        video_ids=tuple(map(str, range(batch_size))),
    ).to("cuda")


def training_step(config: ModelConfig, batch: Batch) -> Callable[[], object]:
    ingredients = BuildContext(config, some_tokenizer(config))
    objectives = {
        "mlm": MLM.Config().build(ingredients),
        "vtm": VTM.Config(max_pairs=len(batch) // 2).build(ingredients),
    }
    module = TrainingModel(VideoTextEncoder(config), objectives, dict.fromkeys(objectives, 1.0)).cuda().train()
    module.model.encoder.compile()
    optim = Optim(Optim.Config(num_steps=10_000), module.named().items())

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss, _ = module(batch, torch.Generator().manual_seed(0))
        loss.backward()
        optim.step(5)
        optim.zero_grad()

    return step


def measure_size(size: str, batch_size: int, peak: float | None, want_profile: bool) -> dict[str, object]:
    config = SIZES[size]
    batch = some_batch(config, batch_size)
    needed = batch_size * statistics.mean(needed_operations(config, config.num_frames, n) for n in LENGTHS)
    encoder = VideoTextEncoder(config).cuda().eval()
    encoder.compile()

    def joint() -> torch.Tensor:
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
            return encoder.pool(encoder(batch.frames, batch.text_ids, batch.text_mask, num_out_tokens=1).text)

    begin = time.perf_counter()
    joint()
    torch.cuda.synchronize()
    first_call = time.perf_counter() - begin
    inference = timed(joint)
    torch.cuda.reset_peak_memory_stats()
    step = training_step(config, batch)
    training = timed(step)
    row: dict[str, object] = {
        "size": size,
        "batch": batch_size,
        "first_call_sec": first_call,
        "joint_clips_per_sec": batch_size / inference,
        "joint_utilisation": peak and needed / inference / peak,
        "training_clips_per_sec": batch_size / training,
        "training_utilisation": peak and 2 * 3 * needed / training / peak,
        "training_peak_gb": torch.cuda.max_memory_allocated() / 1e9,
    }
    if want_profile:
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            step()
            torch.cuda.synchronize()
        print(profiled.key_averages().table(sort_by="self_cuda_time_total", row_limit=20))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="+", choices=("tiny", "small", "base"), default=("tiny", "small", "base"))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--to", type=Path)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no GPU here (torch.cuda.is_available() is false)")
    card = torch.cuda.get_device_name()
    rows = []
    for size in args.size:
        rows.append(measure_size(size, args.batch, peak_of(card), args.profile))
        print(json.dumps(rows[-1]), flush=True)
    if args.to:
        args.to.parent.mkdir(parents=True, exist_ok=True)
        args.to.write_text(json.dumps(machine() | {"card": card, "rows": rows}, indent=1) + "\n")
    base = next((row for row in rows if row["size"] == "base"), None)
    reached = base and base["training_utilisation"]
    print("training base reaches", f"{100 * float(reached):.0f} % (at least 45)" if reached else "an unknown share")  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main()
