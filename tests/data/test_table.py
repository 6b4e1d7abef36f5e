import errno
import os
import pickle
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allinone.data import cached_table
from allinone.data.cached_table import open_table
from allinone.data.example import Example, Region
from allinone.data.table import ExampleTable
from allinone.datasets.files import find
from allinone.datasets.videos import Videos
from allinone.text.tokenizer import Tokenizer
from fixed import Fixed

OLD_NS = 1_600_000_000_000_000_000
"""A time of change long ago: what changed a moment ago is never trusted."""

texts = st.text(st.characters(codec=None), max_size=12)
maybe = st.none() | texts
seconds = st.none() | st.floats(0, 1e9)
numbers = st.none() | st.integers(-(2**62), 2**62)
paths = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=8).map(Path)
points = st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False))
regions = st.tuples(st.lists(st.lists(points, max_size=3).map(tuple), max_size=2).map(tuple), st.integers(0, 9))
needed = {"video": paths | st.lists(paths, max_size=3).map(tuple), "video_id": texts, "text": texts}
optional = {
    "start_sec": seconds,
    "end_sec": seconds,
    "regions": st.lists(regions, max_size=2),
    "human_answers": st.lists(texts, max_size=3).map(tuple),
    "options": st.lists(texts, max_size=3).map(tuple),
    "number": numbers,
    **dict.fromkeys(("answer", "label", "kind", "id"), maybe),
}
clips = st.fixed_dictionaries(needed, optional=optional)
fields = st.fixed_dictionaries(needed, optional={**optional, "clips": st.lists(clips, max_size=2)})


def built(fields: dict[str, Any]) -> Example:
    """An example of these fields; the last option or clip is the right one."""
    more = {
        "regions": tuple(Region(*region) for region in fields.get("regions", ())),
        "clips": tuple(map(built, fields.get("clips", ()))),
    }
    num_options = len(fields.get("options", ())) or len(more["clips"])
    return Example(**fields | more, right=num_options - 1 if num_options else None)


@settings(max_examples=50, deadline=None)
@given(st.lists(fields, max_size=7))
def test_every_example_comes_out_as_it_went_in(rows: list[dict[str, Any]]):
    made = list(map(built, rows))
    table = ExampleTable.of(made)
    assert list(table) == made
    assert [table[i - len(made)] for i in range(len(made))] == made
    again = pickle.loads(pickle.dumps(table))
    assert list(again) == made
    assert list(table.texts()) == [text for example in made for text in example.texts]
    assert list(table.values_of("answer")) == [e.answer for e in made if e.answer is not None]
    assert set(table.files()) >= {path for example in made for path in example.files}
    keys, ids = table.video_keys()[:], [example.video_id for example in made]
    assert len(set(keys.tolist())) == len(set(ids))
    kinds = np.array([kind_of(example) for example in made], dtype=object)
    assert {kind: rows.tolist() for kind, rows in table.by_kind().items()} == {
        kind: np.flatnonzero(kinds == kind).tolist() for kind in sorted(set(kinds))
    }


def kind_of(example: Example) -> str:
    return f"choices of {len(example.options)}" if example.options else f"{example.task}s"


def caption(number: int, text: str = "a dog") -> Example:
    return Example(video=Path(f"{number // 3}.mp4"), video_id=str(number // 3), text=text, id=str(number))


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cached_table, "SPILL", 5)
    monkeypatch.setattr("allinone.data.table.CHUNK", 2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@dataclass(frozen=True)
class Counted:
    """A reader of lines, which counts how often it reads; videos are looked for on disk."""

    name: str = "lines.txt"

    def examples(self, root: Path) -> Iterator[Example]:
        READ.append(self.name)
        videos = Videos(root)
        for number, line in enumerate(find(root, self.name).lines()):
            yield Example(video=videos.path(str(number)), video_id=str(number), text=line, answer=line[:1] or None)


READ: list[str] = []


@pytest.fixture
def root(tmp_path: Path, small_limits: None) -> Path:
    folder = tmp_path / "root"
    (folder / "videos").mkdir(parents=True)
    (folder / "lines.txt").write_text("".join(f"line {n}\n" for n in range(20)))
    READ.clear()
    settle(folder)
    return folder


def settle(folder: Path) -> None:
    """Make everything look old."""
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, ns=(OLD_NS, OLD_NS))


def test_a_large_table_is_written_once_and_the_same(root: Path):
    made = list(Counted().examples(root))
    first, second = open_table(Counted(), root), open_table(Counted(), root)
    assert READ == ["lines.txt"] * 2  # once for `made`
    assert first.folder is not None
    assert list(first) == list(second) == made
    assert first.digest == second.digest == ExampleTable.of(made).digest
    assert pickle.loads(pickle.dumps(first))[19] == made[19]
    assert len(pickle.dumps(first)) < 1000


def test_a_small_table_leaves_no_file(root: Path, tmp_path: Path):
    (root / "lines.txt").write_text("one\ntwo\n")
    settle(root)
    assert [example.text for example in open_table(Counted(), root)] == ["one", "two"]
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_of_processes_that_begin_together_one_writes_the_table(root: Path, monkeypatch: pytest.MonkeyPatch):
    written = root.with_name("written")
    whole_folder = cached_table.whole_folder
    monkeypatch.setattr(
        cached_table, "whole_folder", lambda folder: written.open("a").write("x") and whole_folder(folder)
    )
    context = get_context("fork")
    barrier = context.Barrier(3)

    def read() -> None:
        barrier.wait()
        assert len(open_table(Counted(), root)) == 20

    processes = [context.Process(target=read) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert written.read_text() == "x"


def change_annotations(root: Path) -> None:
    (root / "lines.txt").write_text("".join(f"LINE {n}\n" for n in range(20)))


def set_time_back(root: Path) -> None:
    """Change them to other ones of the same size and time."""
    change_annotations(root)
    settle(root)


def touch(root: Path) -> None:
    os.utime(root / "lines.txt", ns=(OLD_NS + 10**9, OLD_NS + 10**9))


def add_video(root: Path) -> None:
    (root / "videos" / "3.webm").touch()


def add_file(root: Path) -> None:
    (root / "other.txt").touch()


@pytest.mark.parametrize("change", [change_annotations, set_time_back, touch, add_video, add_file])
def test_whatever_a_reader_looked_at_makes_a_new_table_when_it_changes(root: Path, change):
    before = open_table(Counted(), root)
    texts = [example.text for example in before]
    change(root)
    after = open_table(Counted(), root)
    assert len(READ) == 2
    assert list(after) == list(Counted().examples(root))
    assert [example.text for example in before] == texts  # who has it open keeps it


def test_settings_code_and_format_are_a_part_of_what_a_table_is_made_of(root: Path, monkeypatch):
    open_table(Counted(), root)
    (root / "more.txt").write_text("a\nb\nc\nd\ne\nf\n")
    settle(root)
    os.utime(root, ns=(OLD_NS, OLD_NS))
    assert len(open_table(Counted("more.txt"), root)) == 6
    assert len(READ) == 2
    monkeypatch.setattr(cached_table, "code_digest", lambda dataset: "other")
    open_table(Counted(), root)
    assert len(READ) == 3
    monkeypatch.setattr(cached_table, "FORMAT", 0)
    open_table(Counted(), root)
    assert len(READ) == 4


def test_a_file_that_was_written_a_moment_ago_is_read_again(root: Path):
    change_annotations(root)
    for _ in range(2):
        open_table(Counted(), root)
    assert len(READ) == 2


def test_a_reader_that_dies_leaves_no_table(root: Path, tmp_path: Path):
    (root / "lines.txt").write_bytes(b"a\n" * 9 + b"[" * (1 << 24))
    with pytest.raises(ValueError, match="line 10 has more than"):
        open_table(Counted(), root)
    assert not list((tmp_path / "cache" / "allinone" / "examples").iterdir())


def test_without_a_cache_folder_examples_stay_in_memory(root: Path, monkeypatch, caplog):
    (root / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "file"))
    assert len(open_table(Counted(), root)) == 20
    assert "XDG_CACHE_HOME" in caplog.text


def test_on_a_full_disk_examples_and_token_counts_stay_in_memory(root: Path, monkeypatch, caplog):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "cache")

    tokenizer = Tokenizer.train([f"line {n}" for n in range(20)] * 2, vocab_size=60)
    stored = open_table(Counted(), root)
    monkeypatch.setattr("allinone.data.table.whole_file", full)
    counts = stored.token_counts(tokenizer)
    monkeypatch.setattr(cached_table, "whole_folder", full)
    change_annotations(root)
    table = open_table(Counted(), root)
    assert table.folder is None
    assert list(table) == list(Counted().examples(root))
    assert len(counts) == len(table.token_counts(tokenizer)) == 20
    assert "examples stay in memory, since the cache folder cannot be written: cache: " in caplog.text


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("text.u4", truncate),
        ("strings.ends.i8", truncate),
        ("strings.bytes.u1", lambda file: file.write_bytes(b"")),
        ("text.u4", lambda file: file.rename(file.with_suffix(".i8"))),
        ("video.u4", Path.unlink),
        ("table.json", truncate),
        ("table.json", lambda file: file.write_text("[]")),
        ("table.json", lambda file: file.write_text(file.read_text().replace('"sizes"', '"lengths"'))),
    ],
)
def test_a_damaged_table_is_made_again(root: Path, caplog, name: str, damage):
    folder = open_table(Counted(), root).folder
    assert folder is not None
    damage(folder / name)
    assert list(open_table(Counted(), root)) == list(Counted().examples(root))
    assert "damaged, so the examples are read again" in caplog.text
    assert len(READ) == 3
    open_table(Counted(), root)
    assert len(READ) == 3


def test_a_reader_of_a_notebook_is_read_by_each_process(root: Path, monkeypatch):
    monkeypatch.setattr(Counted, "__module__", "__main__")
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    for _ in range(2):
        assert open_table(Counted(), root).folder is None
    assert len(READ) == 2


def test_the_digest_notices_every_change_but_another_folder():
    made = [caption(number) for number in range(9)]
    digest = ExampleTable.of(made).digest
    moved = [replace(example, video=Path("elsewhere", *example.files)) for example in made]
    assert ExampleTable.of(moved).digest == digest
    for change in ({"text": "a cat"}, {"video_id": "x"}, {"start_sec": 1.0}, {"answer": "yes"}, {"options": ("a",)}):
        assert ExampleTable.of([*made[:8], replace(made[8], **change)]).digest != digest
    assert ExampleTable.of(made[::-1]).digest != digest


def test_paths_and_repeated_texts_are_stored_once():
    table = ExampleTable.of([caption(number) for number in range(300)])
    assert len(table.paths) == len(table.names) == 100
    assert list(table.values_of("text")) == ["a dog"] * 300
    assert len(table.strings) == 301


def test_tokens_are_counted_once_and_kept_with_the_table(root: Path, monkeypatch):
    tokenizer = Tokenizer.train([f"line {n}" for n in range(20)] * 2, vocab_size=60)
    table = open_table(Counted(), root)
    wanted = [len(ids) for ids in tokenizer.tokenize([example.text for example in table])]
    assert table.token_counts(tokenizer).tolist() == wanted
    assert ExampleTable.of(table[i] for i in range(20)).token_counts(tokenizer).tolist() == wanted
    monkeypatch.setattr("allinone.data.table.count_tokens", lambda *_: pytest.fail("counted again"))
    assert open_table(Counted(), root).token_counts(tokenizer).tolist() == wanted


def test_a_data_set_without_a_file_is_a_table_too():
    table = open_table(Fixed(()), ".")
    assert len(table) == 0
    assert table.by_kind() == {}
    with pytest.raises(IndexError, match="no example 0 among 0"):
        table[0]
