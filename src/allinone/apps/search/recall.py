"""How many of the exactly nearest segments a search returns, measured on an index (`--check-recall`, benchmarks)."""

import time

import numpy as np

from allinone.apps.search.records import Recall
from allinone.apps.search.table import Store

TOLERANCE = 1e-5
"""Cosines this close are a tie, since LanceDB and numpy round differently. Copies of a video are ties, too."""


def measure_recall(store: Store, queries: np.ndarray, top_k: int, condition: str | None) -> Recall:
    """Search for each query, and compare the scores of the rows that are found with the best ones by arithmetic."""
    num_wanted = num_found = 0
    times = []
    for query, scores in zip(queries, exact_scores(store, queries, top_k, condition), strict=True):
        started = time.perf_counter()
        # As many rows as a search with merging asks for.
        rows = store.nearest(query, 2 * top_k, condition, ["id", "video", "start_sec"])[:top_k]
        times.append(time.perf_counter() - started)
        scores = scores[np.isfinite(scores)]
        num_wanted += len(scores)
        # By score and not by id: of equal rows, either is right.
        num_found += sum(1 - row["_distance"] >= scores[-1] - TOLERANCE for row in rows[: len(scores)])
    return Recall(float(num_found / max(1, num_wanted)), len(queries), top_k, 1000 * float(np.median(times)))


def exact_scores(store: Store, queries: np.ndarray, count: int, condition: str | None) -> np.ndarray:
    """Return the `count` largest cosines of each query, descending, by plain arithmetic; -inf if there are fewer."""
    best = np.full((len(queries), count), -np.inf, np.float32)
    rows = store.existing().search().select(["vector"])
    for batch in (rows if condition is None else rows.where(condition)).to_batches(8192):
        vectors = batch["vector"].flatten().to_numpy().reshape(len(batch), -1)
        # Keep only the best after each batch, so that memory does not grow with the index.
        best = np.concatenate([best, queries @ vectors.T], axis=1)
        best = -np.partition(-best, count - 1, axis=1)[:, :count]
    return -np.sort(-best, axis=1)


def synthetic_queries(store: Store, count: int) -> np.ndarray:
    """Return unit vectors to try a search with: stored ones plus noise of the same length.

    Vectors of texts are not among those of clips either, so an unchanged vector would be too easy a query.
    """
    table, rng = store.existing(), np.random.default_rng(0)
    indices = rng.integers(table.count_rows(), size=count)  # fixed seed: two measurements differ only by the index
    rows = table.take_offsets(sorted(set(indices.tolist()))).select(["vector"]).to_arrow()
    vectors = rows["vector"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
    noise = rng.normal(size=vectors.shape).astype(np.float32)
    queries = vectors + noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return queries / np.linalg.norm(queries, axis=1, keepdims=True)
