import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allinone.files.shards.window import Window, open_window

STEPS = st.one_of(
    st.tuples(st.just("read"), st.integers(-1, 300)),
    st.tuples(st.just("seek"), st.integers(0, 300), st.sampled_from([io.SEEK_SET])),
    st.tuples(st.just("seek"), st.integers(-300, 300), st.sampled_from([io.SEEK_CUR, io.SEEK_END])),
    st.tuples(st.just("tell")),
    st.tuples(st.just("readline")),
)


@given(st.binary(max_size=200), st.data(), st.lists(STEPS, max_size=20))
def test_a_window_is_a_file_of_its_own_whatever_lies_around_it(tmp_path_factory, content, data, steps):
    begin = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(begin, len(content)))
    path = tmp_path_factory.getbasetemp() / "window"
    path.write_bytes(content)
    alone = io.BytesIO(content[begin:end])
    with open_window(str(path), begin, end - begin) as window:
        for name, *arguments in steps:
            if name == "seek" and arguments[0] + {0: 0, 1: alone.tell(), 2: end - begin}[arguments[1]] < 0:
                with pytest.raises(ValueError, match="no byte"):
                    window.seek(*arguments)
                continue
            assert getattr(window, name)(*arguments) == getattr(alone, name)(*arguments)


def test_a_file_that_ends_before_the_window_does_is_named(tmp_path):
    (tmp_path / "cut.tar").write_bytes(bytes(100))
    with pytest.raises(OSError, match=r"cut\.tar up to byte 150, but that ends at 100; get it again"):
        open_window(str(tmp_path / "cut.tar"), 50, 100)
    with pytest.raises(OSError, match=r"packed in .*gone\.tar: No such file"):
        open_window(str(tmp_path / "gone.tar"), 0, 1)


def test_closing_a_window_closes_the_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    file = io.FileIO(tmp_path / "a")
    Window(file, 1, 2).close()
    assert file.closed
