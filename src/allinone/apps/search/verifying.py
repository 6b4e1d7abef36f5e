"""Compare an index with the files that it was made of."""

from pathlib import Path
from typing import Any

from allinone.apps.search.embedding import lasts
from allinone.apps.search.files import VideoFile
from allinone.apps.search.records import Verified
from allinone.apps.search.table import FILE_COLUMNS, Store
from allinone.data.clip_reader import ClipReader
from allinone.progress import Progress
from allinone.video import VideoError


def verify(store: Store, reader: ClipReader, contents: bool, report: Progress) -> Verified:
    """Compare sizes and modification times, or, with `contents`, every byte; read only the changed files."""
    table = store.rows([*FILE_COLUMNS, "id", "added"])
    if table is None:
        return Verified((), (), ())
    # 1. A video's newest rows say which version of the file was indexed.
    newest, orphaned = newest_rows(table.sort_by([("added", "descending")]).to_pylist())
    # 2. Compare each file with them.
    missing, changed = [], list[VideoFile]()
    for count, (path, row) in enumerate(sorted(newest.items()), start=1):
        try:
            file = VideoFile.of(Path(path))
            same = file.content() == row["content"] if contents else file.state == (row["size"], row["mtime_ns"])
            changed += [] if same else [file]
        except OSError:
            missing.append(path)
        report("files", count, len(newest))
    # 3. Of the changed ones, find those that cannot be read any more: as an earlier `add` found, or by opening them.
    known = {(file.video, file.size, file.mtime_ns) for file in store.unreadable()}
    broken = [file.path for file in changed if (file.path, *file.state) in known or not is_readable(file, reader)]
    return Verified(tuple(missing), tuple(file.path for file in changed), tuple(orphaned), tuple(broken))


def newest_rows(rows: list[dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the newest row of each video, and the ids that are orphaned (see `Verified`). `rows` come newest first."""
    seen: set[str] = set()
    newest: dict[str, dict[str, Any]] = {}
    orphaned = []
    for row in rows:
        file = newest.setdefault(row["video"], row)
        if row["id"] in seen or any(row[name] != file[name] for name in FILE_COLUMNS):
            orphaned.append(row["id"])
        seen.add(row["id"])
    return newest, orphaned


def is_readable(file: VideoFile, reader: ClipReader) -> bool:
    try:
        reader.look_up(Path(file.path))
    except VideoError as error:
        return not lasts(error)  # a failure that may pass does not make it unreadable
    return True
