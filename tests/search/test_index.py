import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from allinone.data.samples import ClipReader, Span
from allinone.inference import Predictor
from allinone.search import AddReport, VideoIndex, Windows, find_videos, model_of
from allinone.video import decode
from allinone.video.encode import write_mp4
from tiny import HEADS, TEXTS, tiny_frames, tiny_predictor, write_videos

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
    assert again.made.cut == CUT
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


def test_a_video_that_breaks_in_its_middle_is_left_out_whole(
    predictor: Predictor, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = decode.read_frames

    def failing(source, *, times_sec, **options):
        if max(times_sec) > 1.5 and len(times_sec) > 1:
            raise decode.VideoError(f"{source}: torn")
        return real(source, times_sec=times_sec, **options)

    monkeypatch.setattr("allinone.search.embedding.read_frames", failing)
    monkeypatch.setattr("allinone.search.embedding.CHUNK", 1)
    index = VideoIndex.open(tmp_path / "index", predictor, CUT)
    long = str(videos / "sub" / "long.mp4")
    assert index.add(videos) == AddReport(4, 0, ((long, "torn"),))
    assert long not in {video for video, _, _ in rows(index)}


def test_a_header_that_claims_too_long_a_video_makes_no_windows_of_nothing(
    predictor: Predictor, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = ClipReader.measure
    monkeypatch.setattr(ClipReader, "measure", lambda self, video: replace(real(self, video), duration_sec=1e7))
    index = VideoIndex.open(tmp_path / "index", predictor, CUT)
    index.add(videos / "sub")
    assert [(start, end) for _, start, end in rows(index)] == [(0, 1), (1, 2), (2, 2.875)]


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
def test_a_name_that_is_no_text_is_reported(predictor: Predictor, tmp_path: Path):
    paths = write_videos(tmp_path / "videos", 1)
    os.link(paths[0], os.fsencode(tmp_path / "videos") + b"/\xff.mp4")
    report = VideoIndex.open(tmp_path / "index", predictor).add(tmp_path / "videos")
    assert report.added == 1
    assert [path for path, _ in report.failed] == [str(tmp_path / "videos" / "\ufffd.mp4")]


def test_paths_are_absolute_and_each_file_is_taken_once(videos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(videos)
    wanted = [*(videos / f"{i:02}.mp4" for i in range(4)), videos / "sub" / "long.mp4"]
    assert find_videos(".") == wanted
    assert find_videos(["00.mp4", videos, "./sub/../00.mp4"]) == wanted
    folder = tmp_path / "f"
    (folder / ".hidden").mkdir(parents=True)
    (folder / "loop").symlink_to(folder)
    for name in ("A.MP4", ".b.mp4", "c.txt", ".hidden/d.mp4"):
        (folder / name).touch()
    assert find_videos(folder) == [folder / "A.MP4"]
    assert find_videos(folder / "c.txt") == [folder / "c.txt"]  # named itself


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
    with filled.store.only_writer(), pytest.raises(ValueError, match="another process is adding"):
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
from allinone.search import VideoIndex, Windows

index = VideoIndex.open(Path(sys.argv[3]), tiny_predictor(batch_size=3), Windows(length_sec=0.5))
writes, deadly = [], int(sys.argv[4])
real = index.write

def write(*arguments):
    writes.append(arguments)
    if len(writes) == deadly:  # somewhere in the middle of it, or just after
        threading.Timer(float(sys.argv[5]), os.kill, (os.getpid(), signal.SIGKILL)).start()
    real(*arguments)

index.write = write
index.add(Path(sys.argv[2]), rows_per_write=4, num_threads=1)
print("survived")
"""


@pytest.mark.parametrize(("deadly", "after_sec"), [(1, 0.003), (3, 0.002)])
def test_an_index_killed_in_the_middle_goes_on_without_halves_or_doubles(deadly: int, after_sec: float, tmp_path: Path):
    folder, path = tmp_path / "videos", tmp_path / "index"
    write_videos(folder, 24, num_frames=16)
    arguments = [str(Path(__file__).parents[1]), str(folder), str(path), str(deadly), str(after_sec)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    index = VideoIndex.open(path, tiny_predictor(), Windows(length_sec=0.5))
    kept = len(index)
    assert kept % 4 == 0  # whole videos
    assert kept >= 4 * (deadly - 1)
    assert kept < 24 * 4
    assert index.add(folder) == AddReport(24 - kept // 4, kept // 4, ())
    windows = [(i / 2, (i + 1) / 2) for i in range(4)]
    assert rows(index) == [(str(folder / f"{v:02}.mp4"), *window) for v in range(24) for window in windows]


def test_an_index_names_the_model_that_made_it(filled: VideoIndex, tmp_path: Path):
    assert model_of(filled.path) == "tiny-0"
    with pytest.raises(ValueError, match="no index there; make one"):
        model_of(tmp_path)
