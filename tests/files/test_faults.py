import errno
import os
import shutil

import numpy as np
import pytest

from allinone.apps.search import Hit
from allinone.apps.search.clips import save_clips
from allinone.checkpoint import save_checkpoint
from allinone.files.faults import explain, system_error
from allinone.video.encode import write_mp4
from full import full_disk
from tiny import tiny_predictor, write_videos


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_says_what_is_safe_and_what_to_do(number):
    told = explain(OSError(number, os.strerror(number), "out/a.mp4"))
    assert told.startswith(
        f"out/a.mp4: no room left on the disk ({os.strerror(number)}). What was finished before is whole"
    )
    assert told.endswith("give the same command again")


def test_errors_of_files_name_the_file_first_and_no_numbers(tmp_path):
    with pytest.raises(FileNotFoundError) as absent:
        (tmp_path / "absent").read_bytes()
    assert explain(absent.value) == f"{tmp_path / 'absent'}: No such file or directory"
    (tmp_path / "a").write_bytes(b"x" * 5000)
    with full_disk(100), pytest.raises(OSError, match="File too large") as full:
        shutil.copyfile(tmp_path / "a", tmp_path / "b")
    assert explain(full.value).startswith(f"{tmp_path / 'b'}: no room left")
    assert explain(OSError("in our own words")) == "in our own words"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Error while serializing: I/O error: No space left on device (os error 28)", errno.ENOSPC),
        ('IoError(Os { code: 13, kind: PermissionDenied, message: "Permission denied" })', errno.EACCES),
        ("file write failed: No space left on device", errno.ENOSPC),
    ],
)
def test_compiled_libraries_tell_the_error_of_the_system_in_their_text(text, number):
    error = system_error(RuntimeError(text), "out")
    assert error is not None
    assert (error.errno, error.filename) == (number, "out")
    assert system_error(RuntimeError("invalid header, code 7"), "out") is None


def test_what_is_written_on_a_full_disk_leaves_what_was_there_and_names_the_file(tmp_path):
    predictor, (video,) = tiny_predictor(), write_videos(tmp_path / "videos", 1, num_frames=16)
    frames = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3), dtype=np.uint8)
    checkpoint = save_checkpoint(tmp_path / "model", predictor.model, predictor.tokenizer)
    before = sorted(path.name for path in tmp_path.iterdir()), (checkpoint / "model.safetensors").read_bytes()
    for num_bytes, write in (
        (600, lambda: write_mp4(tmp_path / "a.mp4", frames, 8)),
        (20_000, lambda: save_checkpoint(checkpoint, predictor.model, predictor.tokenizer)),
        (600, lambda: save_clips([Hit(str(video), 0, 1, 0.0)], tmp_path / "videos")),
    ):
        with full_disk(num_bytes), pytest.raises(OSError, match="File too large") as full:
            write()
        assert full.value.errno == errno.EFBIG
        assert str(full.value.filename).startswith(str(tmp_path))
    assert before == (sorted(path.name for path in tmp_path.iterdir()), (checkpoint / "model.safetensors").read_bytes())
    assert [path.name for path in (tmp_path / "videos").iterdir()] == [video.name]
