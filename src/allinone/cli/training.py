"""`allinone demo`, `train`, `evaluate` and `compare`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from allinone.cli.own_code import OwnCode
from allinone.cli.show import progress_bars, show_comparisons, show_numbers, show_settings, show_tables
from allinone.progress import is_first_process


def demo(*, to: Path = Path("runs/demo"), quick: bool = False, seed: int = 0) -> None:
    """Show every step on a synthetic dataset, in minutes: train, evaluate, index, search, ask. Ends with an HTML
    report.

    Args:
        to (DIR): folder for all output
        quick: a short version, which learns little
        seed: of the dataset and of training
    """
    from allinone.apps.demo import demo

    with progress_bars() as show:
        report = demo(to, quick=quick, seed=seed, on_progress=show, say=print)
    print(f"report: {report}")


def train(
    experiment: str | None = None,
    *,
    config: Path | None = None,
    set: Sequence[str] = (),
    to: str | None = None,
    resume: bool = False,
    show: bool = False,
    show_json: bool = False,
    own: OwnCode,
) -> None:
    """Train a named experiment. Under torchrun the same command trains on many GPUs:

        torchrun --nproc-per-node 8 -m allinone train ...

    Args:
        experiment: a name, for example `captioned` (an unknown one lists all), or your own function that returns an
            Experiment: my_idea.py:frame_order or module:function
        config (FILE): instead of a name: JSON of `--show-json`, or the experiment.json of a checkpoint
        set (KEY=VALUE): change settings, for example optim.lr=3e-5 data.root=my_clips model.num_frames=8; an unknown
            key lists all
        to (DIR): folder of the run (default: runs/EXPERIMENT)
        resume: continue from the newest checkpoint in that folder
        show: print all settings instead of training
        show_json: print them as JSON, for --config
    """
    from allinone.experiment import describe_experiment, override, train
    from allinone.experiments import find, read_experiment, short_name
    from allinone.files.reading import read_json
    from allinone.train.run import TrainingDiverged
    from allinone.train.signals import TrainingInterrupted

    if (experiment is None) == (config is None):
        raise ValueError("name one experiment, or the JSON of one with --config")
    own.load()
    if config is not None:
        made, name = read_experiment(read_json(config), config), config.stem
    else:
        made, name = find(str(experiment)), short_name(str(experiment))
    made = override(made, set)  # after the file: the command line wins
    if show or show_json:
        show_settings(describe_experiment(made), made.DERIVED, as_json=show_json)
        return
    try:
        result = train(made, to or f"runs/{name}", resume=resume)
    except TrainingInterrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    except TrainingDiverged as error:
        print(f"allinone train: {error}", file=sys.stderr)
        sys.exit(1)
    if is_first_process():  # of torchrun's, all of which get here
        show_numbers(f"after {result.step} steps", result.metrics)
        print(f"checkpoint: {result.checkpoint}")


def evaluate(
    checkpoint: str,
    experiment: str | None = None,
    *,
    set: Sequence[str] = (),
    only: Sequence[str] = (),
    frames: int | None = None,
    views: int | None = None,
    to: str | None = None,
    replace: bool = False,
    blind: bool = False,
    single_frame: bool = False,
    shuffle_frames: bool = False,
    own: OwnCode,
) -> None:
    """Evaluate a checkpoint with the evaluators of a named experiment. Writes a folder with scores and their
    confidence intervals, the prediction for each sample, and files for the servers of public benchmarks.

    Controls evaluate the same samples with part of the input withheld, and are shown next to the real score: they
    show what a benchmark can be answered without.

    Args:
        checkpoint: checkpoint folder, run folder or hub id
        experiment: as for `allinone train` (default: the one that made the checkpoint, with its settings)
        set (KEY=VALUE): change settings, as for `allinone train`
        only (NAME): some of the evaluators, for example `test` (default: all)
        frames: frames of a clip (default: as in the experiment)
        views: clips of each video, over which scores are averaged (default: as in the experiment)
        to (DIR): output folder (default: CHECKPOINT/evaluations/EXPERIMENT)
        replace: overwrite the evaluation in that folder

    Controls:
        blind: no frames; for multiple choice, also no question
        single_frame: only the middle frame
        shuffle_frames: the frames in another order
    """
    from allinone.evaluators.results import default_folder
    from allinone.experiment import evaluate, override, with_evaluators
    from allinone.experiments import experiment_of, find, short_name

    own.load()
    made = experiment_of(checkpoint) if experiment is None else find(experiment)
    # The settings may differ from those of its named experiment.
    name = "as_trained" if experiment is None else experiment
    settings = [*set] if frames is None else [*set, f"model.num_frames={frames}"]
    changed = with_evaluators(override(made, settings), only, views)
    flags = {"blind": blind, "single_frame": single_frame, "shuffle_frames": shuffle_frames}
    controls: list[Any] = [name for name, is_on in flags.items() if is_on]
    folder = to or default_folder(checkpoint, short_name(name))
    with progress_bars() as show:
        tables = evaluate(checkpoint, changed, show, controls=controls, name=name, to=folder, overwrite=replace)
    show_tables(tables)
    print(f"evaluation: {folder}")


def compare(first: str, second: str, *, control: str | None = None) -> None:
    """Compare two evaluations sample by sample. Shows the difference of each score (second minus first) over the
    samples that both have, with its 95 % confidence interval: if the interval excludes 0, other videos would show the
    difference too.

    Args:
        first (EVALUATION): folder that `allinone evaluate` wrote
        second (EVALUATION): another one, of the same samples
        control (NAME): compare the predictions under a control, for example blind
    """
    from allinone.apps.compare import compare
    from allinone.evaluators.results import REAL

    show_comparisons(compare(first, second, control or REAL), first, second)
