import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allinone.video import read_frames
from allinone.video.encode import write_mp4
from allinone.video.sampling import segment_times

spans = st.tuples(st.floats(0, 1e4), st.floats(0, 1e3)).map(lambda span: (span[0], span[0] + span[1]))


@given(spans, st.integers(1, 64), st.one_of(st.none(), st.integers(0, 9)), st.integers(1, 5), st.data())
def test_moments_ascend_and_lie_each_in_its_part_of_its_segment(span, num_frames, seed, num_views, data):
    start, end = span
    view = data.draw(st.integers(0, num_views - 1))
    rng = None if seed is None else np.random.default_rng(seed)
    times = segment_times(start, end, num_frames, rng, view, num_views)
    segment = (end - start) / num_frames
    assert len(times) == num_frames
    assert times == sorted(times)
    for t, moment in enumerate(times):
        assert start <= moment
        assert moment < end or start == end
        slack = 1e-9 * (1 + end)
        begin = start + segment * (t + view / num_views)
        assert begin - slack <= moment <= begin + segment / num_views + slack


def test_without_a_generator_the_middles_are_taken():
    assert segment_times(0, 6, 3) == [1, 3, 5]
    assert segment_times(10, 16, 3, view=1, num_views=3) == [11, 13, 15]
    assert segment_times(0, 6, 1, view=0, num_views=3) == [1]


def test_the_same_seed_gives_the_same_moments_and_another_seed_others():
    first, again, other = (segment_times(0, 9, 3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_every_frame_of_a_segment_is_possible_in_training():
    rng = np.random.default_rng(0)
    frames = np.floor(np.array([segment_times(2, 8, 3, rng) for _ in range(500)]) * 5).astype(int)  # 5 frames a second
    for segment in range(3):
        assert set(frames[:, segment]) == set(range(10 + 10 * segment, 20 + 10 * segment))


def test_views_share_a_clip_without_overlap():
    times = [segment_times(0, 4, 4, view=view, num_views=3) for view in range(3)]
    assert len({t for view in times for t in view}) == 12


def test_a_video_shorter_than_the_clip_repeats_frames(tmp_path):
    write_mp4(tmp_path / "a.mp4", np.zeros((2, 16, 16, 3), np.uint8), fps=2)
    clip = read_frames(tmp_path / "a.mp4", times_sec=segment_times(0, 1, 5))
    assert clip.times_sec.tolist() == [0, 0, 0.5, 0.5, 0.5]
    assert segment_times(3, 3, 4) == [3, 3, 3, 3]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 1, 0), "num_frames=0"),
        ((2, 1, 3), "2 s to 1 s"),
        ((0, float("nan"), 3), "nan"),
        ((0, 1, 3, None, 2, 2), "view 2 of 2"),
    ],
)
def test_a_senseless_span_is_an_error(arguments, words):
    with pytest.raises(ValueError, match=words):
        segment_times(*arguments)
