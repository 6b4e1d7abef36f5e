"""All-in-One: one Transformer for video and words.

`load` returns a `Predictor` (embed, match, answer, choose). `VideoIndex` makes videos searchable (`Hit`, `Filters`). A
video that cannot be read raises `VideoError`. They are imported at first use, so that `import allinone` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allinone.apps.search import Filters as Filters
    from allinone.apps.search import Hit as Hit
    from allinone.apps.search import VideoIndex as VideoIndex
    from allinone.inference import Predictor as Predictor
    from allinone.inference import load as load
    from allinone.video import VideoError as VideoError

__all__ = ["Filters", "Hit", "Predictor", "VideoError", "VideoIndex", "load"]

_MODULES = {
    "Filters": "apps.search",
    "Hit": "apps.search",
    "Predictor": "inference",
    "VideoError": "video",
    "VideoIndex": "apps.search",
    "load": "inference",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'allinone' has no attribute {name!r}")
    return getattr(importlib.import_module(f"allinone.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
