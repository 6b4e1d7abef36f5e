import json
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from allinone.apps.look.report import (
    Report,
    Row,
    ShownAnswer,
    ShownHit,
    ShownQuery,
    duration,
    middles,
    percent,
    write_report,
)
from allinone.video import VideoError
from allinone.video.encode import write_mp4

EVIL = """</p><script src="//evil.example/x.js">alert(1)</script>"'><img src=x onerror=alert(1)>{{ 7 * 7 }}"""
EMPTY = Report(title="A run", summary="", tables={}, metrics_files=[], queries=[], answers=[], facts={})
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """The tags, attributes and text of a page; its tags must be closed in order."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def having(self, name):
        return [value for attribute, value in self.attributes if attribute == name]


def written(path, report):
    write_report(path, report)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def video(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (8, 96, 170, 3), dtype=np.uint8)
    write_mp4(tmp_path / "clip.mp4", frames, fps=4)
    return tmp_path / "clip.mp4"


@pytest.fixture
def log(tmp_path):
    rows = [{"step": s, "loss": 2 / s, "vtc/loss": 1 / s} for s in range(1, 9)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "metrics.jsonl"


@pytest.fixture
def full(video, log):
    hits = (
        ShownHit(video, 0.0, 1.0, 0.51234, "a dog runs", True),
        ShownHit(video, 1.0, 2.0, 0.4, "a cat sits", False),
        ShownHit(video, 0.0, 2.0, 0.3, None, False),
    )
    return Report(
        title="A run",
        summary="A summary.",
        tables={"Retrieval": [Row("R@1", 66.0, 1.0), Row("MedR", 2.0, None, "the median rank")], "No rows": []},
        metrics_files=[log],
        queries=[ShownQuery("a dog runs", hits)],
        answers=[ShownAnswer(video, "what runs?", "Dog", (("dog", 0.75), ("cat", 0.25)))],
        facts={"seed": "17"},
    )


def test_a_page_shows_everything_and_asks_for_nothing(tmp_path, full):
    page = written(tmp_path / "report.html", full)
    for shown in ("A summary.", "66.0", "the median rank", "0.512", "a cat sits", "what runs?", "75 %", "17"):
        assert shown in page.text
    pictures = page.having("src")
    assert len(pictures) == 5  # the curves, three hits, an answer
    assert all(p.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for p in pictures)
    assert not page.having("href")
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not any("http" in (value or "") for name, value in page.attributes if name != "src")
    assert "http" not in page.text
    assert "url(" not in page.text
    assert "@import" not in page.text


def test_an_interval_stands_below_its_value(tmp_path):
    rows = [Row("R@1", 66.0, 1.0, interval=(61.24, 70.96)), Row("MedR", 2.0, None)]
    page = written(tmp_path / "report.html", replace(EMPTY, tables={"Numbers": rows}))
    assert "61.2 to 71.0" in page.text
    assert "95 % interval" in page.text
    without = written(tmp_path / "report.html", replace(EMPTY, tables={"Numbers": rows[1:]}))
    assert "interval" not in without.text


def test_right_hits_and_right_answers_are_marked(tmp_path, full):
    page = written(tmp_path / "report.html", full)
    assert page.having("class").count("card right") == 2  # a hit and the answer
    assert page.having("class").count("card") == 2
    assert page.text.count("✓") == 2


def test_hostile_words_stay_words_wherever_they_are(tmp_path, full, video):
    hit = replace(full.queries[0].hits[0], caption=EVIL, video=video.rename(tmp_path / "<i>'\"&.mp4"))
    evil = Report(
        title=EVIL,
        summary=EVIL,
        tables={EVIL: [Row(EVIL, 1.0, 1.0, EVIL)]},
        metrics_files=full.metrics_files,
        queries=[ShownQuery(EVIL, (hit,))],
        answers=[ShownAnswer(hit.video, EVIL, EVIL, ((EVIL, 0.5),))],
        facts={EVIL: EVIL},
    )
    page = written(tmp_path / "report.html", evil)
    assert page.text.count(EVIL) == 13  # the title in the window and on the page
    assert "script" not in page.tags
    assert not page.having("onerror")
    assert len(page.having("src")) == 3
    assert f"Frames of {hit.video.name}" in page.having("alt")


def test_what_is_empty_gets_no_heading(tmp_path, full):
    assert "h2" not in written(tmp_path / "report.html", EMPTY).tags
    headings = written(tmp_path / "report.html", full).tags.count("h2")
    assert headings == 5  # a table with rows, training, search, answers, facts


def test_a_query_without_hits_and_a_question_without_answers_are_shown(tmp_path, video):
    shown = ShownAnswer(video, "what?", "", ())
    page = written(tmp_path / "report.html", replace(EMPTY, queries=[ShownQuery("a dog", ())], answers=[shown]))
    assert "No hits." in page.text
    assert "card right" not in page.having("class")


def test_bars_stay_in_their_frame_and_pale_ones_are_not_above_chance(tmp_path):
    rows = [Row("a", 140.0, 50.0), Row("b", -3.0, 0.0), Row("c", float("nan"), 50.0), Row("d", 2.0, None)]
    page = written(tmp_path / "report.html", replace(EMPTY, tables={"Numbers": rows}))
    widths = [style for style in page.having("style") if style.startswith("width")]
    assert widths == ["width:100.00%", "width:0.00%", "width:0.00%"]
    assert page.having("class").count("bar below") == 2
    assert percent(float("inf")) == "0.00%"


def test_eight_queries_of_three_hits_stay_below_three_megabytes_even_for_noise(tmp_path, full):
    path = tmp_path / "report.html"
    write_report(path, replace(full, queries=list(full.queries) * 8, answers=list(full.answers) * 8))
    assert path.stat().st_size < 3_000_000


def test_a_report_that_fails_leaves_the_old_one_and_nothing_else(tmp_path, full, video):
    folder = tmp_path / "out"
    folder.mkdir()
    write_report(folder / "report.html", full)
    before = (folder / "report.html").read_bytes()
    video.unlink()
    with pytest.raises(VideoError, match=r"clip\.mp4"):
        write_report(folder / "report.html", full)
    assert [p.name for p in folder.iterdir()] == ["report.html"]
    assert (folder / "report.html").read_bytes() == before


@pytest.mark.parametrize("module", ["jinja2", "matplotlib.figure"])
def test_without_the_extra_the_error_names_it(monkeypatch, tmp_path, full, module):
    monkeypatch.setitem(sys.modules, module, None)
    package = module.partition(".")[0]
    with pytest.raises(ModuleNotFoundError, match=rf"{package} is missing; pip install 'allinone\[plots\]'"):
        write_report(tmp_path / "report.html", full)
    assert not (tmp_path / "report.html").exists()


def test_a_clip_is_shown_at_the_middles_of_its_quarters_and_an_image_once(video):
    assert middles(1.0, 5.0) == [1.5, 2.5, 3.5, 4.5]
    assert middles(0.0, 0.0) == [0.0]
    asked = ShownAnswer(video, "what?", "dog", ())
    assert duration(asked) == pytest.approx(2.0)
    assert duration(replace(asked, duration_sec=0.5)) == 0.5


def test_names_that_are_not_utf_8_are_no_obstacle(tmp_path):
    assert "clip" in written(tmp_path / "report.html", replace(EMPTY, facts={"clip \udcff": "é"})).text
