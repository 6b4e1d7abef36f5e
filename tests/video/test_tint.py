import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from allinone.video.tint import COLORS, STRENGTH, fill, tint

SQUARE = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))


def test_only_the_pixels_of_a_region_take_its_color():
    frames = torch.full((2, 3, 8, 12), 100, dtype=torch.uint8)
    tinted = tint(frames, [([SQUARE], 13)])
    inside = torch.zeros(8, 12, dtype=torch.bool)
    inside[2:6, 3:9] = True
    assert (tinted[..., ~inside] == 100).all()
    wanted = [round(100 + STRENGTH * (c - 100)) for c in COLORS[1]]
    assert torch.equal(tinted[0, :, 4, 5], torch.tensor(wanted, dtype=torch.uint8))
    assert torch.equal(tinted[0], tinted[1])
    assert torch.equal(frames, torch.full_like(frames, 100))


def test_a_later_region_lies_on_an_earlier_one():
    frames = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    one, both = tint(frames, [([SQUARE], 0)]), tint(frames, [([SQUARE], 1), ([SQUARE], 0)])
    assert not torch.equal(one, both)
    assert torch.equal(both, tint(tint(frames, [([SQUARE], 1)]), [([SQUARE], 0)]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 44), st.integers(-4, 36)), min_size=3, max_size=7))
def test_polygons_are_filled_as_by_a_drawing_library(corners):
    """Pillow draws the border too, and ours does not; the inside and the outside are the same."""
    drawn, border = Image.new("1", (40, 32)), Image.new("1", (40, 32))
    ImageDraw.Draw(border).line([*corners, corners[0]], fill=1, width=3)
    ImageDraw.Draw(drawn).polygon(corners, fill=1)
    clear = ~np.asarray(border)
    found = fill([[(x / 40, y / 32) for x, y in corners]], 32, 40)
    assert (found[clear] == np.asarray(drawn)[clear]).all()
