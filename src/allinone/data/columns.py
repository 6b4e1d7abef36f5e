"""Named arrays that grow: in memory, or in a folder of files that are memory-mapped afterwards; and texts in them.

folder/text.u4              the values of column `text`, little-endian, with nothing around them
folder/strings.bytes.u1     texts one after another, in UTF-8
folder/strings.ends.i8      where each of them ends
"""

import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

Columns = Mapping[str, np.ndarray]

ABSENT = 2**32 - 1
"""The code of no text. A table has fewer distinct texts than this."""

MAX_REMEMBERED = 1 << 17
"""Texts that a writer remembers, to store a repeated one once: those of one video follow each other in most files."""

ENCODING: Any = ("utf-8", "surrogatepass")
"""Names of files may hold bytes that are no UTF-8, which Python reads as halves of characters."""


class ColumnWriter:
    """Columns in the making. They are in memory until `spill` gives them a folder."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.parts: dict[str, list[np.ndarray]] = {}
        self.files: dict[str, BinaryIO] = {}

    def append(self, name: str, values: np.ndarray) -> None:
        """Add values to the end of a column, which the first ones make."""
        if self.folder is None:
            self.parts.setdefault(name, []).append(values)
            return
        if name not in self.files:
            # The kind without its byte order: "<u4" becomes "u4".
            self.files[name] = (self.folder / f"{name}.{values.dtype.str[1:]}").open("wb")
        self.files[name].write(np.ascontiguousarray(values).data)

    def spill(self, folder: Path) -> None:
        """Move the columns to files in this folder, and keep those to come there."""
        self.folder, parts, self.parts = folder, self.parts, {}
        for name, arrays in parts.items():
            for values in arrays:
                self.append(name, values)

    def finish(self) -> Columns:
        """Return the columns, which are complete now."""
        if self.folder is None:
            return {name: np.concatenate(arrays) for name, arrays in self.parts.items()}
        for file in self.files.values():
            file.close()
        return map_columns(self.folder)


def map_columns(folder: Path) -> dict[str, np.ndarray]:
    """Memory-map the columns of a folder, so that all processes share one copy of what they read."""
    columns = {}
    for path in sorted(folder.iterdir()):
        name, _, kind = path.name.rpartition(".")
        if name and kind in ("u1", "u4", "u8", "i8", "f8"):
            # As a plain array: every access to a `memmap` costs a microsecond more. An empty file has no map.
            is_empty = path.stat().st_size == 0
            columns[name] = np.empty(0, kind) if is_empty else np.asarray(np.memmap(path, f"<{kind}", mode="r"))
    return columns


def release_pages(columns: Columns) -> None:
    """Let the system take back the pages of memory-mapped columns, which are read from their files again when needed.

    Pages that were read in passing would count as memory of this process as long as the map exists.
    """
    for column in columns.values():
        base: Any = column
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(base, "madvise"):  # Windows has no madvise
            base.madvise(mmap.MADV_DONTNEED)


class StringWriter:
    """Writes texts, and gives each a code: its position among them. Close repeats get the code that they had."""

    def __init__(self, columns: ColumnWriter, name: str, with_keys: bool = False):
        self.columns = columns
        self.name = name
        self.with_keys = with_keys
        self.codes: dict[str, int] = {}
        self.count = 0
        self.num_bytes = 0

    def write(self, texts: Iterable[str | None]) -> np.ndarray:
        """Return the code of each text; `ABSENT` for None."""
        # Forgetting is safe: a text that comes again gets a second code (see `Strings`).
        if len(self.codes) > MAX_REMEMBERED:
            self.codes.clear()
        known, added, ends, codes = self.codes, [], [], []
        for text in texts:
            if text is None:
                codes.append(ABSENT)
                continue
            code = known.get(text)
            if code is None:
                code = known[text] = self.count + len(added)
                added.append(content := text.encode(*ENCODING))
                self.num_bytes += len(content)
                ends.append(self.num_bytes)
            codes.append(code)
        if added:
            self.count += len(added)
            self.columns.append(f"{self.name}.bytes", np.frombuffer(b"".join(added), "u1"))
            self.columns.append(f"{self.name}.ends", np.array(ends, "i8"))
            # Equal texts far apart have different codes; equal keys show that they are equal.
            if self.with_keys:
                keys = b"".join(blake2b(content, digest_size=8).digest() for content in added)
                self.columns.append(f"{self.name}.keys", np.frombuffer(keys, "<u8"))
        return np.array(codes, "u4")


class Strings(Sequence[str]):
    """The texts that a `StringWriter` wrote, by code. `keys` are 64-bit hashes: equal texts have equal keys.

    A text that was repeated far apart has several codes, so that texts are compared by key.
    """

    def __init__(self, columns: Columns, name: str):
        self.bytes = columns.get(f"{name}.bytes", np.empty(0, "u1"))
        self.ends = columns.get(f"{name}.ends", np.empty(0, "i8"))
        self.keys = columns.get(f"{name}.keys", np.empty(0, "u8"))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, code: Any) -> Any:  # a whole number, as of every `Sequence`
        start = self.ends[code - 1] if code else 0
        return self.bytes[start : self.ends[code]].tobytes().decode(*ENCODING)

    def of(self, codes: np.ndarray) -> Iterator[str]:
        """The texts of many codes, none of them `ABSENT`."""
        if not len(codes):
            return
        ends = self.ends[codes].tolist()
        # Signed first: code 0 minus 1 would be the largest unsigned number.
        starts = np.where(codes > 0, self.ends[codes.astype("i8") - 1], 0).tolist()
        for start, end in zip(starts, ends, strict=True):
            yield self.bytes[start:end].tobytes().decode(*ENCODING)
