"""What counts as a video for a `Predictor`, and how a list of videos becomes batches of clips."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from io import IOBase
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from typing_extensions import TypeAliasType

from allinone.data.clip_reader import Span
from allinone.data.example import Example
from allinone.data.loader import DataConfig, clip_loader
from allinone.progress import Progress
from allinone.types import Clip
from allinone.video.in_memory import Frames, to_tensor
from allinone.video.sampling import segment_times
from allinone.video.transforms import Transform

log = logging.getLogger(__name__)

InMemory = Clip | Frames

# Named types, so that `help` shows their names and not the dozen types in them.
Source = TypeAliasType("Source", str | Path | bytes | Span | Example | InMemory)
"""A video or image: a file, its bytes, a part of a file, or frames in memory (`video/in_memory.py`)."""

Sources = TypeAliasType("Sources", Source | Sequence[Source])
"""One video, or several in a list. Frames in an array or tensor of five axes are several videos too."""

ONE = (str, Path, bytes, bytearray, memoryview, IOBase, Span, Example, Clip, Tensor, np.ndarray, Image.Image)
"""Types of a single video, valid or not. A list is several videos."""


def is_one(videos: Sources) -> bool:
    """Return whether this is a single video: frames [T, 3, H, W] are; frames [N, T, 3, H, W] and lists are not."""
    return isinstance(videos, ONE) and not (isinstance(videos, Tensor | np.ndarray) and videos.ndim == 5)


def as_list(videos: Sources) -> list[Source]:
    """Return a list of videos, also of a single one."""
    if is_one(videos) or not isinstance(videos, Iterable):
        return [videos]  # pyright: ignore[reportReturnType]
    return list(videos)  # pyright: ignore[reportArgumentType, reportReturnType]


def for_evaluation(data: DataConfig, image_size: int) -> DataConfig:
    """Return `data` without settings for training. ValueError if its frames do not have the model's size."""
    if data.transform.crop != image_size:
        raise ValueError(
            f"the transform cuts out squares of {data.transform.crop} pixels, but the model takes {image_size}; "
            f"set data.transform.crop={image_size}"
        )
    transform = replace(data.transform, random_crop=False, flip_prob=0.0, augment=0)
    return replace(data, transform=transform, cache_mb=0)  # a cache is for reading a video more than once


def read_clips(
    sources: Sequence[Source],
    data: DataConfig,
    num_frames: int,
    *,
    num_views: int = 1,
    allow_missing: bool = False,
    skipped: dict[int, str] | None = None,
    on_progress: Progress | None = None,
) -> Iterator[tuple[list[int], UInt8[Tensor, "G V T C H W"]]]:
    """Read videos batch by batch; yield the indices of the sources in a batch, and their clips.

    Files come first, then frames in memory.

    Args:
        allow_missing: log videos that cannot be read and go on without them.
        skipped: with `allow_missing`, receives the index of each such video and the reason.

    Raises:
        VideoError: some videos cannot be read. It names all of them, and comes after the last batch.
    """
    if num_views < 1:
        raise ValueError(f"num_views must be at least 1, got {num_views}")
    report = on_progress or (lambda what, done, total: None)
    files, in_memory = {}, {}
    for i, source in enumerate(sources):
        if isinstance(source, str | Path | bytes | Span | Example):
            files[i] = source
        else:
            in_memory[i] = source.frames if isinstance(source, Clip) else to_tensor(source)
    # 1. Files: read by worker processes.
    loader = clip_loader(
        list(files.values()), data, num_frames=num_frames, num_views=num_views, allow_missing=allow_missing
    )
    indices = list(files)  # the loader counts files only
    for batch, frames in loader.clips():
        yield [indices[i] for i in batch], frames.unflatten(0, (len(batch), num_views))
        report("clips", max(batch) + 1, len(sources))
    # 2. Those that could not be read.
    for i, reason in sorted(loader.unreadable.items()):
        log.warning("skipped: video %d of %d, %s", indices[i] + 1, len(sources), reason)
        if skipped is not None:
            skipped[indices[i]] = reason
    # 3. Frames in memory: nothing to wait for, so this process samples them.
    indices, num_done = list(in_memory), len(files)
    for start in range(0, len(indices), data.batch_size):
        batch = indices[start : start + data.batch_size]
        yield batch, torch.stack([_views(in_memory[i], data, num_frames, num_views) for i in batch])
        num_done += len(batch)
        report("clips", num_done, len(sources))


def _views(
    frames: UInt8[Tensor, "_ 3 _ _"], data: DataConfig, num_frames: int, num_views: int
) -> UInt8[Tensor, "V T C H W"]:
    """Sample clips from frames in memory: the middle frame of each of `num_frames` equal segments, shifted by view."""
    transform = Transform(data.transform)
    # Times are in frames here, and cut to indices below.
    moments = [segment_times(0, len(frames), num_frames, view=v, num_views=num_views) for v in range(num_views)]
    return torch.stack([transform(frames[torch.tensor(times).long()]) for times in moments])
