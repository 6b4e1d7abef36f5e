import pytest
import torch

from allinone.model.config import NANO
from allinone.model.encoder import VideoTextEncoder

SMALLEST = NANO.replace(text_time=False, width=32, num_heads=2, depth=2, num_frames=3, vocab_size=50, max_text_len=8)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return VideoTextEncoder(SMALLEST).eval()


@pytest.fixture
def random_order():
    torch.manual_seed(0)
    return VideoTextEncoder(SMALLEST.replace(patch_order="random")).eval()


@pytest.fixture
def frames():
    return torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


TEXT = torch.tensor([[1, 7, 9, 2], [1, 5, 2, 0]])
MASK = torch.tensor([[True] * 4, [True, True, True, False]])


@torch.no_grad()
def test_padding_changes_nothing(encoder, frames):
    joint = encoder(frames[1:], TEXT[1:], MASK[1:])
    bare = encoder(frames[1:], TEXT[1:, :3], MASK[1:, :3])
    assert torch.allclose(joint.text[:, :3], bare.text, atol=1e-6)
    assert torch.allclose(joint.video, bare.video, atol=1e-6)
    text = encoder.encode_text(TEXT, MASK)
    assert torch.allclose(text[1:, :3], encoder.encode_text(TEXT[1:, :3], MASK[1:, :3]), atol=1e-6)


@torch.no_grad()
def test_frames_are_normalized_with_the_mean_and_deviation_of_the_config(encoder, frames):
    mean, std = (torch.tensor(x)[:, None, None] for x in (SMALLEST.image_mean, SMALLEST.image_std))
    assert torch.allclose(encoder.encode_video(frames), encoder.encode_video((frames / 255 - mean) / std), atol=1e-5)


@torch.no_grad()
def test_random_order_in_evaluation_depends_neither_on_the_call_nor_on_the_batch(random_order, frames):
    batch = random_order(frames, TEXT, MASK)
    again = random_order(frames, TEXT, MASK)
    alone = random_order(frames[1:], TEXT[1:], MASK[1:])
    assert torch.equal(batch.text, again.text)
    assert torch.allclose(batch.text[1:], alone.text, atol=1e-5)


@torch.no_grad()
def test_random_order_is_fresh_in_training_and_follows_torch_seed(random_order, frames):
    random_order.train()
    torch.manual_seed(3)
    first, second = random_order(frames, TEXT, MASK), random_order(frames, TEXT, MASK)
    torch.manual_seed(3)
    repeated = random_order(frames, TEXT, MASK)
    assert not torch.equal(first.text, second.text)
    assert torch.equal(first.text, repeated.text)


@torch.no_grad()
def test_the_order_of_patches_decides_only_what_is_rolled(encoder, frames):
    """Without rolling (one frame), any order of patches gives the same text features."""
    one, perm = frames[:, :1], torch.randperm(16).expand(2, 1, -1)
    assert torch.allclose(encoder(one, TEXT, MASK, patch_order=perm).text, encoder(one, TEXT, MASK).text, atol=1e-5)
    perm = torch.randperm(16).expand(2, 3, -1)
    assert not torch.allclose(
        encoder(frames, TEXT, MASK, patch_order=perm).text, encoder(frames, TEXT, MASK).text, atol=1e-3
    )


@torch.no_grad()
def test_a_clip_of_one_frame_and_an_empty_text_are_fine(encoder, frames):
    joint = encoder(frames[:1, :1], torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.bool))
    assert joint.text.isfinite().all()
    assert joint.video.isfinite().all()


def test_more_frames_than_the_model_has_times_for_are_refused(encoder, frames):
    with pytest.raises(ValueError, match="load it with num_frames=6"):
        encoder.encode_video(frames.repeat(1, 2, 1, 1, 1))


def test_frames_of_another_size_are_refused(encoder, frames):
    with pytest.raises(ValueError, match="wanted 64 squared"):
        encoder.encode_video(frames[..., :48])


def test_a_longer_text_than_the_model_has_positions_for_is_refused(encoder):
    with pytest.raises(ValueError, match="positions for 8"):
        encoder.encode_text(torch.ones(1, 9, dtype=torch.long), torch.ones(1, 9, dtype=torch.bool))


@torch.no_grad()
def test_the_video_mode_sees_order_in_time_by_the_temporal_embedding_alone(encoder, frames):
    reverse = frames.flip(1)
    assert not torch.allclose(encoder.encode_video(frames), encoder.encode_video(reverse), atol=1e-3)
    encoder.vision.time.zero_()
    assert torch.allclose(encoder.encode_video(frames), encoder.encode_video(reverse), atol=1e-5)


@torch.no_grad()
def test_text_time_changes_the_joint_mode_only(encoder, frames):
    other = VideoTextEncoder(SMALLEST.replace(text_time=True)).eval()
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(other.encode_video(frames), encoder.encode_video(frames))
    assert not torch.allclose(other(frames, TEXT, MASK).text, encoder(frames, TEXT, MASK).text, atol=1e-5)
