"""The user's cache folder: what can be made again, kept between runs."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Return the folder of one kind of cached files, made if missing: `$XDG_CACHE_HOME/allinone/NAME`."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "allinone" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
