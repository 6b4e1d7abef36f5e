"""What makes inference fast changes nothing but the rounding."""

import pickle

import pytest
import torch

from allinone.model import cpu, packed
from allinone.model.config import BASE, NANO
from allinone.model.cpu import Dropout
from allinone.model.encoder import VideoTextEncoder
from allinone.model.layers import attend
from allinone.model.packed import bfloat16_pays, pack

CONFIG = NANO.replace(width=64, depth=2, num_heads=2, patch_order="random", vocab_size=100, max_text_len=12)
IDS = torch.tensor([[1, 7, 9, 2], [1, 5, 2, 0]])
MASK = IDS > 0


@pytest.fixture(params=[CONFIG, CONFIG.replace(distilled=True, text_time=False)], ids=["plain", "distilled"])
def encoder(request: pytest.FixtureRequest) -> VideoTextEncoder:
    torch.manual_seed(0)
    return VideoTextEncoder(request.param).eval()


@pytest.fixture
def frames():
    return torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def outputs(encoder: VideoTextEncoder, frames: torch.Tensor, num_out_tokens: int | None = None) -> list[torch.Tensor]:
    with torch.inference_mode():
        joint = encoder(frames, IDS, MASK, num_out_tokens=num_out_tokens).text
        return [
            joint,
            encoder.encode_video(frames, num_out_tokens=num_out_tokens),
            encoder.encode_text(IDS, MASK, num_out_tokens=num_out_tokens),
        ]


def test_token_0_alone_is_the_token_0_of_all(encoder, frames):
    for first, everything in zip(outputs(encoder, frames, num_out_tokens=1), outputs(encoder, frames), strict=True):
        assert first.shape[1] == 1
        assert torch.allclose(first, everything[:, :1], atol=1e-5)


def test_token_0_alone_gives_the_same_gradient(encoder, frames):
    gradients = []
    for num_out_tokens in (None, 1):
        encoder.zero_grad()
        encoder.pool(encoder(frames, IDS, MASK, num_out_tokens=num_out_tokens).text).sum().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters() if p.grad is not None])
    for with_all, alone in zip(*gradients, strict=True):
        assert torch.allclose(with_all, alone, atol=1e-3 * with_all.abs().max().item() + 1e-6)


@pytest.mark.parametrize("num_out_tokens", [None, 1])
def test_packed_weights_give_the_features_of_float32_up_to_rounding(encoder, frames, num_out_tokens):
    packed = pack(encoder)
    for wanted, got in zip(
        outputs(encoder, frames), outputs(packed, frames, num_out_tokens=num_out_tokens), strict=True
    ):
        assert got.dtype == torch.float32
        assert torch.cosine_similarity(wanted[:, : got.shape[1]], got, dim=-1).min() > 0.999


def test_packing_leaves_the_encoder_as_it_was_and_can_be_pickled(encoder, frames):
    before = outputs(encoder, frames)
    packed = pack(encoder)
    again = pickle.loads(pickle.dumps(packed))
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(encoder, frames), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(outputs(packed, frames), outputs(again, frames), strict=True))


@pytest.mark.parametrize("module", [cpu, packed])
def test_attention_in_bfloat16_by_parts_is_that_of_float32(monkeypatch, module):
    monkeypatch.setattr(module, "LOGITS_IN_CHUNK", 2 * 2 * 6 * 6)  # two rows at a time
    query, key, value = torch.randn(3, 5, 2, 6, 16, generator=torch.Generator().manual_seed(0)).unbind(0)
    mask = torch.ones(5, 6, dtype=torch.bool)
    mask[1, 4:] = mask[4, 2:] = False
    for key_mask in (None, mask, torch.ones_like(mask)):
        wanted = attend(query, key, value, key_mask)
        in_chunks = cpu.attend_in_chunks if module is cpu else packed.attend
        got = in_chunks(query.bfloat16(), key.bfloat16(), value.bfloat16(), key_mask).float()
        wanted = wanted.transpose(1, 2).flatten(2) if module is packed else wanted
        assert torch.allclose(wanted, got, atol=0.03)


def test_narrow_models_stay_in_float32_on_a_cpu():
    cpu = torch.device("cpu")
    assert not bfloat16_pays(NANO, cpu)
    assert bfloat16_pays(BASE, cpu) == any(torch.cpu.get_capabilities().get(n) for n in ("avx512_bf16", "amx_bf16"))


def test_dropout_drops_its_share_evenly_and_follows_torch_seed():
    dropout = Dropout(0.1)
    x = torch.ones(300, 1001, requires_grad=True)
    torch.manual_seed(3)
    y = dropout(x * 1)  # what it overwrites may be no leaf
    y.sum().backward()
    torch.manual_seed(3)
    assert torch.equal(y, dropout(x * 1))
    assert not torch.equal(y, dropout(x * 1))
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())  # scaled where kept, none where dropped
    assert y.unique().tolist() == [0.0, pytest.approx(1 / 0.9)]
    assert (y == 0).float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert torch.equal(dropout.eval()(x), x)


def test_recomputing_gives_the_same_gradient_dropout_included(frames):
    encoder = VideoTextEncoder(CONFIG.replace(dropout=0.2)).train()
    gradients = []
    for encoder.recompute in (False, True):
        encoder.zero_grad()
        torch.manual_seed(0)
        encoder(frames, IDS, MASK).text.square().sum().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(*gradients, strict=True))
