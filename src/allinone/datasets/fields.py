"""`Record`: one JSON object or one row of an annotation file; its methods check a field while they read it.

A field that is absent, empty or of another type is a ValueError that names the file, the record and the field.
"""

import math
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

from allinone.checks import is_whole

MAX_SHOWN = 8
"""An error lists at most this many names and counts the others."""

# A broken record may hold megabytes, and its error has to stay readable.
_short = reprlib.Repr()
_short.maxlevel, _short.maxdict, _short.maxlist, _short.maxstring, _short.maxlong, _short.maxother = 2, 3, 3, 60, 40, 60


def shown(value: object) -> str:
    """Return a value as errors show it: at most 120 characters, however large it is."""
    text = _short.repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def listing(names: Iterable[object]) -> str:
    """Join names with commas; of many, the first few and the number of the others."""
    texts = [text if len(text := str(name)) <= 40 else f"{text[:37]}..." for name in names]
    more = f" and {len(texts) - MAX_SHOWN:,} more" if len(texts) > MAX_SHOWN else ""
    return ", ".join(texts[:MAX_SHOWN]) + more


def collapse_spaces(text: str) -> str:
    """Return the text with single spaces, and none at its ends."""
    return " ".join(text.split())


class Record(dict[str, Any]):
    """The fields of a record by name. `where` is its file and its position there, for errors.

    Methods take several names for one field, because copies of a data set rename fields: the first name that the
    record has is used. A field that is None counts as absent.
    """

    def __init__(self, fields: Mapping[str, Any], where: str):
        super().__init__(fields)
        self.where = where

    def error(self, problem: str) -> ValueError:
        """Return an error that begins with `where`."""
        return ValueError(f"{self.where}: {problem}")

    def has(self, *names: str) -> bool:
        """Return whether one of the fields is present."""
        return any(self.get(name) is not None for name in names)

    def field(self, *names: str) -> Any:
        """Return the value unchecked; an absent one is an error."""
        for name in names:
            if (value := self.get(name)) is not None:
                return value
        raise self.lacks(" or ".join(names))

    def lacks(self, names: str) -> ValueError:
        """Return the error of a record without these fields."""
        has = listing(name for name, value in self.items() if value is not None)
        return ValueError(f"{self.where} has no {names}; it has: {has or 'nothing'}")

    def wrong(self, wanted: str, *names: str) -> ValueError:
        """Return the error of a field of another type."""
        return self.error(f"{' or '.join(names)} must be {wanted}, got {shown(self.field(*names))}")

    def text(self, *names: str, may_be_empty: bool = False) -> str:
        """Return a text with single spaces. An absent one is an error even with `may_be_empty`."""
        value = self.field(*names)
        # Half of a character (a lone surrogate) passes JSON, and would fail later, where a text is encoded.
        if not isinstance(value, str) or not is_whole(value):
            raise self.wrong("a text", *names)
        if not (value := collapse_spaces(value)) and not may_be_empty:
            raise self.error(f"{' or '.join(names)} must not be empty")
        return value

    def name(self, *names: str) -> str:
        """Return an id: a text or an integer."""
        value = self.field(*names)
        # A bool is an int in Python, but `true` is no id.
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise self.wrong("a text or a whole number", *names)
        return self.text(*names)

    def optional(self, *names: str) -> str | None:
        """Return an id, or None if it is absent or empty."""
        value = self.field(*names) if self.has(*names) else ""
        return None if isinstance(value, str) and not value.strip() else self.name(*names)

    def number(self, *names: str) -> float:
        """Return a finite number, which may be written as a text."""
        value = self.field(*names)
        try:
            # A text, because CSV has no other type. float() of an integer with 400 digits overflows.
            number = math.nan if isinstance(value, bool) or not isinstance(value, str | int | float) else float(value)
        except (ValueError, OverflowError):
            number = math.nan
        # Python's JSON parser accepts NaN and Infinity.
        if not math.isfinite(number):
            raise self.wrong("a number", *names)
        return number

    def items_of(self, *names: str, may_be_empty: bool = False) -> list[Any]:
        """Return a list of any values."""
        value = self.field(*names)
        if not isinstance(value, list):
            raise self.wrong("a list", *names)
        if not value and not may_be_empty:
            raise self.error(f"{' or '.join(names)} must not be empty")
        return value

    def texts(self, *names: str, may_be_empty: bool = False) -> list[str]:
        """Return a list of texts, which has at least one; `may_be_empty` allows empty texts."""
        # As a record, so that each text gets the same checks, and errors with its index.
        by_index = {str(index): value for index, value in enumerate(self.items_of(*names))}
        inner = Record(by_index, f"{self.where}, {names[0]}")
        return [inner.text(index, may_be_empty=may_be_empty) for index in by_index]

    def object(self, *names: str) -> "Record":
        """Return an object as a record."""
        value = self.field(*names)
        if not isinstance(value, dict):
            raise self.wrong("an object", *names)
        return Record(value, f"{self.where}, {names[0]}")

    def objects(self, *names: str, may_be_empty: bool = False) -> list["Record"]:
        """Return a list of objects as records."""
        values = self.items_of(*names, may_be_empty=may_be_empty)
        if wrong := [value for value in values if not isinstance(value, dict)]:
            raise self.error(f"{' or '.join(names)} must hold objects, got {shown(wrong[0])}")
        return [Record(value, f"{self.where}, {names[0]} {number}") for number, value in enumerate(values, start=1)]
