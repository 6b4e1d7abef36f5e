import io
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from allinone.cli import build_parser
from allinone.cli.command import Group, add_commands, call


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Which hits are shown.

    Limits:
        min_duration_sec: of the video
    """

    min_duration_sec: float | None = None


def show(
    words: Sequence[str] = (),
    *,
    index: Path,
    kinds: Sequence[str] | None = None,
    top_k: int = 10,
    form: Literal["table", "json"] = "table",
    exact: bool = False,
    limits: Limits,
) -> None:
    """Show 100 % of the hits. More is not shown.

        show "a dog" --index my.index

    Args:
        words: one sentence or more
        index (FOLDER): made by
            `allinone index`
        kinds: of the videos

    Output:
        top_k: number of hits
        form: of the hits
        exact: as they are
    """


def parser() -> ArgumentParser:
    made = ArgumentParser(prog="tool")
    add_commands(made, {"show": show, "more": Group("More of it.", {"show": show})})
    return made


def parse(*arguments: str) -> dict[str, Any]:
    return vars(parser().parse_args(arguments))


def help_of(*arguments: str) -> str:
    shown = io.StringIO()
    with redirect_stdout(shown), pytest.raises(SystemExit):
        parser().parse_args([*arguments, "--help"])
    return shown.getvalue()


def test_values_have_the_types_of_the_signature_and_what_is_left_out_keeps_its_default():
    assert parse("show", "--index", "a") == {"command": show, "prog": "tool show", "index": Path("a")}
    given = ["more", "show", "red", "a dog", "--index", "a", "--kinds", "x", "y", "--kinds", "z", "--top-k", "3"]
    assert parse(*given, "--min-duration", "1.5", "--form", "json", "--exact") == {
        "command": show, "prog": "tool more show", "words": ["red", "a dog"], "index": Path("a"),
        "kinds": ["x", "y", "z"], "top_k": 3, "min_duration_sec": 1.5, "form": "json", "exact": True,
    }  # fmt: skip


def test_a_command_is_called_with_its_dataclasses():
    called: list[object] = []

    def command(*, top_k: int = 10, limits: Limits) -> None:
        called.append((top_k, limits))

    call(command, {"top_k": 3, "min_duration_sec": 1.5})
    call(command, {})
    assert called == [(3, Limits(min_duration_sec=1.5)), (10, Limits())]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show"], "required: --index"),
        (["show", "--index", "a", "--top-k", "many"], "argument --top-k: invalid int value: 'many'"),
        (["show", "--index", "a", "--form", "csv"], "invalid choice: 'csv' (choose from 'table', 'json')"),
        (["show", "--index", "a", "--top", "3"], "unrecognized arguments: --top"),
        (["shown"], "invalid choice: 'shown' (choose from 'show', 'more')"),
        ([], "required: COMMAND"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        parse(*arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_help_comes_from_the_docstring_and_the_signature():
    shown = help_of("show")
    assert "[WORDS ...]" in shown
    assert 'Show 100 % of the hits. More is not shown.\n\n    show "a dog" --index my.index\n' in shown
    assert "--index FOLDER        made by `allinone index`\n" in shown
    assert "--kinds KINDS [KINDS ...]" in shown
    output = shown.partition("\noutput:\n")[2]
    assert "--top-k N             number of hits (default: 10)" in output
    assert "--min-duration SEC    of the video\n" in output.partition("\nlimits:\n")[2]
    assert "--form {table,json}   of the hits (default: table)" in output
    assert "--exact               as they are\n" in output
    assert "show      Show 100 % of the hits\n" in help_of()


def test_a_parameter_without_help_is_refused():
    def silent(*, index: str) -> None:
        """Say nothing."""

    with pytest.raises(AssertionError, match=r"silent documents \[\], but has \['index'\]"):
        add_commands(ArgumentParser(), {"silent": silent})


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]):
    commands = ["demo", "train", "evaluate", "compare", "convert", "index", "search", "ask", "classify", "serve",
                "export", *(f"data {action}" for action in ("list", "info", "check", "prepare", "shard"))]  # fmt: skip
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            build_parser().parse_args([*command.split(), "--help"])
        assert stop.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: allinone {command} ")


def test_help_of_the_whole_imports_nothing_heavy():
    code = "import sys; from allinone.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'av', 'numpy', 'PIL', 'rich', 'jsonargparse'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
