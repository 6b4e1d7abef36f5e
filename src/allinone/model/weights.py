"""Weights from elsewhere, key by key: released All-in-One checkpoints, and ViT or DeiT as the start of a model.

Every tensor of the file is accounted for in a `Report`: taken, resized, dropped with a reason, or new. One that nothing
explains stops the conversion. Nothing of a pickle runs: see `read_tensors`.
"""

import logging
import pickle
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from allinone.files.faults import first_line
from allinone.files.reading import check_readable
from allinone.files.tensors import load_tensors
from allinone.model.config import ModelConfig
from allinone.model.heads import AnswerHead, ChoiceHead, ContrastiveHead, MatchingHead, MLMHead, RankingHead
from allinone.model.model import AllInOne, resize_position
from allinone.model.pickled import Inert, read_inert

log = logging.getLogger(__name__)

HEAD_WIDTH = 64
"""Every released size has heads of 64 channels, so a checkpoint's width tells their number."""


@dataclass
class Report:
    """What became of each tensor, and what the model can do then. Lines are for people; `str` joins the former."""

    taken: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    abilities: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.taken)} tensors taken"]
        for name in ("resized", "dropped", "new"):
            lines = getattr(self, name)
            parts.append(f"{len(lines)} {name}" + (":" if lines else ""))
            parts.extend(f"  {line}" for line in lines)
        return "\n".join(parts)


WRAPPERS = ("state_dict", "model", "module")
"""Keys under which files of weights keep their dictionary of tensors, the outer ones first."""

INSERTED = re.compile(r"(?<![^.])(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What DDP, `torch.compile`, FSDP and activation checkpointing put before the names inside modules that they wrap."""

OUTER = re.compile(r"^(?:model\.)+")
"""What a training module with the model as its attribute puts before all names."""


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file or of a pickle (`.ckpt`, `.pth`, `.pt`, `.bin`), out of its outer dictionary.

    Names lose the prefixes of wrappers such as `module.` and `_orig_mod.`. Classes that a pickle names are never
    looked up, and nothing of it runs.
    Raises ValueError where the file is missing, is no such file, or holds anything but tensors and plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        return without_wrappers(path, load_tensors(path))
    check_readable(path)
    loaded, inert = read_pickle(path)
    for wrapper in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping | Inert):
            loaded = loaded[wrapper]
    if isinstance(loaded, Inert):
        raise ValueError(
            f"{path}: refused, since its weights are objects of {', '.join(inert[:3])} instead of tensors and plain "
            "data, and could run code; save model.state_dict() instead"
        )
    if not isinstance(loaded, Mapping) or not loaded:
        raise ValueError(f"{path}: wanted a dictionary of tensors, got {type(loaded).__name__}")
    other = [str(name) for name, value in loaded.items() if not isinstance(value, Tensor)]
    if other:
        raise ValueError(f"{path}: wanted tensors only, but these are none: {', '.join(other[:5])}")
    if inert:
        log.info("%s: names %s, which were ignored", path, ", ".join(inert))
    return without_wrappers(path, {str(name): value for name, value in loaded.items()})


def read_pickle(path: Path) -> tuple[Any, list[str]]:
    """What a file of `torch.save` holds, and the names of the classes that it wanted and did not get."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True), []
    except pickle.UnpicklingError:
        pass  # it names classes
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(f"{path}: not a file of weights, or a damaged one ({first_line(error)})") from error
    try:
        return read_inert(path)
    except Exception as error:  # likewise
        raise ValueError(
            f"{path}: damaged, or refused because its pickle wants more than tensors and plain data, and could run "
            f"code ({first_line(error)})"
        ) from error


def without_wrappers(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by their names in the model itself.

    Raises ValueError where two have the same name then, as the model and its average in one file.
    """
    check_plain(tensors, path)
    named: dict[str, Tensor] = {}
    removed: set[str] = set()
    for name, tensor in tensors.items():
        inner = OUTER.sub("", INSERTED.sub("", name))
        if inner in named:
            raise ValueError(f"{path}: two tensors are {inner} without the prefixes of wrappers; {name} is one of them")
        named[inner] = tensor
        if inner != name:
            removed.add(name.removesuffix(inner) or name)
    if removed:
        log.info("%s: prefixes taken off: %s", path, ", ".join(sorted(removed)[:5]))
    return named


VIT_NAMES = {
    "patch_embed.proj": "vision.patch",
    "blocks": "blocks",
    "norm": "norm",
}
"""The part of a ViT whose tensors keep their shape, in timm's names and in ours (within the encoder)."""

HEAD_NAMES = {
    "mlm_score.transform.dense": "heads.mlm.dense",
    "mlm_score.transform.LayerNorm": "heads.mlm.norm",
    "mlm_score.decoder": "heads.mlm.decoder",
    "itm_score.fc": "heads.matching.linear",
    "rank_output": "heads.ranking.linear",
    "txt_proj": "heads.contrastive.text",
    "vid_proj": "heads.contrastive.video",
    "mc_vqa_classifier": "heads.choice.layers",
    "vqa_classifier": "heads.answer.layers",
}
RELEASED_NAMES = {
    "text_embeddings.word_embeddings": "encoder.text.word",
    "text_embeddings.position_embeddings": "encoder.text.position",
    "text_embeddings.LayerNorm": "encoder.text.norm",
    "pooler.dense": "encoder.pooler",
    **{f"transformer.{theirs}": f"encoder.{ours}" for theirs, ours in VIT_NAMES.items()},
    **HEAD_NAMES,
}
"""Prefixes of the released names and ours."""

RESHAPED_NAMES = {
    "text_embeddings.token_type_embeddings.weight": "encoder.text.token_type",
    "token_type_embeddings.weight": "encoder.modality",
    "transformer.cls_token": "encoder.vision.special",
    "transformer.dist_token": "encoder.vision.special",
    "transformer.pos_embed": "encoder.vision.position",
    "transformer.temporal_embed": "encoder.vision.time",
}
"""Released tensors that become a part, or another shape, of ours."""

RELEASED_DROPPED = {
    "text_embeddings.position_ids": "a constant",
    "text_embeddings.token_type_ids": "a constant",
    "vcop_classifier": "the order-of-frames task crashes in the released code",
    "mpp_score": "masked-patch prediction crashes in the released code",
    "nlvr2_classifier": "a head on two images",
    "rank_output_2": "a second ranking head (VCR's rationales)",
    "img_classifier": "a head of linear evaluation",
    "transformer.head": "ImageNet classes",
    "transformer.head_dist": "ImageNet classes",
    "transformer.pre_logits": "ImageNet's representation layer",
}


def under(name: str, prefixes: Mapping[str, Any]) -> str | None:
    """The longest of the prefixes that `name` lies under."""
    found = [p for p in prefixes if name == p or name.startswith(p + ".")]
    return max(found, key=len, default=None)


def released_name(name: str) -> str | None:
    """Our name of a released tensor; None for one that is dropped or unknown."""
    if name in RESHAPED_NAMES:
        return RESHAPED_NAMES[name]
    if name == "mlm_score.bias":
        return "heads.mlm.decoder.bias"
    prefix = under(name, RELEASED_NAMES)
    return None if prefix is None else RELEASED_NAMES[prefix] + name[len(prefix) :]


def convert_released(
    tensors: Mapping[str, Tensor], *, num_heads: int | None = None, answers: Sequence[str] | None = None
) -> tuple[AllInOne, Report]:
    """Build our model from a released checkpoint. The configuration is read off the shapes, the heads off the width.

    `answers` names the labels of an answer head in order, which the released files do not hold; without it they are
    numbered.
    Raises ValueError where tensors are missing or unexplained.
    """
    tensors = dict(tensors)
    config = released_config(tensors, num_heads)
    report, ours = Report(), {}
    reshaped: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
        "text_embeddings.token_type_embeddings.weight": (lambda x: x[:1], " (row 0 of 2, since the text has one type)"),
        "token_type_embeddings.weight": (lambda x: x[:2], " (rows of text and vision)"),
        "transformer.pos_embed": (lambda x: x[0], ""),
        "transformer.temporal_embed": (lambda x: x[0], ""),
    }
    special = [tensors.pop("transformer.cls_token")[0]]
    report.taken.append("transformer.cls_token -> encoder.vision.special")
    if config.distilled:
        special.append(tensors.pop("transformer.dist_token")[0])
        report.taken.append("transformer.dist_token -> encoder.vision.special")
        if "transformer.temporal_embed" in tensors:
            del tensors["transformer.temporal_embed"]
            report.dropped.append("transformer.temporal_embed: the distilled size never reads it")
    ours["encoder.vision.special"] = torch.cat(special)
    unexplained = []
    for name, tensor in tensors.items():
        dropped = under(name, RELEASED_DROPPED)
        if dropped is not None:
            report.dropped.append(f"{name}: {RELEASED_DROPPED[dropped]}")
        elif target := released_name(name):
            change, why = reshaped.get(name, (lambda x: x, ""))
            ours[target] = change(tensor)
            report.taken.append(f"{name} -> {target}{why}")
        else:
            unexplained.append(f"{name} {tuple(tensor.shape)}")
    if unexplained:
        raise ValueError(f"no explanation for {len(unexplained)} tensors: {', '.join(unexplained)}")
    align_answer_layers(ours)
    model = AllInOne.build(config, head_configs(ours, answers))
    load_all(model, ours)
    return model.eval(), report


RELEASED_DIMS = {
    "text_embeddings.word_embeddings.weight": 2,
    "text_embeddings.position_embeddings.weight": 2,
    "transformer.patch_embed.proj.weight": 4,
    "transformer.pos_embed": 3,
    "transformer.cls_token": 3,
    "transformer.blocks.0.mlp.fc1.weight": 2,
}
RELEASED_OPTIONAL = {
    "transformer.temporal_embed": 3,
    "transformer.dist_token": 3,
    "text_embeddings.token_type_embeddings.weight": 2,
    "token_type_embeddings.weight": 2,
    "txt_proj.weight": 2,
}
"""Tensors whose shapes are read or cut, and their numbers of dimensions."""


def misshapen(tensors: Mapping[str, Tensor], needed: Mapping[str, int], optional: Mapping[str, int]) -> list[str]:
    """Names of needed tensors that are missing, and of any that are empty or have another number of dimensions."""
    there = {name: dims for name, dims in optional.items() if name in tensors}
    return [
        name
        for name, dims in {**needed, **there}.items()
        if name not in tensors or tensors[name].ndim != dims or not tensors[name].numel()
    ]


def released_config(tensors: Mapping[str, Tensor], num_heads: int | None) -> ModelConfig:
    """Read the sizes off the shapes."""
    if missing := misshapen(tensors, RELEASED_DIMS, RELEASED_OPTIONAL):
        raise ValueError(f"not a released All-in-One checkpoint: missing or misshapen {', '.join(missing)}")
    vocab_size, width = tensors["text_embeddings.word_embeddings.weight"].shape
    distilled = "transformer.dist_token" in tensors
    time = tensors.get("transformer.temporal_embed")
    num_patches = tensors["transformer.pos_embed"].shape[1] - (2 if distilled else 1)
    grid = round(num_patches**0.5)
    if grid**2 != num_patches:
        raise ValueError(f"a position embedding for {num_patches} patches, which is no square grid")
    patch_size = tensors["transformer.patch_embed.proj.weight"].shape[-1]
    if num_heads is None and width % HEAD_WIDTH:
        raise ValueError(
            f"width {width} is no multiple of {HEAD_WIDTH}, so give the number of attention heads (--num_heads)"
        )
    depth = len({name.split(".")[2] for name in tensors if name.startswith("transformer.blocks.")})
    return ModelConfig(
        width=width,
        num_heads=num_heads or width // HEAD_WIDTH,
        depth=depth,
        mlp_ratio=tensors["transformer.blocks.0.mlp.fc1.weight"].shape[0] // width,
        image_size=grid * patch_size,
        patch_size=patch_size,
        num_frames=3 if time is None else time.shape[1],
        vocab_size=vocab_size,
        max_text_len=tensors["text_embeddings.position_embeddings.weight"].shape[0],
        shared_dim=tensors["txt_proj.weight"].shape[0] if "txt_proj.weight" in tensors else 512,
        distilled=distilled,
        patch_order="random",
    )


def align_answer_layers(ours: dict[str, Tensor]) -> None:
    """VQAv2's answer head was saved without a dropout before it: shift its layers 0, 1, 3 to our 1, 2, 4."""
    prefix = "heads.answer.layers."
    if f"{prefix}0.weight" in ours:
        for name in [name for name in ours if name.startswith(prefix)]:
            index, rest = name.removeprefix(prefix).split(".", 1)
            ours[f"{prefix}moved.{int(index) + 1}.{rest}"] = ours.pop(name)
        for name in [name for name in ours if name.startswith(f"{prefix}moved.")]:
            ours[name.replace("moved.", "")] = ours.pop(name)


def head_configs(ours: Mapping[str, Tensor], answers: Sequence[str] | None) -> dict[str, Any]:
    """Which heads the tensors belong to, and their sizes."""
    kinds = {name.split(".")[1] for name in ours if name.startswith("heads.")}
    plain = {"mlm": MLMHead, "matching": MatchingHead, "ranking": RankingHead, "contrastive": ContrastiveHead}
    configs: dict[str, Any] = {kind: head.Config() for kind, head in plain.items() if kind in kinds}
    two_layers = {"choice": ("1",), "answer": ("1", "4")}
    needed = [f"heads.{kind}.layers.{n}.weight" for kind, layers in two_layers.items() if kind in kinds for n in layers]
    if missing := misshapen(ours, dict.fromkeys(needed, 2), {}):
        raise ValueError(f"missing or misshapen: {', '.join(missing)}")
    if "choice" in kinds:
        configs["choice"] = ChoiceHead.Config(hidden=ours["heads.choice.layers.1.weight"].shape[0])
    if "answer" in kinds:
        hidden, num_answers = (
            ours["heads.answer.layers.1.weight"].shape[0],
            ours["heads.answer.layers.4.weight"].shape[0],
        )
        names = tuple(answers) if answers is not None else tuple(f"answer {i}" for i in range(num_answers))
        if len(names) != num_answers:
            raise ValueError(f"the checkpoint has {num_answers} answers, but {len(names)} names were given")
        configs["answer"] = AnswerHead.Config(answers=names, hidden=hidden)
    elif answers is not None:
        raise ValueError("names of answers were given, but the checkpoint has no answer head")
    return configs


def load_all(model: AllInOne, tensors: Mapping[str, Tensor]) -> None:
    """Load every tensor of the model; one that is missing, left over or misshapen stops it."""
    own = model.state_dict()
    problems = [f"{name} is missing" for name in own.keys() - tensors.keys()]
    problems += [f"{name} is left over" for name in tensors.keys() - own.keys()]
    problems += [
        f"{name} is {tuple(tensors[name].shape)}, wanted {tuple(own[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape
    ]
    if problems:
        raise ValueError("weights do not fit the model: " + "; ".join(sorted(problems)))
    check_plain(tensors)
    check_finite(tensors)
    model.load_state_dict(dict(tensors))


NUMBERS = {
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
}  # fmt: skip
"""Types of numbers that weights and the constants beside them have."""


def check_plain(tensors: Mapping[str, Tensor], path: Path | None = None) -> None:
    """ValueError, naming the tensors, where some are sparse, quantized, complex, or larger than what is stored of them.

    A tensor of a few bytes can claim any shape by repeating them (a stride of 0), and would fill the memory.
    """
    odd = [name for name, tensor in tensors.items() if not is_plain(tensor)]
    if odd:
        where = "" if path is None else f"{path}: "
        raise ValueError(f"{where}wanted ordinary tensors of numbers that are all stored, not {', '.join(odd[:5])}")


def is_plain(tensor: Tensor) -> bool:
    if tensor.dtype not in NUMBERS or tensor.layout != torch.strided or tensor.is_nested or tensor.is_meta:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """ValueError, naming the tensors, where a number is NaN or infinite.

    One such number makes the sum not finite: 3 ms for 100 MB, a tenth of looking at each number.
    """
    broken = [name for name, x in tensors.items() if not x.sum().isfinite() and not x.isfinite().all()]
    if broken:
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        raise ValueError(f"NaN or infinite numbers in {', '.join(broken[:5])}{more}; use an earlier checkpoint")


VIT_DROPPED = {
    "head": "ImageNet classes",
    "head_dist": "ImageNet classes",
    "fc_norm": "a norm before ImageNet classes",
    "pre_logits": "ImageNet's representation layer",
}


VIT_DIMS = {"cls_token": 3, "pos_embed": 3, "patch_embed.proj.weight": 4, "patch_embed.proj.bias": 1, "norm.weight": 1}


def start_from_vit(model: AllInOne, tensors: Mapping[str, Tensor]) -> Report:
    """Load ViT or DeiT weights (timm's names) into a model's vision part and blocks; everything else stays new.

    The position embedding is resized to the model's grid. A class token without its distillation token starts a model
    with one as a copy; a distillation token that the model has no place for is dropped.
    Raises ValueError where the width, depth or patch size differ, or a tensor is unexplained.
    """
    config, report, ours = model.config, Report(), {}
    needed = {
        "cls_token": 3,
        "pos_embed": 3,
        "patch_embed.proj.weight": 4,
        "patch_embed.proj.bias": 1,
        "norm.weight": 1,
    }
    if missing := misshapen(tensors, needed, {"dist_token": 3}):
        raise ValueError(f"not a ViT in timm's names: missing or misshapen {', '.join(missing)}")
    width, patch_size = tensors["cls_token"].shape[-1], tensors["patch_embed.proj.weight"].shape[-1]
    depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    got = {"width": width, "patch_size": patch_size, "depth": depth}
    if (there := tensors["pos_embed"].shape[-1]) != width:
        raise ValueError(f"pos_embed is {there} wide, and cls_token {width}")
    wrong = [f"{k} {v} (wanted {getattr(config, k)})" for k, v in got.items() if getattr(config, k) != v]
    if wrong:
        raise ValueError(f"this ViT does not fit the model: {', '.join(wrong)}")
    unexplained = []
    has_dist = "dist_token" in tensors
    for name, tensor in tensors.items():
        prefix, dropped = under(name, VIT_NAMES), under(name, VIT_DROPPED)
        if prefix:
            target = f"encoder.{VIT_NAMES[prefix]}{name[len(prefix) :]}"
            ours[target] = tensor
            report.taken.append(f"{name} -> {target}")
        elif dropped:
            report.dropped.append(f"{name}: {VIT_DROPPED[dropped]}")
        elif name not in ("cls_token", "dist_token", "pos_embed"):
            unexplained.append(f"{name} {tuple(tensor.shape)}")
    if unexplained:
        raise ValueError(f"no explanation for {len(unexplained)} tensors: {', '.join(unexplained)}")
    position = tensors["pos_embed"][0]
    special, special_position = [tensors["cls_token"][0]], [position[:1]]
    report.taken.append("cls_token -> encoder.vision.special")
    if config.distilled:
        special.append(tensors["dist_token" if has_dist else "cls_token"][0])
        special_position.append(position[1:2] if has_dist else position[:1])
        report.taken.append(f"{'dist' if has_dist else 'cls'}_token -> encoder.vision.special (slot 1)")
    elif has_dist:
        report.dropped.append("dist_token: this model has no distillation token")
    patches = position[2 if has_dist else 1 :]
    resized = resize_position(patches, config.num_patches, 0)
    if len(resized) != len(patches):
        report.resized.append(f"pos_embed -> encoder.vision.position ({len(patches)} to {len(resized)} patches)")
    else:
        report.taken.append("pos_embed -> encoder.vision.position")
    ours["encoder.vision.special"] = torch.cat(special)
    ours["encoder.vision.position"] = torch.cat([*special_position, resized])
    own = model.state_dict()
    report.new.extend(sorted(own.keys() - ours.keys()))
    load_all(model, {**own, **ours})
    return report


def is_released(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the tensors carry the names of a released All-in-One checkpoint rather than of a ViT."""
    return any(re.match(r"transformer\.|text_embeddings\.", name) for name in tensors)
