import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from allinone.intervals import Bootstrap
from allinone.metrics import (
    best_constant,
    first_of,
    human_credit,
    indices_by_kind,
    median_rank,
    prefers_own,
    recall_at,
    retrieval_ranks,
    top_k_indices,
    whole_numbers,
)

quick = settings(max_examples=60, deadline=None)


@st.composite
def similarities(draw):
    """Scores with many ties, and a mask with something relevant for every query."""
    queries, gallery = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    values = st.lists(st.integers(-2, 2), min_size=gallery, max_size=gallery)
    flags = st.lists(st.booleans(), min_size=gallery, max_size=gallery).filter(any)
    scores = torch.tensor([draw(values) for _ in range(queries)], dtype=torch.float32)
    return scores, torch.tensor([draw(flags) for _ in range(queries)])


def test_ranks_count_what_scores_higher():
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.7, 0.2, 0.1]])
    assert retrieval_ranks(scores, torch.tensor([2, 0])).tolist() == [1, 0]


def test_constant_scores_are_not_a_perfect_ranking():
    ranks = retrieval_ranks(torch.zeros(4, 10), torch.arange(4))
    assert ranks.tolist() == [9] * 4
    assert not recall_at(1, ranks).any()


def test_the_best_placed_of_several_relevant_items_counts():
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.7]])
    assert retrieval_ranks(scores, torch.tensor([[True, False, False, True]])).tolist() == [1]
    assert retrieval_ranks(scores, torch.tensor([[False, True, False, True]])).tolist() == [0]


@quick
@given(similarities())
def test_ranks_are_those_of_a_sorted_list_in_which_the_relevant_come_last_among_equals(case):
    scores, relevant = case
    for row, mask, rank in zip(scores.tolist(), relevant.tolist(), retrieval_ranks(scores, relevant), strict=True):
        order = sorted(range(len(row)), key=lambda i: (-row[i], mask[i]))
        assert rank == next(place for place, i in enumerate(order) if mask[i])


@quick
@given(similarities(), st.randoms(use_true_random=False))
def test_ranks_depend_neither_on_the_order_of_the_gallery_nor_on_the_scale(case, random):
    scores, relevant = case
    order = list(range(scores.shape[1]))
    random.shuffle(order)
    ranks = retrieval_ranks(scores, relevant)
    assert torch.equal(retrieval_ranks(scores[:, order], relevant[:, order]), ranks)
    assert torch.equal(retrieval_ranks(scores.double() * 3 - 7, relevant), ranks)


@quick
@given(similarities(), st.integers(1, 8))
def test_the_head_of_a_list_has_the_relevant_last_among_equals(case, top_k):
    scores, relevant = case
    for row, mask, head in zip(scores.tolist(), relevant.tolist(), top_k_indices(scores, relevant, top_k), strict=True):
        order = sorted(range(len(row)), key=lambda i: (-row[i], mask[i]))
        assert [(row[i], mask[i]) for i in head] == [(row[i], mask[i]) for i in order[:top_k]]
    firsts = first_of(scores, relevant)
    assert torch.equal(relevant.gather(1, firsts[:, None]), relevant.gather(1, top_k_indices(scores, relevant, 1)))
    assert torch.equal(scores.gather(1, firsts[:, None])[:, 0], scores.amax(1))


def test_a_mask_with_one_relevant_item_is_the_same_as_its_number():
    scores, targets = torch.randn(20, 9), torch.randint(9, (20,))
    mask = torch.nn.functional.one_hot(targets, 9).bool()
    assert torch.equal(retrieval_ranks(scores, targets), retrieval_ranks(scores, mask))


def test_infinite_scores_have_a_rank():
    scores = torch.tensor([[float("-inf"), 0.0, float("inf")]])
    assert [retrieval_ranks(scores, torch.tensor([i])).item() for i in range(3)] == [2, 1, 0]


def test_scores_that_are_not_numbers_are_refused():
    scores = torch.tensor([[0.0, float("nan")]])
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        retrieval_ranks(scores, torch.tensor([0]))
    with pytest.raises(ValueError, match="NaN"):
        prefers_own(scores.expand(1, 2, 2))


def test_wrong_targets_are_refused():
    with pytest.raises(ValueError, match="targets 0 to 3, but 3 items"):
        retrieval_ranks(torch.zeros(2, 3), torch.tensor([0, 3]))
    with pytest.raises(ValueError, match=r"nothing is relevant for 1 of 2 queries: \[1\]"):
        retrieval_ranks(torch.zeros(2, 1), torch.tensor([[True], [False]]))


def test_the_median_rank_counts_from_1():
    assert median_rank(torch.tensor([0, 9, 2])) == 3
    assert median_rank(torch.tensor([0, 1, 2, 9])) == 2.5


def test_nothing_has_no_score():
    empty = torch.zeros(0, dtype=torch.long)
    bootstrap = Bootstrap([])
    for measure in (median_rank, bootstrap.mean, bootstrap.percent, lambda _: best_constant([])):
        with pytest.raises(ValueError, match="nothing to measure"):
            measure(empty)


def test_rows_without_a_kind_are_in_none():
    rows = indices_by_kind(["shape", "shape", "colour", None])
    assert {kind: some.tolist() for kind, some in rows.items()} == {"colour": [2], "shape": [0, 1]}


def test_the_best_constant_earns_the_largest_sum_of_credits():
    assert best_constant([{"red": 1.0}, {"red": 1.0}, {"two": 1.0}, {}, {"two": 0.5, "red": 0.25}]) == 45
    assert best_constant([{}, {}]) == 0


def test_pairs_count_queries_that_prefer_their_own_item():
    right, wrong, tied = [[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]], [[0.5, 0.5], [2.0, 2.0]]
    one_sided = [[1.0, 0.0], [1.0, 0.0]]  # both prefer the first
    assert prefers_own(torch.tensor([right, wrong, tied, one_sided])).tolist() == [[1, 1], [0, 0], [0, 0], [1, 0]]
    assert prefers_own(torch.tensor([tied]), tie=0.5).tolist() == [[0.5, 0.5]]


@quick
@given(similarities())
def test_two_equal_clips_are_at_chance_in_the_control(case):
    column = case[0].flatten()[:1].expand(3, 2, 1)
    assert (prefers_own(column.expand(3, 2, 2), tie=0.5) == 0.5).all()
    assert (prefers_own(column.expand(3, 2, 2)) == 0).all()


@quick
@given(st.lists(st.sampled_from(["yes", "no", "maybe"]), min_size=2, max_size=10))
def test_an_answer_is_worth_what_leaving_each_person_out_in_turn_gives_on_average(people):
    credit = human_credit(people)
    for answer in ("yes", "no", "maybe"):
        others = [people[:i] + people[i + 1 :] for i in range(len(people))]
        wanted = sum(min(1, some.count(answer) / 3) for some in others) / len(people)
        assert credit.get(answer, 0.0) == pytest.approx(wanted)


def test_three_of_ten_who_agree_are_worth_nine_tenths():
    assert human_credit(["a"] * 3 + ["b"] * 7) == {"a": pytest.approx(0.9), "b": 1}
    with pytest.raises(ValueError, match="at least two people"):
        human_credit(["a"])


def test_counts_are_rounded_and_kept_within_1_to_10():
    assert whole_numbers(torch.tensor([-3.0, 0.2, 1.6, 4.4, 99.0])).tolist() == [1, 1, 2, 4, 10]
    with pytest.raises(ValueError, match="NaN"):
        whole_numbers(torch.tensor([float("nan")]))
