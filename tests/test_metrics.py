import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from allinone.metrics import (
    accuracy,
    accuracy_per_kind,
    majority_share,
    mean_rank,
    median_rank,
    pair_accuracy,
    recall_at,
    retrieval_ranks,
)
from allinone.types import IGNORE

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
    assert recall_at(ranks, k=1) == 0


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
@given(similarities())
def test_recall_grows_with_k_to_100(case):
    scores, relevant = case
    recalls = [recall_at(retrieval_ranks(scores, relevant), k) for k in range(1, scores.shape[1] + 1)]
    assert recalls == sorted(recalls)
    assert recalls[-1] == 100


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
        pair_accuracy(scores.expand(1, 2, 2))


def test_wrong_targets_are_refused():
    with pytest.raises(ValueError, match="targets 0 to 3, but 3 items"):
        retrieval_ranks(torch.zeros(2, 3), torch.tensor([0, 3]))
    with pytest.raises(ValueError, match=r"nothing is relevant for 1 of 2 queries: \[1\]"):
        retrieval_ranks(torch.zeros(2, 1), torch.tensor([[True], [False]]))
    with pytest.raises(ValueError, match="at least 1"):
        recall_at(torch.tensor([0]), 0)


def test_median_and_mean_rank_count_from_1():
    assert median_rank(torch.tensor([0, 9, 2])) == 3
    assert median_rank(torch.tensor([0, 1, 2, 9])) == 2.5
    assert mean_rank(torch.tensor([0, 1, 5])) == 3


def test_nothing_has_no_score():
    empty = torch.zeros(0, dtype=torch.long)
    for measure in (median_rank, mean_rank, majority_share, lambda ranks: recall_at(ranks, 1)):
        with pytest.raises(ValueError, match="nothing to measure"):
            measure(empty)


def test_an_answer_outside_the_vocabulary_counts_as_wrong():
    labels = torch.tensor([1, 2, IGNORE, 0])
    assert accuracy(torch.tensor([1, 0, IGNORE, 0]), labels) == 50
    assert majority_share(torch.tensor([IGNORE, IGNORE, 1, 2, 2])) == 40
    assert majority_share(torch.tensor([IGNORE])) == 0


def test_accuracy_per_kind_leaves_out_rows_without_a_kind():
    predictions, labels = torch.tensor([1, 1, 1, 1]), torch.tensor([1, 0, 1, 1])
    kinds = ["shape", "shape", "colour", None]
    assert accuracy_per_kind(predictions, labels, kinds) == {"colour": 100.0, "shape": 50.0}


def test_pairs_count_queries_that_prefer_their_own_item():
    right, wrong, tied = [[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]], [[0.5, 0.5], [2.0, 2.0]]
    assert pair_accuracy(torch.tensor([right])) == 100
    assert pair_accuracy(torch.tensor([right, wrong])) == 50
    assert pair_accuracy(torch.tensor([right, tied])) == 50
    assert pair_accuracy(torch.tensor([tied]), tie=0.5) == 50
    one_sided = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])  # both prefer the first
    assert pair_accuracy(one_sided) == 50


@quick
@given(similarities())
def test_two_equal_clips_are_at_chance_in_the_control(case):
    column = case[0].flatten()[:1].expand(3, 2, 1)
    assert pair_accuracy(column.expand(3, 2, 2), tie=0.5) == 50
    assert pair_accuracy(column.expand(3, 2, 2)) == 0
