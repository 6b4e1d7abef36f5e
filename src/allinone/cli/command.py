"""A command line from typed functions: the signature gives the arguments, the docstring their help.

    def search(words: Sequence[str] = (), *, index: str, top_k: int = 10, min_duration_sec: float | None = None):
        '''Find the moments that a sentence describes.

        Args:
            words: one sentence or more
            index (FOLDER): made by `allinone index`
            top_k: number of hits

        Filters:
            min_duration_sec: of the whole video
        '''

is called by `search "a dog" --index my.index --top-k 3 --min-duration 60`. Parameters before the `*` are positional
arguments, the others options, required where they have no default. A `bool` is a flag, a `Literal` a choice, a
`Sequence` takes several values, and a dataclass adds its (keyword-only) fields as options. `Args` and every other
section of a docstring are groups of the help; a name in parentheses is what the help calls the value. Options that the
user leaves out are not passed, so a default stands only in the signature.
"""

import argparse
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

Command = Callable[..., None]

METAVARS = {int: "N", float: "X", Path: "PATH"}
SECTION = re.compile(r"\n\n([A-Z]\w*):\n(?=    )")
"""The title of a section such as `Args:`, which follows an empty line and precedes an indented one."""
ENTRY = re.compile(r"^    (\w+)(?: \((\S+)\))?: (.*(?:\n {5,}.*)*)", re.MULTILINE)
"""`name (METAVAR): help`, and the lines that continue it, which are indented further."""


@dataclass(frozen=True)
class Group:
    """Commands below a common name, such as `allinone data check`."""

    about: str
    commands: Mapping[str, Command]


class HelpFormatter(argparse.HelpFormatter):
    """Wrap paragraphs of a description, and print indented ones, which are examples, as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(part if part.startswith(" ") else fill(part, width, indent) for part in text.split("\n\n"))


def add_commands(parser: argparse.ArgumentParser, commands: Mapping[str, "Command | Group"]) -> None:
    """Add a subcommand for each function; `command` and `prog` of the parsed arguments say which one was chosen."""
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in commands.items():
        about = command.about if isinstance(command, Group) else read_docstring(command)[0]
        first_sentence = re.split(r"\.(?:\s|$)", about)[0]  # a period within a name, such as captions.csv, ends none
        subparser = subparsers.add_parser(
            name, help=escaped(first_sentence), description=about, formatter_class=HelpFormatter, allow_abbrev=False
        )
        if isinstance(command, Group):
            add_commands(subparser, command.commands)
        else:
            add_arguments(subparser, command)
            subparser.set_defaults(command=command, prog=subparser.prog)


def call(command: Command, values: dict[str, Any]) -> None:
    """Call a command with the parsed values, in which the fields of its dataclasses stand side by side."""
    for name, hint in get_type_hints(command).items():
        if isinstance(hint, type) and is_dataclass(hint):
            fields = inspect.signature(hint).parameters
            # Absent ones have the default of the dataclass.
            values[name] = hint(**{field: values.pop(field) for field in fields if field in values})
    command(**values)


def read_docstring(command: Command) -> tuple[str, dict[str, list[tuple[str, str, str]]]]:
    """Return the description, and by section the arguments: name, metavar or "", help."""
    # With a group in the pattern, titles and texts alternate.
    about, *parts = SECTION.split(inspect.getdoc(command) or "")
    return about, {title: ENTRY.findall(text) for title, text in zip(parts[::2], parts[1::2], strict=True)}


def add_arguments(parser: argparse.ArgumentParser, command: Command) -> None:
    """Add the parameters of a function or dataclass, in the order in which its docstring documents them."""
    hints, parameters = get_type_hints(command), inspect.signature(command).parameters
    _, sections = read_docstring(command)
    # The help is the docstring, so an argument without a line in it would have no help.
    documented = [name for entries in sections.values() for name, _, _ in entries]
    simple = [name for name in parameters if not is_dataclass(hints[name])]
    assert documented == simple, f"{command.__name__} documents {documented}, but has {simple}"
    for title, entries in sections.items():
        # `Args` of all dataclasses are one list; other titles are groups.
        group = parser if title == "Args" else parser.add_argument_group(title.lower())
        for name, metavar, text in entries:
            add_argument(group, parameters[name], hints[name], metavar, text)
    for name in parameters:
        if is_dataclass(hints[name]):
            add_arguments(parser, hints[name])


def add_argument(group: Any, parameter: inspect.Parameter, hint: Any, metavar: str, text: str) -> None:
    """Add one parameter as a positional argument or an option."""
    name, default, is_required = parameter.name, parameter.default, parameter.default is parameter.empty
    kind = get_args(hint)[0] if type(None) in get_args(hint) else hint  # `int | None` is an int that may be left out
    several = get_origin(kind) is Sequence
    if several:
        (kind,) = get_args(kind)
    # What is left out does not appear in the parsed values: the function has its default.
    settings: dict[str, Any] = {"help": escaped(text), "default": argparse.SUPPRESS}
    if kind is bool:
        settings["action"] = "store_true"
    elif get_origin(kind) is Literal:
        settings["choices"] = get_args(kind)
    else:
        settings |= {"type": kind, "metavar": metavar or METAVARS.get(kind, name.upper())}
    # Not for bools (False) and absent values (None).
    if isinstance(default, str | float | Path) or type(default) is int:
        settings["help"] += escaped(f" (default: {default})")
    if parameter.kind is not parameter.KEYWORD_ONLY:  # before the `*` of the signature
        one, many = (None, "+") if is_required else ("?", "*")
        group.add_argument(name, nargs=many if several else one, **settings)
        return
    if several:
        settings |= {"nargs": "+", "action": "extend"}  # `--split a b` and `--split a --split b`
    if name.endswith("_sec"):  # the unit is in the help, and not typed
        settings["metavar"] = "SEC"
    option = "--" + name.removesuffix("_sec").replace("_", "-")
    group.add_argument(option, dest=name, required=is_required, **settings)


def escaped(text: str) -> str:
    """Return a help text in which argparse finds no format specifiers."""
    return text.replace("%", "%%")
