import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from allinone.apps.look.sheets import GAP, LABEL, MIN_WIDTH, contact_sheet
from allinone.video import VideoError
from allinone.video.encode import write_mp4

GREYS = (20, 120, 220)


def grey_video(path, height=32, width=48):
    """Three seconds at one frame a second, each of one grey."""
    frames = np.stack([np.full((height, width, 3), grey, np.uint8) for grey in GREYS])
    write_mp4(path, frames, fps=1, crf=1)
    return path


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def test_frames_stand_in_the_order_of_their_times_above_their_labels(tmp_path):
    sheet = pixels(contact_sheet(grey_video(tmp_path / "clip.mp4"), [2.0, 0.0, 1.0]))
    assert sheet.shape == (96 + LABEL, 3 * 144 + 2 * GAP, 3)
    for place, grey in enumerate((220, 20, 120)):
        left = place * (144 + GAP)
        assert abs(sheet[2:94, left + 2 : left + 142] - grey).max() < 8
        assert sheet[98:, left : left + 144].min() < 180  # something is written below
    assert sheet[:96, 145:147].min() > 220  # and white between


def test_tiny_videos_keep_their_hard_edges(tmp_path):
    board = np.kron(np.indices((4, 4)).sum(axis=0) % 2 * 255, np.ones((4, 4), int)).astype(np.uint8)
    write_mp4(tmp_path / "tiny.mp4", np.repeat(board[None, ..., None], 3, axis=3), fps=1, crf=1)
    sheet = pixels(contact_sheet(tmp_path / "tiny.mp4", [0.0]))[:96]
    is_between = ((sheet > 60) & (sheet < 195)).any(axis=2)
    assert is_between.mean() < 0.08


@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 220), (16, 400), (300, 16), (97, 95)])
def test_a_sheet_has_the_height_asked_for(tmp_path, height, width):
    video = grey_video(tmp_path / "clip.mp4", height, width)
    sheet = pixels(contact_sheet(video, [0.0, 1.0], height=60))
    info_width = (width + width % 2) / (height + height % 2) * 60
    assert sheet.shape[0] == 60 + LABEL
    assert sheet.shape[1] == 2 * max(round(info_width), MIN_WIDTH) + GAP


def test_sheets_are_made_in_several_threads_at_once(tmp_path):
    video = grey_video(tmp_path / "clip.mp4")
    with ThreadPoolExecutor(4) as pool:
        sheets = list(pool.map(lambda _: contact_sheet(video, [0.0, 1.0]), range(8)))
    assert set(sheets) == {contact_sheet(video, [0.0, 1.0])}


def test_a_video_that_is_not_there_is_named(tmp_path):
    with pytest.raises(VideoError, match=r"gone\.mp4"):
        contact_sheet(tmp_path / "gone.mp4", [0.0])
