"""Check configs and names that users type: `Literal` fields, types from JSON, "did you mean"."""

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check_literals(config: Any) -> None:
    """Check every field of a dataclass with a `Literal` in its type; call it in `__post_init__`.

    Python does not check annotations: `Config(mode="Joint")` would pass, and every `mode == "joint"` would be False.

    Raises:
        ValueError: the value is none of the choices.
    """
    hints = get_type_hints(type(config))
    for field in fields(config):
        value = getattr(config, field.name)
        if not _fits(value, hints[field.name]):
            choices = [repr(choice) for choice in literals(hints[field.name])]
            listed = " or ".join([", ".join(choices[:-1]), choices[-1]] if len(choices) > 1 else choices)
            raise ValueError(f"{field.name} must be {listed}, got {value!r}")


def literals(kind: Any) -> tuple[Any, ...]:
    """Return every choice of every `Literal` inside a type."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(choice for part in get_args(kind) for choice in literals(part))


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a value is one of the choices of a type; types without a `Literal` are not checked."""
    if not literals(kind):
        return True
    parts = get_args(kind)
    match get_origin(kind):
        case origin if origin is Literal:
            return value in parts
        case origin if origin in (Union, types.UnionType):
            # The other types count too: None is no choice of `Literal["a"] | int`.
            return any(_fits(value, part) if literals(part) else _is(value, part) for part in parts)
        case origin if isinstance(value, Mapping):
            return all(_fits(k, parts[0]) and _fits(v, parts[1]) for k, v in value.items())
        case origin if isinstance(value, Iterable) and not isinstance(value, str):
            # `tuple[X, ...]` has any number of values, `tuple[X, Y]` two.
            several = [part for part in parts if part is not Ellipsis]
            values = list(value)
            if len(several) == 1:
                return all(_fits(each, several[0]) for each in values)
            return len(values) == len(several) and all(map(_fits, values, several))
    return False


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, get_origin(kind) or kind)


def fits(value: Any, kind: Any) -> bool:
    """Return whether a single value from JSON is of a type. A whole number is a float too, and has 64 bits at most."""
    if get_origin(kind) is Literal:
        # `type` too, because True == 1.
        return any(value == one and type(value) is type(one) for one in get_args(kind))
    if kind in (int, float) and type(value) is int:
        return abs(value) < 2**63
    return kind is Any or type(value) is kind or (kind is type(None) and value is None)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a hint for an error about an unknown name, "did you mean captioned? ", or "" if none is close.

    Capitals, hyphens and other marks do not matter.
    """
    plainly = {plain(known): known for known in names}
    near = difflib.get_close_matches(plain(name), plainly, n=1)
    return f"did you mean {plainly[near[0]]}? " if near else ""


def plain(name: str) -> str:
    """Return the letters and digits of a name in lower case."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def is_whole(text: str) -> bool:
    """Return whether a text can be encoded; JSON and command lines may hold halves of characters (surrogates)."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
