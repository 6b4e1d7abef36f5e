from pathlib import Path

import pytest
import torch

from allinone.model.heads import AnswerHead
from allinone.model.released import convert_released
from allinone.model.weight_files import read_tensors

RELEASED = Path(__file__).parents[1] / "data" / "parity_small" / "checkpoint.ckpt"


@pytest.fixture
def released():
    return read_tensors(RELEASED)


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


@torch.no_grad()
def test_a_model_for_more_frames_keeps_what_it_computes_for_the_first_ones(released):
    model, _ = convert_released(released, num_heads=4)
    longer = model.with_frames(5)
    frames = torch.randn(1, 3, 3, 64, 64)
    assert torch.equal(longer.encoder.encode_video(frames), model.encoder.encode_video(frames))
    assert longer.encoder.encode_video(torch.randn(1, 5, 3, 64, 64)).isfinite().all()
    assert set(longer.heads) == set(model.heads)
