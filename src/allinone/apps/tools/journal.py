"""What is done, a JSON line each, so that work that was stopped at any moment goes on where it was."""

import json
import os
from pathlib import Path
from typing import Any

from allinone.files.shards import find_packed


class Journal:
    """Records by key, on disk and in memory. The last line of a process that was killed may be cut short: it is not
    counted. Several processes may add to one file."""

    def __init__(self, path: Path):
        self.path = path
        self.records: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("a+b", buffering=0)
        self.file.seek(0)
        content = self.file.read()
        for line in content.split(b"\n"):
            try:
                key, record = json.loads(line)
            except ValueError:
                continue
            self.records[key] = record
        if content and not content.endswith(b"\n"):
            self.file.write(b"\n")

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def get(self, key: str) -> Any:
        return self.records.get(key)

    def add(self, key: str, record: Any) -> None:
        self.records[key] = record
        self.file.write(json.dumps([key, record]).encode() + b"\n")


def signature(path: str | Path) -> list[int]:
    """Size and time of the last change (of its shard): a file is taken for the same as long as these are."""
    try:
        facts = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        packed = find_packed(path)
        if packed is None:
            raise
        return [packed.size, os.stat(packed.tar).st_mtime_ns]
    return [facts.st_size, facts.st_mtime_ns]
