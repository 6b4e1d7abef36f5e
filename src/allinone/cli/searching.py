"""`allinone search`."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from allinone.cli.own_code import OwnCode
from allinone.cli.show import show_notes, show_table
from allinone.progress import clock

if TYPE_CHECKING:
    from allinone.apps import search as search_app
    from allinone.apps.search import Hit, VideoIndex

MAX_TITLE = 200
"""Longer queries are cut in the title of a table."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which videos are searched.

    Filters:
        folder: only videos in this folder or below: a path, or the end of one
        name: only files with this text in their name
        added_after (DATE): for example 2026-01-31 or 2026-01-31T18:00
        added_before (DATE): likewise
        min_duration_sec: of the whole video
        max_duration_sec: of the whole video
    """

    folder: str | None = None
    name: str | None = None
    added_after: str | None = None
    added_before: str | None = None
    min_duration_sec: float | None = None
    max_duration_sec: float | None = None

    def parsed(self) -> "search_app.Filters":
        """Return the filters that the index takes."""
        from allinone.apps.search import Filters

        dates: dict[str, Any] = {
            "added_after": read_date(self.added_after),
            "added_before": read_date(self.added_before),
        }
        return Filters(**vars(self) | dates)


def search(
    words: Sequence[str] = (),
    *,
    index: str,
    like: str | None = None,
    model: str | None = None,
    top_k: int = 10,
    offset: int = 0,
    rerank: int = 0,
    no_merge: bool = False,
    format: Literal["table", "json", "csv", "edl", "html"] = "table",
    fps: float | None = None,
    save_clips: Path | None = None,
    exact: bool = False,
    filters: Filters,
    own: OwnCode,
) -> None:
    """Find the moments that a sentence describes.

        allinone search "a dog catches a ball" --index my.index
        allinone search "a dog" "a cat" --index my.index --folder holidays --min-duration 60 --format csv
        allinone search --like picture.jpg --index my.index     # similar ones: to a video, an image, or a hit's segment
        allinone search "a goal" --index my.index --rerank 50 --save-clips goals --format edl > goals.edl

    Args:
        words: one sentence or more
        index: made by `allinone index`
        like (EXAMPLE): a video, an image, or the segment of a hit
        model: checkpoint folder, run folder or hub id (default: the one that made the index)
        top_k: number of hits
        offset: skip this many of the best hits, for the next page
        rerank (K): score the best K again with the joint mode
        no_merge: show neighboring segments as separate hits

    Output:
        format: of the hits on stdout
        fps: of the EDL (default: that of the first hit's video)
        save_clips (DIR): save the hits as files in DIR, copied from the keyframe before
        exact: with --save-clips, cut exactly and encode again as H.264 and AAC
    """
    from allinone.apps.search import VideoIndex

    if bool(words) == (like is not None):  # neither, or both
        raise ValueError("give words to search for, or --like EXAMPLE, and not both")
    where = filters.parsed()  # a wrong date is an error before the model is loaded
    own.load()
    # Frames are embedded for an example, and read for re-ranking.
    opened = VideoIndex.open(index, model, text_only=like is None and not rerank)
    page: dict[str, Any] = {"top_k": top_k, "offset": offset, "where": where, "merge": not no_merge}
    if like is not None:
        hits = {f"like {like}": opened.similar(example(opened, like), **page)}
    else:
        show_notes(opened.predictor.notes(words))
        # By query: the same one twice is one table.
        hits = dict(zip(words, opened.search_many(words, rerank=rerank, **page), strict=True))
    if not any(hits.values()):
        show_notes(opened.left_nothing(where))
    show_hits(opened, hits, format, fps)
    if save_clips:
        save(hits, save_clips, exact)


def show_hits(index: "VideoIndex", hits: "dict[str, list[Hit]]", format: str, fps: float | None) -> None:
    """Print the hits of each query in one of the formats."""
    from allinone.apps.search import export

    match format:
        case "table":
            show_hit_tables(hits, index.common_folder())
        case "html":
            thumbnails = index.thumbnails([hit.segment for found in hits.values() for hit in found])
            print(export.to_html(hits, thumbnails), end="")
        case "edl":
            print(export.to_edl(hits, fps), end="")
        case _:
            print((export.to_json if format == "json" else export.to_csv)(hits).rstrip("\n"))


def show_hit_tables(hits: "dict[str, list[Hit]]", folder: str) -> None:
    """Print a table for each query. Paths are relative to `folder`, which contains all indexed videos."""
    from rich.table import Column

    for query, found in hits.items():
        is_reranked = any(hit.match is not None for hit in found)
        rows = []
        for hit in found:  # in the order of `match` where they were re-ranked
            # No column at all without re-ranking.
            match = ["" if hit.match is None else f"{hit.match:.3f}"] * is_reranked
            times = (clock(hit.start_sec, 1), clock(hit.end_sec, 1)) if hit.end_sec else ("", "")  # a photo has none
            video = os.path.relpath(hit.video, folder) + (" (gone)" if hit.gone else "")
            rows.append((f"{hit.score:.3f}", *match, *times, video))
        header = ("score", *["match"] * is_reranked, "from", "to", Column("video", overflow="fold"))
        show_table(header, rows, title=query if len(query) <= MAX_TITLE else f"{query[:MAX_TITLE]}...")
    print(f"in {folder}")


def save(hits: "dict[str, list[Hit]]", folder: Path, exact: bool) -> None:
    """Save all hits as files, and print their paths to stderr, because stdout may be an EDL."""
    from allinone.apps.search.clips import save_clips

    for clip in save_clips([hit for found in hits.values() for hit in found], folder, exact=exact):
        print(f"no clip: {clip}" if isinstance(clip, ValueError) else clip, file=sys.stderr)


def read_date(text: str | None) -> datetime | None:
    """Parse a date of the command line."""
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"expected a date such as 2026-01-31 or 2026-01-31T18:00, got {text!r}") from error


def example(index: "VideoIndex", text: str) -> Any:
    """Return the path of an example if there is such a file, and the segment with this id otherwise."""
    from allinone.video.names import on_disk

    path = on_disk(text)  # a file first: ids of segments look like no file that people have
    return path if path.exists() else index.segment(text)
