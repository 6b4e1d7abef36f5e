import io
from types import SimpleNamespace

from allinone.cli.show import progress_bars, show_table
from allinone.progress import progress_lines


def test_a_table_shows_texts_as_they_are(capsys):
    show_table(("[bold]", "answer"), [("a [MASK] ball", "[red]dog[/red]")], title="[MASK] it", caption="[1]")
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("[bold]", "a [MASK] ball", "[red]dog[/red]", "[MASK] it", "[1]"))


def test_in_a_log_progress_is_a_line_now_and_then(capsys):
    lines: list[str] = []
    show = progress_lines(lines.append, every_sec=0.0)
    for done in range(5):
        show("files", done, 10)
    assert len(lines) == 4
    assert lines[-1].startswith("files: 4 of 10, ")
    assert lines[-1].endswith(" left")


def test_no_rate_is_shown_in_the_first_second(monkeypatch):
    now, lines = iter([0.0, 9.9, 10.0, 10.8, 20.0]), []
    monkeypatch.setattr("allinone.progress.time", SimpleNamespace(monotonic=lambda: next(now)))
    show = progress_lines(lines.append)
    for done in (0, 5, 9, 10):
        show("files", done, 20)
    assert lines == ["files: 10 of 20, 1.0/s, 0:10 left"]


def test_a_bar_counts_what_was_there_before_into_no_rate(monkeypatch):
    from rich.console import Console

    shown = io.StringIO()
    monkeypatch.setattr("rich.console.Console", lambda **_: Console(file=shown, force_terminal=True, width=80))
    with progress_bars() as show:
        show("files", 9000, 10_000)
        show("files", 9001, 10_000)
    assert "9001/10000" in shown.getvalue()
    assert "/s" not in shown.getvalue()
