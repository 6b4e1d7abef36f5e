import errno
import os
import signal
import subprocess
import sys
from multiprocessing import get_context

import pytest

from allinone.files.lock import only_process

HOLD = """
import sys
from allinone.files.lock import only_process
with only_process(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of `out`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_by_the_name_of_the_first(tmp_path, other):
    with pytest.raises(ValueError, match=f"out: process {other.pid} on .* is writing there"):
        only_process(tmp_path / "out").__enter__()


def test_a_killed_process_holds_nothing_up(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / ".out.lock").exists()
    with only_process(tmp_path / "out"):
        pass


def test_a_released_lock_leaves_no_file_and_can_be_taken_again(tmp_path):
    for _ in range(2):
        with only_process(tmp_path / "out"), pytest.raises(ValueError, match="is writing there"):
            only_process(tmp_path / "out").__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_named_by_a_link_is_the_same_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    with only_process(tmp_path / "out"), pytest.raises(ValueError, match="is writing there"):
        only_process(tmp_path / "link").__enter__()


def test_a_lock_file_that_was_removed_while_it_was_opened_is_not_taken(tmp_path, monkeypatch):
    lock, opened = tmp_path / ".out.lock", os.open

    def open_late(path, *args):
        descriptor = opened(path, *args)
        monkeypatch.setattr(os, "open", opened)
        lock.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", open_late)
    with only_process(tmp_path / "out"), pytest.raises(ValueError, match="is writing there"):
        only_process(tmp_path / "out").__enter__()


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    reader, writer = os.pipe()
    with only_process(tmp_path / "out"):
        child = get_context("fork").Process(target=os.read, args=(reader, 1), daemon=True)
        child.start()
    with only_process(tmp_path / "out"):
        os.write(writer, b"x")
    child.join()
    os.close(reader)
    os.close(writer)


def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with only_process(tmp_path / "out"):
        assert "has no locks" in caplog.text
