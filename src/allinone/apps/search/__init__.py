"""`VideoIndex`: videos, cut into segments that are embedded and stored on disk (LanceDB), searched by text or example.

To add videos, `files` finds them and hashes their content, `segments` cuts them, `embedding` makes rows of them
(`scale`: on many machines), `adding` decides which rows are written, and `table` stores them. `hits` and `filters`
describe a search and its result; `export` and `clips` write hits to files.
"""

from allinone.apps.search.faults import DamagedIndex
from allinone.apps.search.files import find_videos
from allinone.apps.search.filters import Filters
from allinone.apps.search.hits import Hit
from allinone.apps.search.index import VideoIndex
from allinone.apps.search.records import AddReport, Recall, Segment, Stats, Verified, Video
from allinone.apps.search.scale import Ray
from allinone.apps.search.segments import Shots, Windows
from allinone.apps.search.table import require_lancedb

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
    "require_lancedb",
]
