from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from allinone.model.config import BASE, NANO, SMALL_DISTILLED
from allinone.model.encoder import VideoTextEncoder
from allinone.model.packed import pack
from allinone.model.time import TIMES, NoExchange, Rolling, Time, token_rolling


def test_rolling_moves_only_the_chosen_tokens():
    x = torch.arange(2 * 3 * 9.0).reshape(2, 3, 9, 1)
    y = token_rolling(x, num_rolled=2)
    assert torch.equal(y[:, :, 0], x[:, :, 0])  # class tokens stay
    assert torch.equal(y[:, 1, 1:3], x[:, 0, 1:3])  # two arrive from the frame before
    assert torch.equal(y[:, 0, -2:], x[:, 1, -2:])  # two from the frame after
    assert torch.equal(y[:, :, 3:-2], x[:, :, 3:-2])  # the rest stays


def test_text_in_front_stays():
    x = torch.randn(2, 3, 14, 4)
    y = token_rolling(x, num_rolled=2, num_text=5)
    assert torch.equal(y[:, :, :5], x[:, :, :5])
    assert torch.equal(y[:, :, 5:], token_rolling(x[:, :, 5:], num_rolled=2))


@given(num_frames=st.integers(1, 6), num_rolled=st.integers(0, 4), rest=st.integers(0, 3))
def test_time_is_circular(num_frames, num_rolled, rest):
    x = torch.randn(1, num_frames, 1 + 2 * num_rolled + rest, 2)
    y = x
    for _ in range(num_frames):
        y = token_rolling(y, num_rolled)
    assert torch.equal(x, y)


def test_one_frame_has_no_neighbor():
    x = torch.randn(2, 1, 17, 4)
    assert torch.equal(token_rolling(x, num_rolled=2), x)


def test_more_tokens_than_there_are_cannot_roll():
    with pytest.raises(ValueError, match="cannot roll 2 x 3 of 4 patch tokens"):
        token_rolling(torch.zeros(1, 2, 5, 1), num_rolled=3)


def test_without_an_eighth_of_a_token_whole_frames_move():
    x = torch.randn(1, 3, 5, 2)
    assert torch.equal(Rolling(Rolling.Config(), NANO)(x, 0, 0), x.roll(-1, dims=1))
    assert torch.equal(token_rolling(x, num_rolled=0, num_text=2)[:, :, :2], x[:, :, :2])


@pytest.mark.parametrize("config", [BASE, SMALL_DISTILLED])
def test_frames_of_224_pixels_roll_24_tokens_each_way_behind_the_text(config):
    num_tokens = config.num_special + config.num_patches
    x = torch.arange(3)[None, :, None].expand(1, -1, 7 + num_tokens)  # each token holds the number of its frame
    rolled = Rolling(Rolling.Config(), config)(x, num_text=7, block=0)
    assert (rolled != x).sum(-1).tolist() == [[48, 48, 48]]
    assert (rolled[..., : 7 + 1] == x[..., : 7 + 1]).all()


SMALLEST = NANO.replace(width=32, num_heads=2, depth=2, vocab_size=50, max_text_len=8)
FRAMES = torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
TEXT = torch.tensor([[1, 7, 9, 2], [1, 5, 3, 2]])
MASK = torch.ones(2, 4, dtype=torch.bool)


def outputs(time) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    encoder = VideoTextEncoder(SMALLEST.replace(time=time)).eval()
    with torch.no_grad():
        return encoder(FRAMES, TEXT, MASK).text, encoder.encode_video(FRAMES)


def test_the_video_mode_rolls_only_where_the_config_says_so():
    joint, video = outputs(Rolling.Config())
    rolled_joint, rolled_video = outputs(Rolling.Config(video=True))
    assert torch.equal(joint, rolled_joint)
    assert not torch.allclose(video, rolled_video, atol=1e-3)


def test_without_an_exchange_frames_meet_in_the_mean_only():
    joint, video = outputs(NoExchange.Config())
    assert torch.equal(video, outputs(Rolling.Config())[1])
    assert not torch.allclose(joint, outputs(Rolling.Config())[0], atol=1e-3)


class MeanOverTime(Time):
    """Add a learned share of the mean over frames to every patch."""

    kind = "mean_over_time"

    @dataclass(frozen=True, kw_only=True)
    class Config:
        start: float = 0.5

    def __init__(self, config: Config, model):
        super().__init__(config, model)
        self.share = torch.nn.Parameter(torch.full((model.depth,), config.start))

    def forward(self, tokens, num_text, block):
        text, vision = tokens[:, :, :num_text], tokens[:, :, num_text:]
        return torch.cat([text, vision + self.share[block] * vision.mean(dim=1, keepdim=True)], dim=2)


def test_a_users_own_way_of_time_is_computed_trained_and_packed():
    encoder = VideoTextEncoder(SMALLEST.replace(time=MeanOverTime.Config())).eval()
    encoder(FRAMES, TEXT, MASK).text.sum().backward()
    gradient = encoder.get_parameter("time.share").grad
    assert gradient is not None
    assert (gradient != 0).all()  # of each block
    assert not torch.allclose(outputs(MeanOverTime.Config())[1], outputs(MeanOverTime.Config(start=0.0))[1], atol=1e-3)
    assert torch.equal(outputs(MeanOverTime.Config(start=0.0))[0], outputs(NoExchange.Config())[0])
    with torch.inference_mode():
        packed, plain = pack(encoder).encode_video(FRAMES), encoder.encode_video(FRAMES)
    assert torch.cosine_similarity(packed, plain, dim=-1).min() > 0.999


def test_kinds_of_ours_are_not_replaced_and_a_kind_is_required():
    with pytest.raises(ValueError, match="kind 'rolling' is that of Rolling"):
        type("Mine", (Time,), {"kind": "rolling", "Config": MeanOverTime.Config})
    with pytest.raises(TypeError, match="its own `kind`"):
        type("Mine", (Rolling,), {})
    assert TIMES["rolling"] is Rolling
