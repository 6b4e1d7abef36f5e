import pytest
import torch
import torch.nn.functional as F

from allinone.model.config import NANO
from allinone.model.encoder import VideoTextEncoder
from allinone.model.features import features
from allinone.model.time import NoExchange, Rolling

CONFIG = NANO.replace(width=32, num_heads=2, depth=2, vocab_size=50, max_text_len=8, patch_order="random")
FRAMES = torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
TEXT = torch.tensor([[1, 7, 9, 2], [1, 5, 2, 0]])
MASK = torch.tensor([[True] * 4, [True, True, True, False]])


@pytest.fixture(params=[CONFIG, CONFIG.replace(distilled=True, text_time=False)], ids=["plain", "distilled"])
def encoder(request) -> VideoTextEncoder:
    torch.manual_seed(0)
    return VideoTextEncoder(request.param).eval()


@torch.no_grad()
def test_the_last_block_gives_the_output_of_the_encoder_in_each_mode(encoder):
    joint = encoder(FRAMES, TEXT, MASK)
    outputs = [
        ((FRAMES, TEXT, MASK), torch.cat([joint.text, joint.video], dim=1)),
        ((FRAMES, None, None), encoder.encode_video(FRAMES)),
        ((None, TEXT, MASK), encoder.encode_text(TEXT, MASK)),
    ]
    for given, output in outputs:
        [last] = features(encoder, *given)
        assert torch.equal(encoder.norm(last.tokens).mean(dim=1), output)
        assert (last.block, last.attention) == (1, None)
        assert (last.text is None, last.patches is None, last.cls is None) == (
            given[1] is None, given[0] is None, given[0] is None
        )  # fmt: skip


@torch.no_grad()
def test_a_block_gets_what_the_one_before_it_gave(encoder):
    encoder.time = NoExchange(NoExchange.Config(), encoder.config)
    first, second = features(encoder, FRAMES, TEXT, MASK, layers=[0, 1])
    mask = F.pad(MASK, (0, first.tokens.shape[2] - 4), value=True).repeat_interleave(3, dim=0)
    output = encoder.blocks[1](first.tokens.flatten(0, 1), mask).unflatten(0, (2, 3))
    assert torch.equal(output, second.tokens)
    assert [f.block for f in features(encoder, FRAMES, layers=[-1, 0])] == [1, 0]


@torch.no_grad()
def test_attention_sums_to_one_and_ignores_padding(encoder):
    first, last = features(encoder, FRAMES, TEXT, MASK, layers=[0, 1], attention=True)
    size = 4 + encoder.config.num_special + 16
    for block in (first, last):
        assert block.attention is not None
        assert block.attention.shape == (2, 3, 2, size, size)
        assert torch.allclose(block.attention.sum(-1), torch.ones(()), atol=1e-5)
        assert (block.attention[1, ..., 3] == 0).all()


@torch.no_grad()
def test_sources_follow_the_patches_through_the_rolling_of_every_block(encoder):
    first, second = features(encoder, FRAMES, TEXT, MASK, layers=[0, 1])
    order, moved = encoder.draw_order(2, 3), encoder.config.num_special - 1  # a distillation token rolls too
    assert first.sources is not None
    assert second.sources is not None
    frame, patch = first.sources.unbind(-1)
    assert (frame[:, 1, : 2 - moved] == 0).all()  # from the frame before
    assert torch.equal(patch[:, 1, : 2 - moved], order[:, 0, : 2 - moved])
    assert (frame[:, 1, -2:] == 2).all()  # and from the frame after
    assert (frame[:, 1, 2 - moved : -2] == 1).all()
    assert (second.sources[:, 2, : 2 - moved, 0] == 0).all()  # two frames back in the second block


@torch.no_grad()
def test_patches_are_put_back_where_they_come_from():
    """Without blocks in between (all weights 0), the patches on the grid are the embedded ones in raster order."""
    encoder = VideoTextEncoder(CONFIG).eval()
    for parameter in encoder.blocks.parameters():
        parameter.zero_()
    embedded = encoder.vision(encoder.normalize(FRAMES)) + encoder.modality[1]
    [last] = features(encoder, FRAMES, TEXT, MASK)
    assert not torch.equal(last.tokens[:, :, 5:], embedded[:, :, 1:])
    assert torch.equal(last.on_grid().flatten(2, 3), embedded[:, :, 1:])
    with pytest.raises(ValueError, match="no patches to put back"):
        features(encoder, None, TEXT, MASK)[0].on_grid()


@torch.no_grad()
def test_looking_changes_nothing_and_follows_the_rolling_of_the_video_mode(encoder):
    before = encoder(FRAMES, TEXT, MASK).text
    features(encoder, FRAMES, TEXT, MASK, attention=True)
    assert torch.equal(encoder(FRAMES, TEXT, MASK).text, before)
    still = features(encoder, FRAMES)[0].sources
    encoder.time = Rolling(Rolling.Config(video=True), encoder.config)
    rolled = features(encoder, FRAMES)[0].sources
    assert still is not None
    assert rolled is not None
    assert (still[:, 1, :, 0] == 1).all()
    assert not (rolled[:, 1, :, 0] == 1).all()


def test_wrong_questions_are_refused(encoder):
    with pytest.raises(ValueError, match="no block 2: this model has blocks 0 to 1, or -2 to -1"):
        features(encoder, FRAMES, layers=[0, 2])
    with pytest.raises(ValueError, match="Give a video, a text, or both"):
        features(encoder)
