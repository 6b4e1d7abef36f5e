import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allinone.apps.search.filters import Filters, sql_text
from allinone.apps.search.hits import MARGIN, Hit, merge

segments = st.lists(
    st.builds(
        lambda video, start, length, score: Hit(video, float(start), float(start + length), score),
        st.sampled_from("ab"),
        st.integers(0, 12),
        st.integers(1, 3),
        st.floats(-1, 1),
    ),
    max_size=12,
).map(lambda hits: sorted(hits, key=lambda hit: -hit.score))


def test_neighbours_that_fit_nearly_as_well_are_one_moment():
    found = [
        Hit("a", 10, 20, 0.50),
        Hit("b", 0, 10, 0.49),
        Hit("a", 20, 30, 0.48),  # touches the first
        Hit("a", 40, 50, 0.47),  # does not
        Hit("a", 0, 10, 0.50 - 2 * MARGIN),  # touches, but fits far worse
    ]
    assert merge(found) == [Hit("a", 10, 30, 0.50), found[1], found[3], found[4]]


@given(segments, st.integers(0, 12))
def test_what_follows_changes_neither_which_hits_there_are_nor_their_order(found: list[Hit], count: int):
    fewer, more = merge(found[:count]), merge(found)
    assert len(fewer) <= len(more)
    for a, b in zip(fewer, more, strict=False):
        assert (a.video, a.score) == (b.video, b.score)
        assert b.start_sec <= a.start_sec
        assert a.end_sec <= b.end_sec


@given(segments)
def test_every_segment_lies_in_a_hit_and_the_best_scores_stay(found: list[Hit]):
    hits = merge(found)
    assert hits[:1] == [] or hits[0].score == found[0].score
    for segment in found:
        assert any(
            h.video == segment.video and h.start_sec <= segment.start_sec and segment.end_sec <= h.end_sec for h in hits
        )


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_is_one_sql_literal(text: str):
    database = sqlite3.connect(":memory:")
    assert database.execute(f"SELECT {sql_text(text)}").fetchone() == (text,)
    database.close()


def test_filters_become_one_condition():
    assert Filters().sql() is None
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    filters = Filters(folder="/a/it's/", name="X", added_after=moment, max_duration_sec=60)
    assert filters.sql() == (
        "starts_with(video, '/a/it''s/') AND contains(lower(name), lower('X')) "
        "AND added >= to_timestamp_micros(1769860800000000) AND duration_sec <= 60.0"
    )
    assert Filters(folder=Path("/")).sql() == "starts_with(video, '/')"
    assert Filters(folder="sport/").sql() == "contains(video, '/sport/')"


@pytest.mark.parametrize("wrong", [{"min_duration_sec": -1}, {"max_duration_sec": float("nan")}, {"name": "a\0"}])
def test_filters_that_nothing_could_pass_are_errors(wrong: dict):
    with pytest.raises(ValueError, match=r"number of seconds|no file has such a name"):
        Filters(**wrong)
