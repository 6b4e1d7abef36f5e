import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from allinone.apps.search.embedding import map_ahead


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_the_pool_works_on_the_next_items_while_the_caller_is_busy(pool: ThreadPoolExecutor):
    finished = threading.Semaphore(0)

    def work(number: int) -> int:
        finished.release()
        return -number

    results = map_ahead(pool, work, range(9), 4)
    assert next(results) == 0
    for _ in range(5):  # the one that was yielded, and four more, without another being asked for
        assert finished.acquire(timeout=5)
    assert not finished.acquire(timeout=0.05)
    assert list(results) == [-number for number in range(1, 9)]


def test_large_items_count_by_their_size(pool: ThreadPoolExecutor):
    started = []
    results = map_ahead(pool, lambda size: started.append(size) or size, [3, 3, 1, 1, 9, 1], 4, size=lambda size: size)
    assert next(results) == 3
    assert len(started) <= 2
    assert list(results) == [3, 1, 1, 9, 1]


def test_what_goes_wrong_in_the_pool_or_in_making_items_reaches_the_caller(pool: ThreadPoolExecutor):
    def items() -> Iterator[int]:
        yield from (1, 0)
        raise OSError("gone")

    results = map_ahead(pool, lambda number: 1 // number, items(), 0)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    results = map_ahead(pool, lambda number: number, items(), 0)
    assert [next(results), next(results)] == [1, 0]
    with pytest.raises(OSError, match="gone"):
        next(results)
