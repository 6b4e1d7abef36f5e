import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from allinone.intervals import Bootstrap, Score

quick = settings(max_examples=60, deadline=None)


def limits(score: Score) -> tuple[float, float]:
    assert score.low is not None
    assert score.high is not None
    return score.low, score.high


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    draws = torch.rand(2000, generator=torch.Generator().manual_seed(0)) < 0.3
    score = Bootstrap([f"v{n}" for n in range(2000)]).percent(draws)
    half = 1.96 * 100 * (0.3 * 0.7 / 2000) ** 0.5
    assert score.low == pytest.approx(score.value - half, abs=0.25)
    assert score.high == pytest.approx(score.value + half, abs=0.25)


def test_the_interval_covers_the_truth_in_about_95_of_100_experiments():
    rng = torch.Generator().manual_seed(1)
    covered = 0
    for seed in range(200):
        score = Bootstrap([f"v{n}" for n in range(150)], seed=seed).percent(torch.rand(150, generator=rng) < 0.4)
        low, high = limits(score)
        covered += low <= 40 <= high
    assert 180 <= covered <= 199


def test_questions_about_one_video_count_as_one():
    right = torch.rand(100, generator=torch.Generator().manual_seed(2)) < 0.5
    alone = Bootstrap([f"v{n}" for n in range(100)]).percent(right)
    ten_times = Bootstrap([f"v{n // 10}" for n in range(1000)]).percent(right.repeat_interleave(10))
    assert ten_times == alone


def test_the_interval_of_the_median_is_between_the_order_statistics():
    ranks = torch.randperm(1001, generator=torch.Generator().manual_seed(3))
    score = Bootstrap([f"v{n}" for n in range(1001)]).median_rank(ranks)
    assert score.value == 501
    assert score.low == pytest.approx(501 - 1.96 * 0.5 * 1001**0.5, abs=4)
    assert score.high == pytest.approx(501 + 1.96 * 0.5 * 1001**0.5, abs=4)


def test_the_mean_over_groups_is_that_of_their_means():
    shares, groups = torch.tensor([1.0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 0, 2, 2, 1])
    score = Bootstrap(list("abcdef")).percent_by_group(shares, groups)
    assert score.value == pytest.approx(100 * (1 / 3 + 1 + 1) / 3)
    low, high = limits(score)
    assert low < score.value < high
    assert high == pytest.approx(100)


samples = st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 9)), min_size=1, max_size=30)


@quick
@given(samples)
def test_the_order_of_samples_changes_no_value_and_intervals_stay_within_the_samples(pairs):
    videos, values = [str(video) for video, _ in pairs], torch.tensor([value for _, value in pairs])
    bootstrap = Bootstrap(videos)
    for score, low, high in (
        (bootstrap.mean(values), values.min(), values.max()),
        (bootstrap.median_rank(values), values.min() + 1, values.max() + 1),
    ):
        assert (score.low is None) == (score.high is None) == (len(set(videos)) < 2)
        assert low - 1e-9 <= score.value <= high + 1e-9
        if score.low is not None and score.high is not None:
            assert low - 1e-9 <= score.low <= score.high <= high + 1e-9


@quick
@given(samples, st.integers(0, 50))
def test_constant_scores_have_no_width(pairs, constant):
    videos = [str(video) for video, _ in pairs] + ["another"]
    bootstrap, values = Bootstrap(videos), torch.full((len(videos),), constant)
    assume(len(set(videos)) > 1)
    for score in (bootstrap.mean(values), bootstrap.median_rank(values - 1)):
        assert (score.low, score.value, score.high) == (pytest.approx(constant),) * 3


@quick
@given(samples, st.integers(0, 3))
def test_the_value_lies_in_its_interval_up_to_resampling(pairs, seed):
    videos = [f"{video} {n}" for n, (video, _) in enumerate(pairs * 4)]  # many videos
    score = Bootstrap(videos, seed).mean(torch.tensor([value for _, value in pairs * 4]))
    low, high = limits(score)
    assert low - 1e-9 <= score.value <= high + 1e-9


def test_rows_choose_what_a_score_is_about():
    bootstrap = Bootstrap(list("aabbcc"))
    values = torch.tensor([1.0, 0, 1, 1, 0, 0])
    assert bootstrap.percent(values, torch.tensor([0, 2, 3])).value == 100
    assert bootstrap.percent(values, torch.tensor([4, 5])) == Score(0.0)  # one video has no interval
    some = bootstrap.percent(values, torch.tensor([0, 1, 4]))  # resamples without both videos are left out
    assert some.low is not None
    assert (some.low, some.high) == (0, 50)
