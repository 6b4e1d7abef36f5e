import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from allinone.video import transforms
from allinone.video.transforms import Transform


def clips(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


EVAL = Transform.Config(resize=40, crop=32)
CROP = Transform.Config(resize=40, crop=32, random_crop=True)
TRAIN = Transform.Config(resize=40, crop=32, random_crop=True, flip_prob=0.5, augment=3)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    num_frames=st.integers(1, 4),
    batch=st.sampled_from([(), (1,), (3,), (2, 2)]),
    train=st.booleans(),
)
def test_any_frames_come_out_at_the_models_size_and_uint8(height, width, num_frames, batch, train):
    transform = Transform(TRAIN if train else EVAL)
    out = transform(clips(*batch, num_frames, 3, height, width), generator())
    assert out.shape == (*batch, num_frames, 3, 32, 32)
    assert out.dtype == torch.uint8


def test_evaluation_takes_the_middle():
    frames = clips(2, 3, 40, 60)
    out = Transform(EVAL)(frames)
    assert torch.equal(out, frames[..., 4:36, 14:46])  # the short side is 40 already: nothing is resized


def test_cutting_first_gives_what_resizing_first_gives():
    smooth = F.interpolate(torch.rand(2, 3, 6, 9, generator=generator()), size=(160, 240), mode="bicubic").clamp(0, 1)
    frames = (smooth * 255).to(torch.uint8)
    resized = F.interpolate(frames, size=(40, 60), mode="bilinear", antialias=True)
    out = Transform(EVAL)(frames)
    assert (out.int() - resized[..., 4:36, 14:46].int()).abs().max() <= 4


def test_an_extremely_long_frame_costs_no_more_than_what_is_kept():
    out = Transform(Transform.Config())(torch.full((1, 3, 1, 20_000), 7, dtype=torch.uint8))
    assert out.shape == (1, 3, 224, 224)
    assert (out == 7).all()


def test_random_crops_reach_every_place_and_are_alike_within_a_clip():
    hard_warmup = torch.arange(44, dtype=torch.uint8).expand(5, 3, 40, 44)
    down = torch.arange(40, dtype=torch.uint8).view(40, 1).expand(5, 3, 40, 44)
    transform = Transform(CROP)
    lefts, tops = set(), set()
    rng = generator()
    for _ in range(300):
        out = transform(torch.stack([hard_warmup, down]), rng)
        assert (out == out[:, :1]).all()
        lefts.add(out[0, 0, 0, 0, 0].item())
        tops.add(out[1, 0, 0, 0, 0].item())
    assert lefts == set(range(13))
    assert tops == set(range(9))


def test_the_same_seed_gives_the_same_frames_and_clips_of_a_batch_differ():
    frames = clips(1, 2, 3, 50, 60).expand(4, 2, 3, 50, 60)
    transform = Transform(TRAIN)
    first, again, other = (transform(frames, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_mirroring_is_off_unless_asked_for_and_takes_whole_clips():
    frames = clips(1, 3, 3, 32, 32).expand(200, 3, 3, 32, 32)
    plain = Transform.Config(resize=32, crop=32)
    assert torch.equal(Transform(plain)(frames), frames)
    out = Transform(Transform.Config(resize=32, crop=32, flip_prob=0.3))(frames, generator())
    flipped = torch.tensor([torch.equal(clip, frames[0].flip(-1)) for clip in out])
    kept = torch.tensor([torch.equal(clip, frames[0]) for clip in out])
    assert (flipped ^ kept).all()
    assert 30 < flipped.sum() < 90


@pytest.mark.parametrize("change", transforms._CHANGES.values(), ids=transforms._CHANGES)
def test_each_change_does_something_alike_for_all_frames_and_nothing_at_amount_0(change):
    picture = torch.rand(1, 3, 24, 24, generator=generator())
    pixels = picture.expand(4, 3, 24, 24).contiguous()
    torch.testing.assert_close(change(pixels, 0.0), pixels, atol=1e-5, rtol=0)
    for amount in (-0.5, 0.5):
        out = change(pixels, amount)
        assert (out - pixels).abs().max() > 0.02
        torch.testing.assert_close(out, out[:1].expand_as(out))


def test_movement_goes_by_the_share_asked_for():
    pixels = torch.zeros(1, 3, 20, 20)
    pixels[..., 10] = 1
    moved = transforms._CHANGES["move x"](pixels, -1 / 3)  # 0.6 * 1/3 of half the side: 2 pixels
    assert moved[0, 0, 0].argmax() == 12


def test_a_random_transform_wants_a_generator():
    for config in (
        Transform.Config(random_crop=True),
        Transform.Config(flip_prob=0.5),
        Transform.Config(augment=1),
    ):
        with pytest.raises(ValueError, match=r"torch\.Generator"):
            Transform(config)(clips(1, 3, 300, 300))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"resize": 200}, "crop=224, resize=200"),
        ({"crop": 0}, "crop=0"),
        ({"flip_prob": 1.5}, "1.5"),
        ({"augment": -1}, "got -1"),
        ({"augment_strength": 2.0}, "2.0"),
    ],
)
def test_a_wrong_config_says_what_is_wrong(wrong, words):
    with pytest.raises(ValueError, match=words):
        Transform.Config(**wrong)
