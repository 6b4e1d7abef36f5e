"""Examples as a table of columns: written once, memory-mapped by every process, and read as `Example`s by index.

An `Example` is half a kilobyte of Python objects, so the 136 million captions of HowTo100M would be 66 GB in each
process. Here a caption is about 130 bytes, in files that all processes share. Small tables stay in memory.
`cached_table.py` keeps large tables between runs.
"""

import json
import logging
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b, file_digest
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from allinone.data.columns import ABSENT, Columns, ColumnWriter, Strings, StringWriter, map_columns, release_pages
from allinone.data.example import Example, Region, option_texts
from allinone.files.faults import explain
from allinone.files.lock import only_process
from allinone.files.whole import whole_file
from allinone.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

ABOUT = "table.json"
"""The file that completes a table: its digest, and what it was made of."""

RELEASE = 64 * 4096
"""Rows of a long pass after which its pages are released; about 35 MB of captions."""

CHUNK = 4096
"""Examples that are turned into columns at a time."""

NO_INT = -(2**63)  # means None: no index or count is so low
MAX_COUNT = 2**16 - 1
"""Token counts are stored in 16 bits: a longer text is cut by every model anyway."""

TEXTS = ("text", "answer", "label", "kind", "id")
"""Fields of one text or None."""

SECONDS = ("start_sec", "end_sec")
INTEGERS = ("right", "number")
LISTS = ("options", "human_answers")


class ExampleTable(Sequence[Example]):
    """The examples of a data set by index; each access makes a new `Example`.

    `digest` changes with the content, but not with the folder of the videos. With a `folder` the columns are
    memory-mapped from there, and a copy that a worker process unpickles maps them too.
    """

    def __init__(self, columns: Columns, digest: str, folder: Path | None = None, prefix: str = ""):
        self.all_columns = columns
        self.columns = {name.removeprefix(prefix): c for name, c in columns.items() if name.startswith(prefix)}
        self.digest = digest
        self.folder = folder
        self.paths, self.names, self.strings = (Strings(self.columns, name) for name in ("paths", "names", "strings"))
        self.video_ids = self.columns.get("video_id", np.empty(0, "u4"))
        self.length = len(self.video_ids)
        has_clips = "clips.video_id" in self.columns
        self.clips = ExampleTable(columns, digest, folder, f"{prefix}clips.") if has_clips else None

    @classmethod
    def of(cls, examples: Iterable[Example]) -> "ExampleTable":
        """Return a table in memory; a table is returned as it is."""
        if isinstance(examples, ExampleTable):
            return examples
        writer = TableWriter(ColumnWriter())
        for chunk in chunks(examples):  # column by column: much faster than example by example
            writer.write(chunk)
        return writer.finish()

    @classmethod
    def open(cls, folder: Path, digest: str | None = None) -> "ExampleTable":
        """Map a table. ValueError if it is no longer the one of this digest."""
        about = json.loads((folder / ABOUT).read_text())
        if digest not in (None, about["digest"]):
            raise ValueError(f"{folder}: the table was made again meanwhile, of other annotations")
        return cls(map_columns(folder), about["digest"], folder)

    def __reduce__(self) -> Any:
        if self.folder is not None:
            return ExampleTable.open, (self.folder, self.digest)
        return ExampleTable, (self.all_columns, self.digest)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:  # a whole number, as of every `Sequence` of records
        row = operator.index(index)
        if not -self.length <= row < self.length:
            raise IndexError(f"no example {index} among {self.length}")
        row %= self.length  # negative indices count from the end
        video, regions = self.columns["video"][row], self.text_at("regions", row)
        # One file by its code, or the list of several images.
        paths = self.list_at("videos", row) if video == ABSENT else [video]
        files = tuple(Path(self.paths[code]) for code in paths)
        fields: dict[str, Any] = {name: self.text_at(name, row) for name in TEXTS}
        fields |= {name: self.value_at(name, row) for name in (*SECONDS, *INTEGERS)}
        fields |= {name: tuple(self.strings[code] for code in self.list_at(name, row)) for name in LISTS}
        return Example(
            video=files if video == ABSENT else files[0],
            video_id=self.names[self.video_ids[row]],
            regions=() if regions is None else decode_regions(regions),
            clips=tuple(self.clips[i] for i in self.list_at("clips", row)) if self.clips is not None else (),
            **fields,
        )

    def text_at(self, name: str, row: int) -> str | None:
        """Return a field of one row, without making an `Example`."""
        column = self.columns.get(name)
        return None if column is None or column[row] == ABSENT else self.strings[column[row]]

    def value_at(self, name: str, row: int) -> Any:
        """Return a number of one row, or None."""
        column = self.columns.get(name)
        value = None if column is None else column[row].item()
        return None if value is None or value == NO_INT or value != value else value  # NaN is not itself

    def list_at(self, name: str, row: int) -> np.ndarray:
        """Return the values of one row: codes of texts or paths, or indices of clips."""
        ends = self.columns.get(f"{name}.ends")
        if ends is None:
            return np.empty(0, "u4")
        return self.columns[f"{name}.values"][ends[row - 1] if row else 0 : ends[row]]

    def list_lengths(self, name: str) -> np.ndarray | None:
        """Return how many values each row has; None if no row has any."""
        ends = self.columns.get(f"{name}.ends")
        return None if ends is None else np.diff(ends, prepend=0)

    def values_of(self, name: str) -> Iterator[str]:
        """Yield the texts of a field that are not None, without making `Example`s."""
        column = self.columns.get(name)
        for start in range(0, 0 if column is None else self.length, CHUNK):
            codes = self.columns[name][start : start + CHUNK]
            yield from self.strings.of(codes[codes != ABSENT])
            if start % RELEASE == 0:
                release_pages(self.columns)

    def texts(self) -> Iterator[str]:
        """Yield the `texts` of each example, one after another."""
        if "options.ends" not in self.columns:
            yield from self.values_of("text")
            return
        for row in range(self.length):
            options = [self.strings[code] for code in self.list_at("options", row)]
            text = self.text_at("text", row) or ""
            yield from option_texts(text, options) if options else (text,)

    def rows_with_paths(self, is_chosen: np.ndarray) -> Iterator[Example]:
        """Yield the examples that need one of the chosen `paths`, given by a mask over them."""
        if not is_chosen.any():
            return
        video = self.columns["video"]
        needs = np.append(is_chosen, False)[np.minimum(video, len(is_chosen))]  # `ABSENT` becomes the False at the end
        if "videos.ends" in self.columns:  # clips of several images
            # A row needs a chosen path if the running count of these grows between start and end of its list.
            starts = self.columns["videos.ends"] - self.list_lengths("videos")
            counts = np.append(0, np.cumsum(is_chosen[self.columns["videos.values"]]))
            needs |= counts[self.columns["videos.ends"]] > counts[starts]
        yield from (self[int(row)] for row in np.flatnonzero(needs))

    def files(self) -> Iterator[Path]:
        """Yield every file that is needed, most of them once."""
        yield from map(Path, self.paths)
        if self.clips is not None:
            yield from self.clips.files()

    def file_keys(self) -> np.ndarray:
        """Return a hash of the path of every file that is needed, some of them several times."""
        num_clips = self.list_lengths("clips")
        if num_clips is None or self.clips is None:
            return self.paths.keys
        # A question about clips needs those, not its own video.
        codes = self.columns["video"][num_clips == 0]
        several = self.columns.get("videos.values", np.empty(0, "u4"))
        own = self.paths.keys[np.append(codes[codes != ABSENT], several)]
        return np.append(own, self.clips.file_keys())

    def video_keys(self) -> "VideoKeys":
        """Return a hash of each example's `video_id`, equal for equal ids; looked up when it is indexed."""
        return VideoKeys(self.names.keys, self.video_ids)

    def by_kind(self) -> dict[str, np.ndarray]:
        """Return the indices of each kind, by name in alphabetical order. Examples of one kind may share a batch."""
        found, rest = {}, np.ones(self.length, dtype=bool)
        if (num_options := self.list_lengths("options")) is not None:
            # Batches stack the options, so each number of options is a kind.
            found |= {f"choices of {n}": num_options == n for n in np.unique(num_options).tolist() if n}
        if (num_clips := self.list_lengths("clips")) is not None:
            found["choices"] = num_clips > 0
        for name, kind in (("number", "numbers"), ("label", "labels"), ("answer", "questions")):
            if name in self.columns:
                found[kind] = self.columns[name] != (NO_INT if name == "number" else ABSENT)
        if not found:
            # i4 and not i8: there may be a hundred million captions.
            return {"captions": np.arange(self.length, dtype="i4")} if self.length else {}
        rows = {}
        for kind, is_kind in found.items():  # as in `Example.task`, the first that fits counts
            rows[kind] = np.flatnonzero(rest & is_kind)
            rest &= ~is_kind
        rows["captions"] = np.flatnonzero(rest)
        return {kind: rows[kind].astype("i4") for kind in sorted(rows) if len(rows[kind])}

    def longest(self, text_lengths: np.ndarray) -> np.ndarray:
        """Return the length of the longest text of each example, given those of all `texts`."""
        num_options = self.list_lengths("options")
        if num_options is None:
            return text_lengths
        num_texts = np.maximum(num_options, 1)  # without options there is one text
        # Texts of an example begin where those of the examples before it end.
        return np.maximum.reduceat(text_lengths, np.cumsum(num_texts) - num_texts)

    def token_counts(self, tokenizer: Tokenizer) -> np.ndarray:
        """Return how many tokens each of the `texts` has. For a table in a folder this is stored there."""
        name = f"tokens-{tokenizer.fingerprint}"
        path = None if self.folder is None else self.folder / f"{name}.bin"
        if path is None:
            return count_tokens(self.texts(), tokenizer)
        if not path.exists():
            try:
                with only_process(path, wait=True):  # another process may count them right now
                    if not path.exists():
                        log.info("counting the tokens of %s texts", f"{self.length:,}")
                        with whole_file(path) as unfinished:
                            count_tokens(self.texts(), tokenizer).tofile(unfinished)
            except OSError as error:
                log.warning("token counts stay in memory, since the cache folder cannot be written: %s", explain(error))
                return count_tokens(self.texts(), tokenizer)
        return np.asarray(np.memmap(path, "<u2", mode="r"))


@dataclass(frozen=True)
class VideoKeys:
    """Hashes of videos by example. As an array of 10 million they would be 80 MB in each process."""

    keys: np.ndarray
    codes: np.ndarray

    def __getitem__(self, indices: Any) -> np.ndarray:
        return self.keys[self.codes[indices]]


class TableWriter:
    """Turns examples into columns, many at a time. A column in which every row has the default is not made.

    The clips of choices between clips are a second table; its columns have the `prefix` `clips.`.
    """

    def __init__(self, columns: ColumnWriter, prefix: str = ""):
        self.columns = columns
        self.prefix = prefix
        self.num_rows = 0
        self.paths = StringWriter(columns, f"{prefix}paths", with_keys=True)
        self.names = StringWriter(columns, f"{prefix}names", with_keys=True)
        self.strings = StringWriter(columns, f"{prefix}strings")
        self.lengths: dict[str, int] = {}
        self.clips: TableWriter | None = None

    def write(self, examples: Sequence[Example]) -> None:
        """Append these rows."""
        singles = [None if isinstance(e.video, tuple) else str(e.video) for e in examples]
        # These two columns are always made: they give the table its length.
        self.put("video", self.paths.write(singles), None)
        self.put("video_id", self.names.write(e.video_id for e in examples), None)
        self.put_lists("videos", [e.video if isinstance(e.video, tuple) else () for e in examples], self.write_paths)
        for name in TEXTS:
            self.put(name, self.strings.write(getattr(e, name) for e in examples), ABSENT)
        for name in SECONDS:
            self.put(name, numbers(examples, name, "f8", np.nan), np.nan)
        for name in INTEGERS:
            self.put(name, numbers(examples, name, "i8", NO_INT), NO_INT)
        for name in LISTS:
            self.put_lists(name, [getattr(e, name) for e in examples], self.strings.write)
        regions = (encode_regions(e.regions) if e.regions else None for e in examples)
        self.put("regions", self.strings.write(regions), ABSENT)
        self.put_lists("clips", [e.clips for e in examples], self.write_clips)
        self.num_rows += len(examples)

    def put(self, name: str, values: np.ndarray, default: float | None) -> None:
        """Append to a column. The first value that is not the default makes it, with the default for rows before."""
        if name not in self.lengths:
            # NaN is equal to nothing, so it needs its own test.
            is_default = np.isnan(values) if default is not None and np.isnan(default) else values == default
            if default is not None and is_default.all():
                return
            self.columns.append(self.prefix + name, np.full(self.num_rows, default or 0, values.dtype))
            self.lengths[name] = self.num_rows
        self.columns.append(self.prefix + name, values)

    def put_lists(self, name: str, lists: Sequence[Sequence[Any]], write: Callable[[list[Any]], np.ndarray]) -> None:
        """Append a list for each row: their values, and where each list ends."""
        flat = [value for values in lists for value in values]
        if flat:
            self.columns.append(f"{self.prefix}{name}.values", write(flat))
        # Ends count from the start of the table, over all chunks.
        before = self.lengths.get(f"{name}.values", 0)
        self.lengths[f"{name}.values"] = before + len(flat)
        self.put(f"{name}.ends", before + np.cumsum([len(values) for values in lists], dtype="i8"), 0)

    def write_paths(self, paths: list[Path]) -> np.ndarray:
        return self.paths.write(map(str, paths))

    def write_clips(self, clips: list[Example]) -> np.ndarray:
        self.clips = self.clips or TableWriter(self.columns, f"{self.prefix}clips.")
        first = self.clips.num_rows
        self.clips.write(clips)
        return np.arange(first, first + len(clips), dtype="u4")

    def finish(self) -> ExampleTable:
        """Return the table, of which nothing changes any more."""
        columns, folder = self.columns.finish(), self.columns.folder
        return ExampleTable(columns, digest_of(columns, folder), folder)


def numbers(examples: Sequence[Example], name: str, kind: str, none: float) -> np.ndarray:
    """Return a field of all examples as an array, with `none` instead of None."""
    return np.array([none if (value := getattr(example, name)) is None else value for example in examples], kind)


def digest_of(columns: Columns, folder: Path | None) -> str:
    """Return a hash of the content without the paths: a data set may be moved while a training is interrupted."""
    digest = blake2b(digest_size=8)
    for name in sorted(columns):
        # Clips of choices are a nested table; the rule is the same for its columns.
        own_name = name.split("clips.")[-1]
        if own_name != "video" and not own_name.startswith(("paths.", "videos.")):
            kind = columns[name].dtype.str[1:]
            if folder is None:
                content = blake2b(np.ascontiguousarray(columns[name]).data).digest()
            else:  # by reads and not by the map: mapped pages count as memory of this process
                with (folder / f"{name}.{kind}").open("rb") as file:
                    content = file_digest(file, blake2b).digest()
            digest.update(f"{name} {kind} ".encode() + content)
    return digest.hexdigest()


def chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Yield lists of up to `CHUNK` examples."""
    stream = iter(examples)
    while part := list(islice(stream, CHUNK)):
        yield part


def count_tokens(texts: Iterable[str], tokenizer: Tokenizer) -> np.ndarray:
    """Return how many tokens each text has, with [CLS] and [SEP]; at most `MAX_COUNT`."""
    counts, stream = [np.empty(0, "u2")], iter(texts)
    while part := list(islice(stream, CHUNK)):
        counts.append(np.array([min(len(ids), MAX_COUNT) for ids in tokenizer.tokenize(part)], "<u2"))
    return np.concatenate(counts)


def encode_regions(regions: Sequence[Region]) -> str:
    """Return regions as JSON: few data sets have any, and JSON keeps every number exactly."""
    return json.dumps([[region.color, region.polygons] for region in regions])


def decode_regions(text: str) -> tuple[Region, ...]:
    """Return the regions of `encode_regions`."""
    return tuple(
        Region(tuple(tuple((x, y) for x, y in polygon) for polygon in polygons), color)
        for color, polygons in json.loads(text)
    )
