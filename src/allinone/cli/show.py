"""Tables, notes and progress bars of the commands."""

import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from allinone.progress import RATE_SEC, progress_lines


def show_notes(notes: Iterable[str]) -> None:
    """Print remarks on a result to stderr, so that stdout has only the result, whatever its format."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def show_table(
    header: Sequence[Any], rows: Iterable[Sequence[Any]], *, title: str = "", caption: str = "", has_lines: bool = True
) -> None:
    """Print a table. Texts are printed as they are, because rich would read [MASK] as markup."""
    from rich.box import HEAVY_HEAD, SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        *header,
        title=Text(title, style="table.title") if title else None,
        caption=Text(caption, style="table.caption") if caption else None,
        box=HEAVY_HEAD if has_lines else SIMPLE,
        padding=(0, 1) if has_lines else (0, 1, 0, 0),
        show_header=bool(header),
    )
    for row in rows:
        table.add_row(*row)
    Console().print(table, markup=False)


def show_numbers(title: str, numbers: Mapping[str, float]) -> None:
    """Print metrics as a table."""
    show_table(("measure", "value"), [(name, f"{value:.2f}") for name, value in numbers.items()], title=title)


def print_json(value: Any) -> None:
    """Print indented JSON in ASCII, which every terminal can show, even paths that are not valid UTF-8."""
    print(json.dumps(value, indent=2))


def show_settings(description: Mapping[str, Any], derived: Collection[str], *, as_json: bool) -> None:
    """Print an experiment, as KEY=VALUE without the `derived` keys, or as JSON."""
    from allinone.settings import flatten

    if as_json:
        print_json(description)
    else:
        print("\n".join(f"{key}={value}" for key, value in flatten(description) if key not in derived))


def show_tables(tables: Mapping[str, Any]) -> None:
    """Print the results of an evaluation, a table for each evaluator."""
    from allinone.evaluators.results import sentences, table

    for name, columns in tables.items():
        header, rows = table(columns)
        show_table(header, rows, title=name, caption=" ".join(sentences(columns)), has_lines=False)


def show_comparisons(comparisons: Mapping[str, Any], first: str, second: str) -> None:
    """Print the differences of two evaluations, a table for each evaluator."""
    print(f"A: {first}\nB: {second}")
    for name, comparison in comparisons.items():
        caption = f"{max(score.num_pairs for score in comparison.scores.values()):,} predictions in both"
        if any(comparison.num_unpaired):
            only_first, only_second = comparison.num_unpaired
            caption += f"; left out: {only_first:,} only in A, {only_second:,} only in B"
        rows = []
        for metric, score in comparison.scores.items():
            low, high = score.difference.low, score.difference.high
            interval = "" if low is None else f"{low:+.2f} to {high:+.2f}"
            rows.append(
                (metric, f"{score.first:.2f}", f"{score.second:.2f}", f"{score.difference.value:+.2f}", interval)
            )
        show_table(("", "A", "B", "B - A", "95 % interval"), rows, title=name, caption=caption, has_lines=False)


@contextmanager
def progress_bars() -> Iterator[Any]:
    """Yield a callback `(what, done, total)` that draws one bar for each `what`, with speed and time left.

    Where stderr is no terminal, it prints a line now and then.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Any) -> Text:
            is_known = task.speed is not None and (task.elapsed or 0) >= RATE_SEC  # at first, the speed jumps
            return Text(f"{task.speed:.1f}/s" if is_known else "")

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Speed(), TimeRemainingColumn()
    console = Console(stderr=True)  # stdout has only results
    if not console.is_terminal:
        yield progress_lines(lambda line: print(line, file=sys.stderr, flush=True))
        return
    with Progress(*columns, console=console, transient=True) as progress:
        bars: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in bars:
                # What an earlier run did is no part of the speed.
                bars[what] = progress.add_task(what, total=total, completed=done)
            progress.update(bars[what], completed=done, total=total)

        yield show
