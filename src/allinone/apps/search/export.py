"""Hits for other programs: JSON, CSV, an edit decision list, a page of its own."""

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

Found = Mapping[str, Sequence[Hit]]
"""What was found for each query."""

EDL_EVENTS = 999
"""A CMX3600 list numbers its events with three digits."""


def to_json(found: Found) -> str:
    """The list of hits of one query; of several, a list of queries with their hits."""
    lists = [{"query": query, "hits": [asdict(hit) for hit in hits]} for query, hits in found.items()]
    return json.dumps(lists[0]["hits"] if len(lists) == 1 else lists, indent=2)


def to_csv(found: Found) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["query", "video", "start_sec", "end_sec", "score", "match", "gone", "segment"])
    for query, hits in found.items():
        for hit in hits:
            match = "" if hit.match is None else f"{hit.match:.6f}"
            seconds = f"{hit.start_sec:.3f}", f"{hit.end_sec:.3f}"
            rows.writerow(
                [query, hit.video, *seconds, f"{hit.score:.6f}", match, "gone" if hit.gone else "", hit.segment]
            )
    return text.getvalue()


def to_edl(found: Found, fps: int | float | None = None) -> str:
    """A CMX3600 edit decision list: the hits, one after the other, on a timeline that begins at 01:00:00:00.

    Times are counted in frames of `fps`, by default the rate of the first hit's video, or 25. Rates such as 29.97 are
    counted without dropping numbers, as the list says.
    """
    hits = [hit for hits in found.values() for hit in hits]
    if len(hits) > EDL_EVENTS:
        raise ValueError(f"an EDL has room for {EDL_EVENTS} events, not for {len(hits)} hits; ask for fewer")
    if fps is None:
        fps = frame_rate(hits[0].video) if hits else 25
    if not 1 <= fps <= 120:
        raise ValueError(f"frames per second of an EDL lie between 1 and 120, got {fps}")
    lines = [f"TITLE: {one_line('; '.join(found))[:70]}", "FCM: NON-DROP FRAME", ""]
    record = round(fps) * 3600
    for number, hit in enumerate(hits, start=1):
        start = round(hit.start_sec * fps)
        end = max(start + 1, round(hit.end_sec * fps))
        times = (start, end, record, record + end - start)
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
    seconds, frames = divmod(frame, per_second)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frames:02}"


def one_line(text: str) -> str:
    """Without line breaks and other control characters, which would begin a new statement."""
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


def to_html(found: Found, thumbnails: Mapping[str, bytes]) -> str:
    """A page that needs nothing else: pictures are inside, links lead to the files at the moment of the hit."""
    sections = []
    for query, hits in found.items():
        items = "\n".join(html_item(hit, thumbnails.get(hit.segment)) for hit in hits)
        sections.append(f"<h1>{escape(query)}</h1>\n<ol>\n{items}\n</ol>" if hits else f"<h1>{escape(query)}</h1>none")
    return PAGE.format(title=escape("; ".join(found)), sections="\n".join(sections))


def html_item(hit: Hit, thumbnail: bytes | None) -> str:
    picture = base64.b64encode(thumbnail or b"").decode()
    image = f'<img alt="" src="data:image/jpeg;base64,{picture}">' if thumbnail else ""
    link = escape(f"{Path(hit.video).as_uri()}#t={hit.start_sec:.2f},{hit.end_sec:.2f}")
    score = f"{hit.score:.3f}" if hit.match is None else f"{hit.match:.3f} (cosine {hit.score:.3f})"
    name = escape(Path(hit.video).name)
    when = f"{hit.start_sec:.1f} to {hit.end_sec:.1f} s, " if hit.end_sec else ""  # none of a photo
    gone = ", gone: the file is no longer there" if hit.gone else ""
    return f'<li>{image}<a href="{link}">{name}</a><br>{when}{score}{gone}</li>'
