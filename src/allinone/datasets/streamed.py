"""JSON that may be larger than memory: the values of a list, or the members of an object, one after another."""

import json
import re
from collections.abc import Iterator
from io import TextIOBase
from typing import Any

CHUNK = 1 << 20
SPACE = re.compile(r"\s*")


def list_values(text: TextIOBase) -> Iterator[Any]:
    """The values of one JSON list."""
    reader = Reader(text)
    reader.take("[")
    if reader.peek() == "]":
        return
    yield reader.value()
    while reader.take(",]") == ",":
        yield reader.value()


def object_members(text: TextIOBase) -> Iterator[tuple[str, Any]]:
    """Names and values of one JSON object."""
    reader = Reader(text)
    reader.take("{")
    if reader.peek() == "}":
        return
    end = ","
    while end == ",":
        name = reader.value()
        reader.take(":")
        yield name, reader.value()
        end = reader.take(",}")


class Reader:
    """The part of the text that has been read, and the place in it up to which it is used."""

    def __init__(self, text: TextIOBase):
        self.text, self.buffer, self.at, self.num_values = text, "", 0, 0
        self.decode = json.JSONDecoder().raw_decode

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

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                found, end = self.decode(self.buffer, self.at)
            except json.JSONDecodeError as error:
                if not self.read_on():
                    raise self.error(error.msg) from error
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
