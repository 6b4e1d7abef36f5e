import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from allinone.apps.search import VideoIndex
from tiny import tiny_predictor


def test_thumbnails_of_transparent_pictures_are_white_where_nothing_is_to_be_seen(tmp_path: Path):
    pixels = np.full((64, 64, 4), (0, 255, 0, 0), np.uint8)
    pixels[16:48, 16:48] = (255, 0, 0, 255)
    (tmp_path / "photos").mkdir()
    for kind in ("png", "webp", "avif"):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"a.{kind}", quality=90)
    index = VideoIndex.open(tmp_path / "index", tiny_predictor())
    assert index.add(tmp_path / "photos").added == 3
    for picture in index.thumbnails([hit.segment for hit in index.search("red", merge=False)]).values():
        with Image.open(io.BytesIO(picture)) as image:
            assert image.getpixel((2, 2)) == pytest.approx((255, 255, 255), abs=12)
            assert image.getpixel((16, 16)) == pytest.approx((255, 0, 0), abs=24)
