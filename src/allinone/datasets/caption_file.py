"""`captions.csv` and `captions.jsonl` of a user's own folder (`captioned.py`), with errors for people who write them.

All bad rows of a file go into one error, each with its line and everything that is wrong with it.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from allinone.data.example import Example
from allinone.datasets.fields import collapse_spaces, listing, shown
from allinone.datasets.files import Annotation
from allinone.datasets.spans import parse_seconds, part_name
from allinone.datasets.videos import Videos, as_mp4
from allinone.video.names import on_disk

COLUMNS = ("video", "caption", "start", "end", "split", "question", "answer", "kind", "video_name")
TEXTS = ("video", "video_name", "caption", "split", "question", "answer", "kind")
ALIASES = {"path": "video", "sentence": "caption"}
FILE_NAMES = ("captions.csv", "captions.jsonl")
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
MAX_HEADER = 10_000
"""Characters of a header that are searched for the delimiter."""

MAX_SHOWN = 20
"""An error lists at most this many bad rows and counts the others."""

NumberedLine = tuple[int, dict[str, object] | str]
"""Line number, and the fields by name, or the problem of the line."""


@dataclass(frozen=True)
class Row:
    """One checked row; a missing text is empty."""

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
        """Return an example about the row's part of its video."""
        return Example(
            video=self.path,
            video_id=part_name(self.video, self.start, self.end),
            text=text,
            start_sec=self.start,
            end_sec=self.end,
            answer=answer,
            kind=kind,
        )


def caption_file(root: Path, name: str | None) -> Path:
    """Return the caption file of a folder: `name`, else one of `FILE_NAMES`, else the only `.csv` or `.jsonl` file."""
    # 1. The named file, or one with a usual name.
    root, names = on_disk(root), FILE_NAMES if name is None else (name,)
    files = [path for path in (on_disk(root / name) for name in names) if path.is_file()]
    # 2. The only table in the folder, whatever it is called (clips.csv, labels.csv). Of several, none is guessed.
    if name is None and not files and root.is_dir():
        files = [p for p in root.iterdir() if p.suffix in (".csv", ".jsonl") and not p.name.startswith(".")]
        files = files if len(files) == 1 else []
    if len(files) == 1 and files[0].suffix in (".csv", ".jsonl"):
        return files[0]
    # 3. Otherwise say why not: another kind of file, two candidates, or none.
    if len(files) == 1:
        raise ValueError(f"{files[0]}: captions are read from a .csv or .jsonl file")
    if files:
        raise ValueError(f"{root} has both {' and '.join(FILE_NAMES)}; name one with file=...")
    problem = "there is no such folder" if not root.is_dir() else f"it has no {' or '.join(names)}"
    raise ValueError(
        f"{root}: {problem}. It must be a folder of videos with a file captions.csv that begins\n"
        "video,caption\nfirst.mp4,a cat jumps on the table"
    )


def read_rows(path: Path, allow_missing: bool) -> tuple[list[Row], bool]:
    """Return all rows, in order, and whether they have splits.

    Raises:
        ValueError: one error that lists every bad row.
    """
    text = read_text(path)
    lines = list(csv_lines(text, path) if path.suffix == ".csv" else json_lines(text))
    # One row with a split makes it required in all rows: a forgotten one would silently be in no split.
    has_splits = any("split" in fields for _, fields in lines if isinstance(fields, dict))
    rows, problems = [], []
    videos = Videos(path.parent)
    exists: dict[Path, bool] = {}
    for line, fields in lines:
        try:
            if isinstance(fields, str):  # not parsed: `fields` is the problem
                raise ValueError(fields)
            row = parse_row(fields, videos, has_splits)
            # Looked up once for each video, because a video may have many captions.
            if row.path not in exists:
                exists[row.path] = videos.tree.is_file(row.path)
            if not exists[row.path] and not allow_missing:
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


def read_text(path: Path) -> str:
    """Return the text of a file, which must be UTF-8, or UTF-16 with a BOM."""
    with Annotation(path).open() as file:
        content = file.read()
    try:
        return content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        # The file as a whole was decoded, so count the lines before the bad byte.
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from error


# ---- lines


def csv_lines(text: str, path: Path) -> Iterator[NumberedLine]:
    """Yield the rows of a CSV file. A quoted text may have several lines; the number is that of a row's first line."""
    first, _, rest = text.partition("\n")
    num_before = 0
    if first.lower().startswith("sep="):  # a line with which files name the delimiter to Excel
        text, num_before = rest, 1
    delimiter = delimiter_of(text.partition("\n")[0][:MAX_HEADER])
    # strict: a stray or unclosed quote is an error, and not a part of the text. newline="" keeps line breaks in quoted
    # texts.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        columns = next(reader, [])
    except csv.Error as error:
        raise ValueError(f"{path}: header: not CSV ({error})") from error
    header = checked_header(columns, path)
    while True:
        # Before the row is read, because a quoted text may go on for several lines.
        line = num_before + reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            yield line, f"not CSV ({error})"
            continue
        if values is None:
            return
        while len(values) > len(header) and not values[-1]:  # empty columns at the end
            values.pop()
        if len(values) == len(header) and any(values):
            fields: dict[str, object] = dict(zip(header, values, strict=True))
            # Excel writes decimal commas where it separates columns by semicolons.
            yield line, fields if delimiter == "," else fields | with_points(fields)
        elif any(values):  # an empty row is no problem
            hint = f"a text with {DELIMITERS[delimiter]} needs quotes"
            yield line, f"{len(values)} fields, but the header has {len(header)} ({hint})"


def checked_header(columns: list[str], path: Path) -> list[str]:
    """Return the names of the columns, without the empty ones that Excel writes at the end."""
    header = [ALIASES.get(name, name) for name in (column.strip().lower() for column in columns)]
    if len(header) > MAX_HEADER:
        raise ValueError(f"{path}: header: {len(header):,} columns; there are: {', '.join(COLUMNS)}")
    while header and not header[-1]:
        header.pop()
    problems = []
    if unknown := [name for name in header if name not in COLUMNS]:
        problems.append(f"unknown column {listing(map(repr, unknown))}")
    # An unknown column that occurs twice is one problem and not two.
    problems += [f"column {name!r} twice" for name, count in Counter(header).items() if count > 1 and name in COLUMNS]
    if not {"video", "video_name"} & set(header):
        problems.append("no column 'video'")
    if not {"caption", "question"} & set(header):
        problems.append("no column 'caption' or 'question'")
    if problems:
        hint = f"Columns, with commas, semicolons or tabs between: {', '.join(COLUMNS)}"
        raise ValueError(f"{path}: header: {'; '.join(problems)}. {hint}")
    return header


def delimiter_of(header: str) -> str:
    """Return the delimiter that splits a header into most known columns."""

    def num_known(delimiter: str) -> int:
        names = (name.strip().strip('"').lower() for name in header.split(delimiter))
        return sum(ALIASES.get(name, name) in COLUMNS for name in names)

    return max(DELIMITERS, key=num_known)  # of equals the first: a single column counts as separated by commas


def with_points(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the times with decimal points instead of commas."""
    return {name: str(fields[name]).replace(",", ".") for name in ("start", "end") if name in fields}


def json_lines(text: str) -> Iterator[NumberedLine]:
    """Yield the objects of a JSON Lines file."""
    # Not `splitlines`, which also splits at U+2028 and other characters that JSON allows in texts.
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            fields = json.loads(content, object_pairs_hook=unaliased)
        except json.JSONDecodeError as error:
            yield line, f"not JSON ({error.msg} at character {error.colno})"
        except RecursionError:
            yield line, "not JSON of captions: lists or objects are nested hundreds deep"
        except ValueError as error:  # from `unaliased`; JSONDecodeError is a ValueError, too, so it comes first
            yield line, str(error)
        else:
            unknown = [name for name in fields if name not in COLUMNS] if isinstance(fields, dict) else []
            if not isinstance(fields, dict):
                yield line, f"not a JSON object: {content.strip():.40}"
            elif unknown:
                yield line, f"unknown name {listing(map(repr, unknown))}; there are: {', '.join(COLUMNS)}"
            else:
                yield line, fields


def unaliased(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object with the names of `COLUMNS`; a name that occurs twice is an error."""
    fields = {ALIASES.get(name, name): value for name, value in pairs}
    if len(fields) < len(pairs):
        repeated = [name for name, n in Counter(ALIASES.get(name, name) for name, _ in pairs).items() if n > 1]
        raise ValueError(f"{listing(map(repr, repeated))} twice")
    return fields


# ---- rows


def parse_row(fields: dict[str, object], videos: Videos, has_splits: bool) -> Row:
    """Check one row.

    Raises:
        ValueError: everything that is wrong with the row.
    """
    # Collect everything that is wrong with the row, so that one run shows all there is to correct.
    problems: list[str] = []
    texts = {name: read_field(name, fields.get(name), problems) for name in TEXTS}
    start, end = (read_time(name, fields.get(name), problems) for name in ("start", "end"))
    if end is not None and end <= (start or 0):
        problems.append(f"end {end:g} does not come after start {start or 0:g}")
    problems += missing_texts(texts, has_splits)
    if problems:
        raise ValueError("; ".join(problems))
    path, video = locate(texts.pop("video"), texts.pop("video_name"), videos)
    return Row(path=path, video=video, start=start, end=end, **texts)


def read_field(name: str, value: object, problems: list[str]) -> str:
    """Return a text, empty if it is missing. For another type add a problem and return a text that adds no other."""
    if value is not None and not isinstance(value, str):
        problems.append(f"{name} must be a text, got {shown(value)}")
        return "?"
    # Two spaces in the name of a file are not one.
    return (value or "").strip() if name.startswith("video") else collapse_spaces(value or "")


def read_time(name: str, value: object, problems: list[str]) -> float | None:
    """Return a time in seconds; None if it is missing, or wrong, which adds a problem."""
    try:
        return parse_seconds(value)
    except ValueError as error:
        problems.append(f"{name} {error}")
        return None


def missing_texts(texts: Mapping[str, str], has_splits: bool) -> Iterator[str]:
    """Yield what a row lacks."""
    if not texts["video"] and not texts["video_name"]:
        yield "no video"
    if bool(texts["question"]) != bool(texts["answer"]):  # a row may have both, a caption and a question
        yield "a question without an answer" if texts["question"] else "an answer without a question"
    if not texts["caption"] and not texts["question"] and not texts["answer"]:
        yield "empty caption"
    if has_splits and not texts["split"]:
        yield "no split, which other rows have"


def locate(video: str, name: str, videos: Videos) -> tuple[Path, str]:
    """Return the file of a video, and its id: its path as spelled on disk, so that two spellings are one video.

    A missing file is replaced by the one called `name` in any folder, or by its copy from `allinone data prepare`.
    """
    # 1. The path that the row gives (with backslashes on Windows), as the disk spells it.
    video = (video or name).replace("\\", "/")
    wanted = videos.root / video
    path = spelled(wanted, videos)
    if path != wanted:
        video = str(path.relative_to(videos.root) if path.is_relative_to(videos.root) else path)
    # 2. A file of that name in any folder.
    if name and not videos.tree.is_file(path):
        path = videos.path(name)
    # 3. Its copy by `allinone data prepare`, which has the ending .mp4.
    if not videos.tree.is_file(path) and videos.tree.is_file(mp4 := spelled(as_mp4(path), videos)):
        path = mp4
    return path, str(PurePosixPath(video))


def spelled(path: Path, videos: Videos) -> Path:
    """Return the path as spelled on disk; unchanged if the disk cannot be asked."""
    try:
        return videos.spelled(path)
    except OSError:  # a name that is too long, a folder without permission
        return path
