"""One pre-training step (MLM, matching, alignment) of ours or of the reference: time and peak memory of one process.

    python benchmarks/training.py SIZE ours|reference|float32

prints JSON. Both see as many pairs: every clip with its text for MLM, and for matching one pair a clip, half of which
are foreign. Ours takes the foreign clip from the batch.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from measure import Work
from reference import PretrainingBatch, Reference

from allinone.model.config import SIZES, ModelConfig
from allinone.model.encoder import VideoTextEncoder
from allinone.model.heads import MatchingHead, MLMHead
from allinone.model.model import AllInOne
from allinone.objectives.alignment import Alignment
from allinone.objectives.base import BuildContext
from allinone.objectives.mlm import MLM
from allinone.objectives.vtm import VTM
from allinone.text.masking import mask_tokens
from allinone.text.tokenizer import SPECIAL, Tokenizer
from allinone.train.optim import Optim
from allinone.train.step import TrainingModel
from allinone.types import Batch

BATCH = {"tiny": 4, "small": 4, "base": 2}
LENGTHS = (8, 11, 12, 16)
"""Tokens of four captions; those of MSR-VTT have a median of 11 and a mean of 11.6, with [CLS] and [SEP]."""


def texts(config: ModelConfig, lengths: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ids, padded to all of the model's positions, and which are real."""
    mask = torch.arange(config.max_text_len) < torch.tensor(lengths)[:, None]
    ids = torch.randint(len(SPECIAL), config.vocab_size, mask.shape) * mask
    return ids, mask


def some_tokenizer(config: ModelConfig) -> Tokenizer:
    """One word for every id of the model."""
    with tempfile.TemporaryDirectory() as folder:
        vocab = Path(folder) / "vocab.txt"
        vocab.write_text("\n".join([*SPECIAL, *(f"word{i}" for i in range(len(SPECIAL), config.vocab_size))]))
        return Tokenizer.from_vocab(vocab)


def our_step(config: ModelConfig, batch_size: int, precision: str, batches: Iterator[Batch] | None = None) -> Work:
    """On the same random batch every time, or on those that come."""
    torch.manual_seed(0)
    ingredients = BuildContext(config, some_tokenizer(config))
    configs = {"mlm": MLM.Config(), "vtm": VTM.Config(max_pairs=batch_size // 2), "alignment": Alignment.Config()}
    objectives = {name: made.build(ingredients) for name, made in configs.items()}
    module = TrainingModel(VideoTextEncoder(config), objectives, {n: c.weight for n, c in configs.items()}).train()
    optim = Optim(Optim.Config(num_steps=1000), module.named().items())
    lengths = LENGTHS[:batch_size]
    ids, mask = (tensor[:, : max(lengths)] for tensor in texts(config, lengths))
    size, num_frames = config.image_size, config.num_frames
    frames = torch.randint(0, 256, (batch_size, num_frames, 3, size, size), dtype=torch.uint8)
    names = tuple(map(str, range(batch_size)))
    batch = Batch(frames=frames, text_ids=ids, text_mask=mask, video_ids=names)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss, _ = module(next(batches) if batches else batch, torch.Generator().manual_seed(0))
        loss.backward()
        optim.step(5)
        optim.zero_grad()

    return step


def reference_step(config: ModelConfig, batch_size: int) -> Work:
    torch.manual_seed(0)
    model = AllInOne.build(config, {"mlm": MLMHead.Config(), "matching": MatchingHead.Config()}).train()
    reference = Reference(model)
    optim = torch.optim.AdamW(model.parameters(), foreach=False)
    ids, mask = texts(config, LENGTHS[:batch_size])
    masked = mask_tokens(ids, mask, some_tokenizer(config), 0.15, torch.Generator().manual_seed(0))
    clips, others = torch.randn(2, batch_size, config.num_frames, 3, config.image_size, config.image_size)
    matched = torch.arange(batch_size) % 2 == 0
    batch = PretrainingBatch(clips, others, ids, masked.ids, masked.labels, mask, matched)

    def step() -> None:
        reference.pretraining_loss(batch).backward()
        optim.step()
        optim.zero_grad()

    return step


def main() -> None:
    size, kind = sys.argv[1:]
    config, batch_size = SIZES[size], BATCH[size]
    precision = "float32" if kind == "float32" else "bfloat16"
    step = reference_step(config, batch_size) if kind == "reference" else our_step(config, batch_size, precision)
    step()
    begin = time.perf_counter()
    step()
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes()}))


def peak_bytes() -> int:
    """Of this process since it began its program; `ru_maxrss` would count what the parent had."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
