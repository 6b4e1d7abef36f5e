"""Settings of an experiment, or of any tree of frozen configs: override them by key, list them, write and read JSON."""

import dataclasses
import json
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from allinone.checks import did_you_mean, fits
from allinone.own_code import class_name, find_class

Tree = dict[str, Any]
"""Values as text by the parts of their keys: `optim.lr=3e-5` is `{"optim": {"lr": "3e-5"}}`."""


def parse_settings(settings: Iterable[str]) -> tuple[Tree, set[str]]:
    """Return settings such as `optim.lr=3e-5` as a tree, and their keys."""
    tree: Tree = {}
    keys = set()
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"a setting is key=value, such as optim.lr=3e-5; got {setting!r}")
        *path, last = key.split(".")
        branch = tree
        for name in path:
            branch = branch.setdefault(name, {})
            if not isinstance(branch, dict):
                raise ValueError(f"{key}: nothing to set inside a value")
        if isinstance(branch.get(last), dict):
            raise ValueError(f"{key} is no single value, and other settings are inside it")
        branch[last] = value
        keys.add(key)
    return tree, keys


def settable(owner: Any, derived: Mapping[str, str], prefix: str = "") -> Iterator[str]:
    """Yield every key that `changed` can set: those of single values, without the derived ones."""
    for name, value in parts(owner).items():
        key = joined(prefix, name)
        if is_branch(value):
            yield from settable(value, derived, key)
        elif key not in derived:
            yield key


def changed(owner: Any, tree: Tree, derived: Mapping[str, str], known: Sequence[str], prefix: str = "") -> Any:
    """Return a copy of a config, or of a dictionary of configs, with the values of the tree.

    Args:
        derived: keys with a value that follows from another key, and that key.
        known: the keys of the whole experiment, to suggest from for a wrong one.

    Raises:
        ValueError: an unknown or derived key, with those to use; a value of the wrong type, with the right type.
    """
    if not is_branch(owner):
        raise ValueError(f"{prefix}: nothing to set inside {type(owner).__name__} {owner!r}")
    old = parts(owner)
    new = dict(old)
    for name, value in tree.items():
        key = joined(prefix, name)
        if key in derived:
            raise ValueError(f"{key} follows from other settings; set {derived[key]}")
        if name not in old:
            same_name = [one for one in known if one.rpartition(".")[2] == name]
            hint = f"did you mean {' or '.join(same_name[:3])}? " if same_name else did_you_mean(name, old)
            raise ValueError(f"{key}: no such key as {name!r}; {hint}there are: {', '.join(old) or 'none'}")
        if isinstance(value, dict):
            new[name] = changed(old[name], value, derived, known, key)
        elif is_branch(old[name]):
            keys = ", ".join(f"{key}.{inside}" for inside in parts(old[name]))
            raise ValueError(f"{key} is no single value; set one of: {keys}")
        else:
            is_named = isinstance(owner, Mapping)  # of values in a dictionary only the type of the old one is known
            new[name] = parse_value(key, type(old[name]) if is_named else get_type_hints(type(owner))[name], value)
    try:
        return new if isinstance(owner, Mapping) else dataclasses.replace(owner, **new)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{prefix}: {error}") from error


def parts(owner: Any) -> dict[str, Any]:
    """Return the values of a config, or of a dictionary of configs, by name."""
    if isinstance(owner, Mapping):
        return dict(owner)
    return {f.name: getattr(owner, f.name) for f in dataclasses.fields(owner) if f.compare and f.init}


def joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def is_branch(value: Any) -> bool:
    """Return whether a value has settings inside."""
    return isinstance(value, Mapping) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def parse_value(key: str, kind: Any, text: str) -> Any:
    """Return the value of type `kind` that a user typed."""
    import jsonargparse  # slow to import, and checkpoints are read with this module too

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    try:
        return parser.parse_args([f"--value={text}"]).value
    except jsonargparse.ArgumentError as error:
        raise ValueError(f"{key}: expected {type_name(kind)}, got {text!r}") from error


def type_name(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def describe(value: Any, declared: Any = None, where: str = "") -> Any:
    """Return a config as JSON, for `restore`. A class other than the declared one is named, as `module:Class`.

    Raises:
        ValueError: a value that JSON does not have, such as a set, with its key, which begins with `where`.
    """
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        # The type of the values in `Mapping[str, X]`.
        inner = get_args(declared)[1] if get_origin(declared) and len(get_args(declared)) == 2 else None
        return {key: describe(part, inner, joined(where, key)) for key, part in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kinds = get_type_hints(type(value))
        fields = {name: describe(part, kinds[name], joined(where, name)) for name, part in parts(value).items()}
        return fields if type(value) is declared else {"class": class_name(type(value)), **fields}
    if isinstance(value, list | tuple):
        return [describe(part, None, where) for part in value]
    if isinstance(value, Path):
        return str(value)
    # Members of an Enum may be an int or a str, but would be read back as such.
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, Enum)):
        return value
    raise ValueError(
        f"{where}: {reprlib.repr(value)} cannot be written to a checkpoint; that needs a dataclass, a number, text, "
        "path, tuple or list, or a dictionary with names as keys"
    )


def restore(value: Any, kind: Any, where: str) -> Any:
    """Return the value of type `kind` that `describe` wrote.

    Args:
        where: the file, and the key in it, for errors.

    Raises:
        ValueError: an unknown key or class, a value of the wrong type, or one that its config refuses.
    """
    origin, inner = get_origin(kind) or kind, get_args(kind)
    wrong = ValueError(f"{where}: expected {type_name(kind)}, got {reprlib.repr(value)}")
    if origin in (Union, UnionType):
        return restore_one_of(value, inner, where, wrong)
    if isinstance(value, list):
        return restore_list(value, tuple if origin is Any else origin, inner, where, wrong)
    if isinstance(value, dict):
        # A value of any type is a dictionary, unless it names a class.
        if is_mapping(origin) or (origin in (Any, object) and "class" not in value):
            part_kind = inner[1] if len(inner) == 2 else Any
            return {name: restore(part, part_kind, f"{where}.{name}") for name, part in value.items()}
        return restore_config(value, kind, where)
    if origin is Path and isinstance(value, str):
        return Path(value)
    if not fits(value, kind) and kind is not object:
        raise wrong
    return value


def restore_one_of(value: Any, kinds: Sequence[Any], where: str, wrong: ValueError) -> Any:
    """Return the value as the first of several types that it fits."""
    for kind in kinds:
        try:
            return restore(value, kind, where)
        except ValueError as error:
            if isinstance(value, dict) and kind is not NoneType:
                wrong = error  # it says which key inside is wrong
    raise wrong


def restore_list(value: list[Any], origin: Any, inner: Sequence[Any], where: str, wrong: ValueError) -> Any:
    """Return a list as the list or tuple that it was; `inner` are the types of its values."""
    if not (origin is list or (isinstance(origin, type) and issubclass(tuple, origin))):
        raise wrong
    # `tuple[X, Y]` has a length; `tuple[X, ...]` and `list[X]` have one type for all values.
    has_length = origin is tuple and bool(inner) and inner[-1] is not ...
    kinds = inner if has_length else [*inner[:1], Any][:1] * len(value)
    if len(kinds) != len(value):
        raise wrong
    made = [restore(part, kind, f"{where}[{i}]") for i, (part, kind) in enumerate(zip(value, kinds, strict=True))]
    return made if origin is list else tuple(made)


def restore_config(value: Mapping[str, Any], kind: Any, where: str) -> Any:
    """Return the config that some JSON describes, of class `kind` or of the class that it names."""
    fields = dict(value)
    name = fields.pop("class", None)
    if name is None and not dataclasses.is_dataclass(kind):
        raise ValueError(f"{where}: expected the name of a class")
    try:
        config: Any = kind if name is None else find_class(str(name))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    hints = get_type_hints(config)
    kinds = {field.name: hints[field.name] for field in dataclasses.fields(config) if field.init}
    for key in fields:
        if key not in kinds:
            hint = did_you_mean(key, kinds)
            raise ValueError(f"{where}: no such key as {key!r}; {hint}there are: {', '.join(kinds) or 'none'}")
    values = {key: restore(part, kinds[key], f"{where}.{key}") for key, part in fields.items()}
    try:
        made = config(**values)
    except (TypeError, ValueError, OverflowError) as error:  # `warmup` of infinity, for example
        raise ValueError(f"{where}: {error}") from error
    if not is_a(made, kind):
        raise ValueError(f"{where}: expected {type_name(kind)}, got {name}")
    return made


def is_mapping(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Mapping)


def is_a(value: Any, kind: Any) -> bool:
    """Return whether a config belongs to a class or protocol, or to one in a union."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return any(one is Any or (isinstance(one, type) and isinstance(value, one)) for one in kinds)


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted key and the text of every single value in some JSON."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, json.dumps(value)
