from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from allinone.model import AllInOne
from allinone.model.config import NANO
from allinone.model.released import is_released
from allinone.model.vit import start_from_vit
from allinone.model.weight_files import read_tensors
from allinone.model.weights import resize_position

RELEASED = Path(__file__).parents[1] / "data" / "parity_small" / "checkpoint.ckpt"
SMALLEST = NANO.replace(text_time=False, width=32, num_heads=2, depth=2, vocab_size=50)


def vit_tensors(width=32, depth=2, side=4, distilled=False, patch=16):
    """A ViT in timm's names, with random weights."""
    special = 2 if distilled else 1
    tensors = {
        "cls_token": torch.randn(1, 1, width),
        "pos_embed": torch.randn(1, side * side + special, width),
        "patch_embed.proj.weight": torch.randn(width, 3, patch, patch),
        "patch_embed.proj.bias": torch.randn(width),
        "norm.weight": torch.randn(width),
        "norm.bias": torch.randn(width),
        "head.weight": torch.randn(10, width),
        "head.bias": torch.randn(10),
    }
    if distilled:
        tensors |= {"dist_token": torch.randn(1, 1, width), "head_dist.weight": torch.randn(10, width)}
    shapes = {
        "norm1": (width,), "norm2": (width,), "attn.qkv": (3 * width, width), "attn.proj": (width, width),
        "mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width),
    }  # fmt: skip
    for i in range(depth):
        for name, shape in shapes.items():
            tensors[f"blocks.{i}.{name}.weight"] = torch.randn(shape)
            tensors[f"blocks.{i}.{name}.bias"] = torch.randn(shape[0])
    return tensors


def test_an_image_transformer_starts_the_vision_part_and_blocks(tmp_path):
    tensors = vit_tensors()
    save_file(tensors, tmp_path / "vit.safetensors")
    torch.save({"model": tensors}, tmp_path / "deit.pth")
    for name in ("vit.safetensors", "deit.pth"):
        model = AllInOne.build(SMALLEST)
        words = model.encoder.text.word.weight.clone()
        report = start_from_vit(model, read_tensors(tmp_path / name))
        assert torch.equal(model.state_dict()["encoder.blocks.1.mlp.fc2.weight"], tensors["blocks.1.mlp.fc2.weight"])
        assert torch.equal(model.encoder.vision.position, tensors["pos_embed"][0])
        assert torch.equal(model.encoder.text.word.weight, words)
        assert "encoder.text.word.weight" in report.new
        assert any(line.startswith("head.weight") for line in report.dropped)


def test_a_position_embedding_of_another_grid_is_resized():
    model = AllInOne.build(SMALLEST)
    report = start_from_vit(model, vit_tensors(side=14))
    assert report.resized == ["pos_embed -> encoder.vision.position (196 to 16 patches)"]
    flat = resize_position(torch.ones(197, 8), 16, 1)
    assert flat.shape == (17, 8)
    assert torch.allclose(flat, torch.ones(()), atol=1e-5)


def test_a_distilled_image_transformer_starts_models_with_and_without_its_token():
    tensors = vit_tensors(distilled=True)
    distilled = AllInOne.build(SMALLEST.replace(distilled=True))
    start_from_vit(distilled, tensors)
    assert torch.equal(distilled.encoder.vision.special[1], tensors["dist_token"][0, 0])
    plain = AllInOne.build(SMALLEST)
    report = start_from_vit(plain, tensors)
    assert torch.equal(plain.encoder.vision.position[1:], tensors["pos_embed"][0, 2:])
    assert "dist_token: this model has no distillation token" in report.dropped


def test_an_image_transformer_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"width 48 \(wanted 32\)"):
        start_from_vit(AllInOne.build(SMALLEST), vit_tensors(width=48))
    with pytest.raises(ValueError, match="no explanation for 1 tensors: ln_pre"):
        start_from_vit(AllInOne.build(SMALLEST), {**vit_tensors(), "ln_pre.weight": torch.zeros(3)})
    with pytest.raises(ValueError, match="not a ViT"):
        start_from_vit(AllInOne.build(SMALLEST), {"fc.weight": torch.zeros(3)})


def test_the_two_kinds_of_file_are_told_apart():
    assert is_released(read_tensors(RELEASED))
    assert not is_released(vit_tensors())
