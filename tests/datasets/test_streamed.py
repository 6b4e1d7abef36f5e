import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allinone.datasets import streamed
from allinone.datasets.streamed import list_values, object_members

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(VALUES), st.integers(1, 9), st.sampled_from([None, 1]))
def test_values_come_one_by_one_as_they_would_all_at_once_however_the_text_is_cut(values, chunk, indent):
    members = {str(place): value for place, value in enumerate(values)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamed, "CHUNK", chunk)
        assert list(list_values(io.StringIO(json.dumps(values, indent=indent)))) == values
        assert list(object_members(io.StringIO(json.dumps(members, indent=indent)))) == list(members.items())


def test_a_long_list_is_not_read_to_its_end_for_its_first_values():
    text = io.StringIO(json.dumps(["word"] * 1_000_000))
    assert next(list_values(text)) == "word"
    assert text.tell() == streamed.CHUNK


@pytest.mark.parametrize("text", ["", "[", "[1", "[1,", "[1 2]", "{}", "[1, x]", '["a'])
def test_a_list_that_is_none_or_cut_short_is_an_error(text: str):
    with pytest.raises(ValueError, match="not JSON, or cut short"):
        list(list_values(io.StringIO(text)))


@pytest.mark.parametrize("text", ['{"a"', '{"a":', '{"a": 1', '{"a": 1,', '{"a" 1}', "[]"])
def test_an_object_that_is_none_or_cut_short_is_an_error(text: str):
    with pytest.raises(ValueError, match="not JSON, or cut short"):
        list(object_members(io.StringIO(text)))
