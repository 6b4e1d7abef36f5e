import threading
from collections.abc import Iterator

import pytest

from allinone.apps.search.embedding import prefetched


def test_items_go_on_being_made_while_the_caller_is_busy():
    made = threading.Semaphore(0)

    def items() -> Iterator[int]:
        for number in range(6):
            made.release()
            yield number

    taken = prefetched(items(), 2)
    assert next(taken) == 0
    for _ in range(4):  # without another being asked for: the first, two that wait, and one for which there is no room
        assert made.acquire(timeout=5)
    assert not made.acquire(timeout=0.05)
    assert list(taken) == [1, 2, 3, 4, 5]


def test_what_goes_wrong_in_making_them_reaches_the_caller():
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    taken = prefetched(items(), 2)
    assert next(taken) == 1
    with pytest.raises(OSError, match="gone"):
        next(taken)


def test_a_caller_that_stops_leaves_no_thread_behind():
    before = threading.active_count()
    taken = prefetched(iter(range(100)), 1)
    assert next(taken) == 0
    taken.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert threading.active_count() == before
