import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from allinone.model.rolling import token_rolling


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
def test_time_is_a_ring(num_frames, num_rolled, rest):
    x = torch.randn(1, num_frames, 1 + 2 * num_rolled + rest, 2)
    y = x
    for _ in range(num_frames):
        y = token_rolling(y, num_rolled)
    assert torch.equal(x, y)


def test_one_frame_has_no_neighbour():
    x = torch.randn(2, 1, 17, 4)
    assert torch.equal(token_rolling(x, num_rolled=2), x)


def test_more_tokens_than_there_are_cannot_roll():
    with pytest.raises(ValueError, match="cannot roll 2 x 3 of 4 patch tokens"):
        token_rolling(torch.zeros(1, 2, 5, 1), num_rolled=3)
