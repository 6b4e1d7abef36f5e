"""`VideoIndex`: videos, cut into segments that are embedded and kept on disk (LanceDB), to be found by words.

`files` finds videos and knows them by content, `segments` cuts them, `embedding` makes rows of them (`scale` on many
machines), `table` keeps the rows, `hits` is what comes out, `export` writes it for other programs.
"""

from allinone.search.files import find_videos
from allinone.search.hits import Filters, Hit
from allinone.search.index import AddReport, Recall, Segment, Stats, Verified, Video, VideoIndex
from allinone.search.scale import Ray
from allinone.search.segments import Shots, Windows
from allinone.search.table import lancedb, model_of

__all__ = [
    "AddReport",
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
    "lancedb",
    "model_of",
]
