"""Large tables of examples kept in the cache folder, and used again while nothing has changed that their readers read.

That is: the annotation files, the folders in which a reader looked for videos, its settings, and its code. Whether the
videos exist is not stored; `completeness.py` checks it in every run.
"""

import dataclasses
import json
import logging
import sys
from hashlib import blake2b
from pathlib import Path

from allinone.data.columns import ENCODING, ColumnWriter
from allinone.data.example import Dataset
from allinone.data.table import ABOUT, ExampleTable, TableWriter, chunks
from allinone.files.cache import cache_folder
from allinone.files.faults import explain
from allinone.files.inputs import are_unchanged, recorded_inputs
from allinone.files.lock import only_process
from allinone.files.whole import whole_folder, write_json

log = logging.getLogger(__name__)

FORMAT = 2
"""Raise it when the columns change; tables of another format are made again."""

SPILL = 1 << 17
"""A table of more rows goes to the cache folder. A smaller one is read in a second or two, so it is not kept."""


def open_table(dataset: Dataset, root: str | Path) -> ExampleTable:
    """Read the examples of a data set under a folder, or map the table that was made of the same files before."""
    folder = table_folder(dataset, root)
    if folder and (table := unchanged_table(folder, dataset)):
        log.info("%s: %s examples from %s", dataset, f"{len(table):,}", folder)
        return table
    writer = TableWriter(ColumnWriter())
    with recorded_inputs() as inputs:
        # 1. Read until the end, or until there are more rows than should be in the memory of each process.
        parts = chunks(dataset.examples(Path(root)))
        for part in parts:
            writer.write(part)
            if folder and writer.num_rows > SPILL:
                break
        # 2. All rows were read: few, or there is no folder to keep them in.
        if folder is None or writer.num_rows <= SPILL:
            return writer.finish()
        # 3. The rest of a large one goes to the folder. Of several processes that begin together, the first one here
        # writes it.
        try:
            with only_process(folder, wait=True):
                # Another process has written it while this one waited for the lock.
                if table := unchanged_table(folder, dataset):
                    return table
                with whole_folder(folder) as new:
                    writer.columns.spill(new)
                    for part in parts:
                        writer.write(part)
                    about = {"format": FORMAT, "of": repr(dataset), "reader": code_digest(dataset)}
                    about["digest"] = writer.finish().digest
                    # The lengths show a cut-off column without reading it.
                    about["sizes"] = {path.name: path.stat().st_size for path in new.iterdir()}
                    # Files in the cache folder are no inputs.
                    about["inputs"] = {path: at for path, at in inputs.items() if not is_inside(path, folder.parent)}
                    write_json(new / ABOUT, about)
                return ExampleTable.open(folder)
        except OSError as error:
            log.warning("examples stay in memory, since the cache folder cannot be written: %s", explain(error))
    # What was read may be in the files that could not be written, so it is read again from the start.
    return ExampleTable.of(dataset.examples(Path(root)))


def is_inside(path: str, folder: Path) -> bool:
    return Path(path).is_relative_to(folder)


def table_folder(dataset: Dataset, root: str | Path) -> Path | None:
    """Return the folder for a large table of this reader with its settings.

    None if it is made again in each process: a reader that is no dataclass has no settings that could be compared, and
    one that was defined in a notebook has no code that could be.
    """
    if not dataclasses.is_dataclass(dataset) or source_of(dataset) is None:
        return None
    # The `repr` of a dataclass has its settings.
    identity = f"{type(dataset).__module__}.{type(dataset).__qualname__} {dataset!r} {Path(root).resolve()}"
    try:
        return cache_folder("examples") / blake2b(identity.encode(*ENCODING), digest_size=12).hexdigest()
    except OSError as error:
        log.warning("examples stay in memory, since the cache folder cannot be made (set XDG_CACHE_HOME): %s", error)
        return None


def unchanged_table(folder: Path, dataset: Dataset) -> ExampleTable | None:
    """Return the table in a folder, if nothing that it was made of has changed, and all of it is there."""
    if not (folder / ABOUT).exists():
        return None
    try:
        about = json.loads((folder / ABOUT).read_text())
        # Another format, code or annotation file is no damage, so it makes no warning.
        if not (about["format"] == FORMAT and about["reader"] == code_digest(dataset)):
            return None
        if not are_unchanged(about["inputs"]):
            return None
        for name, size in about["sizes"].items():
            if (folder / name).stat().st_size != size:
                raise ValueError(f"{name} has another size")
        return ExampleTable.open(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: damaged, so the examples are read again: %s", folder, error)
        return None


def code_digest(dataset: Dataset) -> str:
    """Return a hash of the code that reads: the module of the reader, and all readers of this package."""
    own, shared = source_of(dataset), sorted((Path(__file__).parents[1] / "datasets").glob("*.py"))
    return blake2b(b"".join(path.read_bytes() for path in (*shared, own or Path(__file__)))).hexdigest()[:16]


def source_of(dataset: Dataset) -> Path | None:
    """Return the file that a reader is defined in; None of a notebook."""
    file = getattr(sys.modules.get(type(dataset).__module__), "__file__", None)
    return Path(file) if file else None
