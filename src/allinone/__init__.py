"""All-in-One: one Transformer for video and words.

`load` gives a `Predictor` (embed, match, answer, choose), `VideoIndex` makes videos searchable. Both are imported when
they are first used, so that `import allinone` is quick.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allinone.inference import Predictor as Predictor
    from allinone.inference import load as load
    from allinone.search import VideoIndex as VideoIndex

__all__ = ["Predictor", "VideoIndex", "load"]


def __getattr__(name: str) -> Any:
    if name == "VideoIndex":
        from allinone.search import VideoIndex

        return VideoIndex
    if name in ("Predictor", "load"):
        from allinone import inference

        return getattr(inference, name)
    raise AttributeError(f"module 'allinone' has no attribute {name!r}")
