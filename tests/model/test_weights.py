import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from allinone.model.config import NANO
from allinone.model.heads import AnswerHead, MatchingHead, RankingHead
from allinone.model.model import AllInOne
from allinone.model.released import convert_released, is_released
from allinone.model.vit import start_from_vit
from allinone.model.weight_files import read_tensors
from allinone.model.weights import resize_position, resize_time

RELEASED = Path(__file__).parents[1] / "data" / "parity_small" / "checkpoint.ckpt"


@pytest.fixture
def released():
    return read_tensors(RELEASED)


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


SMALLEST = NANO.replace(text_time=False, width=32, num_heads=2, depth=2, vocab_size=50)


def test_the_configuration_is_read_off_the_shapes(released):
    model, report = convert_released(released, num_heads=4)
    config = model.config
    assert (config.width, config.depth, config.num_frames, config.image_size) == (64, 3, 3, 64)
    assert (config.vocab_size, config.max_text_len, config.shared_dim) == (1000, 12, 32)
    assert config.patch_order == "random"
    assert set(model.heads) == {"mlm", "matching", "ranking", "contrastive", "answer", "choice"}
    assert len(report.taken) + len(report.dropped) == len(released)
    assert [line for line in report.dropped if "vcop" in line]


def test_the_number_of_heads_follows_from_the_width_of_the_released_sizes(released):
    assert convert_released(released)[0].config.num_heads == 1  # 64 channels a head


def test_a_tensor_that_nothing_explains_stops_the_conversion(released):
    with pytest.raises(ValueError, match=r"no explanation for 1 tensors: transformer\.surprise \(3,\)"):
        convert_released({**released, "transformer.surprise": torch.zeros(3)})


def test_a_missing_tensor_stops_the_conversion(released):
    del released["transformer.blocks.1.attn.qkv.weight"]
    with pytest.raises(ValueError, match=r"encoder\.blocks\.1\.attn\.qkv\.weight is missing"):
        convert_released(released)


def test_answers_are_named_by_the_user_or_numbered(released):
    model, _ = convert_released(released, answers=[f"word{i}" for i in range(17)])
    assert model.require(AnswerHead).config.answers[3] == "word3"
    assert convert_released(released)[0].require(AnswerHead).config.answers[3] == "answer 3"
    with pytest.raises(ValueError, match="17 answers, but 2 names"):
        convert_released(released, answers=["a", "b"])


def test_the_answer_head_of_vqav2_without_its_dropout_is_read_too(released):
    moved = {"1": "0", "2": "1", "4": "3"}
    older = {}
    for name, tensor in released.items():
        head, _, rest = name.partition("vqa_classifier.")
        older[f"vqa_classifier.{moved[rest[0]]}{rest[1:]}" if rest and not head else name] = tensor
    assert "vqa_classifier.0.weight" in older
    ours, theirs = convert_released(released)[0], convert_released(older)[0]
    pooled = torch.randn(2, 64)
    assert torch.equal(ours.require(AnswerHead)(pooled), theirs.require(AnswerHead)(pooled))


def test_a_malicious_pickle_runs_nothing(tmp_path):
    trap = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (trap,))

    (tmp_path / "evil.ckpt").write_bytes(pickle.dumps({"state_dict": Evil()}, protocol=2))
    torch.save({"state_dict": Evil()}, tmp_path / "evil2.ckpt")
    for name in ("evil.ckpt", "evil2.ckpt"):
        with pytest.raises(ValueError, match="could run code"):
            read_tensors(tmp_path / name)
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"no weights at all", RELEASED.read_bytes()[:5000]])
@pytest.mark.parametrize("name", ["x.ckpt", "x.safetensors"])
def test_a_damaged_file_is_one_clear_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        read_tensors(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_tensors(tmp_path / "absent.ckpt")


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


def test_the_two_kinds_of_file_are_told_apart(released):
    assert is_released(released)
    assert not is_released(vit_tensors())


def test_time_is_extended_by_zeros_or_cut():
    time = torch.randn(3, 4)
    assert torch.equal(resize_time(time, 2), time[:2])
    longer = resize_time(time, 5)
    assert torch.equal(longer[:3], time)
    assert (longer[3:] == 0).all()


@torch.no_grad()
def test_a_model_for_more_frames_keeps_what_it_computes_for_the_first_ones(released):
    model, _ = convert_released(released, num_heads=4)
    longer = model.with_frames(5)
    frames = torch.randn(1, 3, 3, 64, 64)
    assert torch.equal(longer.encoder.encode_video(frames), model.encoder.encode_video(frames))
    assert longer.encoder.encode_video(torch.randn(1, 5, 3, 64, 64)).isfinite().all()
    assert set(longer.heads) == set(model.heads)


def test_ranking_starts_as_the_yes_of_matching():
    matching, ranking = MatchingHead(MatchingHead.Config(), SMALLEST), RankingHead(RankingHead.Config(), SMALLEST)
    assert ranking.start_from_others({"matching": matching})
    pooled = torch.randn(4, 32)
    assert torch.allclose(ranking(pooled), matching(pooled)[:, 1], atol=1e-6)
