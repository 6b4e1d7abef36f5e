"""`allinone data list`, `info`, `check`, `prepare` and `shard`."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from allinone.cli.show import progress_bars
from allinone.video.names import on_disk

if TYPE_CHECKING:
    from allinone.apps.tools.info import Found
    from allinone.datasets import DatasetEntry
    from allinone.datasets.base import SplitSize

NOT_ALIKE = "not read as the source is: the reader chooses among the files of a folder, and those alone are"

MAX_SHOWN = 20
"""So many files are named; the rest is counted, and in the report."""

SCHEMA = """With --json: {"name", "root", "tasks": {TASK: {SPLIT: {"records", "videos" (distinct files), "options" (of a
question) or null, "answers" (distinct answers, numbers or labels) or null, "published": {"records", "videos"} or null,
"equal": true, false or null} or {"error": TEXT}}}}."""


def add_commands(commands: Any) -> None:
    data = ArgumentParser(description="Which data sets there are; what one has on disk; make it fast to read.")
    commands.add_subcommand("data", data, help="data sets: list, info, check, prepare, shard")
    actions = data.add_subcommands(dest="action", required=True)  # after its parent: jsonargparse wants that order
    actions.add_subcommand("list", ArgumentParser(description="Every data set that is known."), help="all data sets")

    info = ArgumentParser(
        description="What a data set is: licence, where to get it, layout on disk, one record, published sizes. With "
        f"--root, count what is there; videos need not be. {SCHEMA}"
    )
    add_name(info, "--root", required=False)
    info.add_argument("--json", action="store_true", help="the counts as JSON")
    actions.add_subcommand("info", info, help="what a data set is, and what of it is there")

    check = ArgumentParser(
        description="Compare annotations with the published sizes and read each video at its start, middle and end. "
        "Changes nothing; goes on where an earlier check stopped. Exit code 1 where anything is missing or broken."
    )
    add_name(check, "--root")
    add_choice(check)
    check.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
    check.add_argument("--timeout", type=float, default=60, metavar="SEC",
                       help="a file that gives nothing for so long is given up (default: %(default)s)")  # fmt: skip
    check.add_argument("--report", type=str, metavar="FILE", help="where the JSON report goes (default: user's cache)")
    actions.add_subcommand("check", check, help="is it complete and readable?")

    prepare = ArgumentParser(
        description="Re-encode the videos to a small size with frequent keyframes, into a new folder that is read as "
        "the old one is. The source is not touched; goes on where an earlier call stopped."
    )
    add_name(prepare, "--root")
    prepare.add_argument("--to", type=str, required=True, metavar="D", help="the new folder")
    prepare.add_argument("--short-side", type=int, default=240, metavar="PIXELS", help="at most (default: %(default)s)")
    prepare.add_argument("--gop", type=int, default=12, help="frames from keyframe to keyframe (default: %(default)s)")
    prepare.add_argument("--crf", type=int, default=23, help="quality, 0 is best, 51 least (default: %(default)s)")
    prepare.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
    actions.add_subcommand("prepare", prepare, help="make its videos fast to read")

    shard = ArgumentParser(
        description="Pack the videos, as they are, into few large tar files in WebDataset's layout, in a new folder "
        "that is read as the old one is. The source is not touched; goes on where an earlier call stopped. Exit code 1 "
        "where a video is missing or unreadable."
    )
    add_name(shard, "--root")
    shard.add_argument("--to", type=str, required=True, metavar="S", help="the new folder")
    add_choice(shard)
    shard.add_argument("--workers", type=int, metavar="N", help="processes that read (default: one for each core)")
    shard.add_argument("--max-mb", type=int, default=512, metavar="MB", help="of one shard (default: %(default)s)")
    shard.add_argument("--max-samples", type=int, default=10_000, metavar="N", help="in one (default: %(default)s)")
    actions.add_subcommand("shard", shard, help="pack its videos into few large files")


def add_choice(parser: ArgumentParser) -> None:
    parser.add_argument("--split", type=str, nargs="+", metavar="S", help="these splits alone (default: all)")
    parser.add_argument("--task", type=str, nargs="+", metavar="T", help="these tasks alone (default: all)")


def add_name(parser: ArgumentParser, root: str, required: bool = True) -> None:
    parser.add_argument("name", type=str, metavar="NAME", help="a data set; `allinone data list` names them all")
    parser.add_argument(root, type=str, required=required, metavar="R", help="the folder in which it lies")


def run_data(options: Namespace) -> None:
    action = str(options.action)
    ACTIONS[action](options[action])


def run_list(options: Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from allinone.datasets import all_known

    table = Table("name", "what it is", "tasks", "records", "licence")
    for known in all_known():
        tasks, sizes = [], []
        for task, reading in known.card.readings.items():
            figures = [size.records for size in reading.splits.values() if size.records]
            tasks.append(task)
            sizes.append(f"{max(figures):,}" if figures else "")
        table.add_row(known.name, known.card.title, "\n".join(tasks), "\n".join(sizes), known.card.licence)
    Console().print(table)


def run_info(options: Namespace) -> None:
    from allinone.apps.tools.info import counts_as_json, survey
    from allinone.datasets import find

    known = find(options.name)
    if options.root is None:
        if options.json:
            raise ValueError("--json gives counts; say where the data set lies with --root R")
        show_card(known)
        return
    found = survey(known, on_disk(options.root))
    if options.json:
        print(json.dumps({"name": known.name, "root": options.root, "tasks": counts_as_json(found)}, indent=2))
    else:
        show_counts(f"{known.name} in {options.root}", found)


def run_check(options: Namespace) -> None:
    from allinone.apps.tools.check import check
    from allinone.datasets import find

    known = find(options.name)
    with progress_bars() as show:
        report, path = check(
            known,
            on_disk(options.root),
            splits=options.split,
            tasks=options.task,
            workers=options.workers,
            timeout_sec=options.timeout,
            report=options.report,
            on_progress=show,
        )
    show_counts(f"{known.name} in {options.root}", report.tasks)
    list_some("missing", report.missing)
    list_some("broken", (f"{path}: {cause}" for path, cause in sorted(report.broken.items())))
    list_some("no such part", map(str, report.outside))
    list_some("shorter than its part", map(str, report.beyond))
    missing, broken = len(report.missing), len(report.broken)
    print(
        f"{report.num_files:,} files: {report.num_files - missing - broken:,} readable, {missing:,} missing, "
        f"{broken:,} broken; {len(report.outside):,} end before a part begins, {len(report.beyond):,} before one ends"
    )
    print(f"report: {path}")
    if not report.complete:
        print(f"{known.name}: not complete", file=sys.stderr)
        sys.exit(1)


def run_prepare(options: Namespace) -> None:
    from allinone.apps.tools.prepare import Format, prepare
    from allinone.datasets import find

    form = Format(short_side=options.short_side, gop=options.gop, crf=options.crf)
    with progress_bars() as show:
        report = prepare(
            find(options.name), on_disk(options.root), Path(options.to), form, workers=options.workers, on_progress=show
        )
    list_some("not read", report.unread)
    list_some("missing", report.missing)
    list_some("unreadable", (f"{path}: {cause}" for path, cause in sorted(report.failed.items())))
    list_some("damaged, written as far as it decodes", (f"{p}: {why}" for p, why in sorted(report.damaged.items())))
    num_written = report.num_files - len(report.missing) - len(report.failed)
    print(
        f"{report.num_files:,} files: {num_written:,} prepared ({report.num_done_before:,} of them before), "
        f"{len(report.missing):,} missing, {len(report.failed):,} unreadable, {len(report.damaged):,} damaged; "
        f"{megabytes(report.before_bytes)} became {megabytes(report.after_bytes)}"
    )
    if gain := report.gain:
        print(
            f"clips of 3 frames: {gain.source:.1f} a second from the source, {gain.prepared:.1f} now "
            f"({gain.prepared / gain.source:.1f} times; medians of {gain.num_files} files)"
        )
    if not report.alike:
        print(f"{NOT_ALIKE} there now")
    if not report.complete:
        sys.exit(1)


def run_shard(options: Namespace) -> None:
    from allinone.apps.tools.shard import Limits, shard
    from allinone.datasets import find

    limits = Limits(max_mb=options.max_mb, max_samples=options.max_samples)
    with progress_bars() as show:
        report = shard(
            find(options.name),
            on_disk(options.root),
            Path(options.to),
            limits,
            splits=options.split,
            tasks=options.task,
            workers=options.workers,
            on_progress=show,
        )
    list_some("not read", report.unread)
    list_some("missing", report.missing)
    list_some("unreadable", (f"{path}: {cause}" for path, cause in sorted(report.failed.items())))
    num_packed = report.num_files - len(report.missing) - len(report.failed)
    print(
        f"{report.num_files:,} files: {num_packed:,} packed ({report.num_done_before:,} of them before), "
        f"{len(report.missing):,} missing, {len(report.failed):,} unreadable; "
        f"{report.num_shards:,} new shards of {megabytes(report.num_bytes)}"
    )
    if not report.alike:
        print(f"{NOT_ALIKE} packed")
    if not report.complete:
        sys.exit(1)


def show_card(known: "DatasetEntry") -> None:
    card = known.card
    print(f"{known.name}: {card.title}\n")
    for what, text in (("licence", card.licence), ("get it", card.get), ("scored by", card.metric)):
        print(f"{what + ':':10} {text}")
    print(f"\n{known.about}\n")
    for task, reading in card.readings.items():
        for split, size in reading.splits.items():
            print(f"{task}, {split}: {in_words(size)}")


def show_counts(title: str, found: "Found") -> None:
    from rich.console import Console
    from rich.table import Table

    from allinone.apps.tools.info import differing

    table = Table("task", "split", "records", "videos", "options", "answers", "as published", title=title)
    for task, splits in found.items():
        for split, there in splits.items():
            if isinstance(there, str):
                table.add_row(task, split, "-", "-", "-", "-", "not read")
            else:
                counts = (there.records, there.videos, there.options, there.answers)
                verdict = {True: "yes", False: "no", None: ""}[there.equal]
                table.add_row(task, split, *("" if count is None else f"{count:,}" for count in counts), verdict)
    Console().print(table)
    for line in differing(found):
        print(line)


def in_words(size: "SplitSize | None") -> str:
    figures = [] if size is None else [(size.records, "records"), (size.videos, "videos")]
    return ", ".join(f"{count:,} {what}" for count, what in figures if count is not None) or "no published size"


def list_some(what: str, lines: Iterable[str]) -> None:
    """The first of the lines, and how many more there are."""
    lines = list(lines)
    for line in lines[:MAX_SHOWN]:
        print(f"{what}: {line}")
    if len(lines) > MAX_SHOWN:
        print(f"{what}: ... and {len(lines) - MAX_SHOWN:,} more")


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB"


ACTIONS = {"list": run_list, "info": run_info, "check": run_check, "prepare": run_prepare, "shard": run_shard}
COMMANDS = {"data": run_data}
