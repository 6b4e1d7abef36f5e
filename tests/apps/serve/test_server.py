import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from allinone.apps.search import VideoIndex
from allinone.apps.serve.server import PASSWORD_VARIABLE, check_access, find_password, is_loopback, listen
from allinone.checkpoint import save_checkpoint
from allinone.cli import main
from allinone.inference import load
from tiny import tiny_predictor, write_videos


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
def test_this_machine_comes_in_without_a_password(host: str):
    assert is_loopback(host)
    check_access(host, None, no_password=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "videos.example", ""])
def test_others_need_a_password_or_are_let_in_on_purpose(host: str):
    with pytest.raises(ValueError, match="others can reach the videos: give a password"):
        check_access(host, None, no_password=False)
    check_access(host, "long enough", no_password=False)
    check_access(host, None, no_password=True)


def test_passwords_that_contradict_or_are_too_short():
    with pytest.raises(ValueError, match="contradict"):
        check_access("0.0.0.0", "long enough", no_password=True)
    with pytest.raises(ValueError, match="8 characters or more, got 0"):
        check_access("0.0.0.0", "", no_password=False)


def test_a_password_comes_from_an_argument_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    (tmp_path / "password").write_text("from the file\n")
    (tmp_path / "nothing").write_text("")
    assert find_password(None, None) is None
    assert find_password(None, str(tmp_path / "password")) == "from the file"
    monkeypatch.setenv(PASSWORD_VARIABLE, "from the environment")
    assert find_password(None, None) == "from the environment"
    assert find_password("given", None) == "given"
    with pytest.raises(ValueError, match="not both"):
        find_password("given", str(tmp_path / "password"))
    with pytest.raises(ValueError, match="empty; its first line"):
        find_password(None, str(tmp_path / "nothing"))


def test_a_port_that_is_taken_is_said_to_be(capsys: pytest.CaptureFixture[str]):
    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=rf"cannot listen at 127\.0\.0\.1, port {port}.*another --port"):
            listen("127.0.0.1", port)
    with pytest.raises(ValueError, match=r"cannot listen at no\.such\.host\.invalid"):
        listen("no.such.host.invalid", 0)


def test_what_is_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    for arguments, message in (
        (["--host", "0.0.0.0"], "give a password"),
        (["--max-upload-mb", "0"], "max_upload_mb must be at least 1"),
        (["--port", "0"], "no index there"),
    ):
        with pytest.raises(SystemExit):
            main(["serve", "--index", str(tmp_path / "absent"), *arguments])
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1


@pytest.mark.parametrize("package", ["uvicorn", "pydantic", "fastapi"])
def test_without_its_packages_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str
):
    for name in [name for name in sys.modules if name.startswith("allinone.apps.serve.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit):
        main(["serve", "--index", "absent.index"])
    assert capsys.readouterr().err == f"allinone serve: a server needs {package}: pip install 'allinone[app]'\n"


def test_the_command_serves_until_it_is_stopped(tmp_path: Path):
    tiny = tiny_predictor()
    model = save_checkpoint(tmp_path / "model", tiny.model, tiny.tokenizer)
    VideoIndex.open(tmp_path / "my.index", load(model, device="cpu")).add(write_videos(tmp_path / "videos", 1))
    (tmp_path / "password").write_text("correct horse")
    command = [sys.executable, "-m", "allinone", "serve", "--index", str(tmp_path / "my.index"), "--port", "0"]
    command += ["--password-file", str(tmp_path / "password")]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    # A shell that runs the tests in the background has them, and so their children, ignore Ctrl-C.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as server:  # fmt: skip
        assert server.stdout is not None
        assert server.stderr is not None
        try:
            said = server.stdout.readline()
            assert said.startswith("1 segments: http://127.0.0.1:"), said + server.stderr.read()
            url = said.split()[2]
            with httpx.Client(base_url=url, timeout=20) as client:
                assert client.get("api/state").status_code == 401
                state = client.get("api/state", auth=("me", "correct horse")).json()
                assert state["model"] == str(model)
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(20) == 130
        told = server.stderr.read()
        assert told.startswith(f"loading the index {tmp_path / 'my.index'} and the model that made it\n")
        assert "Traceback" not in told
