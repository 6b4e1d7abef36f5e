"""`VideoIndex`: videos, cut into segments that are embedded and kept on disk (LanceDB), to be found by words.

`files` finds videos and knows them by content, `segments` cuts them, `embedding` makes rows of them (`scale` on many
machines), `adding` decides which, `table` keeps them; `hits` is what comes out, `export` and `clips` write it.
"""

from allinone.apps.search.adding import AddReport
from allinone.apps.search.faults import DamagedIndex
from allinone.apps.search.files import find_videos
from allinone.apps.search.hits import Filters, Hit
from allinone.apps.search.index import Recall, Segment, Stats, Verified, Video, VideoIndex
from allinone.apps.search.scale import Ray
from allinone.apps.search.segments import Shots, Windows
from allinone.apps.search.table import model_of, require_lancedb

__all__ = [
    "AddReport",
    "DamagedIndex",
    "Filters",
    "Hit",
    "Ray",
    "Recall",
    "Segment",
    "Shots",
    "Stats",
    "Verified",
    "Video",
    "VideoIndex",
    "Windows",
    "find_videos",
    "model_of",
    "require_lancedb",
]
