"""`allinone demo`, `train`, `evaluate`, `compare` and `convert`."""

import sys
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from allinone.cli.show import progress_bars, show_comparisons, show_numbers, show_tables
from allinone.progress import is_first_process


def add_commands(commands: Any) -> None:
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

    evaluate = ArgumentParser(
        description="Evaluate a checkpoint with the evaluators of a named experiment. Writes a folder with scores and "
        "their intervals, the prediction for each sample, and files for public servers. Controls evaluate the same "
        "samples with something withheld, beside the real score: what a benchmark gives away shows there."
    )
    evaluate.add_argument("checkpoint", type=str, metavar="CHECKPOINT", help="checkpoint folder, run folder or hub id")
    add_experiment(evaluate)
    evaluate.add_argument(
        "--to", type=str, metavar="DIR", help="the folder (default: CHECKPOINT/evaluations/EXPERIMENT)"
    )
    evaluate.add_argument("--replace", action="store_true", help="overwrite the evaluation that the folder holds")
    evaluate.add_argument(
        "--only", type=str, nargs="+", metavar="NAME", help="some of the evaluators, such as `test` (default: all)"
    )
    evaluate.add_argument("--frames", type=int, metavar="N", help="frames of a clip (default: as in the experiment)")
    evaluate.add_argument("--views", type=int, metavar="N", help="clips of each video, whose scores are averaged")
    evaluate.add_argument("--blind", action="store_true", help="control: no frames; for a choice, also no question")
    evaluate.add_argument("--single-frame", action="store_true", help="control: the middle frame alone")
    evaluate.add_argument("--shuffle-frames", action="store_true", help="control: the frames in another order")
    commands.add_subcommand("evaluate", evaluate, help="evaluate a checkpoint")

    compare = ArgumentParser(
        description="Compare two evaluations sample by sample: the difference of each score (second minus first) over "
        "the samples that both have, with its 95 % interval. An interval without 0 is a difference that other videos "
        "would show too."
    )
    compare.add_argument("first", type=str, metavar="EVALUATION", help="a folder that `allinone evaluate` wrote")
    compare.add_argument("second", type=str, metavar="EVALUATION", help="another one, of the same samples")
    compare.add_argument(
        "--control", type=str, metavar="NAME", help="compare the predictions under a control, such as blind"
    )
    commands.add_subcommand("compare", compare, help="paired differences of two evaluations")

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


def add_experiment(parser: ArgumentParser) -> None:
    parser.add_argument(
        "experiment",
        type=str,
        metavar="EXPERIMENT",
        help="a name, such as `captioned`; an unknown one lists them all. Or a function of your own that returns an "
        "Experiment: my_idea.py:frame_order, or module:function",
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
    from allinone.apps.demo import demo

    with progress_bars() as show:
        report = demo(Path(options.to), quick=options.quick, seed=options.seed, on_progress=show, say=print)
    print(f"report: {report}")


def run_train(options: Namespace) -> None:
    from allinone.experiment import override, train
    from allinone.experiments import find, short_name
    from allinone.train.loop import TrainingDiverged
    from allinone.train.signals import TrainingInterrupted

    experiment = override(find(options.experiment), options.set)
    try:
        result = train(experiment, options.to or f"runs/{short_name(options.experiment)}", resume=options.resume)
    except TrainingInterrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    except TrainingDiverged as error:
        print(f"allinone train: {error}", file=sys.stderr)
        sys.exit(1)
    if is_first_process():
        show_numbers(f"after {result.step} steps", result.metrics)
        print(f"checkpoint: {result.checkpoint}")


def run_evaluate(options: Namespace) -> None:
    from allinone.evaluators.results import default_folder
    from allinone.experiment import evaluate, override, with_evaluators, with_views
    from allinone.experiments import find, short_name

    frames = [] if options.frames is None else [f"model.num_frames={options.frames}"]
    experiment = override(find(options.experiment), [*options.set, *frames])
    if options.only:
        experiment = with_evaluators(experiment, options.only)
    if options.views is not None:
        experiment = with_views(experiment, options.views)
    controls: list[Any] = [control for control in ("blind", "single_frame", "shuffle_frames") if options[control]]
    folder = options.to or default_folder(options.checkpoint, short_name(options.experiment))
    with progress_bars() as show:
        tables = evaluate(
            options.checkpoint,
            experiment,
            show,
            controls=controls,
            name=options.experiment,
            to=folder,
            overwrite=options.replace,
        )
    show_tables(tables)
    print(f"evaluation: {folder}")


def run_compare(options: Namespace) -> None:
    from allinone.apps.compare import compare
    from allinone.evaluators.results import REAL

    show_comparisons(compare(options.first, options.second, options.control or REAL), options.first, options.second)


def run_convert(options: Namespace) -> None:
    from allinone.apps.convert import convert, read_answers

    folder, report = convert(
        options.weights,
        options.to,
        vocab=options.vocab,
        answers=read_answers(options.answers) if options.answers else None,
        num_heads=options.num_heads,
        size=options.size,
        image_size=options.image_size,
        num_frames=options.num_frames,
    )
    print(report)
    print(f"checkpoint: {folder}")
    print("\n".join(report.abilities))


COMMANDS = {
    "demo": run_demo,
    "train": run_train,
    "evaluate": run_evaluate,
    "compare": run_compare,
    "convert": run_convert,
}
