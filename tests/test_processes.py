"""Processes are started in a folder with files named like modules of Python: none of these may run."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from allinone.processes import leave_current_folder, worker_context
from allinone.video.encode import write_mp4

SRC, TESTS = Path(__file__).parents[1] / "src", Path(__file__).parent

POOL = """
from allinone.apps.tools.pool import run_tasks
from apps.tools.misbehaving import where_modules_are
if __name__ == "__main__":
    [(_, (path, files))] = run_tasks(["any"], where_modules_are, num_workers=1, patience_sec=30)
    print(*path, *files, sep="\\n")
"""


@pytest.fixture
def hostile(tmp_path):
    folder = tmp_path / "downloaded"
    folder.mkdir()
    for name in ("random", "queue", "token", "nt", "socket", "selectors", "pickle", "tempfile", "av", "wave"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} '); raise SystemExit")
    return folder


def run(hostile: Path, *arguments: object, path: str = "") -> str:
    environment = os.environ | {"PYTHONPATH": f"{path}{SRC}:{TESTS}", "XDG_CACHE_HOME": str(hostile.parent)}
    command = [sys.executable, *map(str, arguments)]
    ended = subprocess.run(command, cwd=hostile, env=environment, capture_output=True, text=True, check=False)
    assert not (hostile.parent / "ran").exists(), (hostile.parent / "ran").read_text()
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_workers_import_nothing_from_the_current_folder(hostile):
    (hostile.parent / "script.py").write_text(POOL)
    assert str(hostile) not in run(hostile, hostile.parent / "script.py")


def test_nothing_is_forked_once_lancedb_is_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "lancedb", sys)
    assert worker_context().get_start_method() == "forkserver"
    monkeypatch.delitem(sys.modules, "lancedb")
    assert worker_context().get_start_method() == "fork"


def test_an_empty_entry_of_pythonpath_is_not_the_current_folder(hostile):
    assert " msrvtt " in run(hostile, "-m", "allinone", "data", "list", path=":")


def test_a_command_imports_nothing_from_the_folder_of_data_where_it_runs(hostile):
    write_mp4(hostile / "0.mp4", np.full((8, 32, 48, 3), 90, np.uint8), fps=8)
    (hostile / "captions.csv").write_text("video,caption\n0.mp4,a wall\n")
    assert "1 files: 1 readable" in run(hostile, "-m", "allinone", "data", "check", "captioned", "--root", ".")


@pytest.mark.parametrize(("setting", "stays"), [("", False), (f":{SRC}", False), (".", True), ("{here}", True)])
def test_the_current_folder_is_left_unless_pythonpath_names_it(setting, stays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", setting.format(here=tmp_path))
    monkeypatch.setattr(sys, "path", ["", *sys.path, str(tmp_path)])
    leave_current_folder()
    assert (str(tmp_path) in sys.path) is stays
