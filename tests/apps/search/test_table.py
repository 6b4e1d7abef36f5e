from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from allinone.apps.search import Filters, VideoIndex, table
from allinone.apps.search.embedding import segment_id
from allinone.apps.search.table import schema
from tiny import CONFIG, tiny_predictor

ROWS, GROUPED = 1500, 500


def made_rows(index: VideoIndex, count: int, seed: int, folders: int = 10) -> Any:
    """Rows of vectors around some centres, as if ten segments of 10 s had been cut out of each of many videos."""
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
    return pa.Table.from_pylist(rows, schema=schema(index.made, CONFIG.shared_dim))


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory):
    """An index that is searched by groups, though it is small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "EXACT_UP_TO", GROUPED)
        index = VideoIndex.open(tmp_path_factory.mktemp("grouped") / "my.index", tiny_predictor())
        index.store.write(made_rows(index, ROWS, seed=0), [])
        index.store.tidy()
        yield index


def best(index: VideoIndex, query: np.ndarray, count: int, condition: str | None = None) -> list[str]:
    """Ids in the order of cosine, by numpy."""
    rows = index.store.rows(["id", "vector"], condition)
    vectors = np.stack(rows["vector"].to_pylist())
    return [rows["id"][int(i)].as_py() for i in (-(vectors @ query)).argsort(kind="stable")[:count]]


def test_above_a_size_an_index_is_grouped_and_tuned_to_find_what_exact_search_finds(grouped: VideoIndex):
    tuning = grouped.store.tuning()
    assert tuning is not None
    assert (tuning.num_rows, tuning.num_partitions) == (ROWS, 1)
    assert grouped.stats().ann.startswith("IVF_SQ")
    assert grouped.check_recall(50).recall >= 0.98
    narrow = Filters(folder="/made/0/3")
    assert grouped.check_recall(50, where=narrow).recall >= 0.98
    assert grouped.check_recall(50, where=Filters(name="1")).recall >= 0.98
    for query in grouped.store.made_queries(5):
        found = [row["id"] for row in grouped.store.nearest(query, 10, narrow.sql())]
        assert found == best(grouped, query, 10, narrow.sql())


def test_the_check_of_recall_sees_what_is_not_found(grouped: VideoIndex, monkeypatch: pytest.MonkeyPatch):
    real = grouped.store.nearest
    monkeypatch.setattr(grouped.store, "nearest", lambda *arguments: real(*arguments)[5:])
    assert 0.2 < grouped.check_recall(20).recall < 0.8


def test_new_rows_are_found_before_they_are_grouped_and_after(grouped: VideoIndex):
    new = made_rows(grouped, 20, seed=1)
    grouped.store.write(new, [])
    query = np.asarray(new["vector"][7].as_py(), np.float32)
    for _ in range(2):
        assert grouped.search_vector(torch.from_numpy(query), merge=False)[0].segment == new["id"][7].as_py()
        grouped.compact()
    assert grouped.store.num_ungrouped() == 0
    again = VideoIndex.open(grouped.path, grouped.predictor)
    assert again.store.tuning() == grouped.store.tuning()
    assert again.search_vector(torch.from_numpy(query))[0].segment == new["id"][7].as_py()


def test_groups_are_made_anew_when_the_index_has_doubled(grouped: VideoIndex):
    before = grouped.store.tuning()
    assert before is not None
    grouped.store.tidy()
    assert grouped.store.tuning() == before
    grouped.store.write(made_rows(grouped, 2 * ROWS, seed=2), [])
    grouped.store.tidy()
    after = grouped.store.tuning()
    assert after is not None
    assert after.num_rows == len(grouped) > 2 * before.num_rows
    assert grouped.check_recall(50).recall >= 0.98


def test_small_writes_are_merged(tmp_path: Path):
    index = VideoIndex.open(tmp_path / "index", tiny_predictor())
    rows = made_rows(index, 70, seed=0)
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
    index.store.write(made_rows(index, 30, seed=0), [])
    assert len(index) == 30
    assert len(index.search("red", merge=False)) == 10
    assert index.remove("/made/0/0") == 1
    assert index.stats().num_segments == 20
    assert index.compact().bytes > 0
    with index.store.only_writer(), index.store.only_writer():  # there is no lock
        pass


def test_a_url_of_a_file_is_a_folder(tmp_path: Path):
    index = VideoIndex.open(f"file://{tmp_path}/a%20b.index", tiny_predictor())
    index.store.write(made_rows(index, 10, seed=0), [])
    assert len(VideoIndex.open(tmp_path / "a b.index", index.predictor)) == 10
