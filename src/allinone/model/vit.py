"""ViT and DeiT weights (timm's names, https://github.com/huggingface/pytorch-image-models) as the start of a model."""

from collections.abc import Mapping

import torch
from torch import Tensor

from allinone.model.config import ModelConfig
from allinone.model.model import AllInOne
from allinone.model.weights import Report, load_all, longest_prefix, misshapen, resize_position

VIT_NAMES = {"patch_embed.proj": "vision.patch", "blocks": "blocks", "norm": "norm"}
"""Prefixes of tensors that keep their shape, in timm's names and in ours (within the encoder)."""

VIT_DROPPED = {
    "head": "ImageNet classes",
    "head_dist": "ImageNet classes",
    "fc_norm": "a norm before ImageNet classes",
    "pre_logits": "ImageNet's representation layer",
}

VIT_DIMS = {"cls_token": 3, "pos_embed": 3, "patch_embed.proj.weight": 4, "patch_embed.proj.bias": 1, "norm.weight": 1}
"""Tensors that every ViT has, and their numbers of dimensions."""


def start_from_vit(model: AllInOne, tensors: Mapping[str, Tensor]) -> Report:
    """Load the weights of a ViT or DeiT into a model's vision part and blocks; everything else stays new.

    The position embedding is resized to the model's grid. A ViT without a distillation token starts that of a distilled
    model as a copy of its class token; one that the model has no place for is dropped.

    Raises:
        ValueError: width, depth or patch size differ, or a tensor is unexplained.
    """
    check_fits(model.config, tensors)
    report, ours, unexplained = Report(), {}, []
    for name, tensor in tensors.items():
        prefix, dropped = longest_prefix(name, VIT_NAMES), longest_prefix(name, VIT_DROPPED)
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
    ours |= special_and_position(model.config, tensors, report)
    own = model.state_dict()
    report.new.extend(sorted(own.keys() - ours.keys()))
    load_all(model, {**own, **ours})
    return report


def check_fits(config: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError where this is no ViT, or one of other sizes."""
    if missing := misshapen(tensors, VIT_DIMS, {"dist_token": 3}):
        raise ValueError(f"not a ViT in timm's names: missing or misshapen {', '.join(missing)}")
    width = tensors["cls_token"].shape[-1]
    if (position_width := tensors["pos_embed"].shape[-1]) != width:
        raise ValueError(f"pos_embed is {position_width} wide, and cls_token {width}")
    sizes = {
        "width": width,
        "patch_size": tensors["patch_embed.proj.weight"].shape[-1],
        "depth": len({name.split(".")[1] for name in tensors if name.startswith("blocks.")}),
    }
    wrong = [f"{k} {v} (wanted {getattr(config, k)})" for k, v in sizes.items() if getattr(config, k) != v]
    if wrong:
        raise ValueError(f"this ViT does not fit the model: {', '.join(wrong)}")


def special_and_position(config: ModelConfig, tensors: Mapping[str, Tensor], report: Report) -> dict[str, Tensor]:
    """Return our special tokens and position embedding; adds lines to the report."""
    # timm's position embedding begins with the class token, then the distillation token if there is one.
    has_dist = "dist_token" in tensors
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
    return {
        "encoder.vision.special": torch.cat(special),
        "encoder.vision.position": torch.cat([*special_position, resized]),
    }
