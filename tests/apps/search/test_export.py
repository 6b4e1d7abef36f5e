import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allinone.apps.search import Hit
from allinone.apps.search.export import timecode, to_csv, to_edl, to_html, to_json
from tiny import write_videos

ODD = '/v/line\nbreak, "it\'s" <b>&amp; 😀/..mp4'
HITS = [Hit("/v/a.mp4", 1.0, 3.5, 0.5, 0.9, "a1"), Hit(ODD, 0.0, 0.01, 0.25, None, "b2")]


def test_json_is_a_list_of_hits_or_of_queries():
    assert [Hit(**hit) for hit in json.loads(to_json({"red": HITS}))] == HITS
    several = json.loads(to_json({"red": HITS, "a dog": []}))
    assert [(found["query"], len(found["hits"])) for found in several] == [("red", 2), ("a dog", 0)]


def test_csv_keeps_every_name():
    rows = list(csv.DictReader(io.StringIO(to_csv({"a, b": HITS}), newline="")))
    assert [row["video"] for row in rows] == ["/v/a.mp4", ODD]
    assert (rows[0]["query"], rows[0]["start_sec"], rows[0]["match"]) == ("a, b", "1.000", "0.900000")
    assert rows[1]["match"] == ""


def test_an_edl_has_the_frames_of_each_hit_one_after_the_other():
    lines = to_edl({"a ball\nrolls": HITS}, fps=25).splitlines()
    assert lines[:3] == ["TITLE: a ball rolls", "FCM: NON-DROP FRAME", ""]
    assert lines[3] == "001  AX       V     C        00:00:01:00 00:00:03:13 01:00:00:00 01:00:02:13"
    assert lines[4:6] == ["* FROM CLIP NAME: a.mp4", "* SOURCE FILE: /v/a.mp4"]
    assert lines[6] == "002  AX       V     C        00:00:00:00 00:00:00:01 01:00:02:13 01:00:02:14"
    assert lines[8] == '* SOURCE FILE: /v/line break, "it\'s" <b>&amp; 😀/..mp4'
    assert len(lines) == 9


def test_an_edl_counts_in_the_frames_of_the_first_video(tmp_path: Path):
    (video,) = write_videos(tmp_path, 1)  # 8 frames a second
    assert "00:00:00:04 00:00:01:00" in to_edl({"x": [Hit(str(video), 0.5, 1.0, 0.1)]})
    assert "00:00:00:12 00:00:00:25" not in to_edl({"x": [Hit("/gone.mp4", 0.5, 1.0, 0.1)]})
    assert "00:00:00:12 00:00:01:00" in to_edl({"x": [Hit("/gone.mp4", 0.5, 1.0, 0.1)]})  # 25
    assert to_edl({"x": []}).startswith("TITLE: x")
    with pytest.raises(ValueError, match="room for 999"):
        to_edl({"x": HITS * 500})
    with pytest.raises(ValueError, match="between 1 and 120, got 0"):
        to_edl({"x": HITS}, fps=0)


@given(st.integers(0, 50 * 3600 * 24), st.sampled_from([24, 25, 30, 50, 60]))
def test_timecodes_count_frames(frame: int, per_second: int):
    hours, minutes, seconds, frames = map(int, timecode(frame, per_second).split(":"))
    assert ((hours * 60 + minutes) * 60 + seconds) * per_second + frames == frame
    assert max(minutes, seconds) < 60
    assert frames < per_second


def test_the_page_stands_alone_and_no_name_becomes_markup():
    page = to_html({"<script>alert(1)</script>": HITS, "nothing": []}, {"a1": b"\xff\xd8 picture"})
    tags, links, images = [], [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            links.extend(value or "" for name, value in attrs if name == "href")
            images.extend(value or "" for name, value in attrs if name == "src")

    Reader().feed(page)
    assert set(tags) == {"html", "meta", "title", "style", "h1", "ol", "li", "img", "a", "br"}
    assert base64.b64decode(images[0].removeprefix("data:image/jpeg;base64,")) == b"\xff\xd8 picture"
    assert len(images) == 1
    assert links[0] == "file:///v/a.mp4#t=1.00,3.50"
    assert not re.search(r"https?:", page)
