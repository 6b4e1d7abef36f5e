"""Released All-in-One checkpoints (https://github.com/showlab/all-in-one), tensor by tensor, as models of ours."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from allinone.model.config import ModelConfig
from allinone.model.heads import AnswerHead, ChoiceHead, ContrastiveHead, MatchingHead, MLMHead, RankingHead
from allinone.model.model import AllInOne
from allinone.model.vit import VIT_NAMES
from allinone.model.weights import Report, load_all, longest_prefix, misshapen

HEAD_WIDTH = 64
"""Channels of an attention head in every released size, so that the width gives the number of heads."""

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
"""Prefixes of released names, and ours."""

RESHAPED_NAMES = {
    "text_embeddings.token_type_embeddings.weight": "encoder.text.token_type",
    "token_type_embeddings.weight": "encoder.modality",
    "transformer.cls_token": "encoder.vision.special",
    "transformer.dist_token": "encoder.vision.special",
    "transformer.pos_embed": "encoder.vision.position",
    "transformer.temporal_embed": "encoder.vision.time",
}
"""Released tensors that are a part of one of ours, or have another shape."""

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


def released_name(name: str) -> str | None:
    """Return our name of a released tensor; None for one that is dropped or unknown."""
    if name in RESHAPED_NAMES:
        return RESHAPED_NAMES[name]
    if name == "mlm_score.bias":
        return "heads.mlm.decoder.bias"  # a parameter of the parent, not of the decoder
    prefix = longest_prefix(name, RELEASED_NAMES)
    return None if prefix is None else RELEASED_NAMES[prefix] + name[len(prefix) :]


def convert_released(
    tensors: Mapping[str, Tensor], *, num_heads: int | None = None, answers: Sequence[str] | None = None
) -> tuple[AllInOne, Report]:
    """Build a model from a released checkpoint. Its sizes are read off the shapes, the attention heads off the width.

    Args:
        num_heads: attention heads, for a width that no released size has.
        answers: the labels of an answer head in order, which the released files do not hold. Default: numbers.

    Raises:
        ValueError: a tensor is missing or unexplained.
    """
    tensors = dict(tensors)
    config = released_config(tensors, num_heads)
    report, ours = Report(), {}
    # Leading dimensions of size 1 go, and so do rows that the released code never reads.
    reshaped: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
        "text_embeddings.token_type_embeddings.weight": (lambda x: x[:1], " (row 0 of 2, since the text has one type)"),
        "token_type_embeddings.weight": (lambda x: x[:2], " (rows of text and vision)"),
        "transformer.pos_embed": (lambda x: x[0], ""),
        "transformer.temporal_embed": (lambda x: x[0], ""),
    }
    # The class token and, in the distilled size, the distillation token are one tensor of ours.
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
    # Every other tensor is taken by its prefix, dropped with a reason, or stops the conversion.
    for name, tensor in tensors.items():
        dropped = longest_prefix(name, RELEASED_DROPPED)
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
"""Tensors that sizes are read from, and their numbers of dimensions."""


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
        # Without a temporal embedding no tensor shows the number of frames.
        num_frames=3 if time is None else time.shape[1],
        vocab_size=vocab_size,
        max_text_len=tensors["text_embeddings.position_embeddings.weight"].shape[0],
        shared_dim=tensors["txt_proj.weight"].shape[0] if "txt_proj.weight" in tensors else 512,
        distilled=distilled,
        patch_order="random",
    )


def align_answer_layers(ours: dict[str, Tensor]) -> None:
    """Rename the layers of VQAv2's answer head, which has no dropout in front: 0, 1, 3 are our 1, 2, 4."""
    prefix = "heads.answer.layers."
    if f"{prefix}0.weight" in ours:
        # Through other names: 0 renamed to 1 would overwrite the old 1.
        for name in [name for name in ours if name.startswith(prefix)]:
            index, rest = name.removeprefix(prefix).split(".", 1)
            ours[f"{prefix}moved.{int(index) + 1}.{rest}"] = ours.pop(name)
        for name in [name for name in ours if name.startswith(f"{prefix}moved.")]:
            ours[name.replace("moved.", "")] = ours.pop(name)


def head_configs(ours: Mapping[str, Tensor], answers: Sequence[str] | None) -> dict[str, Any]:
    """Return the configs of the heads that the tensors belong to, by kind."""
    kinds = {name.split(".")[1] for name in ours if name.startswith("heads.")}
    plain = {"mlm": MLMHead, "matching": MatchingHead, "ranking": RankingHead, "contrastive": ContrastiveHead}
    configs: dict[str, Any] = {kind: head.Config() for kind, head in plain.items() if kind in kinds}
    # Positions in `two_layers` of the linear layers that sizes are read from.
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


def is_released(tensors: Mapping[str, Tensor]) -> bool:
    """Return True if the tensors have the names of a released All-in-One checkpoint rather than of a ViT."""
    return any(name.startswith(("transformer.", "text_embeddings.")) for name in tensors)
