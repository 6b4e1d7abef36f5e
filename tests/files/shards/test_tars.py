import io
import json
import tarfile

import pytest

from allinone.files.shards import find_packed
from allinone.files.shards.tars import BrokenTar, index_of_tar


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_tar(path, files, format=tarfile.PAX_FORMAT):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w", format=format) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def captions(path):
    return {entry.name: entry.caption for entry in index_of_tar(str(path))}


def test_a_caption_is_that_of_the_text_or_of_the_json_of_its_sample(tmp_path):
    files = {
        "0.mp4": b"v", "0.txt": b"a cat", "0.json": json.dumps({"caption": "not this"}).encode(),
        "1.json": json.dumps({"caption": "a dog"}).encode(), "1.mp4": b"v",
        "2.mp4": b"v", "2.json": b'{"caption": null}',
        "3.mp4": b"v", "3.json": b"no json",
        "4.left.jpg": b"l", "4.right.jpg": b"r", "4.txt": b"two",
        "in/5.mp4": b"v", "in/5.txt": "Käse".encode(),
    }  # fmt: skip
    found = captions(write_tar(tmp_path / "a.tar", files))
    wanted = {"0.mp4": "a cat", "1.mp4": "a dog", "2.mp4": "", "3.mp4": "", "4.left.jpg": "two", "4.right.jpg": "two"}
    assert found == wanted | {"in/5.mp4": "Käse"}


@pytest.mark.parametrize(
    "name", ["/{secret}", "../secret.mp4", "in/../../secret.mp4", "C:\\secret.mp4", "..\\secret.mp4", "\\secret.mp4"]
)
def test_a_member_that_names_a_file_outside_is_refused(name, tmp_path):
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    name = name.replace("/{secret}", str(tmp_path / "secret.mp4"))
    tar = write_tar(tmp_path / "in" / "a.tar", {"0.mp4": b"v", name: b"theirs", "1.mp4": b"v"})
    with pytest.raises(BrokenTar, match=r"a\.tar: its member .* names a file outside of the tar"):
        index_of_tar(str(tar))


def test_links_devices_and_files_in_pieces_are_no_files_of_a_tar(tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"secret")
    path = write_tar(tmp_path / "a.tar", {"0.mp4": b"v", "a..b.mp4": b"v"})
    with tarfile.open(path, "a") as tar:
        for n, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(f"link{n}.mp4")
            member.type, member.linkname = kind, str(secret)
            tar.addfile(member)
    assert captions(path).keys() == {"0.mp4", "a..b.mp4"}


def test_in_names_with_dots_each_video_takes_its_own_caption_in_both_conventions(tmp_path):
    files = {
        "clip.v1.mp4": b"v", "clip.v1.txt": b"first", "clip.v2.mp4": b"v", "clip.v2.txt": b"second",
        "clip.v3.mp4": b"v",
        "pair.left.mp4": b"v", "pair.right.mp4": b"v", "pair.right.json": b'{"caption": "right"}', "pair.txt": b"both",
        "v1.2/0.mp4": b"v", "v1.txt": b"another's", "1.mp4": b"v", "1.mp4.txt": b"named after the file",
    }  # fmt: skip
    assert captions(write_tar(tmp_path / "a.tar", files)) == {
        "clip.v1.mp4": "first", "clip.v2.mp4": "second", "clip.v3.mp4": "",
        "pair.left.mp4": "both", "pair.right.mp4": "right", "v1.2/0.mp4": "", "1.mp4": "named after the file",
    }  # fmt: skip


def test_captions_may_lie_apart_from_their_videos_in_the_tar(tmp_path):
    files = {"0.MP4": b"v", "1.mp4": b"v", "0.TXT": b"first", "1.txt": "ein Café".encode("cp1252")}
    assert captions(write_tar(tmp_path / "a.tar", files)) == {"0.MP4": "first", "1.mp4": "ein Café"}


def test_hidden_members_are_no_videos_and_no_captions(tmp_path):
    files = {"./._0.mp4": b"junk", "./0.mp4": b"v", "._0.txt": b"junk", "0.txt": b"a cat", "__MACOSX/._0.mp4": b"junk"}
    assert captions(write_tar(tmp_path / "a.tar", files)) == {"0.mp4": "a cat"}


def test_two_files_of_a_name_are_an_error(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"0.mp4": b"v", "./0.mp4": b"w"})
    with pytest.raises(BrokenTar, match=r"a\.tar: holds two files called 0\.mp4"):
        index_of_tar(str(path))


def test_a_caption_nested_too_deeply_or_too_large_is_none(tmp_path, monkeypatch):
    deep = b'{"caption": ' + b"[" * 100_000
    assert captions(write_tar(tmp_path / "a.tar", {"0.mp4": b"v", "0.json": deep})) == {"0.mp4": ""}
    monkeypatch.setattr("allinone.files.shards.tars.MAX_TEXT_BYTES", 10)
    with pytest.raises(BrokenTar, match=r"b\.tar: 0\.txt has 11 bytes, too many for a caption"):
        index_of_tar(str(write_tar(tmp_path / "b.tar", {"0.mp4": b"v", "0.txt": b"x" * 11})))


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_bytes_are_found_in_tars_of_every_kind_and_under_long_names(tmp_path, format):
    long = "l" * 90 + "/" + "n" * 90 + ".mp4"
    path = write_tar(tmp_path / "a.tar", {"a.mp4": b"first", long: b"second"}, format)
    for name, content in (("a.mp4", b"first"), (long, b"second")):
        entry = find_packed(path / name)
        assert entry is not None
        with entry.open() as file:
            assert file.read() == content
    assert find_packed(path / "b.mp4") is None


def test_headers_are_read_once_while_the_tar_stays_as_it_is(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "a.tar", {"a.mp4": b"v", "a.txt": b"one"})
    assert captions(path) == {"a.mp4": "one"}
    index_of_tar.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr("allinone.files.shards.tars.scan", None)
        assert captions(path) == {"a.mp4": "one"}
    index_of_tar.cache_clear()
    write_tar(path, {"a.mp4": b"v", "a.txt": b"two", "b.mp4": b"w"})
    assert captions(path) == {"a.mp4": "two", "b.mp4": ""}


def test_a_tar_that_is_cut_anywhere_or_garbled_is_named_with_how_far_it_reads(tmp_path):
    whole = write_tar(tmp_path / "a.tar", {f"{n}.mp4": bytes([n]) * 700 for n in range(3)}).read_bytes()
    size = 512 + 1024  # of a member
    for end in (0, 100, 600, size, size + 100, 2 * size + 600, 3 * size):
        (tmp_path / "cut.tar").write_bytes(whole[:end])
        reached = end // size * size
        with pytest.raises(
            BrokenTar, match=rf"cut\.tar: cut off or damaged; it reads up to byte {reached:,} of {end:,}"
        ):
            index_of_tar(str(tmp_path / "cut.tar"))
    (tmp_path / "cut.tar").write_bytes(whole[:size] + b"x" * size + whole[2 * size :])
    with pytest.raises(BrokenTar, match="up to byte 1,536"):
        index_of_tar(str(tmp_path / "cut.tar"))
