import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from allinone.apps.look.curves import loss_curves, losses, read_steps, smoothed


def write_log(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def log(tmp_path):
    rows = [{"step": s, "loss": 2 / s, "vtc/loss": 1 / s, "vtm/loss": None if s == 3 else 1 / s} for s in range(1, 9)]
    return write_log(tmp_path / "metrics.jsonl", [*rows, {"step": 8, "eval": {"x": 1.0}}])


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_a_log_is_read_without_its_evaluations(log):
    assert [row["step"] for row in read_steps(log)] == list(range(1, 9))


def test_broken_lines_of_a_log_are_skipped(log):
    with log.open("ab") as file:
        file.write(b'{"stp": 9, "loss": 1}\n[1]\n\xff\n{"step": 9, "loss": 1}\n{"step": 10, "lo')
    assert [row["step"] for row in read_steps(log)] == list(range(1, 10))


def test_losses_that_were_not_finite_are_left_out_and_other_numbers_are_no_losses(log):
    curves = losses([{"step": 0, "loss": 1.0, "lr": 0.1, "mlm/loss": None, "mlm/accuracy": 3.0}, *read_steps(log)])
    assert list(curves) == ["vtc", "vtm"]
    assert [step for step, _ in curves["vtm"]] == [1, 2, 4, 5, 6, 7, 8]


def test_stages_are_drawn_one_behind_the_other_with_a_line_between(log):
    one, two = pixels(loss_curves([log])), pixels(loss_curves([log, log]))
    assert one.shape == two.shape  # the same two panels
    middle = slice(one.shape[1] // 2 - 60, one.shape[1] // 2 + 60)
    is_border = (abs(two - 0x88).max(axis=2) < 8).sum(axis=0)
    assert is_border[middle].max() > 40
    assert (abs(one - 0x88).max(axis=2) < 8).sum(axis=0)[middle].max() < 20


def test_each_objective_has_its_panel(tmp_path, log):
    more = write_log(tmp_path / "more.jsonl", [{"step": 1, "loss": 1.0, "a $x$ b/loss": 1.0}])
    assert len(pixels(loss_curves([log, more]))) > len(pixels(loss_curves([log])))


def test_logs_without_losses_still_give_a_picture(tmp_path):
    nothing = write_log(tmp_path / "empty.jsonl", [])
    null = write_log(tmp_path / "null.jsonl", [{"step": 1, "loss": None, "vtc/loss": None}])
    for files in ([], [nothing], [null, nothing]):
        assert pixels(loss_curves(files)).size


def test_smoothing_starts_at_the_first_value_and_keeps_a_constant():
    assert smoothed([3.0]) == pytest.approx([3.0])
    assert smoothed([2.0] * 5) == pytest.approx([2.0] * 5)
    assert 1.0 < smoothed([1.0, 5.0])[1] < 5.0


def test_without_matplotlib_the_error_names_the_extra(monkeypatch, log):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"matplotlib is missing; pip install 'allinone\[plots\]'"):
        loss_curves([log])
