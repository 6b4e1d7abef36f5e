"""JSON of an annotation file: read at once, or value by value where it may be larger than memory.

A name that occurs twice in an object with different content is an error, where Python would take the last. So is what
no real file holds, and what would only use up memory: values nested hundreds deep, and values of many megabytes.
"""

import json
import re
from collections.abc import Iterator
from io import TextIOBase
from typing import Any

from allinone.datasets.records import shown

CHUNK = 1 << 20
MAX_VALUE = 1 << 26
"""Characters of one value of a list or an object that is read value by value."""

SPACE = re.compile(r"\s*")


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        for name, value in pairs:
            if fields[name] != value:
                raise ValueError(f"the name {shown(name)} occurs twice in an object with different content")
    return fields


DECODER = json.JSONDecoder(object_pairs_hook=unique_names)


def parse(content: str) -> Any:
    """The value of one JSON text."""
    try:
        return DECODER.decode(content)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: not JSON ({error.msg})") from error
    except RecursionError:
        raise ValueError("not JSON of a data set: lists or objects are nested hundreds deep") from None


def list_values(text: TextIOBase) -> Iterator[Any]:
    """The values of one JSON list."""
    reader = Reader(text)
    yield from reader.values()
    reader.end()


def object_members(text: TextIOBase) -> Iterator[tuple[str, Any]]:
    """Names and values of one JSON object; a name that occurs twice is an error."""
    reader = Reader(text)
    seen: set[int] = set()
    for name in reader.names():
        if hash(name) in seen:
            raise ValueError(f"the name {shown(name)} occurs twice; remove one")
        seen.add(hash(name))
        yield name, reader.value()
    reader.end()


def list_under(text: TextIOBase, wanted: str) -> Iterator[Any]:
    """The values of the list that one JSON object has under a name."""
    reader, num_lists = Reader(text), 0
    if reader.peek() == "{":
        for name in reader.names():
            if name != wanted:
                reader.value()
            elif reader.peek() == "[" and not num_lists:
                num_lists += 1
                yield from reader.values()
            else:
                num_lists = 0
                break
    if num_lists != 1:
        raise ValueError(f"wanted an object with a list {wanted!r}")
    reader.end()


class Reader:
    """The part of the text that has been read, and the place in it up to which it is used."""

    def __init__(self, text: TextIOBase):
        self.text, self.buffer, self.at, self.num_values = text, "", 0, 0
        self.decode = DECODER.raw_decode

    def read_on(self) -> bool:
        """Read more, at least as much again as is there; False at the end of the text."""
        piece = self.text.read(max(CHUNK, len(self.buffer) - self.at))
        self.buffer, self.at = self.buffer[self.at :] + piece, 0
        return bool(piece)

    def peek(self) -> str:
        """The next character that is no white space; none at the end."""
        while True:
            self.at = end_of_space(self.buffer, self.at)
            if self.at < len(self.buffer) or not self.read_on():
                return self.buffer[self.at : self.at + 1]

    def take(self, wanted: str) -> str:
        """The next character, which must be one of those wanted."""
        found = self.peek()
        if not found or found not in wanted:
            raise self.error(f"wanted {' or '.join(wanted)}, got {found!r}")
        self.at += 1
        return found

    def values(self) -> Iterator[Any]:
        """The values of a list that begins here."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        yield self.value()
        while self.take(",]") == ",":
            yield self.value()

    def names(self) -> Iterator[str]:
        """The names of an object that begins here; after each its value is to be read."""
        self.take("{")
        if self.peek() == "}":
            self.take("}")
            return
        end = ","
        while end == ",":
            if self.peek() != '"':
                raise self.error(f"wanted a name, got {self.peek()!r}")
            name = self.value()
            self.take(":")
            yield name
            end = self.take(",}")

    def end(self) -> None:
        if self.peek():
            raise self.error(f"wanted its end, got {self.peek()!r}")

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                found, end = self.decode(self.buffer, self.at)
            except json.JSONDecodeError as error:
                if len(self.buffer) - self.at > MAX_VALUE:
                    raise self.error(f"a value of more than {MAX_VALUE:,} characters") from error
                if not self.read_on():
                    raise self.error(error.msg) from error
            except RecursionError:
                raise self.error("lists or objects are nested hundreds deep") from None
            else:
                if end < len(self.buffer) or not self.read_on():  # or else a number may go on
                    self.at = end
                    self.num_values += 1
                    return found

    def error(self, problem: str) -> ValueError:
        return ValueError(f"not JSON, or cut short, after {self.num_values} values ({problem})")


def end_of_space(text: str, start: int) -> int:
    found = SPACE.match(text, start)
    assert found
    return found.end()
