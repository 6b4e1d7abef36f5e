"""`config.json` of a checkpoint: configs of the model and its heads, checked against the shapes of the weights."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from allinone.files.reading import read_json
from allinone.model.config import ModelConfig
from allinone.model.heads import HEADS, known_heads
from allinone.model.model import AllInOne
from allinone.model.start import heads_of
from allinone.model.time import TIMES, Rolling
from allinone.own_code import CodeNotLoaded
from allinone.settings import describe, restore

CONFIG, WEIGHTS, EXPERIMENT = "config.json", "model.safetensors", "experiment.json"

FORMAT = 2
"""Format 2 names the way of time. Format 1 had only `roll_video`, in the model's fields."""

OWN = "own_heads"
"""Key of the heads of a user's own code. They are left out where that code is not imported."""

SIZE_TENSORS = {
    "encoder.text.word.weight": 2,
    "encoder.text.position.weight": 2,
    "encoder.vision.special": 2,
    "encoder.vision.position": 2,
    "encoder.vision.patch.weight": 4,
    "encoder.blocks.0.mlp.fc1.weight": 2,
}
"""Tensors that have the sizes of a model in their shapes, and their numbers of dimensions."""


def config_values(model: AllInOne) -> dict[str, Any]:
    """Return what `config.json` says of a model and its heads."""
    heads = {kind: describe(head.config, type(head.config)) for kind, head in heads_of(model).items()}
    time = describe(model.config.time, type(model.config.time))
    return {
        "format": FORMAT,
        "model": describe(model.config, ModelConfig) | {"time": {"kind": model.encoder.time.kind, **time}},
        "heads": {kind: fields for kind, fields in heads.items() if kind in HEADS},
        OWN: {kind: fields for kind, fields in heads.items() if kind not in HEADS},
    }


def read_config(path: Path) -> tuple[ModelConfig, dict[str, Any], list[str]]:
    """Return the config of the model, those of its heads by kind, and the kinds of heads without imported code."""
    config = read_json(path)
    written = config.get("format")
    if type(written) is not int or not 1 <= written <= FORMAT:
        raise ValueError(f"{path}: format {written!r}, but this version of allinone reads 1 to {FORMAT}")
    model = _model_from_json(config.get("model"), written, path)
    heads, own, known = config.get("heads", {}), config.get(OWN, {}), known_heads()
    for name, value in (("heads", heads), (OWN, own)):
        if not isinstance(value, dict):
            raise ValueError(f"{path}: {name}: expected an object, got {type(value).__name__}")
    unknown = sorted(heads.keys() - HEADS.keys())
    if unknown:
        raise ValueError(f"{path}: unknown heads {', '.join(unknown)}; there are: {', '.join(HEADS)}")
    configs = {
        kind: restore(fields, known[kind].Config, f"{path}: head {kind}")
        for kind, fields in (heads | own).items()
        if kind in known
    }
    return model, configs, sorted(own.keys() - known.keys())


def code_of(folder: Path) -> dict[str, str]:
    """Return the user's files that the run of this checkpoint used, with their SHA-256."""
    code = read_json(folder / EXPERIMENT).get("code") if (folder / EXPERIMENT).exists() else None
    return dict(code) if isinstance(code, dict) else {}


def _model_from_json(fields: Any, written: int, path: Path) -> ModelConfig:
    """Return the config of a model, from any format."""
    where = f"{path}: model"
    fields = dict(fields) if isinstance(fields, Mapping) else fields
    # Format 1 had only rolling, with its one setting among the model's fields.
    if isinstance(fields, dict) and written == 1:
        fields["time"] = {"kind": Rolling.kind, "video": fields.pop("roll_video", False)}
    if isinstance(fields, dict) and isinstance(fields.get("time"), Mapping):
        time = dict(fields["time"])
        kind = time.pop("kind", None)
        if not isinstance(kind, str) or kind not in TIMES:
            files = " ".join(code_of(path.parent)) or "the file that defines it"
            raise CodeNotLoaded(
                f"{where}.time: unknown kind {kind!r}; there are: {', '.join(TIMES)}. If it is your own, import "
                f"{files} first; for a command: --code {files}"
            )
        fields["time"] = restore(time, TIMES[kind].Config, f"{where}.time")
    return restore(fields, ModelConfig, where)


def check_sizes(
    folder: Path, config: ModelConfig, heads: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Compare `config.json` with the shapes of the weights, before anything of these sizes is built.

    Raises:
        ValueError: they differ; the message names the keys.
    """
    # 1. The tensors with the sizes are there, and each head has some.
    missing = [name for name, dims in SIZE_TENSORS.items() if len(shapes.get(name, ())) != dims]
    missing += [f"heads.{kind}.*" for kind in heads if not any(name.startswith(f"heads.{kind}.") for name in shapes)]
    if missing:
        raise ValueError(f"{folder / WEIGHTS}: {', '.join(missing)} missing or misshapen, of a model as in {CONFIG}")
    # 2. Fields of the model, then those of its heads, against the shapes.
    pairs = {f"model.{name}": (getattr(config, name), actual) for name, actual in _model_sizes(shapes).items()}
    for kind, head in heads.items():
        for name, tensor in known_heads()[kind].sizes.items():
            value, shape = getattr(head, name), shapes.get(f"heads.{kind}.{tensor}")
            if value is not None and shape:  # None: depends on the width
                pairs[f"heads.{kind}.{name}"] = (value if isinstance(value, int) else len(value), shape[0])
    wrong = [
        f"{key} is {value}, but {actual} in the weights" for key, (value, actual) in pairs.items() if value != actual
    ]
    if wrong:
        raise ValueError(f"{folder / CONFIG}: does not fit {WEIGHTS}: {'; '.join(wrong)}")


def _model_sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Return fields of a `ModelConfig` as the shapes of weights give them."""
    word, position, special, places, patch, mlp = (shapes[name] for name in SIZE_TENSORS)
    # `max`, because shapes in a damaged file may be 0.
    sizes = {
        "width": word[1],
        "vocab_size": word[0],
        "max_text_len": position[0],
        "depth": len({name.split(".")[2] for name in shapes if name.startswith("encoder.blocks.")}),
        "mlp_ratio": mlp[0] // max(mlp[1], 1),
        "patch_size": patch[3],
        "image_size": patch[3] * math.isqrt(max(places[0] - special[0], 0)),
        "distilled": special[0] == 2,
    }
    if time := shapes.get("encoder.vision.time"):
        sizes["num_frames"] = time[0]
    if shared := shapes.get("heads.contrastive.text.weight"):
        sizes["shared_dim"] = shared[0]
    return sizes
