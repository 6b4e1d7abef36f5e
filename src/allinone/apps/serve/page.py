"""The page for people (Gradio): search, play the moment, ask about a video, and see the state of the index."""

import base64
import html
import logging
import os
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from gradio.themes import Base

from allinone.apps.serve.errors import message
from allinone.apps.serve.limits import Busy
from allinone.apps.serve.requests import MAX_HITS, Answer, Classify, FoundMoment, Match, Search, VideoPart
from allinone.apps.serve.service import ClipFrames, Service, media_type
from allinone.progress import clock
from allinone.video.encode import encode_image

log = logging.getLogger(__name__)

PAGE = 12
"""Hits shown at first, and added by each click on "More results"."""

RERANK = 20
SHOWN = {f"image/{kind}" for kind in ("apng", "avif", "bmp", "gif", "jpeg", "png", "webp")}
"""Pictures that browsers can show. Others (TIFF, HEIC) are encoded as a video clip, like videos they cannot play."""

QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",  # by default, each event reads all earlier events
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
}
"""Settings that Gradio reads when its queue is created: no statistics."""

ANSWER, CHOOSE, MATCH = "answer", "choose one of these (with commas between them)", "does this belong to it?"


async def mount_page(app: FastAPI, service: Service) -> None:
    """Put the page at `/`, with Gradio's other features switched off.

    Async, though it awaits nothing: without a running event loop, Gradio creates some and never closes them.
    """
    os.environ |= QUIET
    gr.mount_gradio_app(
        app,
        build_page(Page(service)),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=1,  # uploads go to the API
        allowed_paths=[],
        blocked_paths=["/"],  # no file of this machine
        ssr_mode=False,  # needs a server in Node
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),  # other fonts come from other hosts
        css=text_of("page.css"),
    )


def build_page(page: "Page") -> gr.Blocks:
    """Build the layout of the page, and connect its parts with the methods of `page`."""
    script = text_of("page.js")
    with gr.Blocks(title="All-in-One", analytics_enabled=False) as blocks:
        about, query, num_hits = gr.State(None), gr.State(None), gr.State(PAGE)
        with gr.Tabs() as tabs:
            with gr.Tab("Search", id="search"):
                with gr.Row():
                    text = field("query", placeholder="a dog catches a ball", show_label=False, scale=5)
                    go = gr.Button("Search", variant="primary", scale=1, min_width=90, elem_id="go")
                with gr.Accordion("Filters", open=False, elem_id="filters"):
                    with gr.Row():
                        name = field("name", label="part of the file's name")
                        folder = field("folder", label="folder")
                        added = field("added", label="indexed since (2026-01-31)")
                    with gr.Row():
                        shortest = field("shortest", label="shortest video in seconds")
                        longest = field("longest", label="longest video in seconds")
                    rerank = gr.Checkbox(
                        label=f"read the best {RERANK} again, words and frames together",
                        visible="match" in page.abilities,
                    )
                player = gr.HTML("", js_on_load=script, elem_id="player")
                results = gr.HTML(page.welcome, js_on_load=script, elem_id="results")
                more = gr.Button("More results", visible=False, elem_id="more")
            with gr.Tab("Ask", id="ask"):
                upload = gr.HTML(text_of("upload.html"), js_on_load=script, elem_id="upload")
                chosen = gr.HTML(note("Choose a hit of a search, or a file of yours."), elem_id="chosen")
                way = gr.Radio(page.ways, value=next(iter(page.ways), None), show_label=False, elem_id="way")
                with gr.Row():
                    question = field("question", placeholder=page.example, show_label=False, scale=5)
                    send = gr.Button("Ask", variant="primary", scale=1, min_width=90, elem_id="send")
                answers = gr.HTML("", elem_id="answers")
            with gr.Tab("Index", id="index"):
                state = gr.HTML("", elem_id="state")
                refresh = gr.Button("Refresh", elem_id="refresh")

        filters, found = [name, folder, added, shortest, longest, rerank], [results, more, query, num_hits]
        private: dict[str, Any] = {"api_visibility": "private"}  # the API is ours, not Gradio's
        for event in (go.click, text.submit):
            event(page.search, [text, *filters], found, **private)
        more.click(page.more, [query, num_hits], found, **private)
        results.click(page.play, None, player, **private)
        results.like(page.like, filters, found, **private)
        results.select(page.choose, None, [chosen, about, tabs], **private)
        upload.upload(page.uploaded, None, [chosen, about], **private)
        for event in (send.click, question.submit):
            event(page.ask, [about, way, question], answers, **private)
        for event in (refresh.click, blocks.load):
            event(page.state, None, state, **private)
    waiting = page.service.limits.max_waiting
    # The service bounds its queue for the model; these bound what waits in Gradio's before.
    return blocks.queue(max_size=2 * waiting, default_concurrency_limit=waiting)


def shows_errors(num_outputs: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a function of the page: on an error, its first output is the message, and the others do not change."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except (ValueError, OSError, Busy) as error:
                text = message(error)
            # A fault of ours: the log gets the details, the browser a sentence without them.
            except Exception:
                log.exception("a request of the page failed")
                text = "Something went wrong on the server; see its log."
            shown = note(text, kind="problem")
            return shown if num_outputs == 1 else (shown, *[gr.skip()] * (num_outputs - 1))

        return call

    return wrap


class Page:
    """The functions behind the parts of the page. All HTML that they show is made, and escaped, here."""

    def __init__(self, service: Service):
        self.service = service
        self.abilities = service.abilities
        # An answer head, or that of masked words for a [MASK].
        can = {ANSWER: {"answer", "fill"}, CHOOSE: {"classify"}, MATCH: {"match"}}
        self.ways = [way for way, needed in can.items() if needed & set(self.abilities)]
        self.example = "what does the dog catch?" if "answer" in self.abilities else "the man is [MASK] a ball"

    def welcome(self) -> str:
        """Return the text shown before the first search."""
        num_segments = len(self.service.index)
        if num_segments:
            return note(f"{num_segments:,} segments to search in.")
        return note(f"Nothing is indexed yet. Add videos: allinone index VIDEOS --to {self.service.index.path}")

    @shows_errors(4)
    def search(self, text: str, *filters: Any) -> tuple[Any, ...]:
        """Show the first hits of a text."""
        if not text.strip():
            return note("Write what you are looking for."), gr.Button(visible=False), None, PAGE
        return self.hits({"text": text, **self.filters(*filters)}, PAGE)

    @shows_errors(4)
    def more(self, query: dict[str, Any] | None, num_hits: int) -> tuple[Any, ...]:
        """Show more hits of the last query."""
        # All hits again, not the next page: the cards of the whole list replace those that are shown.
        return self.hits(query or {}, min(num_hits + PAGE, MAX_HITS))

    @shows_errors(4)
    def like(self, event: gr.EventData, *filters: Any) -> tuple[Any, ...]:
        """Show hits like the clicked one, with the same filters."""
        return self.hits({"like": picked(event, "segment"), "where": self.filters(*filters)["where"]}, PAGE)

    @shows_errors(1)
    def play(self, event: gr.EventData) -> str:
        """Play the video of a hit from the hit's start; if the browser cannot, the clip that the server encodes."""
        segment = self.service.segment(picked(event, "segment"))
        path, address = Path(segment.video), f"media/video/{segment.id}"
        if media_type(path) in SHOWN:
            shown = f'<img src="{address}" alt="">'
        else:
            part = ",".join(f"{sec:.3f}" for sec in moment(event))
            shown = (
                f'<video controls autoplay muted playsinline src="{address}#t={part}" '
                f'data-instead="media/clip/{segment.id}"></video>'
            )
        return f'{shown}<p class="name">{safe(path.name)}</p>'

    @shows_errors(3)
    def choose(self, event: gr.EventData) -> tuple[Any, ...]:
        """Take a hit to the tab of questions."""
        segment = self.service.segment(picked(event, "segment"))
        start, end = moment(event)
        about = VideoPart(segment=segment.id, start_sec=start, end_sec=end)
        return sheet(Path(segment.video).name, self.service.read_part(about)), about, gr.Tabs(selected="ask")

    @shows_errors(2)
    def uploaded(self, event: gr.EventData) -> tuple[Any, ...]:
        """Show the frames of an uploaded file, and ask about it from now on."""
        about = VideoPart(upload=picked(event, "upload"))
        return sheet(picked(event, "name"), self.service.read_part(about)), about

    @shows_errors(1)
    def ask(self, about: VideoPart | None, way: str, text: str) -> str:
        """Answer a question about the chosen video, in the chosen way."""
        if about is None:
            return note("Choose a video first: a hit of a search, or a file of yours.")
        if not text.strip():
            return note("Write a question.")
        if way == ANSWER:
            answers = self.service.answer(Answer(**dict(about), question=text))
            return notes(answers.notes) + bars([(each.answer, each.probability) for each in answers.answers])
        if way == CHOOSE:
            # 100, the limit: all of the labels.
            answers = self.service.classify(Classify(**dict(about), labels=text.split(","), top_k=100))
            return notes(answers.notes) + bars([(each.answer, each.probability) for each in answers.answers])
        matches = self.service.match(Match(**dict(about), texts=[text]))
        return notes(matches.notes) + bars([(each.text, each.probability) for each in matches.matches])

    @shows_errors(1)
    def state(self) -> str:
        """Show the state of the index and of the model."""
        state = self.service.state()
        facts = {
            "index": state.index,
            "videos": f"{state.num_videos:,}",
            "segments": f"{state.num_segments:,}",
            "length of all videos": clock(state.duration_sec),
            "size of the index": f"{state.num_bytes / 1e6:,.1f} MB",
            "last added": f"{state.last_added:%Y-%m-%d %H:%M} UTC" if state.last_added else "nothing yet",
            "cut into": state.cut,
            "search": state.search,
            "model": state.model,
            "it can": ", ".join(state.abilities),
        }
        rows = "".join(f"<tr><th>{safe(name)}</th><td>{safe(fact)}</td></tr>" for name, fact in facts.items())
        return f"<table>{rows}</table>"

    def hits(self, query: dict[str, Any], num_hits: int) -> tuple[Any, ...]:
        """Return the best hits as cards, the button for more, and the query and count to repeat the search with."""
        found = self.service.search(Search(**query, top_k=num_hits))
        cards = (
            f'<div class="cards">{"".join(map(card, found.hits))}</div>' if found.hits else note("Nothing was found.")
        )
        more = len(found.hits) == num_hits < MAX_HITS  # fewer hits than asked for: there are no others
        return notes(found.notes) + cards, gr.Button(visible=more), query, num_hits

    def filters(self, name: str, folder: str, added: str, shortest: str, longest: str, rerank: bool) -> dict[str, Any]:
        """Return the filled-in filters as keys of `Search`, which parses them."""
        where = {
            "name": name,
            "folder": folder,
            "added_after": added,
            "min_duration_sec": shortest,
            "max_duration_sec": longest,
        }
        filled = {key: text.strip() for key, text in where.items() if text.strip()}
        return {"where": filled, "rerank": RERANK if rerank else 0}


def field(name: str, **more: Any) -> gr.Textbox:
    """Return a text field of one line. Its name is its id in the page, which the style sheet uses."""
    return gr.Textbox("", max_length=1000, elem_id=name, max_lines=1, **more)


def picked(event: gr.EventData, key: str) -> str:
    """Return a value that the browser sent with a click; it may be anything, so it is cut and made text."""
    data = event._data if isinstance(event._data, dict) else {}
    return str(data.get(key, ""))[:255]


def moment(event: gr.EventData) -> tuple[float, float]:
    """Return the start and end of the clicked hit; ValueError if the browser sent other things."""
    return float(picked(event, "start")), float(picked(event, "end"))


def card(hit: FoundMoment) -> str:
    """Return a hit with its thumbnail and buttons, as HTML."""
    when = f"{clock(hit.start_sec, 1)} to {clock(hit.end_sec, 1)}" if hit.end_sec else ""  # a photo has no time
    gone = '<p class="problem">the file is gone</p>' if hit.gone else ""
    name = Path(hit.video).name
    score = f"{hit.score:.3f}" if hit.match is None else f"{hit.score:.3f}, match {hit.match:.0%}"
    which = f'data-segment="{safe(hit.segment)}" data-start="{hit.start_sec}" data-end="{hit.end_sec}"'
    return (
        f'<article><button class="shot" data-do="click" {which} aria-label="play {safe(name)} {when}">'
        f'<img loading="lazy" src="{safe(hit.thumbnail[1:])}" alt="">{f"<span>{when}</span>" if when else ""}</button>'
        f'<p class="name" title="{safe(hit.video)}">{safe(name)}</p><p class="score">{score}</p>{gone}'
        f'<button data-do="like" {which}>more like this</button><button data-do="select" {which}>ask about it</button>'
        "</article>"
    )


def sheet(name: str, frames: ClipFrames) -> str:
    """Show the frames that the model reads, with their times."""
    figures = []
    for frame, time_sec in zip(frames.clip[0, 0], frames.times_sec, strict=True):
        address = base64.b64encode(encode_image(frame.permute(1, 2, 0).numpy())).decode()
        when = clock(time_sec, 1)
        figures.append(f'<figure><img src="data:image/jpeg;base64,{address}" alt=""><p>{when}</p></figure>')
    return f'<p class="name">{safe(name)}: what the model sees</p><div class="sheet">{"".join(figures)}</div>'


def bars(answers: Sequence[tuple[str, float]]) -> str:
    """Return answers with bars of their probabilities, as an HTML table."""
    rows = (
        f'<tr><td>{safe(answer)}</td><td class="bar"><i style="width: {100 * p:.1f}%"></i></td><td>{p:.1%}</td></tr>'
        for answer, p in answers
    )
    return f"<table>{''.join(rows)}</table>"


def note(text: str, kind: str = "note") -> str:
    """Return a paragraph with a message."""
    return f'<p class="{kind}">{safe(text)}</p>'


def notes(texts: Sequence[str]) -> str:
    """Return a paragraph for each message."""
    return "".join(map(note, texts))


def safe(text: str) -> str:
    """Escape text for HTML, and for the JavaScript templates that Gradio expands in it."""
    escaped = html.escape(text.encode(errors="replace").decode())  # a file name may not be UTF-8
    return "".join(f"&#{ord(mark)};" if mark in "${}`\\" else mark for mark in escaped)


def text_of(name: str) -> str:
    """Return the text of a file of this package."""
    return files("allinone.apps.serve").joinpath(name).read_text(encoding="utf-8")
