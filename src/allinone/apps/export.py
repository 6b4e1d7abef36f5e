"""Export a model to a folder that works without torch and this package (`allinone export`).

video.onnx           embeds clips: unit vectors of the shared space
text.onnx            embeds texts in the same space
joint_<head>.onnx    a head's output for pairs of a clip and a text, from the pooled feature
tokenizer.json       the vocabulary
preprocess.json      how videos and texts become inputs, and the meaning of outputs (answers, classes, temperature)
example.py           a script that does it

Each ONNX file is checked against torch. Frames are uint8; a batch may have any size, and texts any length that the
model has positions for.
"""

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from allinone.inference import Predictor, load
from allinone.model.heads import ContrastiveHead, Input
from allinone.model.model import AllInOne
from allinone.model.start import heads_of
from allinone.text.tokenizer import FILE_NAME
from allinone.video.source import TOLERANCE_SEC

TOLERANCE = 1e-4
INPUTS = {"frames": {0: "batch"}, "text_ids": {0: "batch", 1: "length"}, "text_mask": {0: "batch", 1: "length"}}
"""Inputs, and the names of their dimensions of any size."""
EXAMPLE = Path(__file__).with_name("export_example.py")

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Exported:
    """A file, and the largest difference of its output from torch's, on a batch of another size than the traced one."""

    path: Path
    difference: float


class OnVideo(nn.Module):
    """A function of the tokens of the video-only mode."""

    def __init__(self, model: AllInOne, function: Function):
        super().__init__()
        self.encoder = model.encoder
        self.function = function

    def forward(self, frames: UInt8[Tensor, "B T C H W"]) -> Float[Tensor, "B X"]:
        return self.function(self.encoder.encode_video(frames, num_out_tokens=1))


class OnText(nn.Module):
    """A function of the tokens of the text-only mode."""

    def __init__(self, model: AllInOne, function: Function):
        super().__init__()
        self.encoder = model.encoder
        self.function = function

    def forward(self, text_ids: Int[Tensor, "B L"], text_mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B E"]:
        return self.function(self.encoder.encode_text(text_ids, text_mask, num_out_tokens=1))


class OnPairs(nn.Module):
    """A function of the pooled joint feature.

    A random order of patches, if the model has one, is that of evaluation, and a constant of the file.
    """

    def __init__(self, model: AllInOne, function: Function):
        super().__init__()
        self.encoder = model.encoder
        self.function = function
        is_random, num_frames = model.config.patch_order == "random", model.config.num_frames
        self.order = self.encoder.draw_order(1, num_frames) if is_random else None

    def forward(
        self, frames: UInt8[Tensor, "B T C H W"], text_ids: Int[Tensor, "B L"], text_mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B ..."]:
        order = None if self.order is None else self.order.expand(frames.shape[0], -1, -1)
        encoded = self.encoder(frames, text_ids, text_mask, patch_order=order, num_out_tokens=1)
        return self.function(self.encoder.pool(encoded.text))


READS: dict[Input, tuple[str, ...]] = {
    "video": ("frames",),
    "text": ("text_ids", "text_mask"),
    "joint": ("frames", "text_ids", "text_mask"),
}
WRAPPERS: dict[Input, Callable[[AllInOne, Function], nn.Module]] = {"video": OnVideo, "text": OnText, "joint": OnPairs}


def export(model: AllInOne | Predictor | str | Path, folder: str | Path) -> list[Exported]:
    """Write a file for each output of the heads of a model (or checkpoint), in float32 for any CPU.

    A bare `AllInOne` has no tokenizer, so the folder has none either.

    Raises:
        ValueError: the outputs of a file differ from torch's, or no head of the model can be exported.
        ImportError: the extra `export` is not installed.
    """
    try:
        runtime: Any = import_module("onnxruntime")  # not at the top: an extra
        import_module("onnxscript")
    except ImportError as error:
        raise ImportError(f"exporting needs the extra 'export': pip install 'allinone[export]' ({error})") from error
    predictor = Predictor(model) if isinstance(model, AllInOne) else model
    # float32 on the CPU: weights packed for bfloat16 are in a layout of this processor, which ONNX does not have.
    predictor = predictor if isinstance(predictor, Predictor) else load(predictor, device="cpu", precision="float32")
    model = predictor.model.cpu().eval()
    # 1. A module for each output of each head.
    wrapped = parts(model)
    if not wrapped:
        raise ValueError(
            f"nothing to export: the heads of this model are {', '.join(model.heads) or 'none'}; "
            f"{model.how_to_add(ContrastiveHead)} adds one that can be"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # 2. Write it, and run the file at once against torch.
    exported = []
    for name, (part, inputs) in wrapped.items():
        path = folder / f"{name}.onnx"
        write(model, part, inputs, path)
        exported.append(Exported(path, difference(runtime, model, part, inputs, path)))
    # 3. All that another program needs to make inputs and read outputs.
    if predictor.tokenizer is not None:
        predictor.tokenizer.save(folder)
    spec = json.dumps(preprocessing(predictor), indent=2, ensure_ascii=False)
    (folder / "preprocess.json").write_text(spec + "\n", encoding="utf-8")
    copyfile(EXAMPLE, folder / "example.py")
    return exported


def preprocessing(predictor: Predictor) -> dict[str, Any]:
    """Return how videos and texts become inputs of the model, and the meaning of its outputs, as data."""
    config, transform, tokenizer = predictor.model.config, predictor.data.transform, predictor.tokenizer
    return {
        "frames": {
            "count": config.num_frames,
            "times": "(i + 0.5) / count of the duration, which goes from the first picture or sound (the player's 0) "
            "to the end of the last picture; the frame at a time is the last that begins at or before it",
            "tolerance_sec": TOLERANCE_SEC,
            "layout": "uint8 RGB [batch, count, 3, crop, crop], upright, with square pixels",
        },
        "resize": {
            "short_side": transform.resize,
            "crop": transform.crop,
            "steps": [
                "scale down by FFmpeg's swscale (bilinear) to a short side of short_side, where it is longer",
                "cut out the central square of round(short side * crop / short_side) pixels; offsets round down",
                "resize it to crop: filter, antialias; columns, then rows, each rounded to 8 bits",
            ],
            "filter": "bilinear",
            "antialias": True,
            "align_corners": False,
        },
        "normalize": {
            "mean": config.image_mean,
            "std": config.image_std,
            "where": "in the ONNX files, which take pixels from 0 to 255",
        },
        "text": None
        if tokenizer is None
        else {
            "tokenizer": FILE_NAME,
            "max_len": predictor.max_text_len,
            "cut": "a longer text keeps its first max_len - 1 tokens, and sep_id follows",
            "pad_id": tokenizer.pad_id,
            "sep_id": tokenizer.sep_id,
            "mask": "True where a token is no padding",
        },
        "outputs": {
            f"{name}.onnx": export.meaning
            for head in heads_of(predictor.model).values()
            for name, export in head.exports().items()
        },
    }


def parts(model: AllInOne) -> dict[str, tuple[nn.Module, tuple[str, ...]]]:
    """Return the modules to export by the name of their file, with the names of their inputs."""
    return {
        name: (WRAPPERS[export.input](model, export.function), READS[export.input])
        for head in heads_of(model).values()
        for name, export in head.exports().items()
    }


def write(model: AllInOne, part: nn.Module, names: Sequence[str], path: Path) -> None:
    """Trace a module and write it as ONNX."""
    traced = some_inputs(model, batch=2, length=5)  # not 1: the exporter would take that size for a constant
    with quiet():
        program = torch.onnx.export(
            part.eval(),
            tuple(traced[name] for name in names),
            input_names=list(names),
            output_names=["output"],
            dynamic_shapes=tuple(INPUTS[name] for name in names),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(path)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence messages of the exporter about itself: optional packages, constants that it does not fold."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def difference(runtime: Any, model: AllInOne, part: nn.Module, names: Sequence[str], path: Path) -> float:
    """Return the largest difference between a file's outputs and torch's. ValueError if it is above TOLERANCE."""
    # Another batch and length than traced, so that a size which became a constant is noticed.
    inputs = some_inputs(model, batch=3, length=8)
    with torch.inference_mode():
        wanted = part(*(inputs[name] for name in names))
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [got] = session.run(None, {name: inputs[name].numpy() for name in names})
    largest = (torch.from_numpy(got) - wanted).abs().max().item()
    if not largest <= TOLERANCE:  # not `>`: NaN is a failure, too
        raise ValueError(f"{path}: differs from torch by {largest:.1e}, allowed are {TOLERANCE:.0e}")
    return largest


def some_inputs(model: AllInOne, batch: int, length: int) -> dict[str, Tensor]:
    """Return random inputs; the first text is shorter than the others."""
    config, rng = model.config, torch.Generator().manual_seed(batch)
    length = min(length, config.max_text_len)
    shape = (batch, config.num_frames, 3, config.image_size, config.image_size)
    mask = torch.ones(batch, length, dtype=torch.bool)
    # Some padding, so that a mask which the file ignores is noticed.
    mask[0, length // 2 + 1 :] = False
    return {
        "frames": torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng),
        "text_ids": torch.randint(0, config.vocab_size, (batch, length), generator=rng) * mask,
        "text_mask": mask,
    }
