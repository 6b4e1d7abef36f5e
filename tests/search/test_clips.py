from pathlib import Path

import av
import numpy as np
import pytest

from allinone.search import Hit
from allinone.search.clips import clip_name, save_clips
from allinone.video.decode import VideoError, probe, read_frames
from allinone.video.encode import write_mp4


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds that grow brighter, so that a picture tells its time; a keyframe every two, and a tone."""
    folder = tmp_path_factory.mktemp("film")
    frames = np.arange(0, 250, 2.5).astype(np.uint8)[:, None, None, None] + np.zeros((1, 32, 48, 3), np.uint8)
    write_mp4(folder / "silent.mp4", frames, 10, gop=20, crf=5)
    with av.open(str(folder / "silent.mp4")) as source, av.open(str(folder / "film.mp4"), "w") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        audio = target.add_stream("aac", rate=16000, layout="mono")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
        tone = np.sin(np.arange(160_000) * 0.1).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate = 16000
        target.mux(audio.encode(frame))
        target.mux(audio.encode(None))
    return folder / "film.mp4"


def shown_sec(path: Path, *times_sec: float) -> list[float]:
    """Which moments of the film a clip shows at these times."""
    return [frame.float().mean().item() / 25 for frame in read_frames(path, times_sec=times_sec).frames]


def sound_sec(path: Path) -> float:
    with av.open(str(path)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def test_exact_clips_begin_and_end_with_the_hit(film: Path, tmp_path: Path):
    (path,) = save_clips([Hit(str(film), 3.0, 6.5, 0.5)], tmp_path / "clips", exact=True)
    assert isinstance(path, Path)
    assert path == tmp_path / "clips" / "001_film_3.0-6.5s.mp4"
    assert probe(path).duration_sec == pytest.approx(3.5, abs=0.05)
    assert shown_sec(path, 0, 1, 3.4) == pytest.approx([3, 4, 6.4], abs=0.11)
    assert sound_sec(path) == pytest.approx(3.5, abs=0.2)


def test_copied_clips_begin_with_the_keyframe_before_and_lose_nothing(film: Path, tmp_path: Path):
    (path,) = save_clips([Hit(str(film), 5.0, 7.0, 0.5)], tmp_path)
    assert isinstance(path, Path)
    (first,) = shown_sec(path, 0)
    assert 2.9 < first < 5
    assert shown_sec(path, 1, 2) == pytest.approx([first + 1, first + 2], abs=0.11)
    assert probe(path).duration_sec == pytest.approx(7 - first, abs=0.3)
    assert sound_sec(path) == pytest.approx(7 - first, abs=0.3)
    frame, same = read_frames(path, times_sec=[1.55]), read_frames(film, times_sec=[round(first, 1) + 1.55])
    assert frame.frames.equal(same.frames)


def test_a_hit_whose_video_is_gone_is_an_error_in_its_place(film: Path, tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    hits = [Hit(str(tmp_path / "gone.mp4"), 0, 1, 0.5), Hit(str(film), 0, 1, 0.4), Hit(str(broken), 0, 1, 0.3)]
    for exact in (False, True):
        gone, path, unreadable = save_clips(hits, tmp_path / "clips", exact=exact)
        assert isinstance(gone, VideoError)
        assert isinstance(unreadable, VideoError)
        assert isinstance(path, Path)
    assert {p.name for p in (tmp_path / "clips").iterdir()} == {"002_film_0.0-1.0s.mp4"}


def test_names_of_clips_are_safe_everywhere():
    names = ["..", "a/../../b.mp4", "line\nbreak.mp4", 'it\'s "odd": 😀?.mp4', "x" * 300 + ".mp4", "ünï.mp4"]
    for number, name in enumerate(names, start=1):
        made = clip_name(number, Hit(f"/v/{name}", 1, 2.25, 0.5))
        assert made.startswith(f"{number:03}_")
        assert not set(made) & set("/\\\n\"':?*<>|")
        assert len(made.encode()) < 200
        assert "x/" not in made
    assert clip_name(6, Hit("/v/ünï.mp4", 1, 2.25, 0.5)) == "006_ünï_1.0-2.2s"
