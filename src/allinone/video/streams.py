"""Which video stream of a file is the film: one rule for reading, searching, saving clips, serving and preparing."""

from collections.abc import Callable, Sequence

from av import CodecContext, codecs_available
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from allinone.video.errors import UnreadableError

COVERS = Disposition.attached_pic | Disposition.timed_thumbnails
"""Pictures about a film, for example a cover; never a film."""

PARTS = Disposition.dependent | Disposition.still_image
"""Tiles of a photo, and single pictures."""

_NUM_PEEKED = 500  # packets: a second picture of a film comes long before


def open_film(open_file: Callable[[bool], InputContainer], quickly: bool) -> tuple[InputContainer, VideoStream]:
    """Open a file, at its first packet, with the stream that is its film.

    `open_file(quickly)` reads only the header or probes packets too. If several streams could be the film, the file is
    probed, which gives their sizes, frames are counted if the header does not count them, and it is opened again.

    Raises:
        UnreadableError: the file has no video stream besides covers.
    """
    container = open_file(quickly)
    try:
        streams = film_candidates(container)
        if not streams:
            others = ", ".join(sorted({stream.type for stream in container.streams})) or "no stream at all"
            raise UnreadableError(f"no video stream (found: {others})")
        if len(streams) == 1:
            return container, streams[0]
        container.close()
        # Sizes and pixel formats, by which the film is chosen, are known only after probing.
        container = open_file(False)
        streams = film_candidates(container)
        num_frames = [stream.frames for stream in streams]
        chosen = best_film(streams, num_frames if all(num_frames) else count_frames(container, streams))
        container.close()
        container = open_file(quickly)
        # The streams of the container that was opened last, at its first packet.
        return container, film_candidates(container)[chosen]
    except BaseException:
        container.close()
        raise


def film_candidates(container: InputContainer) -> list[VideoStream]:
    """Return the video streams that are no covers."""
    return [stream for stream in container.streams.video if not stream.disposition & COVERS]


def best_film(streams: Sequence[VideoStream], num_frames: Sequence[int]) -> int:
    """Return the index of the film among `streams`, which have at least `num_frames` each (exact up to 2).

    A film decodes (else probing finds no pixel format), and is neither a part of a picture, the transparency of another
    stream, nor a single frame. If several are left: the default one, then the largest, then the one of most frames,
    then the first.
    """

    def rank(index: int) -> tuple[bool, bool, bool, int, bool, int, int, int]:
        stream = streams[index]
        return (
            stream.codec_context is not None and stream.codec_context.pix_fmt is not None,
            not stream.disposition & PARTS,
            not is_transparency(stream, streams),
            min(num_frames[index], 2),
            bool(stream.disposition & Disposition.default),
            num_pixels(stream),
            num_frames[index],
            -index,
        )

    return max(range(len(streams)), key=rank)


def is_transparency(stream: VideoStream, streams: Sequence[VideoStream]) -> bool:
    """Return whether it is the alpha channel of another stream: gray, and that one is of equal size and in color."""
    colored = [other for other in streams if other.codec_context is not None and not is_gray(other)]
    return is_gray(stream) and num_pixels(stream) in map(num_pixels, colored)


def is_gray(stream: VideoStream) -> bool:
    """Return whether its pixels have no color; False if nothing decodes it."""
    return stream.codec_context is not None and (stream.codec_context.pix_fmt or "").startswith("gray")


def num_pixels(stream: VideoStream) -> int:
    """Return the size of a frame in pixels; 0 if nothing decodes it."""
    return stream.codec_context.width * stream.codec_context.height if stream.codec_context is not None else 0


def count_frames(container: InputContainer, streams: Sequence[VideoStream]) -> list[int]:
    """Count the packets of each stream, no further than is needed to distinguish a film from a single picture."""
    counts = {stream.index: stream.frames for stream in streams}
    try:
        for num_read, packet in enumerate(container.demux(*streams)):
            counts[packet.stream.index] += packet.size > 0
            if num_read >= _NUM_PEEKED or min(counts.values()) >= 2:
                break
    except (FFmpegError, IndexError):  # damage, or (PyAV) a stream that began half-way: the counts so far are true
        pass
    return list(counts.values())


def alpha_decoder(stream: VideoStream) -> VideoCodecContext | None:
    """Return libvpx for VP8 or VP9 with transparency, which FFmpeg's own decoders drop; None for other streams."""
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.codec.canonical_name)
    if name is None or stream.metadata.get("alpha_mode") != "1" or name not in codecs_available:
        return None
    decoder = CodecContext.create(name, "r")
    assert isinstance(decoder, VideoCodecContext)
    return decoder
