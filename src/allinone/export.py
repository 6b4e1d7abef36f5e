"""A model to ONNX files, for runtimes without Python: what `allinone export` does. Each file is checked against torch.

`video.onnx` embeds clips and `text.onnx` texts (unit vectors of the shared space); `joint_<head>.onnx` says what a head
on the pooled feature says of pairs of a clip and a text. Frames go in as uint8, sampled and cut as for the model; a
batch may have any size and texts any length that the model has positions for.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from allinone.checkpoint import load_checkpoint
from allinone.model.heads import (
    AnswerHead,
    ChoiceHead,
    ContrastiveHead,
    Head,
    LabelHead,
    MatchingHead,
    NumberHead,
    RankingHead,
)
from allinone.model.model import AllInOne

TOLERANCE = 1e-4
POOLED = (MatchingHead, RankingHead, AnswerHead, ChoiceHead, NumberHead)
INPUTS = {"frames": {0: "batch"}, "text_ids": {0: "batch", 1: "length"}, "text_mask": {0: "batch", 1: "length"}}
"""What goes in, and which of its sizes are free."""


@dataclass(frozen=True)
class Exported:
    """A file, and the largest difference of its output from torch's, on a batch of another size than it was made on."""

    path: Path
    difference: float


class OnVideo(nn.Module):
    def __init__(self, model: AllInOne, head: ContrastiveHead | LabelHead):
        super().__init__()
        self.encoder = model.encoder
        self.head = head.embed_video if isinstance(head, ContrastiveHead) else head

    def forward(self, frames: UInt8[Tensor, "B T C H W"]) -> Float[Tensor, "B X"]:
        return self.head(self.encoder.encode_video(frames, keep=1))


class OnText(nn.Module):
    def __init__(self, model: AllInOne, head: ContrastiveHead):
        super().__init__()
        self.encoder = model.encoder
        self.head = head

    def forward(self, text_ids: Int[Tensor, "B L"], text_mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B E"]:
        return self.head.embed_text(self.encoder.encode_text(text_ids, text_mask, keep=1))


class OnPairs(nn.Module):
    """The random order of patches, where the model has one, is that of evaluation, written into the file."""

    def __init__(self, model: AllInOne, head: Head):
        super().__init__()
        self.encoder = model.encoder
        self.head = head
        is_random, num_frames = model.config.patch_order == "random", model.config.num_frames
        self.order = self.encoder.draw_order(1, num_frames) if is_random else None

    def forward(
        self, frames: UInt8[Tensor, "B T C H W"], text_ids: Int[Tensor, "B L"], text_mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B ..."]:
        order = None if self.order is None else self.order.expand(frames.shape[0], -1, -1)
        return self.head(self.encoder.pool(self.encoder(frames, text_ids, text_mask, patch_perm=order, keep=1).text))


def export(model: AllInOne | str | Path, folder: str | Path) -> list[Exported]:
    """Write a file for each thing that the heads of a model (or checkpoint) can say. Float32, on the CPU.

    Raises ValueError where a file does not say what torch says, and for a model without a head that can be exported.
    """
    try:
        runtime: Any = import_module("onnxruntime")
        import_module("onnxscript")
    except ImportError as error:
        raise ImportError(f"exporting needs the extra 'export': pip install 'allinone[export]' ({error})") from error
    model = (model if isinstance(model, AllInOne) else load_checkpoint(model).model).cpu().eval()
    wrapped = parts(model)
    if not wrapped:
        raise ValueError(
            f"nothing to export: the heads of this model are {', '.join(model.heads) or 'none'}; "
            f"{model.how_to_add(ContrastiveHead)} adds one that can be"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [write(runtime, model, *part, folder / f"{name}.onnx") for name, part in wrapped.items()]


def parts(model: AllInOne) -> dict[str, tuple[nn.Module, tuple[str, ...]]]:
    """By name, what can be exported, and what goes into it."""
    found: dict[str, tuple[nn.Module, tuple[str, ...]]] = {}
    for head in model.heads.values():
        if isinstance(head, ContrastiveHead):
            found["video"] = OnVideo(model, head), ("frames",)
            found["text"] = OnText(model, head), ("text_ids", "text_mask")
        elif isinstance(head, LabelHead):
            found[f"video_{head.kind}"] = OnVideo(model, head), ("frames",)
        elif isinstance(head, POOLED):
            found[f"joint_{head.kind}"] = OnPairs(model, head), tuple(INPUTS)
    return found


def write(runtime: Any, model: AllInOne, part: nn.Module, names: Sequence[str], path: Path) -> Exported:
    traced = some_inputs(model, batch=2, length=5)
    free = {name: dict.fromkeys(INPUTS[name], torch.export.Dim.DYNAMIC) for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own insides
        program = torch.onnx.export(
            part.eval(),
            tuple(traced[name] for name in names),
            input_names=list(names),
            output_names=["output"],
            dynamic_shapes=tuple(free[name] for name in names),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(path)
    other = some_inputs(model, batch=3, length=8)
    with torch.inference_mode():
        wanted = part(*(other[name] for name in names))
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [got] = session.run(None, {name: other[name].numpy() for name in names})
    difference = (torch.from_numpy(got) - wanted).abs().max().item()
    if not difference <= TOLERANCE:
        raise ValueError(f"{path}: differs from torch by {difference:.1e}, allowed are {TOLERANCE:.0e}")
    return Exported(path, difference)


def some_inputs(model: AllInOne, batch: int, length: int) -> dict[str, Tensor]:
    """Random ones; the first text is shorter than the others."""
    config, rng = model.config, torch.Generator().manual_seed(batch)
    length = min(length, config.max_text_len)
    shape = (batch, config.num_frames, 3, config.image_size, config.image_size)
    mask = torch.ones(batch, length, dtype=torch.bool)
    mask[0, length // 2 + 1 :] = False
    return {
        "frames": torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng),
        "text_ids": torch.randint(0, config.vocab_size, (batch, length), generator=rng) * mask,
        "text_mask": mask,
    }
