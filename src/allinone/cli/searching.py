"""`allinone index` and `search`."""

import json
import sys
from dataclasses import asdict
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from allinone.cli.show import clock, progress_bars


def add_commands(commands: Any) -> None:
    index = ArgumentParser(description="Embed videos into a searchable index. Goes on where an earlier call stopped.")
    index.add_argument("videos", type=str, nargs="+", metavar="VIDEOS", help="files and folders")
    index.add_argument("--model", type=str, required=True, metavar="M", help="checkpoint folder, run folder or hub id")
    index.add_argument("--to", type=str, required=True, metavar="INDEX", help="the index's folder")
    commands.add_subcommand("index", index, help="make videos searchable")

    search = ArgumentParser(description="Find the moments that a sentence describes.")
    search.add_argument("words", type=str, help="the sentence")
    search.add_argument("--index", type=str, required=True, metavar="INDEX", help="made by `allinone index`")
    search.add_argument("--model", type=str, metavar="M", help="if the model is no longer where it was when indexing")
    search.add_argument("--top-k", type=int, default=10, help="how many hits (default: %(default)s)")
    search.add_argument("--rerank", type=int, default=0, metavar="K", help="let the joint mode re-read the best K")
    search.add_argument("--json", action="store_true", help="one JSON list instead of a table")
    commands.add_subcommand("search", search, help="find a moment in indexed videos")


def run_index(options: Namespace) -> None:
    from allinone.inference import load
    from allinone.search import VideoIndex

    index = VideoIndex.open(options.to, load(options.model))
    with progress_bars() as show:
        report = index.add(options.videos, on_progress=show)
    for path, cause in report.failed:
        print(f"not indexed: {cause if str(path) in cause else f'{path}: {cause}'}", file=sys.stderr)
    print(
        f"{options.to}: {report.added} videos added, {report.skipped} already there, {len(report.failed)} unreadable; "
        f"{len(index)} segments"
    )


def run_search(options: Namespace) -> None:
    from allinone.inference import load
    from allinone.search import VideoIndex, model_of

    made_with = model_of(options.index)
    index = VideoIndex.open(options.index, load(options.model or made_with))
    hits = index.search(options.words, top_k=options.top_k, rerank=options.rerank)
    if options.json:
        print(json.dumps([asdict(hit) for hit in hits], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("score", "match", "from", "to", "video", title=options.words)
    for hit in hits:  # with re-ranking, `match` decides the order
        match = "" if hit.match is None else f"{hit.match:.3f}"
        table.add_row(f"{hit.score:.3f}", match, clock(hit.start_sec), clock(hit.end_sec), hit.video)
    Console().print(table)


COMMANDS = {"index": run_index, "search": run_search}
