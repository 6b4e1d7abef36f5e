"""`allinone index` and `allinone search`."""

import sys
from argparse import RawDescriptionHelpFormatter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from allinone.cli.show import progress_bars, show_notes
from allinone.progress import clock

if TYPE_CHECKING:
    from allinone.apps.search import Filters, Hit, Ray, Shots, VideoIndex, Windows

INDEX = """Embed videos into a searchable index, and keep it in order.

    allinone index my_clips --model M --to my.index         # goes on where an earlier call stopped
    allinone index 'films/**/*.mkv' --model M --to my.index --cut shots
    allinone index --to my.index --verify                   # which files are gone or changed since
    allinone index --to my.index --remove my_clips/old      # files or folders

INDEX is a folder, or a URL such as s3://bucket/my.index. A second call embeds only what is new or changed; moved files
are known by their content; a broken file is named and holds up nothing."""

SEARCH = """Find the moments that a sentence describes.

    allinone search "a dog catches a ball" --index my.index
    allinone search "a dog" "a cat" --index my.index --folder holidays --min-duration 60 --format csv
    allinone search --like picture.jpg --index my.index     # more like this: a video, an image, or a hit's segment
    allinone search "a goal" --index my.index --rerank 50 --save-clips goals --format edl > goals.edl"""


def add_commands(commands: Any) -> None:
    index = ArgumentParser(description=INDEX)
    index.add_argument("videos", type=str, nargs="*", metavar="VIDEOS", help="files, folders and globs")
    index.add_argument("--model", type=str, metavar="M", help="checkpoint folder, run folder or hub id")
    index.add_argument("--to", type=str, required=True, metavar="INDEX", help="the index's folder or URL")
    index.add_argument("--cut", type=str, choices=["windows", "shots"], help="new index: cut into these")
    index.add_argument("--window", type=float, metavar="SEC", help="new index: length of windows (default: 10)")
    index.add_argument("--overlap", type=float, metavar="SEC", help="new index: of neighbouring windows (default: 0)")
    index.add_argument("--threads", type=int, metavar="N", help="that read videos (default: one a processor, up to 8)")
    index.add_argument("--engine", type=str, choices=["local", "ray"], default="local", help="ray: on many machines")
    index.add_argument("--address", type=str, help="of the Ray cluster (default: one on this machine)")
    index.add_argument("--ray-log", action="store_true", help="with --engine ray: print what Ray says")
    index.add_argument("--remove", type=str, nargs="+", metavar="PATH", help="take these out, there or gone")
    index.add_argument("--remove-missing", action="store_true", help="take out what is gone or no longer readable")
    index.add_argument("--verify", action="store_true", help="compare with the files; exit code 1 where they differ")
    index.add_argument("--contents", action="store_true", help="with --verify: every byte, not just size and time")
    index.add_argument("--compact", action="store_true", help="merge small files and drop old versions")
    index.add_argument("--check-recall", action="store_true", help="how much of what is best a search finds")
    index.add_argument("--verbose", action="store_true", help="list what is gone, and unreadable as before")
    index.add_argument("--stats", action="store_true", help="what is in it")
    commands.add_subcommand("index", index, help="make videos searchable")

    search = ArgumentParser(description=SEARCH)
    search.add_argument("words", type=str, nargs="*", help="a sentence, or several")
    search.add_argument("--index", type=str, required=True, metavar="INDEX", help="made by `allinone index`")
    search.add_argument("--like", type=str, metavar="EXAMPLE", help="a video, an image, or the segment of a hit")
    search.add_argument("--model", type=str, metavar="M", help="if the model is no longer where it was when indexing")
    search.add_argument("--top-k", type=int, default=10, help="how many hits (default: %(default)s)")
    search.add_argument("--offset", type=int, default=0, help="leave out so many of the best: the next page")
    search.add_argument("--rerank", type=int, default=0, metavar="K", help="let the joint mode re-read the best K")
    search.add_argument("--no-merge", action="store_true", help="neighbouring segments as hits of their own")
    search.add_argument("--folder", type=str, help="only videos in it or below: a path, or the end of one")
    search.add_argument("--name", type=str, help="only files with this in their name")
    search.add_argument("--added-after", type=str, metavar="DATE", help="2026-01-31, or with a time: 2026-01-31T18:00")
    search.add_argument("--added-before", type=str, metavar="DATE")
    search.add_argument("--min-duration", type=float, metavar="SEC", help="of the whole video")
    search.add_argument("--max-duration", type=float, metavar="SEC")
    search.add_argument("--format", type=str, choices=["table", "json", "csv", "edl", "html"], default="table")
    search.add_argument("--fps", type=float, help="of the EDL (default: that of the first hit's video)")
    search.add_argument(
        "--save-clips", type=str, metavar="DIR", help="write the hits into DIR, copied from a keyframe on"
    )
    search.add_argument("--exact", action="store_true", help="with --save-clips: from start to end, as H.264 and AAC")
    commands.add_subcommand("search", search, help="find a moment in indexed videos")
    for parser in (index, search):  # which got that of the whole command: it would run the examples together
        parser.formatter_class = RawDescriptionHelpFormatter


def run_index(options: Namespace) -> None:
    keeps = [
        options.remove,
        options.remove_missing,
        options.verify,
        options.compact,
        options.check_recall,
        options.stats,
    ]
    if not options.videos and not any(keeps):
        raise ValueError("nothing to do: give VIDEOS to add, or --verify, --remove, --compact, --check-recall, --stats")
    index = open_index(options.to, options.model, cut_of(options))
    if options.videos:
        add(index, options)
    if options.remove:
        print(f"{options.to}: {index.remove(options.remove)} videos taken out")
    if options.remove_missing:
        found = index.verify()
        lost = [*found.missing, *found.unreadable]
        number = index.remove(lost) if lost else 0
        print(f"{options.to}: {number} videos taken out, whose files are gone or no longer readable")
    if options.compact:
        index.compact()
    if options.check_recall:
        recall = index.check_recall()
        print(
            f"recall@{recall.top_k} {recall.recall:.4f} over {recall.num_queries} made queries, "
            f"{recall.search_ms:.1f} ms each (median)"
        )
    if options.stats:
        show_stats(index)
    if options.verify:
        verify(index, options.contents)


def add(index: "VideoIndex", options: Namespace) -> None:
    from allinone.apps.search.files import by_ending

    with progress_bars() as show:
        report = index.add(options.videos, on_progress=show, num_threads=options.threads, engine=engine_of(options))
    for path, cause in report.failed:
        if options.verbose or path not in report.before:
            print(f"not indexed: {cause if path in cause else f'{path}: {cause}'}", file=sys.stderr)
    if report.before and not options.verbose:
        print(f"{len(report.before)} unreadable as before; --verbose lists them", file=sys.stderr)
    moved = f"{report.moved} known by their content, " if report.moved else ""
    print(
        f"{options.to}: {report.added} videos added, {moved}{report.skipped} already there, "
        f"{len(report.failed)} unreadable; {len(index)} segments"
    )
    if report.others:
        print(f"{sum(report.others.values())} other files left alone ({by_ending(report.others)})")
    if report.hidden:
        hidden = by_ending(report.hidden)
        print(f"{sum(report.hidden.values())} left alone that are hidden, or in bins and hidden folders ({hidden})")
    way_out = f"`allinone index --to {options.to} --remove-missing` takes them out"
    if report.stale:
        print(f"still found as they were before, though no longer readable: {len(report.stale)}; {way_out}")
        print("\n".join(f"  {path}" for path in report.stale))
    if report.gone:
        print(f"{len(report.gone)} of this folder are gone; {way_out}")
        print("".join(f"  {path}\n" for path in report.gone if options.verbose), end="")


def verify(index: "VideoIndex", contents: bool) -> None:
    with progress_bars() as show:
        found = index.verify(contents=contents, on_progress=show)
    changed = [name for name in found.changed if name not in found.unreadable]
    for what, names in (
        ("gone", found.missing),
        ("no longer readable", found.unreadable),
        ("changed", changed),
        ("orphaned segment", found.orphaned),
    ):
        for name in names:
            print(f"{what}: {name}")
    if changed or found.orphaned:
        print("index the folders of changed files again", file=sys.stderr)
    if found.missing or found.unreadable:
        way_out = f"`allinone index --to {index.path} --remove-missing`"
        print(f"{way_out} takes out those that are gone or no longer readable", file=sys.stderr)
    if not found.ok:
        sys.exit(1)
    print(f"{index.path}: as the files are")


def show_stats(index: "VideoIndex") -> None:
    from rich.console import Console
    from rich.table import Table

    stats, table = index.stats(), Table(show_header=False, title=index.path)
    added = "" if stats.last_added is None else f"{stats.first_added:%Y-%m-%d} to {stats.last_added:%Y-%m-%d}"
    for name, value in (
        ("videos", f"{stats.num_videos:,}"),
        ("segments", f"{stats.num_segments:,}"),
        ("hours", f"{stats.duration_sec / 3600:,.1f}"),
        ("on disk", f"{stats.bytes / 1e6:,.1f} MB"),
        ("model", stats.made.model_name),
        ("cut into", str(stats.made.cut)),
        ("search", stats.ann),
        ("not grouped yet", f"{stats.num_ungrouped:,}"),
        ("added", added),
    ):
        table.add_row(name, value)
    Console().print(table, markup=False)


def run_search(options: Namespace) -> None:
    if bool(options.words) == (options.like is not None):
        raise ValueError("give words to search for, or --like EXAMPLE, and not both")
    index = open_index(options.index, options.model)
    page: dict[str, Any] = {
        "top_k": options.top_k,
        "offset": options.offset,
        "where": filters_of(options),
        "merge": not options.no_merge,
    }
    if options.like is not None:
        found = {f"like {options.like}": index.similar(example_of(index, options.like), **page)}
    else:
        show_notes(index.predictor.notes(options.words))
        lists = index.search_many(options.words, rerank=options.rerank, **page)
        found = dict(zip(options.words, lists, strict=True))
    if not any(found.values()):
        show_notes(index.left_nothing(page["where"]))
    show_found(index, found, options.format, options.fps)
    if options.save_clips:
        save(found, options.save_clips, options.exact)


def show_found(index: "VideoIndex", found: "dict[str, list[Hit]]", form: str, fps: float | None) -> None:
    from allinone.apps.search import export

    if form == "table":
        show_hits(found, index.common_folder())
    elif form == "html":
        ids = [hit.segment for hits in found.values() for hit in hits]
        print(export.to_html(found, index.thumbnails(ids)), end="")
    elif form == "edl":
        print(export.to_edl(found, fps), end="")
    else:
        print((export.to_json if form == "json" else export.to_csv)(found).rstrip("\n"))


def show_hits(found: "dict[str, list[Hit]]", folder: str) -> None:
    """A table for each query; videos are named from the folder that all of the index lie in."""
    import os

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    for query, hits in found.items():
        is_reranked = any(hit.match is not None for hit in hits)
        table = Table(
            "score",
            *["match"] * is_reranked,
            "from",
            "to",
            title=Text(query if len(query) <= 200 else f"{query[:200]}..."),
        )
        table.add_column("video", overflow="fold")
        for hit in hits:  # with re-ranking, `match` decides the order
            match = ["" if hit.match is None else f"{hit.match:.3f}"] * is_reranked
            when = (clock(hit.start_sec, 1), clock(hit.end_sec, 1)) if hit.end_sec else ("", "")  # none of a photo
            video = Text(os.path.relpath(hit.video, folder)).append(" (gone)" if hit.gone else "")
            table.add_row(f"{hit.score:.3f}", *match, *when, video)
        Console().print(table)
    print(f"in {folder}")


def save(found: "dict[str, list[Hit]]", folder: str, exact: bool) -> None:
    from allinone.apps.search.clips import save_clips

    saved = save_clips([hit for hits in found.values() for hit in hits], folder, exact=exact)
    for clip in saved:
        print(f"no clip: {clip}" if isinstance(clip, ValueError) else clip, file=sys.stderr)


# Options to what they mean


def open_index(
    path: str, model: str | None, cut: "Windows | Shots | None" = None, is_new: bool = False
) -> "VideoIndex":
    """The index with the model that made it, unless another place for that is given."""
    from allinone.apps.search import VideoIndex, model_of
    from allinone.inference import load

    return VideoIndex.open(path, load(model or model_of(path)), cut)


def cut_of(options: Namespace) -> "Windows | Shots | None":
    from allinone.apps.search import Shots, Windows

    if options.cut == "shots":
        if options.window is not None or options.overlap is not None:
            raise ValueError("--window and --overlap are for --cut windows")
        return Shots()
    if options.cut is None and options.window is None and options.overlap is None:
        return None
    given = {"length_sec": options.window, "overlap_sec": options.overlap}
    return Windows(**{name: value for name, value in given.items() if value is not None})


def engine_of(options: Namespace) -> "Ray | None":
    from allinone.apps.search import Ray

    if options.engine == "ray":
        return Ray(address=options.address, log=options.ray_log)
    if options.address is not None:
        raise ValueError("--address is for --engine ray")
    return None


def filters_of(options: Namespace) -> "Filters":
    from allinone.apps.search import Filters

    return Filters(
        folder=options.folder,
        name=options.name,
        added_after=moment_of(options.added_after),
        added_before=moment_of(options.added_before),
        min_duration_sec=options.min_duration,
        max_duration_sec=options.max_duration,
    )


def moment_of(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"a date is wanted, as 2026-01-31 or 2026-01-31T18:00, not {text!r}") from error


def example_of(index: "VideoIndex", text: str) -> Any:
    """A file if there is one of this name, or else the segment of this id."""
    from allinone.video.names import on_disk

    path = on_disk(text)
    return path if path.exists() else index.segment(text)


COMMANDS = {"index": run_index, "search": run_search}
