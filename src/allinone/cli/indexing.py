"""`allinone index`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from allinone.cli.own_code import OwnCode
from allinone.cli.show import progress_bars, show_table

if TYPE_CHECKING:
    from allinone.apps.search import AddReport, Ray, Shots, VideoIndex, Windows


@dataclass(frozen=True, kw_only=True)
class Adding:
    """How videos are added.

    Adding:
        cut: what a new index cuts videos into (default: windows)
        window_sec: length of the windows of a new index (default: 10)
        overlap_sec: overlap of neighboring windows of a new index (default: 0)
        threads: threads that read videos (default: one per processor, at most 8)
        engine: ray embeds on many machines
        address: of the Ray cluster (default: one on this machine)
        ray_log: print the log of Ray
    """

    cut: Literal["windows", "shots"] | None = None
    window_sec: float | None = None
    overlap_sec: float | None = None
    threads: int | None = None
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    ray_log: bool = False

    def segmentation(self) -> "Windows | Shots | None":
        """Return what videos are cut into; None for the default, or as the index was made."""
        from allinone.apps.search import Shots, Windows

        lengths = {"length_sec": self.window_sec, "overlap_sec": self.overlap_sec}
        given = {name: value for name, value in lengths.items() if value is not None}
        if self.cut == "shots":
            if given:
                raise ValueError("--window and --overlap are for --cut windows")
            return Shots()
        # None leaves the cut to the index: a second call need not repeat the options of the first.
        return Windows(**given) if self.cut or given else None

    def cluster(self) -> "Ray | None":
        """Return the Ray cluster that embeds; None for this machine."""
        from allinone.apps.search import Ray

        if self.engine == "ray":
            return Ray(address=self.address, log=self.ray_log)
        if self.address is not None:
            raise ValueError("--address is for --engine ray")
        return None


@dataclass(frozen=True, kw_only=True)
class Maintenance:
    """The work on an index after videos are added.

    Maintenance:
        remove: remove these files or folders from the index, whether or not they exist
        remove_missing: remove videos that are missing or no longer readable
        verify: compare the index with the files; exit code 1 if they differ
        contents: with --verify, compare every byte, not only size and time
        compact: merge small files and delete old versions
        check_recall: measure the share of the best segments that a search finds
        stats: show the contents and size of the index
    """

    remove: Sequence[str] = ()
    remove_missing: bool = False
    verify: bool = False
    contents: bool = False
    compact: bool = False
    check_recall: bool = False
    stats: bool = False

    def __bool__(self) -> bool:
        return any((self.remove, self.remove_missing, self.verify, self.compact, self.check_recall, self.stats))

    def run(self, index: "VideoIndex") -> None:
        """Do all of it, and print the results."""
        # Removing comes first, so that all that follows is about the index as it stays.
        if self.remove:
            print(f"{index.path}: {index.remove(self.remove)} videos removed")
        if self.remove_missing:
            state = index.verify()
            lost = [*state.missing, *state.unreadable]
            num_removed = index.remove(lost) if lost else 0
            print(f"{index.path}: {num_removed} videos removed that are missing or no longer readable")
        if self.compact:
            index.compact()
        if self.check_recall:
            recall = index.check_recall()
            print(
                f"recall@{recall.top_k} {recall.recall:.4f} over {recall.num_queries} synthetic queries, "
                f"{recall.search_ms:.1f} ms each (median)"
            )
        if self.stats:
            show_stats(index)
        if self.verify:  # last, because it exits with 1 if there are differences
            show_differences(index, self.contents)


def index(
    videos: Sequence[str] = (),
    *,
    to: str,
    model: str | None = None,
    verbose: bool = False,
    adding: Adding,
    maintenance: Maintenance,
    own: OwnCode,
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
        verbose: list missing files, and files that were unreadable before
    """
    from allinone.apps.search import VideoIndex

    if not (videos or maintenance):
        raise ValueError("nothing to do: give VIDEOS to add, or --verify, --remove, --compact, --check-recall, --stats")
    cluster = adding.cluster()  # wrong options are errors before a model is loaded
    own.load()
    opened = VideoIndex.open(to, model, adding.segmentation())
    if videos:
        add(opened, videos, adding.threads, cluster, verbose)
    maintenance.run(opened)


def add(index: "VideoIndex", videos: Sequence[str], threads: int | None, engine: "Ray | None", verbose: bool) -> None:
    """Add videos and print the counts."""
    with progress_bars() as show:
        report = index.add(videos, on_progress=show, num_threads=threads, engine=engine)
    for path, cause in report.failed:
        if verbose or path not in report.before:  # not the same long list with every call
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
    # Unreadable ones are changed, too; each in one list.
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
    stats = index.stats()
    added = "" if stats.last_added is None else f"{stats.first_added:%Y-%m-%d} to {stats.last_added:%Y-%m-%d}"
    rows = [
        ("videos", f"{stats.num_videos:,}"),
        ("segments", f"{stats.num_segments:,}"),
        ("hours", f"{stats.duration_sec / 3600:,.1f}"),
        ("on disk", f"{stats.bytes / 1e6:,.1f} MB"),
        ("model", stats.info.model_name),
        ("cut into", str(stats.info.cut)),
        ("search", stats.ann),
        ("not in the vector index yet", f"{stats.num_unindexed:,}"),
        ("added", added),
    ]
    show_table((), rows, title=index.path)
