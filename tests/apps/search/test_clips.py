from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from PIL import Image

from allinone.apps.search import Hit
from allinone.apps.search.clips import clip_name, save_clips
from allinone.video import VideoError, probe, read_frames
from allinone.video.encode import write_mp4
from tiny import tiny_frames

SECONDS, FPS = 6, 25


def write_film(
    path: Path,
    video: str = "libx264",
    audio: str | None = "aac",
    *,
    form: str | None = None,
    mux: dict[str, str] | None = None,
    rate: int = 48_000,
    layout: str = "stereo",
    size: tuple[int, int] = (48, 64),
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    heard: tuple[float, float] = (0, SECONDS),
    times: list[float] | None = None,
    num_tracks: int = 1,
    has_keyframes: bool = True,
) -> Path:
    """Six seconds that grow lighter, with a white frame and a click at each full second; a keyframe every second.

    The sound lasts from `heard[0]` to `heard[1]`; frames are shown at `times`.
    """
    with av.open(f"file:{path}", "w", format=form, options=mux or {}) as target:
        stream: Any = target.add_stream(video, rate=FPS, options={"sc_threshold": "0", **(options or {})})
        stream.height, stream.width, stream.pix_fmt, stream.gop_size = *size, pix_fmt, FPS
        stream.codec_context.time_base = Fraction(1, FPS)
        tracks: list[Any] = [target.add_stream(audio, rate=rate, layout=layout) for _ in range(num_tracks) if audio]
        for number, track in enumerate(tracks):
            track.metadata["language"] = ("eng", "deu")[number]
        times = times or [number / FPS for number in range(SECONDS * FPS)]
        second = 0
        for time in times:
            is_flash, second = time >= second, max(second, int(time) + 1) if time >= second else second
            pixels = np.full((*size, 3), 255 if is_flash else 20 + 20 * time, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = round(time * FPS), Fraction(1, FPS)
            frame.pict_type = PictureType.I if is_flash and has_keyframes else PictureType.NONE
            target.mux(stream.encode(frame))
            for track in tracks if is_flash else ():
                target.mux([p for part in click(track, time, heard) for p in track.encode(part)])
        for output in (stream, *tracks):
            target.mux(output.encode(None))
    return path


def click(track: Any, time: float, heard: tuple[float, float]) -> Iterator[av.AudioFrame]:
    """The second from `time` on."""
    moments = time + np.arange(track.rate) / track.rate
    samples = (np.sin(6283 * moments) * (moments - time < 0.02) * 0.8)[(moments >= heard[0]) & (moments < heard[1])]
    if len(samples):
        packed = samples.astype(np.float32).repeat(track.layout.nb_channels)[None]
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=track.layout.name)
        frame.sample_rate, frame.time_base = track.rate, Fraction(1, track.rate)
        frame.pts = round(max(time, heard[0]) * track.rate)
        yield frame


def flashes(path: Path) -> list[float]:
    with av.open(f"file:{path}") as film:
        frames: Any = film.decode(video=0)
        return [frame.time for frame in frames if frame.to_ndarray(format="gray").mean() > 220]


def clicks(path: Path, track: int = 0) -> list[float]:
    """When it clicks; a second cannot have two."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=48_000)
    found: list[float] = []
    with av.open(f"file:{path}") as film:
        for frame in film.decode(audio=track):
            for part in resampler.resample(frame):
                loud = np.flatnonzero(np.abs(part.to_ndarray()[0]) > 0.25)
                for time in ((part.time or 0.0) + loud / 48_000).tolist():
                    if not found or time > found[-1] + 0.5:
                        found.append(time)
    return found


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds that grow brighter, so that brightness gives the time; a keyframe every two seconds, and a tone."""
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


@pytest.mark.parametrize("exact", [False, True])
def test_photos_are_copied_as_they_are(tmp_path: Path, exact: bool):
    names = ["a.JPG", "b.png", "c.webp", "d.avif", "e.tiff"]
    for seed, name in enumerate(names):
        Image.fromarray(tiny_frames(seed)[0]).save(tmp_path / name)
    clips = save_clips([Hit(str(tmp_path / name), 0, 0, 0.5) for name in names], tmp_path / "clips", exact=exact)
    assert [Path(str(clip)).name for clip in clips] == [
        "001_a.jpg", "002_b.png", "003_c.webp", "004_d.avif", "005_e.tiff",
    ]  # fmt: skip
    assert [Path(str(clip)).read_bytes() for clip in clips] == [(tmp_path / name).read_bytes() for name in names]


def test_names_of_clips_are_safe_everywhere():
    names = ["..", "a/../../b.mp4", "line\nbreak.mp4", 'it\'s "odd": 😀?.mp4', "x" * 300 + ".mp4", "ünï.mp4"]
    for number, name in enumerate(names, start=1):
        made = clip_name(number, Hit(f"/v/{name}", 1, 2.25, 0.5))
        assert made.startswith(f"{number:03}_")
        assert not set(made) & set("/\\\n\"':?*<>|")
        assert len(made.encode()) < 200
        assert "x/" not in made
    assert clip_name(6, Hit("/v/ünï.mp4", 1, 2.25, 0.5)) == "006_ünï_1.0-2.2s"


COPIED = {
    "b_frames.mkv": {"options": {"bf": "3"}},
    "b_frames.ts": {"options": {"bf": "3"}},
    "b_frames.flv": {"options": {"bf": "2"}},
    "b_frames.mp4": {"options": {"bf": "3"}},
    "no_b_frames.mkv": {"options": {"bf": "0"}},
    "open_gop.mp4": {"options": {"bf": "3", "x264-params": "open-gop=1"}},
    "open_gop.ts": {"options": {"bf": "3", "x264-params": "open-gop=1"}},
    "opus.mkv": {"audio": "libopus"},
    "film.webm": {"video": "libvpx-vp9", "audio": "libopus", "options": {"deadline": "realtime"}},
    "film.m4v": {},
    "film.mov": {"audio": "pcm_s24le", "rate": 192_000},
    "six.mkv": {"audio": "flac", "rate": 96_000, "layout": "5.1"},
    "fragments.mp4": {"mux": {"movflags": "frag_keyframe+empty_moov"}, "options": {"bf": "2"}},
    "mpeg2.ts": {"video": "mpeg2video", "audio": "mp2"},
    "divx.avi": {"video": "mpeg4", "audio": "libmp3lame"},
}


@pytest.mark.parametrize("name", COPIED)
def test_a_copy_begins_with_the_keyframe_before_the_hit_and_its_sound_is_in_step(tmp_path: Path, name: str):
    film = write_film(tmp_path / name, **COPIED[name])
    (clip,) = save_clips([Hit(str(film), 2.52, 4.52, 0.5)], tmp_path / "clips")
    assert isinstance(clip, Path)
    assert clip.suffix == (film.suffix if film.suffix in (".mp4", ".m4v", ".mov", ".webm") else ".mkv")
    assert probe(clip).codec == probe(film).codec
    start = last_keyframe(film, 2.52)
    copied, source = (
        read_frames(path, times_sec=[zero, zero + 0.54, zero + 1.54]).frames.int()
        for path, zero in ((clip, 0), (film, start))
    )
    assert (copied - source).abs().max().item() <= 3
    seen, heard = ([time for time in times if 0.5 < time < 2.2] for times in (flashes(clip), clicks(clip)))
    assert len(seen) == 2
    assert heard == pytest.approx(seen, abs=0.05)
    assert probe(clip).duration_sec == pytest.approx(4.52 - start, abs=0.2)


def last_keyframe(path: Path, time: float) -> float:
    """The last one before a time of the player's clock, which begins with the first picture or sound."""
    with av.open(str(path)) as film:
        packets = [
            (float(packet.pts * packet.time_base), packet.is_keyframe and packet.stream.type == "video")
            for packet in film.demux()
            if packet.pts is not None
        ]
    zero = min(shown for shown, _ in packets)
    return max(shown - zero for shown, is_key in packets if is_key and shown - zero <= time)


REFRESHED = {"x264-params": "intra-refresh=1:keyint=25:bframes=0"}

ENCODED = {
    "no keyframe after the first": ("refresh.mp4", {"options": REFRESHED, "has_keyframes": False}),
    "no timestamps": ("raw.h264", {"audio": None}),
    "a codec that Matroska does not take": ("film.wmv", {"video": "wmv2", "audio": "libmp3lame"}),
}


@pytest.mark.parametrize("why", ENCODED)
def test_what_would_not_play_as_a_copy_is_encoded(tmp_path: Path, why: str):
    name, kind = ENCODED[why]
    film = write_film(tmp_path / name, **kind)
    (clip,) = save_clips([Hit(str(film), 2.52, 4.52, 0.5)], tmp_path / "clips")
    assert isinstance(clip, Path)
    assert (clip.suffix, probe(clip).codec) == (".mp4", "h264")
    assert probe(clip).duration_sec == pytest.approx(2, abs=0.02)
    assert flashes(clip) == pytest.approx([0.48, 1.48], abs=0.05)
    if kind.get("audio", "aac"):
        assert clicks(clip) == pytest.approx([0.48, 1.48], abs=0.05)


def test_a_copy_goes_into_matroska_where_its_own_container_does_not_take_it(tmp_path: Path):
    film = write_film(tmp_path / "recorded.webm", audio="libopus", form="matroska")  # as browsers record H.264
    (clip,) = save_clips([Hit(str(film), 2.52, 4.52, 0.5)], tmp_path / "clips")
    assert isinstance(clip, Path)
    assert clip.suffix == ".mkv"
    assert flashes(clip) == pytest.approx([0, 1, 2], abs=0.003)


def test_a_copy_has_all_sound_tracks_with_their_languages(tmp_path: Path):
    film = write_film(tmp_path / "film.mkv", num_tracks=2)
    (clip,) = save_clips([Hit(str(film), 2.52, 4.52, 0.5)], tmp_path / "clips")
    assert isinstance(clip, Path)
    with av.open(str(clip)) as copied:
        assert [stream.language for stream in copied.streams.audio] == ["eng", "deu"]
    assert [time for time in clicks(clip, track=1) if 0.5 < time < 2.25] == pytest.approx([1, 2], abs=0.03)


@pytest.mark.parametrize("exact", [False, True])
def test_clips_of_rotated_videos_are_upright(tmp_path: Path, exact: bool):
    film = tmp_path / "film.mp4"
    with av.open(str(film), "w") as target:
        stream = target.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 64, "yuv420p"
        stream.set_display_rotation(90)
        for _ in range(20):
            pixels = np.zeros((32, 64, 3), np.uint8)
            pixels[:, 32:] = 255
            target.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        target.mux(stream.encode(None))
    (clip,) = save_clips([Hit(str(film), 0, 1, 0.5)], tmp_path / "clips", exact=exact)
    assert isinstance(clip, Path)
    assert (probe(clip).width, probe(clip).height) == (32, 64)
    difference = read_frames(clip, times_sec=[0]).frames.int() - read_frames(film, times_sec=[0]).frames.int()
    assert difference.abs().float().mean() < 2


SOUNDS = {
    "192 kHz": ("film.mov", {"audio": "pcm_s24le", "rate": 192_000}),
    "7350 Hz": ("film.mkv", {"audio": "pcm_s16le", "rate": 7350}),
    "96 kHz in six channels": ("film.mkv", {"audio": "flac", "rate": 96_000, "layout": "5.1"}),
    "eight channels": ("film.mkv", {"audio": "pcm_s16le", "layout": "7.1"}),
    "nine channels": ("film.mkv", {"audio": "pcm_s16le", "layout": "9 channels"}),
    "mono": ("film.mp4", {"rate": 22_050, "layout": "mono"}),
}


@pytest.mark.parametrize("sound", SOUNDS)
def test_exact_clips_play_everywhere_whatever_the_source_is_like(tmp_path: Path, sound: str):
    name, kind = SOUNDS[sound]
    film = write_film(tmp_path / name, **kind, size=(49, 65), pix_fmt="yuv444p")
    (clip,) = save_clips([Hit(str(film), 2.52, 4.52, 0.5)], tmp_path / "clips", exact=True)
    assert isinstance(clip, Path)
    with av.open(str(clip)) as made:
        video, audio = made.streams.video[0], made.streams.audio[0]
        assert (video.codec_context.name, video.pix_fmt, video.height, video.width) == ("h264", "yuv420p", 50, 66)
        assert (audio.codec_context.name, audio.rate, audio.layout.name) == ("aac", 48_000, "stereo")
    assert flashes(clip) == pytest.approx([0.48, 1.48], abs=0.001)
    assert clicks(clip) == pytest.approx([0.48, 1.48], abs=0.01)
    assert sound_sec(clip) == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize(("heard", "expected"), [((0, 3.5), [0.48]), ((3.5, 6), [1.48]), ((0, 1), []), ((5, 6), [])])
def test_sound_that_begins_late_or_ends_early_stays_in_step(
    tmp_path: Path, heard: tuple[float, float], expected: list[float]
):
    film = write_film(tmp_path / "film.mkv", heard=heard)
    clips = [
        save_clips([Hit(str(film), 2.52, 4.52, 0.5)], tmp_path / str(exact), exact=exact)[0] for exact in (False, True)
    ]
    for clip, start in zip(clips, (2, 2.52), strict=True):
        assert isinstance(clip, Path)
        times = [time + start - 2.52 for time in clicks(clip)] if sound_sec(clip) else []
        assert [time for time in times if time > 0] == pytest.approx(expected, abs=0.03)
    assert isinstance(clips[1], Path)
    assert sound_sec(clips[1]) == pytest.approx(2, abs=0.05)


def test_pictures_of_exact_clips_keep_their_times_whenever_the_hit_begins(tmp_path: Path):
    film = write_film(tmp_path / "film.mp4", times=[number / 5 for number in range(SECONDS * 5)])
    (clip,) = save_clips([Hit(str(film), 2.03, 4.13, 0.5)], tmp_path / "clips", exact=True)
    assert isinstance(clip, Path)
    later = [[time for time in times if time > 0.1] for times in (flashes(clip), clicks(clip))]
    assert [times[0] for times in later] == pytest.approx([0.97, 0.97], abs=0.01)
    assert probe(clip).duration_sec == pytest.approx(2.1, abs=0.01)


@pytest.mark.parametrize("exact", [False, True])
def test_sound_is_in_step_where_the_clock_of_the_file_starts_again(tmp_path: Path, exact: bool):
    part = write_film(tmp_path / "part.ts", options={"bf": "2"}).read_bytes()
    film = tmp_path / "joined.ts"
    film.write_bytes(part + part)
    for start in (1.5, 7.5):
        (clip,) = save_clips([Hit(str(film), start, start + 2, 0.5)], tmp_path / "clips", exact=exact)
        assert isinstance(clip, Path)
        seen, heard = ([time for time in times if 0.3 < time < 1.8] for times in (flashes(clip), clicks(clip)))
        assert len(seen) in (1, 2)
        assert heard == pytest.approx(seen, abs=0.05)
        if exact or start > SECONDS:
            assert seen == pytest.approx([0.5, 1.5], abs=0.15)


@pytest.mark.parametrize("exact", [False, True])
def test_a_clip_over_a_jump_of_the_clock_shows_what_follows_it(tmp_path: Path, exact: bool):
    film = write_film(tmp_path / "film.ts", audio="", times=[0, 0.5, 1, 1.5, 31, 31.5, 32, 32.5])
    (clip,) = save_clips([Hit(str(film), 0, 3, 0.5)], tmp_path / "clips", exact=exact)
    assert isinstance(clip, Path)
    shades = [frame.float().mean().item() for frame in read_frames(clip, times_sec=[0.6, 2.4]).frames]
    assert shades == pytest.approx(
        [f.float().mean().item() for f in read_frames(film, times_sec=[0.6, 2.4]).frames], abs=4
    )
    assert shades[1] > shades[0] + 100


def test_sound_that_begins_so_late_that_its_kind_is_not_known_yet_is_silence_before(tmp_path: Path):
    times = [number / FPS for number in range(8 * FPS)]
    film = write_film(tmp_path / "film.mpg", "mpeg2video", "mp2", heard=(6.5, 9), times=times)
    clips = save_clips([Hit(str(film), 1, 3, 0.5)], tmp_path / "clips", exact=True)
    assert isinstance(clips[0], Path), clips
    assert probe(clips[0]).duration_sec == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("exact", [False, True])
def test_a_clip_of_a_still_screen_lasts_as_long_as_its_hit(tmp_path: Path, exact: bool):
    film = write_film(tmp_path / "screen.mkv", times=[0, 0.04, 5.96])
    (clip,) = save_clips([Hit(str(film), 1, 5, 0.5)], tmp_path / "clips", exact=exact)
    assert isinstance(clip, Path)
    assert 3.9 < (probe(clip).duration_sec or 0) < (4.1 if exact else 5.1)
    (frame,) = read_frames(clip, times_sec=[3]).frames
    assert frame.float().mean() < 60


@pytest.mark.parametrize("exact", [False, True])
def test_a_hit_that_ends_after_the_video_ends_with_it(film: Path, tmp_path: Path, exact: bool):
    hits = [Hit(str(film), 8, 30, 0.5), Hit(str(film), 20, 30, 0.5)]
    clip, beyond = save_clips(hits, tmp_path, exact=exact)
    assert isinstance(clip, Path)
    assert shown_sec(clip, 99) == pytest.approx([9.9], abs=0.11)
    assert isinstance(beyond, VideoError)
    assert "no clip from 20 s: it ends at 10 s" in str(beyond)


@pytest.mark.parametrize("exact", [False, True])
def test_names_of_videos_and_folders_mean_nothing_to_ffmpeg(film: Path, tmp_path: Path, exact: bool):
    odd = tmp_path / "concat:a%03d|#? ü.mp4"
    odd.symlink_to(film)
    (clip,) = save_clips([Hit(str(odd), 3, 4, 0.5)], tmp_path / "pipe:1 %d", exact=exact)
    assert isinstance(clip, Path)
    assert probe(clip).duration_sec == pytest.approx(1 if exact else 2, abs=0.1)


def test_a_clip_that_cannot_be_written_is_an_error_in_its_place(film: Path, tmp_path: Path):
    (tmp_path / "001_film_0.0-1.0s.mp4").mkdir()
    hit = Hit(str(film), 0, 1, 0.5)
    failed, clip = save_clips([hit, hit], tmp_path)
    assert isinstance(failed, VideoError)
    assert isinstance(clip, Path)
    assert {path.name for path in tmp_path.iterdir()} == {"001_film_0.0-1.0s.mp4", "002_film_0.0-1.0s.mp4"}
