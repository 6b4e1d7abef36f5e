"""Measure how many clips of a few exact frames are read per second: with `read_frames` (seeks), and in order.

python benchmarks/decode.py [VIDEO ...] [--frames 3] [--clips 20] [--size 268]
Without videos it makes H.264 files of 640 x 360 with keyframes every 12 and every 250 frames.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from videos import write_video

from allinone.video import probe, read_frames
from allinone.video.sampling import segment_times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--size", type=int)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for video in args.videos or made_videos(Path(folder)):
            compare(video, args.frames, args.clips, args.size)


def made_videos(folder: Path) -> list[Path]:
    return [write_video(folder / f"gop{gop}.mp4", 640, 360, gop) for gop in (12, 250)]


def compare(video: Path, num_frames: int, num_clips: int, size: int | None) -> None:
    rng = np.random.default_rng(0)
    end_sec = probe(video).duration_sec or 1.0
    seconds: dict[str, list[float]] = {"exact": [], "in order": []}
    for _ in range(num_clips):  # in turns, so that a busy moment of the machine hits both
        times_sec = segment_times(0.0, end_sec, num_frames, rng)
        begin = time.perf_counter()
        clip = read_frames(video, times_sec=times_sec, size=size)
        middle = time.perf_counter()
        read_in_order(video, clip.times_sec.tolist(), *clip.frames.shape[:-3:-1])
        seconds["exact"].append(middle - begin)
        seconds["in order"].append(time.perf_counter() - middle)
    rates = {name: 1 / statistics.median(values) for name, values in seconds.items()}
    print(
        f"{video.name}: {rates['exact']:.1f} clips/s of {num_frames} exact frames, {rates['in order']:.1f} in order "
        f"({rates['exact'] / rates['in order']:.1f} times; medians of {num_clips})"
    )


def read_in_order(video: Path, times_sec: list[float], width: int, height: int) -> list[np.ndarray]:
    """Decode until the last frame wanted, with one thread, and convert the wanted ones."""
    found: list[np.ndarray] = []
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            if frame.time is not None and frame.time >= times_sec[len(found)]:
                found.append(frame.to_ndarray(format="rgb24", width=width, height=height))
            if len(found) == len(times_sec):
                break
    return found


if __name__ == "__main__":
    main()
