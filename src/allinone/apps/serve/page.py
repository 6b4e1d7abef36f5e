"""The page for people (Gradio): search, play the moment, ask about a video, and see the state of the index."""

import base64
import html
import io
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
from PIL import Image

from allinone.apps.serve.errors import one_line
from allinone.apps.serve.limits import Busy
from allinone.apps.serve.requests import MAX_HITS, About, Answer, Classify, Found, Match, Search, Where
from allinone.apps.serve.service import ClipFrames, Service, media_type
from allinone.progress import clock

log = logging.getLogger(__name__)

PAGE = 12
"""Hits that are shown at first, and more at each further asking."""

RERANK = 20
SHOWN = {f"image/{kind}" for kind in ("apng", "avif", "bmp", "gif", "jpeg", "png", "webp")}
"""Pictures that browsers show as they are; of others (TIFF, HEIC) they get what is encoded anew, like videos."""

QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",  # else it goes over all events of the past at each event
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
}
"""How Gradio is told, when it makes its queue, to count nothing."""

ANSWER, CHOOSE, MATCH = "answer", "choose one of these (with commas between them)", "does this belong to it?"


async def mount_page(app: FastAPI, service: Service) -> None:
    """Put the page at `/`, with all that Gradio can do beyond it switched off.

    It awaits nothing; but where no event loop runs, Gradio makes some, and never closes them.
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
        blocked_paths=["/"],
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),  # others come from elsewhere
        css=text_of("page.css"),
    )


def build_page(page: "Page") -> gr.Blocks:
    """The layout, and which part calls what."""
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
                        shortest = field("shortest", label="video of at least so many seconds")
                        longest = field("longest", label="at most so many seconds")
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
        private: dict[str, Any] = {"api_visibility": "private"}
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
    return blocks.queue(max_size=2 * waiting, default_concurrency_limit=waiting)


def told(num_outputs: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a function of the page say what is wrong in the first of its outputs, and leave the others as they are."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except (ValueError, OSError, Busy) as error:
                message = one_line(error)
            except Exception:
                log.exception("the page could not do what was asked")
                message = "Something went wrong on the server; its log says what."
            shown = note(message, kind="problem")
            return shown if num_outputs == 1 else (shown, *[gr.skip()] * (num_outputs - 1))

        return call

    return wrap


class Page:
    """What the parts of the page do. All that they show is made, and escaped, here."""

    def __init__(self, service: Service):
        self.service = service
        self.abilities = service.abilities
        can = {ANSWER: {"answer", "fill"}, CHOOSE: {"classify"}, MATCH: {"match"}}
        self.ways = [way for way, needed in can.items() if needed & set(self.abilities)]
        self.example = "what does the dog catch?" if "answer" in self.abilities else "the man is [MASK] a ball"

    def welcome(self) -> str:
        """What is there before the first search."""
        num_segments = len(self.service.index)
        if num_segments:
            return note(f"{num_segments:,} segments to search in.")
        return note(f"Nothing is indexed yet. Add videos: allinone index VIDEOS --to {self.service.index.path}")

    @told(4)
    def search(self, text: str, *filters: Any) -> tuple[Any, ...]:
        if not text.strip():
            return note("Write what you look for."), gr.Button(visible=False), None, PAGE
        return self.hits({"text": text, **self.wanted(*filters)}, PAGE)

    @told(4)
    def more(self, query: dict[str, Any] | None, num_hits: int) -> tuple[Any, ...]:
        return self.hits(query or {}, min(num_hits + PAGE, MAX_HITS))

    @told(4)
    def like(self, event: gr.EventData, *filters: Any) -> tuple[Any, ...]:
        return self.hits({"like": picked(event, "segment"), "where": self.wanted(*filters)["where"]}, PAGE)

    @told(1)
    def play(self, event: gr.EventData) -> str:
        """The video of a hit, from its beginning on; where the browser cannot play it, the segment encoded anew."""
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

    @told(3)
    def choose(self, event: gr.EventData) -> tuple[Any, ...]:
        """Take a hit to the questions."""
        segment = self.service.segment(picked(event, "segment"))
        start, end = moment(event)
        about = About(segment=segment.id, start_sec=start, end_sec=end)
        return sheet(Path(segment.video).name, self.service.see(about)), about, gr.Tabs(selected="ask")

    @told(2)
    def uploaded(self, event: gr.EventData) -> tuple[Any, ...]:
        about = About(upload=picked(event, "upload"))
        return sheet(picked(event, "name"), self.service.see(about)), about

    @told(1)
    def ask(self, about: About | None, way: str, text: str) -> str:
        if about is None:
            return note("Choose a video first: a hit of a search, or a file of yours.")
        if not text.strip():
            return note("Write a question.")
        if way == ANSWER:
            said = self.service.answer(Answer(**dict(about), question=text))
            return notes(said.notes) + bars([(likely.answer, likely.probability) for likely in said.answers])
        if way == CHOOSE:
            said = self.service.classify(Classify(**dict(about), labels=text.split(","), top_k=100))
            return notes(said.notes) + bars([(likely.answer, likely.probability) for likely in said.answers])
        matched = self.service.match(Match(**dict(about), texts=[text]))
        return notes(matched.notes) + bars([(each.text, each.probability) for each in matched.matches])

    @told(1)
    def state(self) -> str:
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
        """The best hits as cards; whether there may be more; and what to ask for these."""
        found = self.service.search(Search(**query, top_k=num_hits))
        cards = (
            f'<div class="cards">{"".join(map(card, found.hits))}</div>' if found.hits else note("Nothing was found.")
        )
        more = len(found.hits) == num_hits < MAX_HITS
        return notes(found.notes) + cards, gr.Button(visible=more), query, num_hits

    def wanted(self, name: str, folder: str, added: str, shortest: str, longest: str, rerank: bool) -> dict[str, Any]:
        """Filters as people filled them in, as a part of a request."""
        where = {
            "name": name,
            "folder": folder,
            "added_after": added,
            "min_duration_sec": shortest,
            "max_duration_sec": longest,
        }
        filled = {key: text.strip() for key, text in where.items() if text.strip()}
        return {"where": Where.model_validate(filled), "rerank": RERANK if rerank else 0}


def field(name: str, **more: Any) -> gr.Textbox:
    return gr.Textbox("", max_length=1000, elem_id=name, max_lines=1, **more)


def picked(event: gr.EventData, key: str) -> str:
    """What the browser says of a click, which may be anything."""
    data = event._data if isinstance(event._data, dict) else {}
    return str(data.get(key, ""))[:255]


def moment(event: gr.EventData) -> tuple[float, float]:
    return float(picked(event, "start")), float(picked(event, "end"))


def card(hit: Found) -> str:
    when = f"{clock(hit.start_sec, 1)} to {clock(hit.end_sec, 1)}" if hit.end_sec else ""  # none of a photo
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


def sheet(name: str, seen: ClipFrames) -> str:
    """The frames that the model looks at."""
    frames = []
    for frame, time_sec in zip(seen.clip[0, 0], seen.times_sec, strict=True):
        picture = io.BytesIO()
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(picture, "jpeg", quality=85)
        address = base64.b64encode(picture.getvalue()).decode()
        when = clock(time_sec, 1)
        frames.append(f'<figure><img src="data:image/jpeg;base64,{address}" alt=""><p>{when}</p></figure>')
    return f'<p class="name">{safe(name)}: what the model sees</p><div class="sheet">{"".join(frames)}</div>'


def bars(answers: Sequence[tuple[str, float]]) -> str:
    rows = (
        f'<tr><td>{safe(answer)}</td><td class="bar"><i style="width: {100 * p:.1f}%"></i></td><td>{p:.1%}</td></tr>'
        for answer, p in answers
    )
    return f"<table>{''.join(rows)}</table>"


def note(text: str, kind: str = "note") -> str:
    return f'<p class="{kind}">{safe(text)}</p>'


def notes(texts: Sequence[str]) -> str:
    return "".join(map(note, texts))


def safe(text: str) -> str:
    """Text as text: neither HTML, nor anything for the templates that Gradio runs over it."""
    escaped = html.escape(text.encode(errors="replace").decode())
    return "".join(f"&#{ord(mark)};" if mark in "${}`\\" else mark for mark in escaped)


def text_of(name: str) -> str:
    return files("allinone.apps.serve").joinpath(name).read_text(encoding="utf-8")
