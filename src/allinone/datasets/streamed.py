"""JSON of an annotation file: read at once, or value by value if the file may be larger than memory.

Two names of one object are an error if their contents differ; Python's parser would use the last one. So are values
that no real file has and that would exhaust memory: nested hundreds deep, or of many megabytes.
"""

import json
import re
from collections.abc import Iterator
from io import TextIOBase
from typing import Any

from allinone.datasets.fields import shown

CHUNK = 1 << 20
MAX_VALUE = 1 << 26
"""Characters of one value of a list or an object that is read value by value."""

SPACE = re.compile(r"\s*")


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict; a name with two different values is an error."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        for name, value in pairs:
            if fields[name] != value:
                raise ValueError(f"the name {shown(name)} occurs twice in an object with different content")
    return fields


DECODER = json.JSONDecoder(object_pairs_hook=unique_names)


def parse(content: str) -> Any:
    """Return the value of one JSON text."""
    try:
        return DECODER.decode(content)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: not JSON ({error.msg})") from error
    except RecursionError:
        raise ValueError("not JSON of a data set: lists or objects are nested hundreds deep") from None


def list_values(text: TextIOBase) -> Iterator[Any]:
    """Yield the values of one JSON list."""
    reader = Reader(text)
    yield from reader.values()
    reader.end()


def object_members(text: TextIOBase) -> Iterator[tuple[str, Any]]:
    """Yield names and values of one JSON object; a name that occurs twice is an error."""
    reader = Reader(text)
    seen: set[int] = set()  # hashes of names, of which there may be millions
    for name in reader.names():
        if hash(name) in seen:
            raise ValueError(f"the name {shown(name)} occurs twice; remove one")
        seen.add(hash(name))
        yield name, reader.value()
    reader.end()


def list_under(text: TextIOBase, wanted: str) -> Iterator[Any]:
    """Yield the values of the list that one JSON object has under a name."""
    # Values under other names are parsed and dropped. The list must occur exactly once.
    reader, num_lists = Reader(text), 0
    if reader.peek() == "{":
        for name in reader.names():
            if name != wanted:
                reader.value()
            elif reader.peek() == "[" and not num_lists:  # the caller reads its values one by one
                num_lists += 1
                yield from reader.values()
            else:
                num_lists = 0
                break
    if num_lists != 1:
        raise ValueError(f"wanted an object with a list {wanted!r}")
    reader.end()


class Reader:
    """A buffer of the text read so far, and the position in it up to which it is parsed."""

    def __init__(self, text: TextIOBase):
        self.text, self.buffer, self.at, self.num_values = text, "", 0, 0
        self.decode = DECODER.raw_decode

    def read_on(self) -> bool:
        """Read at least as much again as is buffered; return False at the end of the text.

        Doubling keeps the repeated parsing of a long value linear in its length.
        """
        # The parsed part is dropped, so the buffer holds one value and at most one piece more.
        piece = self.text.read(max(CHUNK, len(self.buffer) - self.at))
        self.buffer, self.at = self.buffer[self.at :] + piece, 0
        return bool(piece)

    def peek(self) -> str:
        """Return the next character that is not white space; empty at the end."""
        while True:
            self.at = end_of_space(self.buffer, self.at)
            if self.at < len(self.buffer) or not self.read_on():
                return self.buffer[self.at : self.at + 1]

    def take(self, wanted: str) -> str:
        """Return the next character, which must be one of `wanted`, and step over it."""
        character = self.peek()
        if not character or character not in wanted:
            raise self.error(f"wanted {' or '.join(wanted)}, got {character!r}")
        self.at += 1
        return character

    def values(self) -> Iterator[Any]:
        """Yield the values of a list that begins here."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        yield self.value()
        while self.take(",]") == ",":
            yield self.value()

    def names(self) -> Iterator[str]:
        """Yield the names of an object that begins here; the caller reads the value after each."""
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
        """Raise an error if more than white space follows."""
        if self.peek():
            raise self.error(f"wanted its end, got {self.peek()!r}")

    def value(self) -> Any:
        """Return the value that begins here, and step over it."""
        self.peek()
        while True:
            try:
                value, end = self.decode(self.buffer, self.at)
            except json.JSONDecodeError as error:
                # Either the text is no JSON or the value is not complete in the buffer: read on until one is certain.
                if len(self.buffer) - self.at > MAX_VALUE:
                    raise self.error(f"a value of more than {MAX_VALUE:,} characters") from error
                if not self.read_on():
                    raise self.error(error.msg) from error
            except RecursionError:
                raise self.error("lists or objects are nested hundreds deep") from None
            else:
                if end < len(self.buffer) or not self.read_on():  # a number at the end of the buffer may go on
                    self.at = end
                    self.num_values += 1
                    return value

    def error(self, problem: str) -> ValueError:
        """Return an error with the number of values read so far."""
        return ValueError(f"not JSON, or cut short, after {self.num_values} values ({problem})")


def end_of_space(text: str, start: int) -> int:
    """Return the index of the next character that is not white space."""
    match = SPACE.match(text, start)
    assert match
    return match.end()
