"""`Record`: an object or a row of an annotation file, whose fields are read as what they must be.

A field that is absent, empty or of another type is a ValueError that names the file, the record and the field.
"""

import math
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

from allinone.checks import is_whole

MAX_SHOWN = 8
"""So many names are listed in an error; the others are counted."""

_short = reprlib.Repr()
_short.maxlevel, _short.maxdict, _short.maxlist, _short.maxstring, _short.maxlong, _short.maxother = 2, 3, 3, 60, 40, 60


def shown(value: object) -> str:
    """A value as an error shows it: a few dozen characters, however large it is."""
    text = _short.repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def listing(names: Iterable[object]) -> str:
    """Names with commas between; of many, the first few and how many more there are."""
    texts = [text if len(text := str(name)) <= 40 else f"{text[:37]}..." for name in names]
    more = f" and {len(texts) - MAX_SHOWN:,} more" if len(texts) > MAX_SHOWN else ""
    return ", ".join(texts[:MAX_SHOWN]) + more


def tidy(text: str) -> str:
    """A text with single spaces, and none around it."""
    return " ".join(text.split())


class Record(dict[str, Any]):
    """The fields of a record; `where` is its file and its place there, for errors.

    Of several names that are asked for, the first that the record has counts. None counts as absent.
    """

    def __init__(self, fields: Mapping[str, Any], where: str):
        super().__init__(fields)
        self.where = where

    def error(self, problem: str) -> ValueError:
        return ValueError(f"{self.where}: {problem}")

    def has(self, *names: str) -> bool:
        return any(self.get(name) is not None for name in names)

    def field(self, *names: str) -> Any:
        """The value as it is, which must be there."""
        for name in names:
            if (value := self.get(name)) is not None:
                return value
        raise self.lacks(" or ".join(names))

    def lacks(self, names: str) -> ValueError:
        """The error of a record without these fields."""
        has = listing(name for name, value in self.items() if value is not None)
        return ValueError(f"{self.where} has no {names}; it has: {has or 'nothing'}")

    def wrong(self, wanted: str, *names: str) -> ValueError:
        """The error of a field that is not what was wanted."""
        return self.error(f"{' or '.join(names)} must be {wanted}, got {shown(self.field(*names))}")

    def text(self, *names: str, may_be_empty: bool = False) -> str:
        """A text with single spaces. An absent one is an error even where it may be empty."""
        value = self.field(*names)
        if not isinstance(value, str) or not is_whole(value):
            raise self.wrong("a text", *names)
        if not (value := tidy(value)) and not may_be_empty:
            raise self.error(f"{' or '.join(names)} must not be empty")
        return value

    def name(self, *names: str) -> str:
        """What identifies something: a text or a whole number."""
        value = self.field(*names)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise self.wrong("a text or a whole number", *names)
        return self.text(*names)

    def optional(self, *names: str) -> str | None:
        """A name that may be absent or empty: then None."""
        value = self.field(*names) if self.has(*names) else ""
        return None if isinstance(value, str) and not value.strip() else self.name(*names)

    def number(self, *names: str) -> float:
        """A number that is finite, which may be written as a text."""
        value = self.field(*names)
        try:
            number = math.nan if isinstance(value, bool) or not isinstance(value, str | int | float) else float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.wrong("a number", *names)
        return number

    def items_of(self, *names: str, may_be_empty: bool = False) -> list[Any]:
        """A list, which holds something unless it may be empty."""
        value = self.field(*names)
        if not isinstance(value, list):
            raise self.wrong("a list", *names)
        if not value and not may_be_empty:
            raise self.error(f"{' or '.join(names)} must not be empty")
        return value

    def texts(self, *names: str, may_be_empty: bool = False) -> list[str]:
        """A list of texts; `may_be_empty` is about each of them."""
        named = {str(place): value for place, value in enumerate(self.items_of(*names))}
        inner = Record(named, f"{self.where}, {names[0]}")
        return [inner.text(place, may_be_empty=may_be_empty) for place in named]

    def object(self, *names: str) -> "Record":
        value = self.field(*names)
        if not isinstance(value, dict):
            raise self.wrong("an object", *names)
        return Record(value, f"{self.where}, {names[0]}")

    def objects(self, *names: str, may_be_empty: bool = False) -> list["Record"]:
        """A list of objects."""
        values = self.items_of(*names, may_be_empty=may_be_empty)
        if wrong := [value for value in values if not isinstance(value, dict)]:
            raise self.error(f"{' or '.join(names)} must hold objects, got {shown(wrong[0])}")
        return [Record(value, f"{self.where}, {names[0]} {place}") for place, value in enumerate(values, start=1)]
