"""Hits for other programs: JSON, CSV, an edit decision list (EDL), and a self-contained HTML page."""

import base64
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

from allinone.apps.search.hits import Hit
from allinone.video import VideoError, probe

HitsOfQueries = Mapping[str, Sequence[Hit]]
"""The hits of each query."""

EDL_EVENTS = 999
"""CMX3600 numbers events with three digits."""


def to_json(hits_of: HitsOfQueries) -> str:
    """Return a list of the hits of one query; or, for several, a list of queries with their hits."""
    lists = [{"query": query, "hits": [asdict(hit) for hit in hits]} for query, hits in hits_of.items()]
    return json.dumps(lists[0]["hits"] if len(lists) == 1 else lists, indent=2)


def to_csv(hits_of: HitsOfQueries) -> str:
    """Return one row per hit; `match` is empty without re-ranking, `gone` unless the file is missing."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["query", "video", "start_sec", "end_sec", "score", "match", "gone", "segment"])
    for query, hits in hits_of.items():
        for hit in hits:
            match = "" if hit.match is None else f"{hit.match:.6f}"
            seconds = f"{hit.start_sec:.3f}", f"{hit.end_sec:.3f}"
            rows.writerow(
                [query, hit.video, *seconds, f"{hit.score:.6f}", match, "gone" if hit.gone else "", hit.segment]
            )
    return text.getvalue()


def to_edl(hits_of: HitsOfQueries, fps: int | float | None = None) -> str:
    """Return a CMX3600 edit decision list: the hits one after another on a timeline that begins at 01:00:00:00.

    `fps` is the frame rate of the time codes, by default that of the first hit's video, or 25. Rates such as 29.97 use
    non-drop-frame time codes, as the list says. ValueError for a rate outside 1 to 120, or too many hits.
    """
    hits = [hit for hits in hits_of.values() for hit in hits]
    if len(hits) > EDL_EVENTS:
        raise ValueError(f"an EDL has room for {EDL_EVENTS} events, not for {len(hits)} hits; ask for fewer")
    if fps is None:
        fps = frame_rate(hits[0].video) if hits else 25
    if not 1 <= fps <= 120:
        raise ValueError(f"frames per second of an EDL must be between 1 and 120, got {fps}")
    # A title has at most 70 characters.
    lines = [f"TITLE: {one_line('; '.join(hits_of))[:70]}", "FCM: NON-DROP FRAME", ""]
    record = round(fps) * 3600  # 01:00:00:00, where timelines begin by custom
    for number, hit in enumerate(hits, start=1):
        # Frames are counted at the true rate (29.97), and numbered as if there were 30 a second: non-drop-frame.
        start = round(hit.start_sec * fps)
        end = max(start + 1, round(hit.end_sec * fps))  # an event has a frame at least
        times = (start, end, record, record + end - start)
        # AX: a source without a reel name; V: video; C: cut.
        lines.append(f"{number:03}  AX       V     C        " + " ".join(timecode(time, round(fps)) for time in times))
        lines.append(f"* FROM CLIP NAME: {one_line(Path(hit.video).name)}")
        lines.append(f"* SOURCE FILE: {one_line(hit.video)}" + " (gone)" * hit.gone)
        record += end - start
    return "\n".join(lines) + "\n"


def frame_rate(video: str) -> float:
    try:
        return probe(video).fps or 25
    except VideoError:
        return 25


def timecode(frame: int, per_second: int) -> str:
    """Return HH:MM:SS:FF without drop frames."""
    seconds, frames = divmod(frame, per_second)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frames:02}"


def one_line(text: str) -> str:
    """Replace line breaks and other control characters, which would begin a new statement of the list."""
    return "".join(char if char.isprintable() else " " for char in text)


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1rem; max-width: 80rem }}
ol {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); gap: 1rem; padding: 0; list-style: none }}
img {{ width: 100%; aspect-ratio: 16 / 9; object-fit: contain; background: #222 }}
a {{ overflow-wrap: anywhere }}
</style>
{sections}
</html>
"""  # noqa: E501


def to_html(hits_of: HitsOfQueries, thumbnails: Mapping[str, bytes]) -> str:
    """Return a page with the pictures inside; links open the files at the time of the hit."""
    sections = []
    for query, hits in hits_of.items():
        items = "\n".join(html_item(hit, thumbnails.get(hit.segment)) for hit in hits)
        sections.append(f"<h1>{escape(query)}</h1>\n<ol>\n{items}\n</ol>" if hits else f"<h1>{escape(query)}</h1>none")
    return PAGE.format(title=escape("; ".join(hits_of)), sections="\n".join(sections))


def html_item(hit: Hit, thumbnail: bytes | None) -> str:
    """Return a hit as a list item, with all names escaped."""
    picture = base64.b64encode(thumbnail or b"").decode()
    image = f'<img alt="" src="data:image/jpeg;base64,{picture}">' if thumbnail else ""
    link = escape(f"{Path(hit.video).as_uri()}#t={hit.start_sec:.2f},{hit.end_sec:.2f}")
    score = f"{hit.score:.3f}" if hit.match is None else f"{hit.match:.3f} (cosine {hit.score:.3f})"
    name = escape(Path(hit.video).name)
    when = f"{hit.start_sec:.1f} to {hit.end_sec:.1f} s, " if hit.end_sec else ""  # a photo has no time
    gone = ", gone: the file is no longer there" if hit.gone else ""
    return f'<li>{image}<a href="{link}">{name}</a><br>{when}{score}{gone}</li>'
