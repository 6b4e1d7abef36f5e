import json
from html.parser import HTMLParser

import numpy as np
import pytest

from allinone.plots.curves import loss_curves, read_steps, smoothed
from allinone.plots.report import Report, Row, ShownAnswer, ShownHit, ShownQuery, write_report
from allinone.plots.sheets import contact_sheet
from allinone.video.encode import write_mp4


@pytest.fixture
def video(tmp_path):
    write_mp4(tmp_path / "clip.mp4", np.random.default_rng(0).integers(0, 255, (8, 32, 48, 3), dtype=np.uint8), fps=8)
    return tmp_path / "clip.mp4"


@pytest.fixture
def log(tmp_path):
    rows = [{"step": s, "loss": 2 / s, "vtc/loss": 1 / s, "vtm/loss": None if s == 3 else 1 / s} for s in range(1, 9)]
    lines = [*map(json.dumps, rows), json.dumps({"step": 8, "eval": {"x": 1.0}})]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    return tmp_path / "metrics.jsonl"


def test_a_log_is_read_without_its_evaluations(log):
    assert [row["step"] for row in read_steps(log)] == list(range(1, 9))


def test_stages_are_drawn_one_behind_the_other(log):
    assert loss_curves([log, log]).startswith(b"\x89PNG")
    assert loss_curves([log, log]) != loss_curves([log])


def test_smoothing_starts_at_the_first_value_and_keeps_a_constant():
    assert smoothed([3.0]) == pytest.approx([3.0])
    assert smoothed([2.0] * 5) == pytest.approx([2.0] * 5)


def test_a_contact_sheet_is_a_picture(video):
    assert contact_sheet(video, [0.1, 0.5]).startswith(b"\x89PNG")


def test_a_report_is_one_page_that_asks_for_nothing_and_escapes_names(tmp_path, log, video):
    evil = "<script>alert(1)</script>"
    write_report(
        tmp_path / "report.html",
        Report(
            title="A run",
            summary=evil,
            tables={"Retrieval": [Row("R@1", 66.0, 1.0), Row("MedR", 1.0, None, evil)]},
            metrics_files=[log],
            queries=[ShownQuery(evil, [ShownHit(video, 0.0, 1.0, 0.5, evil, True)])],
            answers=[ShownAnswer(video, 1.0, "what?", "a dog", [("a dog", 0.75)])],
            facts={"seed": "0"},
        ),
    )
    page = (tmp_path / "report.html").read_text()
    assert "<script>" not in page
    assert "66.0" in page
    assert "75 %" in page
    addresses = []

    class Addresses(HTMLParser):
        def handle_starttag(self, tag, attrs):
            addresses.extend(value for name, value in attrs if name in ("src", "href"))

    Addresses().feed(page)
    assert len(addresses) == 3  # the curves, a hit, an answer
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
