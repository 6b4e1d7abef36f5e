from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allinone.data import plan as plans
from allinone.data.plan import EvaluationPlan, TrainingPlan


def plan(videos: list[int], lengths: list[int] | None = None, kinds: list[str] | None = None, **changes):
    names = np.array(kinds or ["captions"] * len(videos))
    settings = {
        "lengths": np.array(lengths or [3] * len(videos)),
        "kinds": {str(name): np.flatnonzero(names == name) for name in np.unique(names)},
        "batch_size": 4,
        "world_size": 1,
        "seed": 0,
        "length_window": 4,
        "unique_videos": True,
        "drop_last": True,
    }
    return Lists(TrainingPlan(videos=np.array(videos), **{**settings, **changes}))


class Lists:
    """A plan whose batches are lists."""

    def __init__(self, plan: TrainingPlan | EvaluationPlan):
        self.plan = plan

    def __len__(self) -> int:
        return len(self.plan)

    def epoch(self, epoch: int, rank: int = 0) -> list[list[int]]:
        return [batch.tolist() for batch in self.plan.epoch(epoch, rank)]


def flat(batches: list[list[int]]) -> list[int]:
    return [i for batch in batches for i in batch]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=80),
    st.integers(1, 9),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
)
def test_any_epoch_shows_every_example_once_and_is_alike_for_all_ranks(
    videos: list[int], batch_size: int, world_size: int, unique: bool, mixed: bool, epoch: int
):
    kinds = ["questions" if mixed and v % 3 == 0 else "captions" for v in videos]
    made = plan(
        videos,
        lengths=[v % 5 for v in videos],
        kinds=kinds,
        batch_size=batch_size,
        world_size=world_size,
        unique_videos=unique,
        drop_last=False,
    )
    ranks = [made.epoch(epoch, rank) for rank in range(world_size)]
    assert {len(batches) for batches in ranks} == {len(made)}
    group_size = [flat(list(step)) for step in zip(*ranks, strict=True)]
    for step, batch in zip(zip(*ranks, strict=True), group_size, strict=True):
        assert len({len(b) for b in step}) == 1
        assert len({kinds[i] for i in batch}) == 1
    assert set(flat(group_size)) == set(range(len(videos)))
    assert len(flat(group_size)) - len(videos) < 2 * world_size


def test_epochs_differ_and_repeat_by_their_seed():
    first = plan(list(range(40)))
    assert first.epoch(0) == plan(list(range(40))).epoch(0)
    assert first.epoch(0) != first.epoch(1)
    assert first.epoch(0) != plan(list(range(40)), seed=1).epoch(0)


def test_what_fills_no_batch_is_left_out_and_differs_by_epoch():
    made = plan(list(range(10)))
    assert len(made) == 2
    epochs = [made.epoch(e) for e in range(20)]
    assert all([len(b) for b in batches] == [4, 4] for batches in epochs)
    assert set(flat([b for batches in epochs for b in batches])) == set(range(10))


def test_the_last_batch_may_be_smaller():
    assert sorted(len(b) for b in plan(list(range(10)), drop_last=False).epoch(0)) == [2, 4, 4]


def test_data_that_fills_no_batch_is_an_error_with_its_way_out():
    with pytest.raises(ValueError, match=r"3 captions fill no batch of 2 for each of 2 .*smaller batch_size"):
        plan([0, 1, 2], batch_size=2, world_size=2)
    with pytest.raises(ValueError, match="1 questions fill no batch"):
        plan([0, 1, 2, 3, 4], kinds=["captions"] * 4 + ["questions"])


def test_no_video_is_twice_in_a_batch_while_others_are_left():
    videos = [i // 20 for i in range(50 * 20)]
    made = plan(videos, batch_size=8, world_size=2)
    ranks = [made.epoch(3, rank) for rank in range(2)]
    repeats = [16 - len({videos[i] for i in flat(list(step))}) for step in zip(*ranks, strict=True)]
    assert sum(repeats) == 0 or sum(r > 0 for r in repeats) <= 2
    loose = plan(videos, batch_size=16, unique_videos=False).epoch(3)
    assert sum(16 - len({videos[i] for i in b}) for b in loose) > 60


def test_fewer_videos_than_places_share_them_evenly():
    videos = [i // 20 for i in range(6 * 20)]
    for batch in plan(videos, batch_size=12).epoch(0)[:-1]:
        assert max(Counter(videos[i] for i in batch).values()) <= 4
    counts = [max(Counter(videos[i] for i in b).values()) for b in plan(videos, batch_size=12).epoch(1)]
    assert sum(c == 2 for c in counts) >= 8


def test_a_video_with_most_of_the_captions_is_spread_over_the_epoch():
    videos = [0] * 30 + list(range(1, 91))
    epoch = plan(videos, batch_size=4).epoch(0)
    assert sum(sum(videos[i] == 0 for i in batch) == 1 for batch in epoch) >= 24


def test_texts_of_a_batch_are_about_as_long():
    lengths = np.random.default_rng(0).integers(3, 40, size=4000).tolist()
    videos = list(range(4000))

    def padding(window: int) -> float:
        batches = plan(videos, lengths=lengths, batch_size=32, length_window=window).epoch(0)
        padded = sum(len(b) * max(lengths[i] for i in b) for b in batches)
        return padded / sum(lengths[i] for b in batches for i in b)

    assert padding(16) < 1.1
    assert padding(1) > 1.6


def test_long_and_short_batches_are_mixed():
    lengths = [i % 30 for i in range(3000)]
    epoch = plan(list(range(3000)), lengths=lengths, batch_size=30, length_window=100).epoch(0)
    longest = np.array([max(lengths[i] for i in b) for b in epoch])
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3


@given(st.integers(0, 60), st.integers(1, 9))
def test_evaluation_sees_every_example_once_in_order(num_examples: int, batch_size: int):
    made = Lists(EvaluationPlan(num_examples=num_examples, batch_size=batch_size))
    batches = made.epoch(0)
    assert len(batches) == len(made)
    assert flat(batches) == list(range(num_examples))
    assert all(len(batch) == batch_size for batch in batches[:-1])


def dealt_one_by_one(order: list[int], videos: list[int], size: int) -> list[list[int]]:
    """The rule of `unique_videos` in its plainest form: every example is looked at, in every batch."""
    share = -(-size // len({videos[i] for i in order}))
    coming, batches = list(order), []
    waiting: dict[int, list[int]] = {}
    while coming or waiting:
        batch: list[int] = []
        room = min(size, len(coming) + sum(map(len, waiting.values())))
        for some in waiting.values():
            while some and len(batch) < room and sum(videos[b] == videos[some[0]] for b in batch) < share:
                batch.append(some.pop(0))
        waiting = {video: some for video, some in waiting.items() if some}
        while coming and len(batch) < room:
            i = coming.pop(0)
            if sum(videos[b] == videos[i] for b in batch) < share:
                batch.append(i)
            else:
                waiting.setdefault(videos[i], []).append(i)
        while len(batch) < room:
            batch.append(max(waiting.values(), key=len).pop(0))
        waiting = {video: some for video, some in waiting.items() if some}
        batches.append(batch)
    return batches


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.integers(1, 12), st.sampled_from([3, 20, 1 << 16]))
def test_batches_found_by_numpy_are_those_of_looking_at_every_example(videos: list[int], size: int, chunk: int):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plans, "CHUNK", chunk)
        made = plan(videos, batch_size=size, drop_last=False).plan
        assert isinstance(made, TrainingPlan)
        order = np.random.default_rng(len(videos)).permutation(len(videos))
        found = made.spread(order.copy()).tolist()
    wanted = dealt_one_by_one(order.tolist(), videos, size)
    assert [found[start : start + size] for start in range(0, len(found), size)] == wanted


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 4), st.integers(1, 30), st.integers(1, 4), st.integers(0, 3))
def test_runs_of_examples_stay_together(group_size: int, runs: int, runs_a_batch: int, epoch: int):
    count = group_size * runs
    made = plan(
        list(range(count)),
        group_size=group_size,
        batch_size=group_size * runs_a_batch,
        drop_last=False,
        length_window=1,
    )
    batches = made.epoch(epoch)
    assert sorted(flat(batches)) == list(range(count))
    assert len(batches) == len(made)
    for batch in batches:
        assert all(i // group_size * group_size + k in batch for i in batch for k in range(group_size))


def test_runs_that_fit_no_batch_are_refused():
    with pytest.raises(ValueError, match="cannot stay in groups of 2"):
        plan(list(range(8)), group_size=2, batch_size=3)
