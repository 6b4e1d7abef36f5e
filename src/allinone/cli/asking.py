"""`allinone ask`, `classify` and `serve`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from allinone.cli.show import progress_bars, show_notes
from allinone.progress import clock

if TYPE_CHECKING:
    from allinone.asking import Question
    from allinone.inference import Predictor


def add_commands(commands: Any) -> None:
    ask = ArgumentParser(
        description="Ask a question about a video; prints the likeliest answers of the model's list. A text with a "
        "[MASK] is filled in: 'the man is [MASK] a ball'."
    )
    ask.add_argument("video", type=str, help="a video or image file")
    ask.add_argument("question", type=str, help="in words")
    add_question(ask)
    commands.add_subcommand("ask", ask, help="ask about a video")

    classify = ArgumentParser(description="Say which of some labels fits a video best, without training for them.")
    classify.add_argument("video", type=str, help="a video or image file")
    classify.add_argument("--labels", type=str, required=True, metavar="A,B,C", help="texts, with commas between them")
    add_question(classify)
    commands.add_subcommand("classify", classify, help="choose one of some labels for a video")

    serve = ArgumentParser(description="Search and ask in a browser, or over HTTP; by default only this machine can.")
    serve.add_argument("--index", type=str, required=True, metavar="INDEX", help="made by `allinone index`")
    serve.add_argument("--model", type=str, metavar="M", help="if the model is no longer where it was when indexing")
    serve.add_argument("--port", type=int, default=7860, help="(default: %(default)s; 0 takes a free one)")
    serve.add_argument(
        "--host", type=str, default="127.0.0.1", help="0.0.0.0 lets other machines in, and wants a password"
    )
    serve.add_argument("--password-file", type=str, metavar="FILE", help="its first line is asked of everybody")
    serve.add_argument("--password", type=str, help="the same, seen by whoever lists this machine's processes")
    serve.add_argument("--no-password", action="store_true", help="let everybody in who can reach --host")
    serve.add_argument("--max-upload-mb", type=int, default=100, help="(default: %(default)s)")
    commands.add_subcommand("serve", serve, help="the page and the HTTP API")


def add_question(parser: ArgumentParser) -> None:
    parser.add_argument("--model", type=str, required=True, metavar="M", help="checkpoint folder, run folder or hub id")
    parser.add_argument("--top-k", type=int, default=5, help="how many answers (default: %(default)s)")
    parser.add_argument("--every", type=str, metavar="TIME", help="answer for each part of the video: 5s, 500ms, 1min")
    parser.add_argument("--json", action="store_true", help="one JSON list instead of a table")


def run_ask(options: Namespace) -> None:
    from allinone.asking import in_words
    from allinone.inference import load

    model = load(options.model)
    notes, question = model.notes([options.question]), in_words(model, options.question)
    show_notes(notes)
    answer(model, question, options, options.question)


def run_classify(options: Namespace) -> None:
    from allinone.asking import which_of
    from allinone.inference import load

    model, labels = load(options.model), options.labels.split(",")
    notes, question = model.notes(labels), which_of(model, labels)
    show_notes(notes)
    answer(model, question, options, options.video)


def answer(model: "Predictor", question: "Question", options: Namespace, title: str) -> None:
    """Print what the model says of the whole video, or of each part of it."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from allinone.asking import ask, ask_over_time, seconds
    from allinone.video.names import on_disk

    video = on_disk(options.video)
    if options.every is None:
        answers = ask(model, video, question, options.top_k)
        if options.json:
            print(json.dumps([{"answer": name, "probability": p} for name, p in answers], indent=2))
        else:
            print("\n".join(f"{probability:6.1%}  {name}" for name, probability in answers))
        return
    with progress_bars() as show:
        moments = ask_over_time(model, video, question, seconds(options.every), show)
    if options.json:
        print(json.dumps([asdict(moment) for moment in moments], indent=2))
        return
    table = Table("from", "to", "answer", "probability", title=escape(title))
    for moment in moments:
        table.add_row(
            clock(moment.start_sec, 1), clock(moment.end_sec, 1), escape(moment.answer), f"{moment.probability:.1%}"
        )
    Console().print(table)


def run_serve(options: Namespace) -> None:
    from allinone.apps.serve.limits import Limits
    from allinone.apps.serve.server import find_password, serve

    serve(
        options.index,
        options.model,
        host=options.host,
        port=options.port,
        password=find_password(options.password, options.password_file),
        no_password=options.no_password,
        limits=Limits(max_upload_mb=options.max_upload_mb),
        say=print,
    )


COMMANDS = {"ask": run_ask, "classify": run_classify, "serve": run_serve}
