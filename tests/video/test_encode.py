from pathlib import Path

import av
import numpy as np
import pytest

from allinone.video import probe, read_frames
from allinone.video.encode import write_mp4


def shades(num_frames: int, height: int = 32, width: int = 48) -> np.ndarray:
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    frames[:] = np.linspace(20, 230, num_frames).round().astype(np.uint8).reshape(-1, 1, 1, 1)
    return frames


def test_what_is_written_reads_back(tmp_path):
    frames = shades(20)
    write_mp4(tmp_path / "a.mp4", frames, fps=8, gop=5, crf=18)
    clip = read_frames(tmp_path / "a.mp4", indices=range(20))
    assert np.abs(clip.frames.permute(0, 2, 3, 1).numpy().astype(int) - frames).max() <= 4
    assert clip.times_sec.tolist() == pytest.approx([t / 8 for t in range(20)])
    info = probe(tmp_path / "a.mp4")
    assert (info.num_frames, info.fps, info.duration_sec) == (20, 8, 2.5)


def test_what_is_written_says_how_its_colors_are_stored(tmp_path: Path):
    frames = np.full((2, 720, 1280, 3), (200, 40, 60), np.uint8)
    write_mp4(tmp_path / "a.mp4", frames, fps=5)
    with av.open(tmp_path / "a.mp4", "r") as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_range) == (5, 1)  # BT.601, limited range
    pixels = read_frames(tmp_path / "a.mp4", indices=[0]).frames[0, :, 300, 600]
    assert pixels.tolist() == pytest.approx([200, 40, 60], abs=4)


@pytest.mark.parametrize("fps", [0.5, 12.5, 29.97, 30000 / 1001, 60])
def test_the_frame_rate_is_kept(tmp_path, fps):
    write_mp4(tmp_path / "a.mp4", shades(4), fps=fps)
    assert probe(tmp_path / "a.mp4").fps == pytest.approx(fps, rel=1e-4)


def test_odd_sides_gain_one_pixel_and_keep_the_others(tmp_path):
    frames = shades(2, 33, 47)
    write_mp4(tmp_path / "a.mp4", frames, fps=5)
    clip = read_frames(tmp_path / "a.mp4", indices=[1])
    assert clip.frames.shape == (1, 3, 34, 48)
    assert np.abs(clip.frames[0].numpy().astype(int) - 230).max() <= 4


def test_one_frame_is_a_video(tmp_path):
    write_mp4(tmp_path / "a.mp4", shades(1), fps=5)
    assert probe(tmp_path / "a.mp4").num_frames == 1


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"what was there")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("allinone.files.whole.os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_mp4(path, shades(3), fps=5)
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_to_write_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="nothing to write"):
        write_mp4(tmp_path / "a.mp4", shades(0), fps=5)
    with pytest.raises(ValueError, match="above 0, got 0"):
        write_mp4(tmp_path / "a.mp4", shades(1), fps=0)
