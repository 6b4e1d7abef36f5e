"""Videos and images: exact frames at any moment (`read_frames`), and what a file is (`probe`).

Names are loaded when they are first used, because FFmpeg and torch take a while to import.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allinone.video.errors import VideoError as VideoError
    from allinone.video.file import FrameStream as FrameStream
    from allinone.video.file import VideoFile as VideoFile
    from allinone.video.file import VideoInfo as VideoInfo
    from allinone.video.file import probe as probe
    from allinone.video.file import read_frames as read_frames

__all__ = ["FrameStream", "VideoError", "VideoFile", "VideoInfo", "probe", "read_frames"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "errors" if name == "VideoError" else "file"
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
