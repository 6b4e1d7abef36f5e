from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from allinone.apps.search import Filters, VideoIndex, table
from allinone.apps.search.embedding import segment_id
from allinone.apps.search.recall import synthetic_queries
from allinone.apps.search.table import schema
from tiny import CONFIG, tiny_predictor

ROWS, INDEXED = 1500, 500


def synthetic_rows(index: VideoIndex, count: int, seed: int, folders: int = 10) -> Any:
    """Rows of vectors around some centers, as of many videos with ten segments of 10 s each."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(20, CONFIG.shared_dim))[rng.integers(0, 20, count)]
    vectors = vectors + 0.5 * rng.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = []
    for number, vector in enumerate(vectors.astype(np.float32)):
        video = f"/made/{seed}/{number // 10 % folders}/{number // 10}.mp4"
        start = 10.0 * (number % 10)
        file = {
            "video": video,
            "name": f"{number // 10}.mp4",
            "size": 1,
            "mtime_ns": 1,
            "content": f"{seed}-{number // 10}",
        }
        times = {"duration_sec": 100.0, "start_sec": start, "end_sec": start + 10, "added": datetime.now(UTC)}
        id = segment_id(video, file["content"], start, start + 10)
        rows.append({**file, **times, "id": id, "thumbnail": b"", "vector": vector})
    return pa.Table.from_pylist(rows, schema=schema(index.info, CONFIG.shared_dim))


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory):
    """An index with a vector index of 15 partitions, though it is small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "EXACT_UP_TO", INDEXED)
        patch.setattr(table, "PARTITION_ROWS", 100)
        patch.setattr(table, "NPROBES", 8)
        index = VideoIndex.open(tmp_path_factory.mktemp("indexed") / "my.index", tiny_predictor())
        index.store.write(synthetic_rows(index, ROWS, seed=0), [])
        index.store.tidy()
        yield index


def best(index: VideoIndex, query: np.ndarray, count: int, condition: str | None = None) -> list[str]:
    """Ids in the order of cosine, by numpy."""
    rows = index.store.rows(["id", "vector"], condition)
    vectors = np.stack(rows["vector"].to_pylist())
    return [rows["id"][int(i)].as_py() for i in (-(vectors @ query)).argsort(kind="stable")[:count]]


def test_above_a_size_a_vector_index_finds_what_exact_search_finds(indexed: VideoIndex):
    assert indexed.store.built_with() == ROWS
    assert indexed.stats().ann == "IVF_SQ, 8 of 15 partitions, refined 5 times"
    assert indexed.check_recall(50).recall >= 0.98
    narrow = Filters(folder="/made/0/3")
    for query in synthetic_queries(indexed.store, 5):
        # Rows that pass a filter, and rows far down, may be in any partition.
        for count, condition in ((10, narrow.sql()), (200, None)):
            found = [row["id"] for row in indexed.store.nearest(query, count, condition, ["id", "video", "start_sec"])]
            assert found == best(indexed, query, count, condition)


def test_fewer_partitions_are_faster_and_find_less(indexed: VideoIndex, monkeypatch: pytest.MonkeyPatch):
    assert indexed.check_recall(50, where=Filters(name="1")).recall == 1
    monkeypatch.setattr(table, "NPROBES", 1)
    assert indexed.check_recall(50).recall < 0.98
    assert indexed.check_recall(50, where=Filters(name="1")).recall == 1


def test_the_check_of_recall_sees_what_is_not_found(indexed: VideoIndex, monkeypatch: pytest.MonkeyPatch):
    real = indexed.store.nearest
    monkeypatch.setattr(indexed.store, "nearest", lambda *arguments: real(*arguments)[5:])
    assert 0.2 < indexed.check_recall(20).recall < 0.8


def test_new_rows_are_found_before_they_are_in_the_vector_index_and_after(indexed: VideoIndex):
    new = synthetic_rows(indexed, 20, seed=1)
    indexed.store.write(new, [])
    query = np.asarray(new["vector"][7].as_py(), np.float32)
    for num_unindexed in (20, 0):
        assert indexed.store.num_unindexed() == num_unindexed
        assert indexed.search_vector(torch.from_numpy(query), merge=False)[0].segment == new["id"][7].as_py()
        indexed.compact()
    again = VideoIndex.open(indexed.path, indexed.predictor)
    assert again.store.built_with() == ROWS
    assert again.search_vector(torch.from_numpy(query))[0].segment == new["id"][7].as_py()


def test_the_vector_index_is_built_again_when_the_table_has_doubled(indexed: VideoIndex):
    indexed.store.tidy()
    assert indexed.store.built_with() == ROWS
    indexed.store.write(synthetic_rows(indexed, 2 * ROWS, seed=2), [])
    indexed.store.tidy()
    assert indexed.store.built_with() == len(indexed) > 3 * ROWS
    assert indexed.store.num_unindexed() == 0


def test_small_writes_are_merged(tmp_path: Path):
    index = VideoIndex.open(tmp_path / "index", tiny_predictor())
    rows = synthetic_rows(index, 70, seed=0)
    for number in range(70):
        index.store.write(rows.slice(number, 1), [])
    assert index.store.table().stats()["fragment_stats"]["num_fragments"] == 70
    index.store.tidy()
    assert index.store.table().stats()["fragment_stats"]["num_fragments"] == 1
    assert len(index) == 70
    with pytest.raises(ValueError, match="keep_sec is above 0"):
        index.compact(keep_sec=0)


def test_an_index_lies_on_object_storage_too():
    index = VideoIndex.open("memory://bucket/my.index", tiny_predictor())
    assert len(index) == 0
    index.store.write(synthetic_rows(index, 30, seed=0), [])
    assert len(index) == 30
    assert len(index.search("red", merge=False)) == 10
    assert index.remove("/made/0/0") == 1
    assert index.stats().num_segments == 20
    assert index.compact().bytes > 0
    with index.store.only_writer(), index.store.only_writer():  # there is no lock
        pass


def test_a_url_of_a_file_is_a_folder(tmp_path: Path):
    index = VideoIndex.open(f"file://{tmp_path}/a%20b.index", tiny_predictor())
    index.store.write(synthetic_rows(index, 10, seed=0), [])
    assert len(VideoIndex.open(tmp_path / "a b.index", index.predictor)) == 10
