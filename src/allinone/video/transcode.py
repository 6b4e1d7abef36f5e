"""A video to a smaller MP4 with frequent keyframes, which shows the same at every moment and reads faster."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av

from allinone.files.whole import whole_file
from allinone.video.encode import add_stream, even_sides
from allinone.video.file import FrameStream

CLOCK = 90_000
"""Ticks a second of the written file: fine enough for any frame rate, variable ones included."""

NO_EDIT_LIST = {"use_editlist": "0", "movflags": "negative_cts_offsets"}
"""With an edit list, FFmpeg skips the frames after a keyframe near the end if the frame rate varies."""


def transcode(
    source: str | Path,
    target: str | Path,
    *,
    short_side: int,
    gop: int = 12,
    crf: int = 23,
    timeout_sec: int | float = 60,
    on_progress: Callable[[], object] = lambda: None,
) -> str | None:
    """Write every frame that decodes, at its time: upright, square pixels, the short side at most `short_side`.

    A keyframe comes every `gop` frames or sooner; there is no sound. The last frame stays for as long as its packet
    says. `target` appears when it is complete. `on_progress` is called at each packet.

    Returns:
        What did not decode; None if everything did.

    Raises:
        VideoError: no frame decodes.
    """
    stream_of_frames = FrameStream(source, max_short_side=short_side, timeout_sec=timeout_sec, on_progress=on_progress)
    with stream_of_frames as frames, whole_file(target) as path:
        rate = Fraction(frames.fps or 25).limit_denominator(1001)
        stream = None
        last = -1
        with av.open(path, "w", format="mp4", options=NO_EDIT_LIST) as container:
            for time_sec, pixels in frames:
                pixels = even_sides(pixels)
                if stream is None:
                    stream = add_stream(container, pixels.shape[0], pixels.shape[1], rate, gop, crf)
                    stream.codec_context.time_base = Fraction(1, CLOCK)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                # A time before the first frame gives that frame: here it begins at 0.
                frame.pts = 0 if last < 0 else max(last + 1, round(time_sec * CLOCK))
                last = frame.pts
                frame.time_base = Fraction(1, CLOCK)
                container.mux(stream.encode(frame))
            assert stream
            end = round((frames.duration_sec or 0) * CLOCK)
            end = end if end > last else last + round(CLOCK / rate)
            for packet in stream.encode(None):
                # In MP4 a frame lasts until the next, so only the duration of the last one counts.
                if packet.pts is not None:
                    packet.duration = end - packet.pts
                container.mux(packet)
        return frames.describe_damage()
