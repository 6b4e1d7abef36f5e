import io
import os
import shutil
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from allinone.apps.search import AddReport, Filters, Hit, VideoIndex, Windows, require_lancedb
from allinone.data.clip_reader import ClipReader, Span
from allinone.inference import Predictor
from allinone.video import VideoError, VideoFile, read_frames
from allinone.video.encode import write_mp4
from tiny import CONFIG, HEADS, TEXTS, tiny_frames, tiny_predictor, write_videos

CUT = Windows(length_sec=1.0)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return tiny_predictor()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos of a second and one of three."""
    folder = tmp_path_factory.mktemp("videos")
    write_videos(folder, 4)
    (folder / "sub").mkdir()
    write_mp4(folder / "sub" / "long.mp4", tiny_frames(9, 24), 8)
    return folder


@pytest.fixture(scope="module")
def filled(predictor: Predictor, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> VideoIndex:
    index = VideoIndex.open(tmp_path_factory.mktemp("index") / "my.index", predictor, CUT)
    assert index.add(videos) == AddReport(5, 0, ())
    return index


def rows(index: VideoIndex) -> list[tuple[str, float, float]]:
    columns = index.store.table().search().select(["video", "start_sec", "end_sec"]).to_arrow().to_pydict()
    return sorted(zip(columns["video"], columns["start_sec"], columns["end_sec"], strict=True))


def test_long_videos_are_cut_into_windows_and_short_ones_are_one(filled: VideoIndex, videos: Path):
    long = str(videos / "sub" / "long.mp4")
    wanted = [(str(videos / f"{i:02}.mp4"), 0.0, 1.0) for i in range(4)]
    assert rows(filled) == [*wanted, (long, 0.0, 1.0), (long, 1.0, 2.0), (long, 2.0, 3.0)]
    assert len(filled) == 7


def test_search_gives_the_windows_by_cosine_as_the_predictor_does(filled: VideoIndex, predictor: Predictor):
    spans = [Span(*row) for row in rows(filled)]
    for text in TEXTS:
        similarity = (predictor.embed_text(text) @ predictor.embed_video(spans).T)[0]
        order = similarity.argsort(descending=True)
        hits = filled.search(text, top_k=4, merge=False)
        assert [(h.video, h.start_sec, h.end_sec) for h in hits] == [rows(filled)[i] for i in order[:4].tolist()]
        assert [h.score for h in hits] == pytest.approx(similarity[order[:4]].tolist(), abs=1e-5)
        assert {h.match for h in hits} == {None}
    assert len(filled.search(TEXTS[0], top_k=100, merge=False)) == 7


def test_reranking_puts_the_best_in_the_order_of_matching(filled: VideoIndex, predictor: Predictor):
    plain = filled.search(TEXTS[2], top_k=7, merge=False)
    ranked = filled.search(TEXTS[2], top_k=7, rerank=4, merge=False)
    match = [predictor.match(Span(h.video, h.start_sec, h.end_sec), TEXTS[2]).item() for h in plain[:4]]
    order = sorted(range(4), key=lambda i: -match[i])
    assert [h.match for h in ranked[:4]] == pytest.approx([match[i] for i in order], abs=1e-5)
    assert [(h.video, h.start_sec) for h in ranked[:4]] == [(plain[i].video, plain[i].start_sec) for i in order]
    assert ranked[4:] == plain[4:]
    assert filled.search(TEXTS[2], top_k=2, rerank=4, merge=False) == ranked[:2]


def test_adding_again_touches_only_what_changed(predictor: Predictor, tmp_path: Path):
    folder = tmp_path / "videos"
    paths = write_videos(folder, 3)
    index = VideoIndex.open(tmp_path / "index", predictor, CUT)
    assert index.add(folder) == AddReport(3, 0, ())
    version = index.store.table().version
    assert index.add(folder) == AddReport(0, 3, ())
    assert index.store.table().version == version
    write_mp4(paths[1], tiny_frames(7, 16), 8)
    write_mp4(folder / "new.mp4", tiny_frames(8), 8)
    assert index.add(str(folder)) == AddReport(2, 2, ())
    one, two, three = map(str, paths)
    new = str(folder / "new.mp4")
    assert rows(index) == [(one, 0, 1), (two, 0, 1), (two, 1, 2), (three, 0, 1), (new, 0, 1)]
    write_mp4(paths[1], tiny_frames(7), 8)  # shorter again: its second window must go
    assert index.add([paths[1], paths[0]]) == AddReport(1, 1, ())
    assert rows(index) == [(one, 0, 1), (two, 0, 1), (three, 0, 1), (new, 0, 1)]
    vector = predictor.embed_video(paths[1])
    found = index.store.table().search(vector[0].numpy()).distance_type("dot").limit(1).to_arrow().to_pylist()[0]
    assert found["video"] == two
    assert torch.tensor(found["vector"]).sub(vector[0]).abs().max() < 1e-5


def test_an_index_opened_again_is_the_same(filled: VideoIndex, predictor: Predictor, videos: Path):
    again = VideoIndex.open(str(filled.path), predictor)
    assert again.search(TEXTS[1]) == filled.search(TEXTS[1])
    assert again.info.cut == CUT
    assert again.add(videos) == AddReport(0, 5, ())
    with pytest.raises(ValueError, match="cut into windows of 1 s, not windows of 5 s"):
        VideoIndex.open(filled.path, predictor, Windows(length_sec=5))


def test_another_model_is_refused_with_the_way_out(filled: VideoIndex, predictor: Predictor):
    with pytest.raises(ValueError, match=r"another model \(tiny-0.*\) than this one \(tiny-1.*another folder"):
        VideoIndex.open(filled.path, tiny_predictor(seed=1))
    with pytest.raises(ValueError, match="another model"):
        VideoIndex.open(filled.path, tiny_predictor(num_frames=6))
    without = {kind: config for kind, config in HEADS.items() if kind != "answer"}
    same = tiny_predictor(heads=without)  # heads that embed nothing do not matter
    same.model.load_state_dict(predictor.model.state_dict(), strict=False)
    assert len(VideoIndex.open(filled.path, same)) == 7
    with pytest.raises(ValueError, match="no contrastive head"):
        VideoIndex.open(filled.path, tiny_predictor(heads={}))


def test_the_batch_size_changes_no_row(filled: VideoIndex, videos: Path, tmp_path: Path):
    for batch_size, threads in ((1, 1), (64, 3)):
        index = VideoIndex.open(tmp_path / f"{batch_size}", tiny_predictor(batch_size=batch_size), CUT)
        index.add(videos, num_threads=threads, rows_per_write=batch_size)
        assert rows(index) == rows(filled)
        ours, theirs = (i.search(TEXTS[0]) for i in (index, filled))
        assert [(h.video, h.start_sec) for h in ours] == [(h.video, h.start_sec) for h in theirs]
        assert [h.score for h in ours] == pytest.approx([h.score for h in theirs], abs=1e-5)


def test_broken_files_are_reported_and_hold_up_nothing(predictor: Predictor, tmp_path: Path):
    folder = tmp_path / "videos"
    write_videos(folder, 2)
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "empty.mkv").touch()
    told = []
    index = VideoIndex.open(tmp_path / "index", predictor)
    report = index.add(folder, lambda *args: told.append(args))
    assert report.added == 2
    assert [path for path, _ in report.failed] == [str(folder / "broken.mp4"), str(folder / "empty.mkv")]
    assert report.failed[1][1] == "the file is empty"
    assert told[0] == ("videos", 0, 4)
    assert [args for args in told if args[0] == "videos"][-1] == ("videos", 4, 4)
    assert len(index) == 2
    assert index.add(folder) == AddReport(0, 2, report.failed)


def test_a_file_that_cannot_be_read_is_not_read_again_until_it_changes(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "videos"
    [good] = write_videos(folder, 1)
    (folder / "broken.mp4").write_bytes(b"no video")
    index = VideoIndex.open(tmp_path / "index", predictor)
    first = index.add(folder)
    assert (len(first.failed), first.before) == (1, frozenset())
    looked_at = []
    real = ClipReader.look_up
    monkeypatch.setattr(ClipReader, "look_up", lambda self, path: looked_at.append(path) or real(self, path))
    again = VideoIndex.open(tmp_path / "index", predictor).add(folder)
    assert (again.failed, again.before) == (first.failed, {str(folder / "broken.mp4")})
    assert looked_at == []
    monkeypatch.setattr("allinone.apps.search.adding.reader_version", lambda: "another")
    assert index.add(folder).before == frozenset()  # another version may be able to read it
    shutil.copy(good, folder / "broken.mp4")
    assert index.add(folder).failed == ()
    assert index.store.unreadable() == []


def test_a_failure_that_may_pass_is_tried_again(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_videos(tmp_path / "videos", 1)
    index = VideoIndex.open(tmp_path / "index", predictor)

    def fails(self: ClipReader, path: Path) -> None:
        raise VideoError(f"{path}: still reading after 300 s; given up (timeout_sec)")

    with monkeypatch.context() as patched:
        patched.setattr(ClipReader, "look_up", fails)
        assert len(index.add(tmp_path / "videos").failed) == 1
    assert index.add(tmp_path / "videos").added == 1


def test_what_is_gone_or_overwritten_with_garbage_is_told_and_still_found_until_it_is_taken_out(
    predictor: Predictor, tmp_path: Path
):
    folder = tmp_path / "videos"
    paths = [str(path) for path in write_videos(folder, 4)]
    write_videos(tmp_path / "others", 1, num_frames=9)[0].rename(tmp_path / "others" / "elsewhere.mp4")
    index = VideoIndex.open(tmp_path / "index", predictor)
    index.add([folder, tmp_path / "others"])
    Path(paths[0]).unlink()
    (tmp_path / "others" / "elsewhere.mp4").unlink()
    Path(paths[1]).write_bytes(b"garbage")
    report = index.add(folder)
    assert (report.gone, report.stale) == ((paths[0],), (paths[1],))
    assert index.add(folder).stale == (paths[1],)  # also where it is not read again
    assert {hit.video for hit in index.search("red") if hit.gone} == {paths[0], str(tmp_path / "others/elsewhere.mp4")}
    found = index.verify()
    assert (found.changed, found.unreadable) == ((paths[1],), (paths[1],))
    Path(paths[2]).write_bytes(b"garbage that no `add` has seen")
    assert index.verify().unreadable == (paths[1], paths[2])
    for path in paths:
        Path(path).unlink(missing_ok=True)
    assert index.add(folder).gone == tuple(paths)  # though no video is left in it
    with pytest.raises(ValueError, match="no videos in"):
        index.add(tmp_path / "index")


def test_the_index_itself_is_not_among_what_is_left_alone(predictor: Predictor, tmp_path: Path):
    write_videos(tmp_path, 1)
    (tmp_path / "notes.txt").touch()
    index = VideoIndex.open(tmp_path / "my.index", predictor)
    index.add(tmp_path)
    assert index.add(tmp_path).others == {".txt": 1}


def test_a_video_that_breaks_in_its_middle_is_left_out_whole(
    predictor: Predictor, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = read_frames

    def failing(source, *, times_sec, **options):
        if max(times_sec) > 1.5 and len(times_sec) > 1:
            raise VideoError(f"{source}: torn")
        return real(source, times_sec=times_sec, **options)

    monkeypatch.setattr("allinone.apps.search.embedding.read_frames", failing)
    monkeypatch.setattr("allinone.apps.search.embedding.CHUNK", 1)
    index = VideoIndex.open(tmp_path / "index", predictor, CUT)
    long = str(videos / "sub" / "long.mp4")
    assert index.add(videos) == AddReport(4, 0, ((long, "torn"),))
    assert long not in {video for video, _, _ in rows(index)}


def test_a_header_that_claims_too_long_a_video_makes_no_windows_of_nothing(
    predictor: Predictor, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(VideoFile, "duration_sec", 1e7)
    index = VideoIndex.open(tmp_path / "index", predictor, CUT)
    index.add(videos / "sub")
    assert [(start, end) for _, start, end in rows(index)] == [(0, 1), (1, 2), (2, 3)]


def test_names_with_quotes_newlines_and_emoji_are_safe(predictor: Predictor, tmp_path: Path):
    names = ["it's", 'a "b"', "line\nbreak", "😀", "a\\' OR 1=1; --", "x' OR 'a'='a", "%_", "ünï"]
    folder = tmp_path / "it's"
    folder.mkdir()
    for name in names:
        write_mp4(folder / f"{name}.mp4", tiny_frames(0), 8)
    index = VideoIndex.open(tmp_path / "index's", predictor, CUT)
    assert index.add(folder) == AddReport(len(names), 0, ())
    wanted = rows(index)
    for name in names:
        write_mp4(folder / f"{name}.mp4", tiny_frames(1, 16), 8)
        assert index.add(folder / f"{name}.mp4") == AddReport(1, 0, ())
        assert len(index) == len(wanted) + 1, name  # this one's rows were replaced, and no others
        write_mp4(folder / f"{name}.mp4", tiny_frames(0), 8)
        index.add(folder / f"{name}.mp4")
        assert rows(index) == wanted
    assert {Path(hit.video).stem for hit in index.search("red", top_k=20)} == set(names)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_names_that_are_no_text_and_links_to_nothing_are_reported(predictor: Predictor, tmp_path: Path):
    paths = write_videos(tmp_path / "videos", 1)
    os.link(paths[0], os.fsencode(tmp_path / "videos") + b"/\xff.mp4")
    dead = tmp_path / "videos" / "dead.mp4"
    dead.symlink_to("nowhere.mp4")
    report = VideoIndex.open(tmp_path / "index", predictor).add(tmp_path / "videos")
    assert report.added == 1
    odd = str(tmp_path / "videos" / "\ufffd.mp4")
    assert report.failed == (
        (str(dead), f"{dead}: No such file or directory"),
        (odd, f"{odd}: its name is not in UTF-8; give it another"),
    )


def test_missing_paths_and_empty_folders_are_errors(predictor: Predictor, tmp_path: Path, videos: Path):
    index = VideoIndex.open(tmp_path / "index", predictor)
    with pytest.raises(ValueError, match=r"no such file or folder: .*nowhere"):
        index.add([videos, tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no videos in .*empty; looked for files ending in .*\.mp4"):
        index.add(tmp_path / "empty")
    with pytest.raises(ValueError, match="no path was given"):
        index.add([])
    assert not (tmp_path / "index").exists()


def test_what_cannot_be_searched_says_so(filled: VideoIndex, predictor: Predictor, tmp_path: Path):
    nothing = VideoIndex.open(tmp_path / "index", predictor)
    assert len(nothing) == 0
    assert (nothing.stats().num_segments, nothing.stats().ann, nothing.videos()) == (0, "exact", [])
    with pytest.raises(ValueError, match="no index there yet; add videos first"):
        nothing.search("red")
    with pytest.raises(ValueError, match="text is empty"):
        filled.search("  ")
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        filled.search("red", top_k=0)
    dual = tiny_predictor(heads={"contrastive": HEADS["contrastive"]})
    dual.model.load_state_dict(predictor.model.state_dict(), strict=False)
    with pytest.raises(ValueError, match="no matching head"):
        VideoIndex.open(filled.path, dual).search("red", rerank=3)


def test_a_folder_of_other_things_is_not_taken_for_an_index(predictor: Predictor, videos: Path, filled: VideoIndex):
    for path in (videos, videos / "00.mp4"):
        with pytest.raises(ValueError, match="no index, and not an empty folder"):
            VideoIndex.open(path, predictor)


def test_a_video_that_went_away_stays_behind_the_others_when_reranked(predictor: Predictor, tmp_path: Path):
    paths = write_videos(tmp_path / "videos", 3)
    index = VideoIndex.open(tmp_path / "index", predictor)
    index.add(tmp_path / "videos")
    first = index.search("red")[0].video
    Path(first).unlink()
    hits = index.search("red", rerank=3)
    assert hits[-1].video == first
    assert hits[-1].match is None
    assert None not in {hit.match for hit in hits[:-1]}
    assert len(hits) == len(paths)


def test_only_one_process_adds_at_a_time(filled: VideoIndex, predictor: Predictor, videos: Path):
    with filled.store.only_writer(), pytest.raises(ValueError, match="is writing there"):
        VideoIndex.open(filled.path, predictor).add(videos)
    assert filled.add(videos).skipped == 5


def test_without_lancedb_the_extra_is_named(predictor: Predictor, videos: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lancedb", None)
    index = VideoIndex.open(tmp_path / "index", predictor)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'allinone\[search\]'"):
        index.add(videos)


KILLED = """
import os, signal, sys, threading
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tiny import tiny_predictor
from allinone.apps.search import VideoIndex, Windows

for deadly, after_sec in zip(sys.argv[3::2], sys.argv[4::2]):
    if child := os.fork():
        os.waitpid(child, 0)
        continue
    index = VideoIndex.open(f"{sys.argv[2]}.{deadly}", tiny_predictor(batch_size=3), Windows(length_sec=0.5))
    writes, write = [], index.store.write

    def deadly_write(*arguments):
        writes.append(arguments)
        if len(writes) == int(deadly):  # somewhere in the middle of it, or just after
            threading.Timer(float(after_sec), os.kill, (os.getpid(), signal.SIGKILL)).start()
        write(*arguments)

    index.store.write = deadly_write
    index.add(Path(sys.argv[2]), rows_per_write=4, num_threads=1)
    print("survived", flush=True)
    os._exit(0)
"""


def test_an_index_killed_in_the_middle_goes_on_without_halves_or_doubles(tmp_path: Path):
    folder = tmp_path / "videos"
    write_videos(folder, 24, num_frames=16)
    times = {1: 0.003, 3: 0.002}
    arguments = [str(Path(__file__).parents[2]), str(folder), *(str(x) for pair in times.items() for x in pair)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, check=False)
    assert killed.stdout == "", "was not killed"
    assert killed.returncode == 0, killed.stderr
    windows = [(i / 2, (i + 1) / 2) for i in range(4)]
    for deadly in times:
        index = VideoIndex.open(f"{folder}.{deadly}", tiny_predictor(), Windows(length_sec=0.5))
        kept = len(index)
        assert kept % 4 == 0  # whole videos
        assert 4 * (deadly - 1) <= kept < 24 * 4  # all but the write that was under way
        assert index.add(folder) == AddReport(24 - kept // 4, kept // 4, ())
        assert rows(index) == [(str(folder / f"{v:02}.mp4"), *window) for v in range(24) for window in windows]
        assert index.verify(contents=True).ok


def test_an_index_names_the_model_that_made_it(filled: VideoIndex, tmp_path: Path):
    with pytest.raises(ValueError, match="tiny-0"):  # which is no folder
        VideoIndex.open(filled.path)
    with pytest.raises(ValueError, match="no index there; make one"):
        VideoIndex.open(tmp_path)


def test_moved_copied_and_touched_files_are_known_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    predictor = tiny_predictor()
    one, two = write_videos(tmp_path / "videos", 2, num_frames=16)
    index = VideoIndex.open(tmp_path / "index", predictor, CUT)
    index.add(tmp_path / "videos")
    before = {(hit.start_sec, hit.score) for hit in index.search("red", 9, where=Filters(name="00"), merge=False)}
    monkeypatch.setattr(Predictor, "embed_clips", None)  # nothing is embedded again
    (tmp_path / "videos" / "sub").mkdir()
    moved = one.rename(tmp_path / "videos" / "sub" / "new.mp4")
    assert index.add(tmp_path / "videos") == AddReport(0, 1, (), moved=1)
    assert rows(index) == [(str(two), 0, 1), (str(two), 1, 2), (str(moved), 0, 1), (str(moved), 1, 2)]
    found = index.search("red", 9, where=Filters(name="NEW"), merge=False)
    assert {(hit.start_sec, hit.score) for hit in found} == before
    copy = tmp_path / "videos" / "copy.mp4"
    shutil.copy(two, copy)
    two.touch()
    assert index.add(tmp_path / "videos") == AddReport(0, 1, (), moved=2)
    assert {video for video, _, _ in rows(index)} == {str(two), str(copy), str(moved)}
    assert index.add(tmp_path / "videos") == AddReport(0, 3, ())
    assert index.verify(contents=True).ok


def test_files_that_swap_their_names_are_still_both_there(predictor: Predictor, tmp_path: Path):
    one, two = write_videos(tmp_path / "videos", 2)
    index = VideoIndex.open(tmp_path / "index", predictor)
    index.add(tmp_path / "videos")
    for rows_per_write in (256, 1):  # in one step, and one after the other: then the second's rows are gone
        one.rename(tmp_path / "third")
        two.rename(one)
        (tmp_path / "third").rename(two)
        one.touch()
        two.touch()
        report = index.add(tmp_path / "videos", rows_per_write=rows_per_write)
        assert report.added + report.moved == 2
        assert index.verify(contents=True).ok
        assert len(index) == 2


def test_a_second_add_that_is_told_to_embed_nothing_new_is_quick_and_writes_nothing(filled: VideoIndex, videos: Path):
    version = filled.store.table().version
    assert filled.add([videos, str(videos / "*.mp4")]).skipped == 5
    assert filled.store.table().version == version


def test_removed_videos_are_not_found(predictor: Predictor, tmp_path: Path):
    paths = write_videos(tmp_path / "a'b", 3)
    (tmp_path / "a'b2").mkdir()
    paths[2] = paths[2].rename(tmp_path / "a'b2" / "02.mp4")
    index = VideoIndex.open(tmp_path / "index", predictor)
    index.add(tmp_path)
    with pytest.raises(ValueError, match=r"not in the index: .*nowhere"):
        index.remove([paths[0], tmp_path / "nowhere"])
    assert len(index) == 3
    paths[0].unlink()
    assert index.verify().missing == (str(paths[0]),)
    assert index.remove(tmp_path / "a'b") == 2
    assert {hit.video for hit in index.search("red")} == {str(paths[2])}
    assert index.add(tmp_path) == AddReport(1, 1, ())


def test_verify_tells_what_is_gone_changed_and_doubled(predictor: Predictor, tmp_path: Path):
    paths = write_videos(tmp_path / "videos", 4)
    index = VideoIndex.open(tmp_path / "index", predictor)
    index.add(tmp_path / "videos")
    assert index.verify().ok
    paths[0].unlink()
    paths[1].write_bytes(b"other")
    data, times = bytearray(paths[2].read_bytes()), paths[2].stat()
    data[-1] ^= 1
    paths[2].write_bytes(data)
    os.utime(paths[2], ns=(times.st_atime_ns, times.st_mtime_ns))  # as a failing disk would have it
    double = index.store.table().search().where("name = '03.mp4'").to_arrow()
    index.store.table().add(double)
    found = index.verify()
    assert (found.missing, found.changed) == ((str(paths[0]),), (str(paths[1]),))
    assert found.orphaned == tuple(double["id"].to_pylist())
    assert index.verify(contents=True).changed == (str(paths[1]), str(paths[2]))


def test_an_index_tells_what_is_in_it(filled: VideoIndex, videos: Path):
    stats = filled.stats()
    assert (stats.num_videos, stats.num_segments, stats.duration_sec, stats.ann) == (5, 7, 7.0, "exact")
    assert stats.bytes > 10_000
    assert stats.info.num_frames == 4
    listed = filled.videos()
    assert [video.path for video in listed] == sorted(video.path for video in listed)
    assert listed[-1].num_segments == 3
    assert filled.videos(offset=1, limit=2) == listed[1:3]
    assert filled.videos(Filters(min_duration_sec=2)) == listed[-1:]
    segment = filled.segment(filled.search("red")[0].segment)
    assert segment.video in {video.path for video in listed}


def test_thumbnails_are_small_jpegs(filled: VideoIndex, videos: Path):
    hits = filled.search("red", merge=False)
    pictures = filled.thumbnails([hit.segment for hit in hits] + ["of nothing"])
    assert set(pictures) == {hit.segment for hit in hits}
    for hit in hits:
        with Image.open(io.BytesIO(pictures[hit.segment])) as picture:
            assert (picture.format, picture.size) == ("JPEG", (32, 32))
            seen = np.asarray(picture).astype(int)
        middle = (hit.start_sec + hit.end_sec) / 2 + 0.125
        frame = read_frames(hit.video, times_sec=[middle]).frames[0].permute(1, 2, 0)
        assert np.abs(seen - frame.numpy()).mean() < 10
    for id in ("of nothing", "' OR ''='"):
        with pytest.raises(ValueError, match=r"no segment .*search again"):
            filled.thumbnail(id)


def test_filters_narrow_a_search(filled: VideoIndex, videos: Path):
    def found(**filters: Any) -> set[str]:
        return {Path(hit.video).name for hit in filled.search("red", 20, where=Filters(**filters))}

    everything = {"00.mp4", "01.mp4", "02.mp4", "03.mp4", "long.mp4"}
    assert found() == everything
    assert found(folder=videos / "sub") == found(name="LONG") == found(min_duration_sec=2) == {"long.mp4"}
    assert found(folder=videos) == everything
    assert found(folder=str(videos)[:-1]) == found(name="%") == found(folder=videos, name="x") == set()
    assert found(max_duration_sec=1.5, name="1") == {"01.mp4"}
    now = datetime.now()
    assert found(added_before=now) == found(added_after=now - timedelta(hours=1)) == everything
    assert found(added_after=now) == set()


@pytest.fixture(scope="module")
def nested(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> VideoIndex:
    """Folders and files named as on a Mac (NFD), composed (NFC), and both in one path."""
    folder = tmp_path_factory.mktemp("nested")
    names = ["clips/sport/a.mp4", "clips/sport/2024/b.mp4", "clips/gym/sports.mp4", "old/sport/c.mp4"]
    names += [normalize("NFD", "Größe/Café.mp4"), "Größe/Café2.mp4", normalize("NFD", "한국/서울 선.mp4")]
    names += [f"{normalize('NFD', 'Viêt')}/Tiếng.mp4", f"Viêt/{normalize('NFD', 'Tiếng2')}.mp4"]
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_mp4(folder / name, tiny_frames(seed), 8)
    index = VideoIndex.open(folder / "my.index", predictor)
    assert index.add(folder).added == len(names)
    return index


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("sport", ["a", "b", "c"]),
        ("sport/", ["a", "b", "c"]),
        ("clips/sport", ["a", "b"]),
        ("./clips/sport", ["a", "b"]),
        ("old/../clips/gym", ["sports"]),
        ("port", []),
        ("clips/sp", []),
        ("/clips/sport", []),
        ("a.mp4", []),
    ],
)
def test_a_folder_is_any_ending_of_its_path(
    nested: VideoIndex, folder: str, names: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(Path(nested.path).parent)
    assert [Path(video.path).stem for video in nested.videos(Filters(folder=folder))] == sorted(names, key="bac".find)
    monkeypatch.chdir("clips/gym")
    assert {Path(video.path).stem for video in nested.videos(Filters(folder="../sport"))} == {"a", "b"}


def test_a_folder_may_be_given_by_a_link_to_it(nested: VideoIndex, tmp_path: Path):
    (tmp_path / "link").symlink_to(Path(nested.path).parent / "clips")
    found = nested.videos(Filters(folder=tmp_path / "link" / "sport"))
    assert [Path(video.path).stem for video in found] == ["b", "a"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"name": "café"}, {"Café.mp4", "Café2.mp4"}),
        ({"name": "É2"}, {"Café2.mp4"}),
        ({"folder": "Größe"}, {"Café.mp4", "Café2.mp4"}),
        ({"name": "서울"}, {"서울 선.mp4"}),
        ({"name": "선", "folder": "한국"}, {"서울 선.mp4"}),
        ({"name": "서선"}, set()),
        ({"folder": "Viêt", "name": "tiếng"}, {"Tiếng.mp4", "Tiếng2.mp4"}),
        ({"folder": "Größe2"}, set()),
    ],
)
def test_names_are_found_however_their_letters_are_written(
    nested: VideoIndex, form: Literal["NFC", "NFD"], filters: dict[str, str], names: set[str]
):
    spelled: dict[str, Any] = {key: normalize(form, text) for key, text in filters.items()}
    where = Filters(**spelled)
    found = {hit.video for hit in nested.search("red", 20, where=where)}
    assert {normalize("NFC", Path(video).name) for video in found} == names
    assert all(Path(video).is_file() for video in found)  # which keep their own names


def test_videos_are_taken_out_however_their_names_are_written(predictor: Predictor, tmp_path: Path):
    for seed, name in enumerate((normalize("NFD", "Größe/é.mp4"), normalize("NFD", "한국/é.mp4"))):
        (tmp_path / name).parent.mkdir()
        write_mp4(tmp_path / name, tiny_frames(seed), 8)
    index = VideoIndex.open(tmp_path / "my.index", predictor)
    index.add(tmp_path)
    assert index.remove([tmp_path / "Größe/é.mp4", tmp_path / "한국"]) == 2


def test_a_filter_that_leaves_nothing_is_named(nested: VideoIndex):
    folder = Path(nested.path).parent
    assert nested.left_nothing(None) == nested.left_nothing(Filters(folder="sport", name="a")) == []
    assert nested.left_nothing(Filters(folder="sprot", name="a", min_duration_sec=0)) == [
        f"no video in the index passes: folder 'sprot'; the videos are in {folder}"
    ]
    assert nested.left_nothing(Filters(max_duration_sec=0.5, added_before=datetime(2020, 1, 1))) == [
        "no video in the index passes: added before 2020-01-01 00:00:00, duration of at most 0.5 s"
    ]
    assert nested.left_nothing(Filters(folder="gym", name="b.mp4")) == [
        "no video in the index passes all of these together: folder 'gym', name 'b.mp4'"
    ]


@given(name=st.text(max_size=8), folder=st.text(max_size=8), seconds=st.floats(allow_nan=True))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_filter_breaks_out_of_its_condition(filled: VideoIndex, name: str, folder: str, seconds: float):
    try:
        filters = Filters(name=name, folder=folder, min_duration_sec=seconds)
    except ValueError:
        return
    hits = filled.search_vector(torch.ones(CONFIG.shared_dim) / CONFIG.shared_dim**0.5, where=filters)
    assert all(name.lower() in Path(hit.video).name.lower() for hit in hits)


def test_pages_follow_each_other_without_gaps_and_doubles(filled: VideoIndex):
    whole = filled.search("red", 7)
    pages = [filled.search("red", 2, offset=offset) for offset in (0, 2, 4, 6)]
    assert [(h.video, h.score) for page in pages for h in page] == [(h.video, h.score) for h in whole]
    assert filled.search("red", offset=100) == []
    ranked = filled.search("red", 4, rerank=4)
    assert [h.match for o in (0, 2) for h in filled.search("red", 2, rerank=4, offset=o)] == [h.match for h in ranked]


def test_several_queries_find_what_each_finds(filled: VideoIndex):
    together = filled.search_many(TEXTS, 5, rerank=2)
    for text, hits in zip(TEXTS, together, strict=True):
        single = filled.search(text, 5, rerank=2)
        assert [h.segment for h in hits] == [h.segment for h in single]
        assert [h.score for h in hits] == pytest.approx([h.score for h in single], abs=1e-5)


def test_an_index_and_its_hits_tell_what_they_are(filled: VideoIndex):
    assert repr(filled) == f"VideoIndex({filled.path}: {len(filled)} segments; model {filled.info.model_name})"
    assert repr(Hit("/a/b.mp4", 0.0, 6.1, 0.3754, segment="x")) == "Hit('/a/b.mp4', 0 to 6.1 s, score 0.375)"
    told = repr(Hit("/a/b.mp4", 10, 20, 0.5, match=0.25, gone=True))
    assert told == "Hit('/a/b.mp4', 10 to 20 s, score 0.500, match 0.250, gone)"


def test_examples_in_memory_find_what_their_file_finds(filled: VideoIndex):
    hit = filled.search(TEXTS[0], 1)[0]
    frames = read_frames(hit.video, times_sec=[0.0]).frames
    wanted = filled.similar(frames, 5)
    array = frames.permute(0, 2, 3, 1).numpy()
    for example in (array, array[0], [array[0]], Image.fromarray(array[0])):
        assert filled.similar(example, 5) == wanted


def test_more_like_this_leaves_the_example_out(filled: VideoIndex, videos: Path):
    first = filled.search("red", merge=False)[0]
    like = filled.similar(first, 10, merge=False)
    assert len(like) == 6
    assert first.segment not in {hit.segment for hit in like}
    assert [hit.score for hit in like] == sorted((hit.score for hit in like), reverse=True)
    assert filled.similar(filled.segment(first.segment), 10, merge=False) == like
    clip = filled.similar(Span(first.video, first.start_sec, first.end_sec), 1)[0]  # as an outsider it finds itself
    assert clip.segment == first.segment
    assert clip.score == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="no segment"):
        filled.similar(Hit("gone.mp4", 0, 1, 1.0, segment="gone"))


def test_a_photo_is_not_like_itself(predictor: Predictor, tmp_path: Path):
    paths = write_videos(tmp_path / "videos", 2)
    for seed in range(3):
        Image.fromarray(tiny_frames(seed)[0]).save(tmp_path / "videos" / f"{seed}.png")
    index = VideoIndex.open(tmp_path / "index", predictor)
    index.add(tmp_path / "videos")
    shutil.copy(tmp_path / "videos" / "0.png", tmp_path / "copy.png")
    for photo in (tmp_path / "videos" / "0.png", str(tmp_path / "copy.png")):
        names = {Path(hit.video).name for hit in index.similar(photo)}
        assert names == {"1.png", "2.png", "00.mp4", "01.mp4"}
    assert Path(index.similar(paths[0])[0].video) == paths[0]  # a video holds other moments too


def test_an_index_of_an_older_format_is_refused_with_the_way_out(predictor: Predictor, tmp_path: Path):
    (tmp_path / "windows.lance").mkdir()
    for opened in (lambda: VideoIndex.open(tmp_path, predictor), lambda: VideoIndex.open(tmp_path)):
        with pytest.raises(ValueError, match="index of format 1, but this version of allinone reads 2; choose another"):
            opened()


def test_a_huge_file_of_nothing_and_a_circle_of_links_hold_up_nothing(predictor: Predictor, tmp_path: Path):
    folder = tmp_path / "videos"
    write_videos(folder, 1)
    with (folder / "huge.mp4").open("wb") as file:
        file.truncate(4 << 30)
    (folder / "circle").symlink_to(folder)
    (folder / "self.mp4").symlink_to("self.mp4")
    os.mkfifo(folder / "pipe.mp4")
    report = VideoIndex.open(tmp_path / "index", predictor).add([folder, folder / ".." / "videos"])
    assert report.added == 1
    failed = {Path(path).name: cause for path, cause in report.failed}
    assert set(failed) == {"huge.mp4", "self.mp4", "pipe.mp4"}
    assert "not a readable video" in failed["huge.mp4"]
    assert "symbolic links" in failed["self.mp4"]
    assert "is no file" in failed["pipe.mp4"]


def test_others_search_while_one_adds_and_see_each_write(predictor: Predictor, tmp_path: Path):
    folder = tmp_path / "videos"
    write_videos(folder, 12)
    writer, reader = (VideoIndex.open(tmp_path / "index", predictor) for _ in range(2))
    writer.add(folder / "00.mp4")
    seen, errors, done = [], [], threading.Event()

    def search() -> None:
        try:
            while not done.is_set():
                seen.append(len(reader.search("red", 50)))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    writer.add(folder, rows_per_write=1, num_threads=1)
    writer.compact()
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(reader.search("red", 50)) == 12
    assert {1, 12} <= {*seen, 12}
    assert all(1 <= number <= 12 for number in seen)


def test_asking_for_lancedb_does_not_load_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "lancedb", raising=False)
    require_lancedb()
    assert "lancedb" not in sys.modules
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(ModuleNotFoundError, match=r"an index needs lancedb: pip install 'allinone\[search\]'"):
        require_lancedb()
