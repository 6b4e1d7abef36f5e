"""A user's own videos or images: a folder with one file of captions, or of questions and answers, beside them.

    my_clips/
        captions.csv        or captions.jsonl, one JSON object a line with the same names
        cats/first.mp4
        cats/second.mp4
        photo.jpg

`captions.csv`, UTF-8, begins with a header and has a row for each caption, so several for a video:

    video,caption,start,end,split
    cats/first.mp4,a cat jumps on the table,,,train
    cats/first.mp4,"the cat falls, slowly",12.5,17,train
    photo.jpg,two dogs,,,test

Between the columns are commas, or, as Excel writes them in Europe, semicolons, with decimal commas in times; or tabs.

- `video` (or `path`): path from the folder of this file. Paths may be absolute. `video_name`, beside or instead of it,
  is the name of a file that may lie in any folder here, with or without its extension.
- `caption` (or `sentence`): what is seen. `question` and `answer`, beside or instead of it, make the row one of
  `Questions`; `kind` names the type of question, and each type gets its own figure.
- `start`, `end` (optional, seconds): the row is about this part of the video.
- `split` (optional): any name. Without this column, `hold_out=4` makes every fourth video, in the order of their
  names, `val` and the rest `train`.

Measured as the others: retrieval for captions, accuracy for questions. The licence is yours.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from allinone.data.example import Example
from allinone.datasets.base import Card, TaskReader, part_name
from allinone.datasets.files import Videos, as_mp4, parse_seconds
from allinone.datasets.records import listing, shown, tidy
from allinone.video.names import on_disk

COLUMNS = ("video", "caption", "start", "end", "split", "question", "answer", "kind", "video_name")
ALIASES = {"path": "video", "sentence": "caption"}
FILE_NAMES = ("captions.csv", "captions.jsonl")
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
MAX_HEADER = 10_000
"""Characters of a header in which the delimiter is looked for."""

MAX_SHOWN = 20
"""So many bad rows are printed; the rest is counted."""


@dataclass(frozen=True, kw_only=True)
class Captions:
    """The rows that have a caption.

    `split` chooses rows of that split; None takes all. `hold_out=n` makes the splits `train` and `val` of a file that
    has none. `file` is the name of the caption file, if it is not the only `captions.csv` or `captions.jsonl`, nor the
    only file of these kinds.
    A row whose video is not there is an error, unless `allow_missing`.
    """

    split: str | None = None
    hold_out: int | None = None
    file: str | None = None
    allow_missing: bool = False

    def __post_init__(self):
        if self.hold_out is not None and self.hold_out < 2:
            raise ValueError(f"hold_out=n holds out every n-th video, n at least 2; got {self.hold_out}")
        if self.hold_out is not None and self.split not in ("train", "val"):
            raise ValueError(f"hold_out makes the splits 'train' and 'val'; choose one, got split={self.split!r}")

    def examples(self, root: Path) -> list[Example]:
        rows = chosen_rows(self, Path(root))
        found = [row.example(row.caption) for row in rows if row.caption]
        return nonempty(found, self, root, "a caption")


@dataclass(frozen=True, kw_only=True)
class Questions(Captions):
    """The rows that have a question and its answer; options as for `Captions`."""

    def examples(self, root: Path) -> list[Example]:
        rows = chosen_rows(self, Path(root))
        found = [row.example(row.question, row.answer, row.kind or None) for row in rows if row.question]
        return nonempty(found, self, root, "a question and an answer")


@dataclass(frozen=True)
class Row:
    """One checked row; a text that is not given is empty."""

    path: Path
    video: str
    start: float | None
    end: float | None
    caption: str
    split: str
    question: str
    answer: str
    kind: str

    def example(self, text: str, answer: str | None = None, kind: str | None = None) -> Example:
        return Example(
            video=self.path,
            video_id=part_name(self.video, self.start, self.end),
            text=text,
            start_sec=self.start,
            end_sec=self.end,
            answer=answer,
            kind=kind,
        )


def chosen_rows(dataset: Captions, root: Path) -> list[Row]:
    """The rows of the data set's split."""
    path = caption_file(root, dataset.file)
    rows, has_splits = read_rows(path, dataset.allow_missing)
    if dataset.hold_out is not None:
        if has_splits:
            raise ValueError(f"{path} has a column `split`; leave out hold_out={dataset.hold_out}, or the column")
        held_out = every_nth({row.video for row in rows}, dataset.hold_out)
        if not held_out:
            count = len({row.video for row in rows})
            raise ValueError(f"{path}: hold_out={dataset.hold_out} leaves none of {count} videos to hold out")
        return [row for row in rows if (row.video in held_out) == (dataset.split == "val")]
    if dataset.split is None:
        return rows
    if not has_splits:
        raise ValueError(
            f"{path} has no column `split` to take {dataset.split!r} from; add it, use split=None for all rows, "
            "or hold_out=4 to make every fourth video 'val' and the rest 'train'"
        )
    counts = Counter(row.split for row in rows)
    if dataset.split not in counts:
        there = ", ".join(f"{split} ({count} rows)" for split, count in counts.items())
        raise ValueError(f"{path}: no split {dataset.split!r}; there are: {there}")
    return [row for row in rows if row.split == dataset.split]


def nonempty(examples: list[Example], dataset: Captions, root: Path, wanted: str) -> list[Example]:
    if not examples:
        where = "" if dataset.split is None else f" of split {dataset.split!r}"
        raise ValueError(f"{caption_file(Path(root), dataset.file)}: no row{where} has {wanted}")
    return examples


def every_nth(videos: Iterable[str], n: int) -> set[str]:
    """The n-th, 2n-th, ... of the videos, in the order of their paths."""
    return set(sorted(videos)[n - 1 :: n])


def caption_file(root: Path, name: str | None) -> Path:
    root, names = on_disk(root), FILE_NAMES if name is None else (name,)
    there = [path for path in (on_disk(root / name) for name in names) if path.is_file()]
    if name is None and not there and root.is_dir():  # under another name, where it is the only one
        there = [p for p in root.iterdir() if p.suffix in (".csv", ".jsonl") and not p.name.startswith(".")]
        there = there if len(there) == 1 else []
    if len(there) == 1 and there[0].suffix in (".csv", ".jsonl"):
        return there[0]
    if len(there) == 1:
        raise ValueError(f"{there[0]}: captions are read from a .csv or .jsonl file")
    if there:
        raise ValueError(f"{root} has both {' and '.join(FILE_NAMES)}; name one with file=...")
    problem = "there is no such folder" if not root.is_dir() else f"it has no {' or '.join(names)}"
    raise ValueError(
        f"{root}: {problem}. Wanted is a folder of videos with a file captions.csv that begins\n"
        "video,caption\nfirst.mp4,a cat jumps on the table"
    )


def read_rows(path: Path, allow_missing: bool) -> tuple[list[Row], bool]:
    """All rows, in order, and whether they have splits; or one error that lists every bad row."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from error
    records = list(csv_records(text, path) if path.suffix == ".csv" else json_records(text))
    has_splits = any("split" in fields for _, fields in records if isinstance(fields, dict))
    rows, problems = [], []
    videos = Videos(path.parent)
    is_there: dict[Path, bool] = {}
    for line, fields in records:
        try:
            if isinstance(fields, str):
                raise ValueError(fields)
            row = parse_row(fields, videos, has_splits)
            if row.path not in is_there:
                is_there[row.path] = videos.tree.is_file(row.path)
            if not is_there[row.path] and not allow_missing:
                raise ValueError(f"no such video file: {row.path}")
            rows.append(row)
        except ValueError as error:
            problems.append(f"  line {line}: {error}")
    if problems:
        count = f"{len(problems)} bad row{'s' * (len(problems) > 1)}"
        more = [f"  ... and {len(problems) - MAX_SHOWN} more"] if len(problems) > MAX_SHOWN else []
        raise ValueError("\n".join([f"{path}: {count}", *problems[:MAX_SHOWN], *more]))
    if not rows:
        raise ValueError(f"{path}: no rows")
    return rows, has_splits


def spelled(path: Path, videos: Videos) -> Path:
    try:
        return videos.spelled(path)
    except OSError:  # a name that is too long, a folder that may not be entered
        return path


Record = tuple[int, dict[str, object] | str]
"""Line number, and the fields by name or what is wrong with the line."""


def csv_records(text: str, path: Path) -> Iterator[Record]:
    """Rows of a CSV file. The line number is that of a row's first line, since quoted texts may go over several."""
    first, _, rest = text.partition("\n")
    num_before = 0
    if first.lower().startswith("sep="):  # a line by which Excel is told the delimiter
        text, num_before = rest, 1
    delimiter = delimiter_of(text.partition("\n")[0][:MAX_HEADER])
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        header = [ALIASES.get(name, name) for name in (column.strip().lower() for column in next(reader, []))]
    except csv.Error as error:
        raise ValueError(f"{path}: header: not CSV ({error})") from error
    if len(header) > MAX_HEADER:
        raise ValueError(f"{path}: header: {len(header):,} columns; there are: {', '.join(COLUMNS)}")
    while header and not header[-1]:  # Excel writes columns that are empty to the end
        header.pop()
    problems = []
    if unknown := [name for name in header if name not in COLUMNS]:
        problems.append(f"unknown column {listing(map(repr, unknown))}")
    problems += [f"column {name!r} twice" for name, count in Counter(header).items() if count > 1 and name in COLUMNS]
    problems += ["no column 'video'"] * (not {"video", "video_name"} & set(header))
    problems += ["no column 'caption' or 'question'"] * (not {"caption", "question"} & set(header))
    if problems:
        columns = f"Columns, with commas, semicolons or tabs between: {', '.join(COLUMNS)}"
        raise ValueError(f"{path}: header: {'; '.join(problems)}. {columns}")
    while True:
        line = num_before + reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            yield line, f"not CSV ({error})"
            continue
        if values is None:
            return
        while len(values) > len(header) and not values[-1]:
            values.pop()
        if len(values) == len(header) and any(values):
            fields: dict[str, object] = dict(zip(header, values, strict=True))
            yield line, fields if delimiter == "," else fields | with_points(fields)
        elif any(values):
            hint = f"a text with {DELIMITERS[delimiter]} wants quotes"
            yield line, f"{len(values)} fields, but the header has {len(header)} ({hint})"


def delimiter_of(header: str) -> str:
    """The delimiter that finds most known columns in a header. Excel writes `;` where numbers have decimal commas."""

    def num_known(delimiter: str) -> int:
        names = (name.strip().strip('"').lower() for name in header.split(delimiter))
        return sum(ALIASES.get(name, name) in COLUMNS for name in names)

    return max(DELIMITERS, key=num_known)


def with_points(fields: Mapping[str, object]) -> dict[str, object]:
    """Times whose decimals follow a comma, with a point."""
    return {name: str(fields[name]).replace(",", ".") for name in ("start", "end") if name in fields}


def json_records(text: str) -> Iterator[Record]:
    """Rows of a JSON Lines file."""
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            fields = json.loads(content, object_pairs_hook=by_name)
        except json.JSONDecodeError as error:
            yield line, f"not JSON ({error.msg} at character {error.colno})"
        except RecursionError:
            yield line, "not JSON of captions: lists or objects are nested hundreds deep"
        except ValueError as error:
            yield line, str(error)
        else:
            unknown = [name for name in fields if name not in COLUMNS] if isinstance(fields, dict) else []
            if not isinstance(fields, dict):
                yield line, f"not a JSON object: {content.strip():.40}"
            elif unknown:
                yield line, f"unknown name {listing(map(repr, unknown))}; there are: {', '.join(COLUMNS)}"
            else:
                yield line, fields


def by_name(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = {ALIASES.get(name, name): value for name, value in pairs}
    if len(fields) < len(pairs):
        twice = [name for name, count in Counter(ALIASES.get(name, name) for name, _ in pairs).items() if count > 1]
        raise ValueError(f"{listing(map(repr, twice))} twice")
    return fields


def parse_row(fields: dict[str, object], videos: Videos, has_splits: bool) -> Row:
    """Check one row. All that is wrong with it goes into one message."""
    problems = []
    texts = {}
    for name in ("video", "video_name", "caption", "split", "question", "answer", "kind"):
        value = fields.get(name)
        if value is not None and not isinstance(value, str):
            problems.append(f"{name} must be a text, got {shown(value)}")
            value = "?"
        texts[name] = (value or "").strip() if name.startswith("video") else tidy(value or "")
    times = {}
    for name in ("start", "end"):
        try:
            times[name] = parse_seconds(fields.get(name))
        except ValueError as error:
            problems.append(f"{name} {error}")
            times[name] = None
    start, end = times["start"], times["end"]
    if end is not None and end <= (start or 0):
        problems.append(f"end {end:g} does not come after start {start or 0:g}")
    name = texts.pop("video_name")
    video = (texts.pop("video") or name).replace("\\", "/")
    if not video:
        problems.append("no video")
    if bool(texts["question"]) != bool(texts["answer"]):
        problems.append("a question without an answer" if texts["question"] else "an answer without a question")
    if not texts["caption"] and not texts["question"] and not texts["answer"]:
        problems.append("empty caption")
    if has_splits and not texts["split"]:
        problems.append("no split, which other rows have")
    if problems:
        raise ValueError("; ".join(problems))
    path = spelled(videos.root / video, videos)
    if path != videos.root / video:  # the name on disk, so that rows that write it in two ways are about one video
        video = path.relative_to(videos.root) if path.is_relative_to(videos.root) else path
    if name and not videos.tree.is_file(path):
        path = videos.path(name)
    if not videos.tree.is_file(path) and videos.tree.is_file(mp4 := spelled(as_mp4(path), videos)):
        path = mp4
    return Row(path=path, video=str(PurePosixPath(video)), start=start, end=end, **texts)


CARD = Card(
    title="your own folder of videos or images with captions, or questions and answers",
    licence="yours",
    get="write captions.csv or captions.jsonl beside your files",
    metric="retrieval for captions, accuracy for questions",
    readings={
        "captions": TaskReader(reader=partial(Captions, allow_missing=True), splits={}),
        "questions": TaskReader(reader=partial(Questions, allow_missing=True), splits={}),
    },
)
