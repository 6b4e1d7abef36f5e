"""The command `allinone`: thin doors to the library. Nothing heavy is imported before a command needs it."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace


def main(arguments: list[str] | None = None) -> None:
    """Run a command. What a user can mend is one line on stderr, and exit code 2."""
    parser = build_parser()
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for chatty in ("httpx", "httpcore", "huggingface_hub"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    command = str(chosen.command)
    try:
        COMMANDS[command](chosen[command])
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, ImportError) as error:
        print(f"allinone {command}: {error}", file=sys.stderr)
        sys.exit(2)


def build_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="allinone", description="One Transformer for video and words: train, evaluate, search, ask."
    )
    commands = parser.add_subcommands(dest="command", required=True)

    demo = ArgumentParser(
        description="Make a small world of videos, train on it, evaluate, index, search, ask; ends with an HTML report."
    )
    demo.add_argument(
        "--to", type=str, default="runs/demo", metavar="DIR", help="where everything goes (default: %(default)s)"
    )
    demo.add_argument("--quick", action="store_true", help="a short form that shows every step but learns little")
    demo.add_argument("--seed", type=int, default=0, help="of the world and of training")
    commands.add_subcommand("demo", demo, help="the whole way on a made world, in minutes")

    train = ArgumentParser(
        description="Train a named experiment. Under torchrun the same command trains on many GPUs: "
        "torchrun --nproc-per-node 8 -m allinone train ..."
    )
    add_experiment(train)
    train.add_argument("--to", type=str, metavar="DIR", help="the run's folder (default: runs/EXPERIMENT)")
    train.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in that folder")
    commands.add_subcommand("train", train, help="train a named experiment")

    evaluate = ArgumentParser(description="Evaluate a checkpoint with the evaluators of a named experiment.")
    evaluate.add_argument("checkpoint", type=str, metavar="CHECKPOINT", help="checkpoint folder, run folder or hub id")
    add_experiment(evaluate)
    evaluate.add_argument("--to", type=str, metavar="FILE", help="also write the numbers there, as JSON")
    commands.add_subcommand("evaluate", evaluate, help="evaluate a checkpoint")

    convert = ArgumentParser(
        description="Turn a released All-in-One checkpoint, or ImageNet weights of a ViT or DeiT, into a checkpoint "
        "folder. Prints what became of every tensor."
    )
    convert.add_argument("weights", type=str, metavar="WEIGHTS", help=".ckpt, .pth, .safetensors, or a hub id")
    convert.add_argument("to", type=str, metavar="OUT", help="the new checkpoint folder")
    convert.add_argument(
        "--vocab", type=str, metavar="FILE", help="BERT's vocab.txt (or a hub id), kept with the model"
    )
    convert.add_argument("--answers", type=str, metavar="FILE", help="JSON: the answers of an answer head, in order")
    convert.add_argument("--num-heads", type=int, help="attention heads, where the width does not tell (width / 64)")
    convert.add_argument(
        "--size", type=str, help="for a ViT: tiny, small, small_distilled or base (default: by its width)"
    )
    convert.add_argument("--image-size", type=int, help="for a ViT: pixels of a frame's side (default: 224)")
    convert.add_argument("--num-frames", type=int, help="frames of a clip (default: as released, or 3)")
    commands.add_subcommand("convert", convert, help="released or ImageNet weights to a checkpoint folder")

    index = ArgumentParser(description="Embed videos into a searchable index. Goes on where an earlier call stopped.")
    index.add_argument("videos", type=str, nargs="+", metavar="VIDEOS", help="files and folders")
    index.add_argument("--model", type=str, required=True, metavar="M", help="checkpoint folder, run folder or hub id")
    index.add_argument("--to", type=str, required=True, metavar="INDEX", help="the index's folder")
    commands.add_subcommand("index", index, help="make videos searchable")

    search = ArgumentParser(description="Find the moments that a sentence describes.")
    search.add_argument("words", type=str, help="the sentence")
    search.add_argument("--index", type=str, required=True, metavar="INDEX", help="made by `allinone index`")
    search.add_argument("--model", type=str, metavar="M", help="if the model is no longer where it was when indexing")
    search.add_argument("--top-k", type=int, default=10, help="how many hits (default: %(default)s)")
    search.add_argument("--rerank", type=int, default=0, metavar="K", help="let the joint mode re-read the best K")
    search.add_argument("--json", action="store_true", help="one JSON list instead of a table")
    commands.add_subcommand("search", search, help="find a moment in indexed videos")

    ask = ArgumentParser(description="Ask a question about a video; prints the likeliest answers of the model's list.")
    ask.add_argument("video", type=str, help="a video or image file")
    ask.add_argument("question", type=str, help="in words")
    ask.add_argument("--model", type=str, required=True, metavar="M", help="checkpoint folder, run folder or hub id")
    ask.add_argument("--top-k", type=int, default=5, help="how many answers (default: %(default)s)")
    commands.add_subcommand("ask", ask, help="ask about a video")
    return parser


def add_experiment(parser: ArgumentParser) -> None:
    parser.add_argument(
        "experiment", type=str, metavar="EXPERIMENT", help="a name, such as `captioned`; an unknown one lists them all"
    )
    parser.add_argument(
        "--set",
        type=str,
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change it: optim.lr=3e-5 data.root=my_clips model.num_frames=8; an unknown key lists the known ones",
    )


def run_demo(options: Namespace) -> None:
    from allinone.app.demo import demo

    with progress_bars() as show:
        report = demo(Path(options.to), quick=options.quick, seed=options.seed, on_progress=show, say=print)
    print(f"report: {report}")


def run_train(options: Namespace) -> None:
    from allinone.experiment import override, train
    from allinone.experiments import find
    from allinone.train.loop import TrainingDiverged
    from allinone.train.signals import TrainingInterrupted

    experiment = override(find(options.experiment), options.set)
    try:
        result = train(experiment, options.to or f"runs/{options.experiment}", resume=options.resume)
    except TrainingInterrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    except TrainingDiverged as error:
        print(f"allinone train: {error}", file=sys.stderr)
        sys.exit(1)
    show_numbers(f"after {result.step} steps", result.metrics)
    print(f"checkpoint: {result.checkpoint}")


def run_evaluate(options: Namespace) -> None:
    from allinone.experiment import evaluate, override, write_numbers
    from allinone.experiments import find

    experiment = override(find(options.experiment), options.set)
    with progress_bars() as show:
        numbers = evaluate(options.checkpoint, experiment, show)
    show_numbers(str(options.checkpoint), numbers)
    if options.to:
        write_numbers(options.to, {"checkpoint": options.checkpoint, "experiment": options.experiment, **numbers})


def run_convert(options: Namespace) -> None:
    from allinone.convert import convert

    answers = json.loads(Path(options.answers).read_text()) if options.answers else None
    if isinstance(answers, dict):  # answer to label, as released
        answers = sorted(answers, key=answers.__getitem__)
    folder, report = convert(
        options.weights,
        options.to,
        vocab=options.vocab,
        answers=answers,
        num_heads=options.num_heads,
        size=options.size,
        image_size=options.image_size,
        num_frames=options.num_frames,
    )
    print(report)
    print(f"checkpoint: {folder}")


def run_index(options: Namespace) -> None:
    from allinone.inference import load
    from allinone.search import VideoIndex

    index = VideoIndex.open(options.to, load(options.model))
    with progress_bars() as show:
        report = index.add(options.videos, on_progress=show)
    for path, cause in report.failed:
        print(f"not indexed: {cause if str(path) in cause else f'{path}: {cause}'}", file=sys.stderr)
    print(
        f"{options.to}: {report.added} videos added, {report.skipped} already there, {len(report.failed)} unreadable; "
        f"{len(index)} segments"
    )


def run_search(options: Namespace) -> None:
    from allinone.inference import load
    from allinone.search import VideoIndex, model_of

    made_with = model_of(options.index)
    index = VideoIndex.open(options.index, load(options.model or made_with))
    hits = index.search(options.words, top_k=options.top_k, rerank=options.rerank)
    if options.json:
        print(json.dumps([asdict(hit) for hit in hits], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("score", "match", "from", "to", "video", title=options.words)
    for hit in hits:  # with re-ranking, `match` decides the order
        match = "" if hit.match is None else f"{hit.match:.3f}"
        table.add_row(f"{hit.score:.3f}", match, clock(hit.start_sec), clock(hit.end_sec), hit.video)
    Console().print(table)


def run_ask(options: Namespace) -> None:
    from allinone.inference import load

    for answer, probability in load(options.model).answer(options.video, options.question, top_k=options.top_k):
        print(f"{probability:6.1%}  {answer}")


COMMANDS = {
    "demo": run_demo,
    "train": run_train,
    "evaluate": run_evaluate,
    "convert": run_convert,
    "index": run_index,
    "search": run_search,
    "ask": run_ask,
}


def clock(seconds: float) -> str:
    minutes, seconds = divmod(seconds, 60)
    return f"{int(minutes)}:{seconds:04.1f}"


def show_numbers(title: str, numbers: Mapping[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("measure", "value", title=title)
    for name, value in numbers.items():
        table.add_row(name, f"{value:.2f}")
    Console().print(table)


@contextmanager
def progress_bars() -> Iterator[Any]:
    """A callback (what, done, total) that draws a bar for each `what`, on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bars: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done, total=total)

        yield show
