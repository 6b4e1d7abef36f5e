import pytest
from hypothesis import given
from hypothesis import strategies as st

from allinone.files.shards import INDEX, Tree, find_packed, forget_indexes, index_of, open_file
from allinone.files.shards.index import Index, write_index

NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=8).filter(lambda n: n not in (".", ".."))
PLACES = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def content(path):
    with open_file(path) as file:
        return file.read()


def free_of_clashes(places):
    """No file is the folder of another."""
    return not any(other.startswith(f"{place}/") for place in places for other in places)


@given(st.sets(PLACES, max_size=60).filter(free_of_clashes), st.sets(PLACES, max_size=10))
def test_what_was_written_is_found_and_listed_and_nothing_else(tmp_path_factory, places, others):
    root = tmp_path_factory.mktemp("index")
    (root / "a.tar").touch()
    write_index(root / INDEX, [(place, "a.tar", n, len(place)) for n, place in enumerate(places)])
    index = Index(root / INDEX, root)
    for n, place in enumerate(places):
        assert index.find(root / place) == (place, str(root / "a.tar"), n, len(place), "")
    assert all(index.find(root / other) is None for other in others - places)
    assert [entry.name for entry in index] == sorted(places)
    for folder in {"", *(place.rpartition("/")[0] for place in places)}:
        inside = [place.removeprefix(f"{folder}/" if folder else "") for place in places]
        inside = [rest for rest, place in zip(inside, places, strict=True) if place != rest or not folder]
        assert dict(index.children(root / folder)) == {rest.partition("/")[0]: "/" in rest for rest in inside}
        assert index.has_folder(root / folder) == bool(inside)


def test_a_long_index_is_searched_in_blocks(tmp_path):
    (tmp_path / "a.tar").touch()
    places = [f"videos/{n % 7}/{n:05d}.mp4" for n in range(3000)]
    write_index(tmp_path / INDEX, [(place, "a.tar", n, 1) for n, place in enumerate(places)])
    index = Index(tmp_path / INDEX, tmp_path)
    assert len(index.names) > 20
    for n, place in enumerate(places):
        entry = index.find(tmp_path / place)
        assert entry is not None
        assert entry.offset == n
    assert index.find(tmp_path / "videos/3/99999.mp4") is None
    assert [name for name, _ in index.children(tmp_path / "videos")] == list("0123456")
    assert len(list(index.children(tmp_path / "videos" / "3"))) == sum(n % 7 == 3 for n in range(3000))


def test_names_that_are_no_utf8_are_found(tmp_path):
    name = b"caf\xe9.mp4".decode(errors="surrogateescape")
    write_index(tmp_path / INDEX, [(name, "a.tar", 0, 1)])
    assert Index(tmp_path / INDEX, tmp_path).find(tmp_path / name) is not None


def test_the_nearest_index_above_counts_and_a_file_on_disk_wins(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "a.tar").write_bytes(b"outer")
    (inner / "b.tar").write_bytes(b"inner")
    write_index(tmp_path / INDEX, [("inner/videos/x.mp4", "a.tar", 0, 5), ("y.mp4", "a.tar", 1, 3)])
    write_index(inner / INDEX, [("videos/x.mp4", "b.tar", 0, 5)])
    assert content(inner / "videos" / "x.mp4") == b"inner"
    assert content(tmp_path / "y.mp4") == b"ute"
    (inner / "videos").mkdir()
    (inner / "videos" / "x.mp4").write_bytes(b"on disk")
    assert content(inner / "videos" / "x.mp4") == b"on disk"
    assert find_packed(inner / "videos" / "z.mp4") is None
    with pytest.raises(FileNotFoundError):
        content(inner / "videos" / "z.mp4")


def test_a_tree_lists_what_is_on_disk_and_what_is_packed(tmp_path):
    (tmp_path / "a.tar").touch()
    (tmp_path / "videos" / "old").mkdir(parents=True)
    (tmp_path / "videos" / "c.mp4").touch()
    write_index(tmp_path / INDEX, [(f"videos/{name}", "a.tar", 0, 1) for name in ("b.mp4", "new/d.mp4")])
    tree = Tree(tmp_path)
    listed = [(path.name, is_folder) for path, is_folder in tree.children(tmp_path / "videos")]
    assert listed == [("b.mp4", False), ("c.mp4", False), ("new", True), ("old", True)]
    assert tree.is_dir(tmp_path / "videos" / "new")
    assert not tree.is_file(tmp_path / "videos" / "new")
    assert tree.is_file(tmp_path / "videos" / "new" / "d.mp4")


def test_files_of_a_tar_that_is_not_there_are_not_listed(tmp_path):
    write_index(tmp_path / INDEX, [("videos/b.mp4", "a.tar", 0, 1)])
    assert Tree(tmp_path).children(tmp_path) == [(tmp_path / INDEX, False)]


@pytest.mark.parametrize("content", [b"", b"no index\n", b'index of packed files 1\n["a.mp4", "a.tar", 0'])
def test_a_damaged_index_is_named(tmp_path, content):
    (tmp_path / INDEX).write_bytes(content)
    with pytest.raises(ValueError, match=r"shards\.index: damaged at byte \d+; remove it"):
        find_packed(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    "record",
    [
        ("/etc/passwd", "a.tar", 0, 4), ("../a.mp4", "a.tar", 0, 4), ("a\0.mp4", "a.tar", 0, 4),
        ("a.mp4", "/etc/passwd", 0, 4), ("a.mp4", "shards/../../secret", 0, 4), ("a.mp4", "a.tar", -4, 4),
        ("a.mp4", "a.tar", "0", 4),
    ],
)  # fmt: skip
def test_an_index_that_leads_out_of_its_folder_is_damaged(record, tmp_path):
    write_index(tmp_path / INDEX, [record])
    with pytest.raises(ValueError, match=r"shards\.index: damaged at byte \d+"):
        list(Index(tmp_path / INDEX, tmp_path))


def test_an_index_may_be_empty_and_written_anew(tmp_path):
    write_index(tmp_path / INDEX, [])
    assert find_packed(tmp_path / "a.mp4") is None
    write_index(tmp_path / INDEX, [("a.mp4", "a.tar", 0, 1)])
    forget_indexes()
    assert find_packed(tmp_path / "a.mp4") is not None
    assert [path.name for path in tmp_path.iterdir()] == [INDEX]


def test_without_an_index_a_file_that_is_there_costs_no_look_for_one(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"abc")
    monkeypatch.setattr("allinone.files.shards.index_of", None)
    assert content(tmp_path / "a.mp4") == b"abc"


def test_an_index_is_opened_once(tmp_path, monkeypatch):
    write_index(tmp_path / INDEX, [("a/b/c.mp4", "a.tar", 0, 1)])
    index = index_of(tmp_path / "a" / "b")
    monkeypatch.setattr("allinone.files.shards.Index", None)
    assert index_of(tmp_path / "a" / "b") is index
    assert index_of(tmp_path / "a") is index
