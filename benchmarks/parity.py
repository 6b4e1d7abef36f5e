"""Compare every output with a fixture that the released code made from the same weights and inputs.

    python benchmarks/parity.py DIR

DIR holds `checkpoint.ckpt`, `inputs.safetensors`, `expected.safetensors`, `temporal_roll.safetensors`, `config.json`,
`optim.json` and `grad_norms_pretrain.json`. Prints each output with its largest difference and the tolerance (2e-5;
losses and logits 1e-4, gradient norms 0.1 %), a last line `N of N outputs within tolerance`, and exits with 1 where one
is not. Outputs of variants that no released weight uses (other ways to roll, order-of-frames prediction) are listed as
left out.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from allinone.model.encoder import VideoTextEncoder
from allinone.model.features import features
from allinone.model.heads import AnswerHead, ChoiceHead, ContrastiveHead, MatchingHead, MLMHead, RankingHead
from allinone.model.released import convert_released, released_name
from allinone.model.time import token_rolling
from allinone.model.weight_files import read_tensors
from allinone.objectives.alignment import inner_words, transport_distance
from allinone.objectives.vtc import info_nce
from allinone.train.optim import Optim, parameter_groups
from allinone.types import IGNORE

FEATURES, LOSSES, RELATIVE = 2e-5, 1e-4, 1e-3
LEFT_OUT = {
    "v1": "rolls random tokens", "v2_layer": "rolls other tokens in each layer", "v3": "rolls one way",
    "vcop.": "order-of-frames prediction, which crashes in the released code", "loss.vcop": "the same",
}  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """One output: its largest difference (relative for gradient norms) and the tolerance."""

    name: str
    difference: float
    tolerance: float

    @property
    def within(self) -> bool:
        return self.difference <= self.tolerance  # a NaN is not

    def __str__(self) -> str:
        verdict = "ok  " if self.within else "FAIL"
        return f"{verdict} {self.name:50} {self.difference:9.2e}   (at most {self.tolerance:.0e})"


class Fixture:
    """A folder of inputs and expected outputs, with the model that its checkpoint converts to."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.spec = json.loads((folder / "config.json").read_text())["spec"]
        inputs = load_file(folder / "inputs.safetensors")
        self.inputs = {name: x.float() if x.is_floating_point() else x for name, x in inputs.items()}
        self.expected = load_file(folder / "expected.safetensors")
        self.rolling = load_file(folder / "temporal_roll.safetensors")
        self.tensors = read_tensors(folder / "checkpoint.ckpt")
        self.model, self.report = convert_released(self.tensors, num_heads=self.spec["heads"])

    def text(self, name: str = "text") -> tuple[Tensor, Tensor]:
        return self.inputs[f"{name}_ids"], self.inputs["text_masks" if name == "text" else f"{name}_masks"].bool()

    @property
    def raster(self) -> Tensor:
        frames, config = self.inputs["image"], self.model.config
        return torch.arange(config.num_patches).expand(len(frames), frames.shape[1], -1)


def computed_outputs(fixture: Fixture) -> Iterator[tuple[str, Tensor]]:
    """Every output that we keep, under the name it has in `expected.safetensors`."""
    encoder, config, inputs = fixture.model.encoder, fixture.model.config, fixture.inputs
    frames, (ids, mask), raster = inputs["image"], fixture.text(), fixture.raster
    batch, num_frames = frames.shape[:2]
    require = fixture.model.require
    matching, mlm, contrastive = require(MatchingHead), require(MLMHead), require(ContrastiveHead)
    ranking, answer, choice = require(RankingHead), require(AnswerHead), require(ChoiceHead)

    vision = encoder.vision(frames)
    yield "embed.text", encoder.text(ids)
    yield "embed.image", vision.flatten(0, 1)
    yield "embed.image_masks", torch.ones(batch * num_frames, vision.shape[2])
    yield "embed.patch_index", torch.cartesian_prod(*[torch.arange(config.grid)] * 2).expand(batch * num_frames, -1, -1)

    joint = encoder(frames, ids, mask, patch_order=raster)
    pooled = encoder.pool(joint.text)
    yield "joint.text_feats", joint.text
    yield "joint.image_feats", joint.video
    yield "joint.cls_feats", pooled
    yield "joint.image_masks", torch.ones(joint.video.shape[:2])
    for block in features(encoder, frames, ids, mask, layers=range(config.depth), patch_order=raster):
        yield f"joint.block{block.block}_clip0", block.tokens[0]

    perm = inputs["patch_perm"].unflatten(0, (batch, num_frames))
    permuted = encoder(frames, ids, mask, patch_order=perm)
    yield "joint_perm.text_feats", permuted.text
    yield "joint_perm.image_feats", permuted.video
    yield "joint_perm.cls_feats", encoder.pool(permuted.text)

    padded, real_grid = pad_last_clip(frames, config.patch_size)
    text, masks = joint_of_padded(encoder, padded, ids, mask, real_grid)
    yield "joint_padded.text_feats", text
    yield "joint_padded.cls_feats", encoder.pool(text)
    yield "joint_padded.image_masks", masks

    text, video = encoder.encode_text(ids, mask), encoder.encode_video(frames)
    yield "text_only.feats", text
    yield "text_only.cls_feats", encoder.pool(text)
    yield "text_only.proj", contrastive.text(text[:, 0])
    yield "video_only.feats", video
    yield "video_only.cls_feats", encoder.pool(video)
    yield "video_only.proj", contrastive.video(video[:, 0])
    similarity = contrastive.embed_text(text) @ contrastive.embed_video(video).T
    yield "itc.sim", similarity
    logits, own = contrastive.scale * similarity, torch.eye(batch, dtype=torch.bool)
    yield "loss.ind_itc", info_nce(logits, own) + info_nce(logits.T, own)

    yield "head.itm", matching(pooled)
    yield "head.rank_output", ranking(pooled)[:, None]
    yield "head.vqa_classifier", answer(pooled)
    yield "head.mc_vqa_classifier", choice(pooled)[:, None]
    yield "loss.openend_vqa", F.cross_entropy(answer(pooled), inputs["vqa_labels"], ignore_index=IGNORE)

    def options(prefix: str, head: RankingHead | ChoiceHead) -> Tensor:
        texts = [(ids, mask)]
        while f"{prefix}_{len(texts) - 1}_ids" in inputs:
            texts.append(fixture.text(f"{prefix}_{len(texts) - 1}"))
        joints = [encoder(frames, *text, patch_order=raster) for text in texts]
        return torch.stack([head(encoder.pool(joint.text)) for joint in joints], dim=1)

    scores = options("false_text", ranking)
    yield "irtr.scores", scores
    yield "loss.irtr", F.cross_entropy(scores, torch.zeros(batch, dtype=torch.long))
    scores = options("options_text", choice)
    yield "mc_vqa.scores", scores
    yield "loss.mc_vqa", F.cross_entropy(scores, inputs["mc_answer"])

    words = inner_words(mask)
    yield "ot.distance", transport_distance(joint.text, joint.video[:, 1:], words)
    yield "ot.distance_deit", transport_distance(joint.text, joint.video[:, 2:], words)
    yield from pretraining(fixture)
    yield "mlm.logits", mlm(encoder(frames, inputs["text_ids_mlm"], mask, patch_order=raster).text)


def pretraining(fixture: Fixture) -> Iterator[tuple[str, Tensor]]:
    """The losses of pre-training, on the clips that the fixture mixed."""
    encoder, inputs, raster = fixture.model.encoder, fixture.inputs, fixture.raster
    ids, mask = fixture.text()
    masked = encoder(inputs["image"], inputs["text_ids_mlm"], mask, patch_order=raster)
    logits = fixture.model.require(MLMHead)(masked.text)
    mlm = F.cross_entropy(logits.flatten(0, 1), inputs["text_labels_mlm"].flatten(), ignore_index=IGNORE)
    matched = inputs["itm_labels"].bool()
    frames = torch.where(matched[:, None, None, None, None], inputs["image"], inputs["false_image_0"])
    joint = encoder(frames, ids, mask, patch_order=raster)
    logits = fixture.model.require(MatchingHead)(encoder.pool(joint.text))
    itm = F.cross_entropy(logits, inputs["itm_labels"])
    yield "itm.logits", logits
    yield "loss.mlm", mlm
    yield "loss.itm", itm
    own_special = fixture.model.config.num_special
    for name, num_special in (("loss.itm_wpa", 1), ("loss.itm_wpa_deit", 2)):
        distance = transport_distance(joint.text, joint.video[:, num_special:], inner_words(mask))
        alignment = 0.1 * torch.where(matched, distance, -distance).mean()
        yield name, alignment
        if num_special == own_special:
            yield "loss.pretrain_total", mlm + itm + alignment


def pad_last_clip(frames: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Blank the last clip's bottom row and right column of patches, as the fixture's `joint_padded` did."""
    padded, grid = frames.clone(), frames.shape[-1] // patch
    padded[-1, ..., -patch:, :] = 0
    padded[-1, ..., :, -patch:] = 0
    real_grid = torch.full((len(frames), 2), grid)
    real_grid[-1] = grid - 1
    return padded, real_grid


def joint_of_padded(
    encoder: VideoTextEncoder, frames: Tensor, ids: Tensor, mask: Tensor, real_grid: Tensor
) -> tuple[Tensor, Tensor]:
    """The joint mode on frames of which only `real_grid` rows and columns of patches (from the top left) are real.

    The position embedding is resized to the real grid, and the other patches move to the end and are masked. Returns
    the features of the text, and which vision tokens are real. Ours never pads frames.
    """
    config, num_text, num_frames = encoder.config, ids.shape[1], frames.shape[1]
    vision = encoder.vision
    special_position, position = vision.position.split([config.num_special, config.num_patches])
    places, real = [], []
    for rows, columns in real_grid.tolist():
        square = position.T.reshape(1, -1, config.grid, config.grid)
        small = F.interpolate(square, size=(rows, columns), mode="bilinear", align_corners=True)
        padding = (0, config.grid - columns, 0, config.grid - rows)
        places.append(F.pad(small, padding)[0].flatten(1).T)
        real.append(F.pad(torch.ones(rows, columns, dtype=torch.bool), padding).flatten())
    is_real = torch.stack(real)
    real_first = (~is_real).int().argsort(dim=1, stable=True)
    patches = vision.patch(frames.flatten(0, 1)).flatten(2).transpose(1, 2).unflatten(0, frames.shape[:2])
    patches = patches + torch.stack(places)[:, None]
    patches = patches.gather(2, real_first[:, None, :, None].expand_as(patches))
    if vision.time is not None:
        patches = patches + vision.time[:num_frames, None]
    special = (vision.special + special_position).expand(*frames.shape[:2], -1, -1)
    words = (encoder.text(ids) + encoder.modality[0])[:, None].expand(-1, num_frames, -1, -1)
    tokens = torch.cat([words, torch.cat([special, patches], dim=2) + encoder.modality[1]], dim=2)
    vision_mask = F.pad(is_real.gather(1, real_first), (config.num_special, 0), value=True)
    key_mask = torch.cat([mask, vision_mask], dim=1)
    return encoder.run(tokens, key_mask, partial(encoder.time, num_text=num_text))[:, :num_text], vision_mask


def compare(fixture: Fixture) -> Iterator[Comparison]:
    """Outputs, rolling, gradient norms, parameter groups and learning rates."""
    with torch.no_grad():
        ours = dict(computed_outputs(fixture))
        for name, wanted in fixture.expected.items():
            if left_out(name) is None:
                tolerance = LOSSES if name.startswith("loss.") or "logits" in name else FEATURES
                yield Comparison(name, largest(ours.get(name), wanted), tolerance)
        for name, x in (("v0", "x"), ("x197_v0", "x197"), ("short_v0", "short_x")):
            num_frames = fixture.spec["T"]
            tokens = fixture.rolling[x].unflatten(0, (-1, num_frames))
            rolled = token_rolling(tokens, tokens.shape[2] // 8).flatten(0, 1)
            yield Comparison(f"temporal_roll.{name}", largest(rolled, fixture.rolling[name]), 0.0)
    yield from compare_gradients(fixture)
    yield from compare_optimizer(fixture)


def largest(ours: Tensor | None, wanted: Tensor) -> float:
    if ours is None or ours.shape != wanted.shape:
        return float("nan")
    return (ours.double() - wanted.double()).abs().max().item()


def left_out(name: str) -> str | None:
    bare = name.removeprefix("x197_")
    return next((why for prefix, why in LEFT_OUT.items() if bare.startswith(prefix)), None)


def compare_gradients(fixture: Fixture) -> Iterator[Comparison]:
    """Norms of the gradient of MLM + VTM + alignment, for every released parameter."""
    losses = dict(pretraining(fixture))
    fixture.model.zero_grad()
    losses["loss.pretrain_total"].backward()
    gradients = {name: p.grad for name, p in fixture.model.named_parameters()}
    rows = {"transformer.cls_token": 0, "transformer.dist_token": 1}  # of the special tokens
    norms = json.loads((fixture.folder / "grad_norms_pretrain.json").read_text())
    for name, wanted in norms.items():
        if left_out(name.replace("_classifier", ".")):
            continue
        gradient = gradients.get(str(released_name(name)))
        if gradient is not None and name in rows:
            gradient = gradient[rows[name]]
        got = 0.0 if gradient is None else gradient.norm().item()
        yield Comparison(f"gradient {name}", abs(got - (wanted or 0)) / (wanted or 1), RELATIVE)


def compare_optimizer(fixture: Fixture) -> Iterator[Comparison]:
    """Rate and weight decay of every parameter, and the learning-rate curve."""
    wanted = json.loads((fixture.folder / "optim.json").read_text())
    config = Optim.Config(
        lr=wanted["base_lr"], betas=tuple(wanted["betas"]), eps=wanted["eps"], num_steps=wanted["max_steps"],
        warmup=wanted["warmup_steps"], end_lr=wanted["end_lr"], power=wanted["decay_power"],
    )  # fmt: skip
    ours = {}
    for group in parameter_groups(fixture.model.named_parameters(), config):
        ours |= dict.fromkeys(group["names"], (group["lr"], group["weight_decay"]))
    for i, group in enumerate(wanted["groups"]):
        names = [released_name(name) for name in group["names"] if "vcop" not in name]
        if fixture.model.config.distilled:  # has no temporal embedding of ours
            names = [name for name in names if name != "encoder.vision.time"]
        wrong = [n for n in names if ours.get(str(n)) != (group["lr"], group["weight_decay"])]
        yield Comparison(f"parameter group {i} (members that differ)", float(len(wrong)), 0.0)
    curve = [config.learning_rate(step) for step in range(len(wanted["lr_at_step"]))]
    difference = max(abs(a - b) for a, b in zip(curve, wanted["lr_at_step"], strict=True))
    yield Comparison("learning rate", difference, 1e-12)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="a fixture folder")
    fixture = Fixture(parser.parse_args().folder)
    comparisons = list(compare(fixture))
    print(*comparisons, sep="\n")
    for name in (*fixture.expected, *fixture.rolling):
        if why := left_out(name):
            print(f"left out {name}: {why}")
    good = sum(c.within for c in comparisons)
    print(f"{good} of {len(comparisons)} outputs within tolerance")
    return 0 if good == len(comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
