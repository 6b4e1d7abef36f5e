import json
import logging
import sys

import pytest

from allinone.train.logs import RunLog

LINES = [
    {"step": 1, "loss": 2.0},
    {"step": 2, "loss": 1.5},
    {"step": 2, "eval": {"R@1": 5.0}},
    {"step": 3, "loss": 1.0},
]


def write(path, lines) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def read(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("step", "evaluated", "kept"), [(0, 0, []), (2, 0, LINES[:2]), (2, 2, LINES[:3]), (3, 2, LINES)]
)
def test_lines_of_lost_work_are_cut(tmp_path, step, evaluated, kept):
    write(tmp_path / "metrics.jsonl", LINES)
    with RunLog(tmp_path, step, evaluated, 10, tensorboard=False):
        pass
    assert read(tmp_path / "metrics.jsonl") == kept


def test_a_line_that_a_killed_run_left_unfinished_is_cut(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}')
    with RunLog(tmp_path, 5, 0, 10, tensorboard=False) as log:
        log.write({"step": 6, "loss": 1.0})
    assert [line["step"] for line in read(tmp_path / "metrics.jsonl")] == [1, 6]


@pytest.mark.parametrize(
    "broken",
    ['{"stp": 2}', '{"step": "2"}', '{"step": null, "eval": {}}', "[2]", "7", '{"step": 2', "\x00", "[" * 9999],
)
def test_a_broken_line_is_dropped_with_a_warning_and_the_others_stay(tmp_path, caplog, broken):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{broken}\n{{"step": 3}}\n')
    with RunLog(tmp_path, 5, 0, 10, tensorboard=False):
        pass
    assert read(tmp_path / "metrics.jsonl") == [{"step": 1}, {"step": 3}]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'metrics.jsonl'}: line 2 broken, and dropped"
    ]


def test_bytes_that_are_no_text_are_a_broken_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"step": 2, "x": "\xff"}\n')
    with RunLog(tmp_path, 5, 0, 10, tensorboard=False):
        pass
    assert read(tmp_path / "metrics.jsonl") == [{"step": 1}]


def test_numbers_that_are_not_finite_are_null(tmp_path):
    with RunLog(tmp_path, 0, 0, 10, tensorboard=False) as log:
        log.write({"step": 1, "loss": float("nan"), "grad_norm": float("inf"), "sources": "captions"})
        log.write({"step": 1, "eval": {"R@1": float("nan")}})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text.splitlines()[0]) == {"step": 1, "loss": None, "grad_norm": None, "sources": "captions"}
    assert "NaN" not in text


def test_the_time_left_does_not_jump_with_a_slow_step(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("allinone.train.logs.LINE_EVERY_SEC", -1.0)
    with caplog.at_level(logging.INFO), RunLog(tmp_path, 0, 0, 1000, tensorboard=False) as log:
        for step in range(1, 102):
            log.show(step, 1.0, 1.0, 500.0 if step == 1 else 60.0 if step == 101 else 10.0)
    left = [message.split("  ")[-1] for message in caplog.messages]
    assert left[1] == "2:46:20 left"  # 998 steps of 10 s: the slow first step is forgotten
    assert left[-1] == "2:37:20 left"  # 899 steps of 10.5 s, not of 60 s


def test_without_a_terminal_a_line_comes_now_and_then(tmp_path, caplog, monkeypatch):
    times = iter(range(0, 1000, 20))
    monkeypatch.setattr("allinone.train.logs.time.monotonic", lambda: next(times))
    with caplog.at_level(logging.INFO), RunLog(tmp_path, 0, 0, 6, tensorboard=False) as log:
        for step in range(1, 7):
            log.show(step, 7.0 - step, 30.0, 20.0)
    assert [record.args[0] for record in caplog.records] == [1, 3, 5, 6]
    assert caplog.messages[0] == "step 1 of 6  loss 6.0000  30.0 clips/s  1:40 left"


def test_on_a_terminal_a_bar_shows_loss_speed_and_time_left(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with RunLog(tmp_path, 0, 0, 2, tensorboard=False) as log:
        log.show(1, 3.0, 30.0, 0.1)
        log.show(2, float("nan"), 30.0, 0.1)
    shown = capsys.readouterr().err
    assert "loss 3.0000  30.0 clips/s" in shown
    assert "2/2" in shown
    assert "left" in shown
