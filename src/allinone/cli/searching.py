"""`allinone index` and `allinone search`."""

import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from allinone.cli.show import progress_bars, show_notes
from allinone.progress import clock

if TYPE_CHECKING:
    from allinone.apps.search import AddReport, Hit, Ray, Shots, VideoIndex, Windows

MAX_TITLE = 200
"""Longer queries are cut in the title of a table."""


def index(
    videos: Sequence[str] = (),
    *,
    to: str,
    model: str | None = None,
    cut: Literal["windows", "shots"] | None = None,
    window_sec: float | None = None,
    overlap_sec: float | None = None,
    threads: int | None = None,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    ray_log: bool = False,
    remove: Sequence[str] = (),
    remove_missing: bool = False,
    verify: bool = False,
    contents: bool = False,
    compact: bool = False,
    check_recall: bool = False,
    stats: bool = False,
    verbose: bool = False,
) -> None:
    """Embed videos into a searchable index, and maintain it.

        allinone index my_clips --model M --to my.index         # continues where an earlier call stopped
        allinone index 'films/**/*.mkv' --model M --to my.index --cut shots
        allinone index --to my.index --verify                   # which files are missing or changed
        allinone index --to my.index --remove my_clips/old      # files or folders

    INDEX is a folder, or a URL such as s3://bucket/my.index. A second call embeds only new and changed files. Moved
    files are recognized by their content. Files that cannot be read are listed and skipped.

    Args:
        videos: files, folders and globs
        to (INDEX): folder or URL of the index
        model: checkpoint folder, run folder or hub id (default: the one that made the index)
        cut: what a new index cuts videos into (default: windows)
        window_sec: length of the windows of a new index (default: 10)
        overlap_sec: overlap of neighboring windows of a new index (default: 0)
        threads: threads that read videos (default: one per processor, at most 8)

    Machines:
        engine: ray embeds on many machines
        address: of the Ray cluster (default: one on this machine)
        ray_log: print the log of Ray

    Maintenance:
        remove: remove these files or folders from the index, whether or not they exist
        remove_missing: remove videos that are missing or no longer readable
        verify: compare the index with the files; exit code 1 if they differ
        contents: with --verify, compare every byte, not only size and time
        compact: merge small files and delete old versions
        check_recall: measure the share of the best segments that a search finds
        stats: show the contents and size of the index
        verbose: list missing files, and files that were unreadable before
    """
    from allinone.apps.search import VideoIndex

    if not (videos or remove or remove_missing or verify or compact or check_recall or stats):
        raise ValueError("nothing to do: give VIDEOS to add, or --verify, --remove, --compact, --check-recall, --stats")
    if engine == "local" and address is not None:
        raise ValueError("--address is for --engine ray")
    opened = VideoIndex.open(to, model, segmentation(cut, window_sec, overlap_sec))
    if videos:
        add(opened, videos, threads, ray(address, ray_log) if engine == "ray" else None, verbose)
    if remove:
        print(f"{to}: {opened.remove(remove)} videos removed")
    if remove_missing:
        state = opened.verify()
        lost = [*state.missing, *state.unreadable]
        print(f"{to}: {opened.remove(lost) if lost else 0} videos removed that are missing or no longer readable")
    if compact:
        opened.compact()
    if check_recall:
        recall = opened.check_recall()
        print(
            f"recall@{recall.top_k} {recall.recall:.4f} over {recall.num_queries} synthetic queries, "
            f"{recall.search_ms:.1f} ms each (median)"
        )
    if stats:
        show_stats(opened)
    if verify:
        show_differences(opened, contents)


def add(index: "VideoIndex", videos: Sequence[str], threads: int | None, engine: "Ray | None", verbose: bool) -> None:
    """Add videos and print the counts."""
    with progress_bars() as show:
        report = index.add(videos, on_progress=show, num_threads=threads, engine=engine)
    for path, cause in report.failed:
        if verbose or path not in report.before:
            print(f"not indexed: {cause if path in cause else f'{path}: {cause}'}", file=sys.stderr)
    if report.before and not verbose:
        print(f"{len(report.before)} unreadable as before; --verbose lists them", file=sys.stderr)
    moved = f"{report.moved} recognized by their content, " if report.moved else ""
    print(
        f"{index.path}: {report.added} videos added, {moved}{report.skipped} already there, "
        f"{len(report.failed)} unreadable; {len(index)} segments"
    )
    show_skipped(index, report, verbose)


def show_skipped(index: "VideoIndex", report: "AddReport", verbose: bool) -> None:
    """Print which files were skipped, and which indexed ones are no longer as they were."""
    from allinone.apps.search.files import by_ending

    if report.others:
        print(f"{sum(report.others.values())} other files skipped ({by_ending(report.others)})")
    if report.hidden:
        hidden = by_ending(report.hidden)
        print(f"{sum(report.hidden.values())} skipped that are hidden, or in bins and hidden folders ({hidden})")
    remedy = f"`allinone index --to {index.path} --remove-missing` removes them"
    if report.stale:
        print(f"{len(report.stale)} still searched in their indexed form, though no longer readable; {remedy}")
        print("\n".join(f"  {path}" for path in report.stale))
    if report.gone:
        print(f"{len(report.gone)} of this folder are missing; {remedy}")
        print("".join(f"  {path}\n" for path in report.gone if verbose), end="")


def show_differences(index: "VideoIndex", contents: bool) -> None:
    """Compare an index with its files, list the differences, and exit with 1 if there are any."""
    with progress_bars() as show:
        state = index.verify(contents=contents, on_progress=show)
    changed = [name for name in state.changed if name not in state.unreadable]
    for title, names in (
        ("missing", state.missing),
        ("no longer readable", state.unreadable),
        ("changed", changed),
        ("orphaned segment", state.orphaned),
    ):
        for name in names:
            print(f"{title}: {name}")
    if changed or state.orphaned:
        print("index the folders of changed files again", file=sys.stderr)
    if state.missing or state.unreadable:
        remedy = f"`allinone index --to {index.path} --remove-missing`"
        print(f"{remedy} removes those that are missing or no longer readable", file=sys.stderr)
    if not state.ok:
        sys.exit(1)
    print(f"{index.path}: agrees with the files")


def show_stats(index: "VideoIndex") -> None:
    """Print a table of what an index contains."""
    from rich.console import Console
    from rich.table import Table

    stats, table = index.stats(), Table(show_header=False, title=index.path)
    added = "" if stats.last_added is None else f"{stats.first_added:%Y-%m-%d} to {stats.last_added:%Y-%m-%d}"
    for name, value in (
        ("videos", f"{stats.num_videos:,}"),
        ("segments", f"{stats.num_segments:,}"),
        ("hours", f"{stats.duration_sec / 3600:,.1f}"),
        ("on disk", f"{stats.bytes / 1e6:,.1f} MB"),
        ("model", stats.info.model_name),
        ("cut into", str(stats.info.cut)),
        ("search", stats.ann),
        ("not in the vector index yet", f"{stats.num_unindexed:,}"),
        ("added", added),
    ):
        table.add_row(name, value)
    Console().print(table, markup=False)


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
    folder: str | None = None,
    name: str | None = None,
    added_after: str | None = None,
    added_before: str | None = None,
    min_duration_sec: float | None = None,
    max_duration_sec: float | None = None,
    format: Literal["table", "json", "csv", "edl", "html"] = "table",
    fps: float | None = None,
    save_clips: Path | None = None,
    exact: bool = False,
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

    Filters:
        folder: only videos in this folder or below: a path, or the end of one
        name: only files with this text in their name
        added_after (DATE): for example 2026-01-31 or 2026-01-31T18:00
        added_before (DATE): likewise
        min_duration_sec: of the whole video
        max_duration_sec: of the whole video

    Output:
        format: of the hits on stdout
        fps: of the EDL (default: that of the first hit's video)
        save_clips (DIR): save the hits as files in DIR, copied from the keyframe before
        exact: with --save-clips, cut exactly and encode again as H.264 and AAC
    """
    from allinone.apps.search import Filters, VideoIndex

    if bool(words) == (like is not None):
        raise ValueError("give words to search for, or --like EXAMPLE, and not both")
    where = Filters(
        folder=folder,
        name=name,
        added_after=read_date(added_after),
        added_before=read_date(added_before),
        min_duration_sec=min_duration_sec,
        max_duration_sec=max_duration_sec,
    )
    opened = VideoIndex.open(index, model)
    page: dict[str, Any] = {"top_k": top_k, "offset": offset, "where": where, "merge": not no_merge}
    if like is not None:
        hits = {f"like {like}": opened.similar(example(opened, like), **page)}
    else:
        show_notes(opened.predictor.notes(words))
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
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    for query, found in hits.items():
        is_reranked = any(hit.match is not None for hit in found)
        title = Text(query if len(query) <= MAX_TITLE else f"{query[:MAX_TITLE]}...")
        table = Table("score", *["match"] * is_reranked, "from", "to", title=title)
        table.add_column("video", overflow="fold")
        for hit in found:  # in the order of `match` where they were re-ranked
            match = ["" if hit.match is None else f"{hit.match:.3f}"] * is_reranked
            times = (clock(hit.start_sec, 1), clock(hit.end_sec, 1)) if hit.end_sec else ("", "")  # a photo has none
            video = Text(os.path.relpath(hit.video, folder)).append(" (gone)" if hit.gone else "")
            table.add_row(f"{hit.score:.3f}", *match, *times, video)
        Console().print(table)
    print(f"in {folder}")


def save(hits: "dict[str, list[Hit]]", folder: Path, exact: bool) -> None:
    """Save all hits as files, and print their paths to stderr, because stdout may be an EDL."""
    from allinone.apps.search.clips import save_clips

    for clip in save_clips([hit for found in hits.values() for hit in found], folder, exact=exact):
        print(f"no clip: {clip}" if isinstance(clip, ValueError) else clip, file=sys.stderr)


def segmentation(cut: str | None, window_sec: float | None, overlap_sec: float | None) -> "Windows | Shots | None":
    """Return what `--cut`, `--window` and `--overlap` describe; None where none of them is given."""
    from allinone.apps.search import Shots, Windows

    lengths = {"length_sec": window_sec, "overlap_sec": overlap_sec}
    given = {name: value for name, value in lengths.items() if value is not None}
    if cut == "shots":
        if given:
            raise ValueError("--window and --overlap are for --cut windows")
        return Shots()
    return Windows(**given) if cut or given else None


def ray(address: str | None, log: bool) -> "Ray":
    from allinone.apps.search import Ray

    return Ray(address=address, log=log)


def read_date(text: str | None) -> datetime | None:
    """Parse a date of the command line."""
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"expected a date such as 2026-01-31 or 2026-01-31T18:00, got {text!r}") from error


def example(index: "VideoIndex", text: str) -> Any:
    """Return the path of an example if there is such a file, and the segment with this id otherwise."""
    from allinone.video.names import on_disk

    path = on_disk(text)
    return path if path.exists() else index.segment(text)
