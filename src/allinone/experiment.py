"""A run: `Experiment` holds all of its settings, `train` trains it, and `evaluate` evaluates a checkpoint."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch

from allinone.checkpoint import Checkpoint, load_checkpoint
from allinone.checks import did_you_mean
from allinone.data.cache import FrameCache
from allinone.data.clip_reader import Control
from allinone.data.completeness import Tables
from allinone.data.sources import Data, Source, TrainingData, num_accumulated
from allinone.evaluators.base import Evaluation, EvaluatorConfig
from allinone.evaluators.controls import check_data, check_heads, metric_values, run_evaluator
from allinone.evaluators.results import refuse_to_replace, write_results
from allinone.files.lock import only_process
from allinone.inference import Predictor, load
from allinone.model.config import SIZES, ModelConfig
from allinone.model.encoder import VideoTextEncoder
from allinone.model.start import start_from
from allinone.model.time import TIMES, Rolling
from allinone.objectives.base import BuildContext, ObjectiveConfig
from allinone.own_code import code_hashes
from allinone.progress import Progress, is_first_process, progress_lines, show_logs
from allinone.settings import changed, describe, parse_settings, settable
from allinone.text.tokenizer import Tokenizer
from allinone.train.config import TrainConfig
from allinone.train.optim import Optim
from allinone.train.run import Prepared, TrainResult, run_training
from allinone.train.step import TrainingModel, TrainSource
from allinone.train.world import World, join_world
from allinone.video.transforms import Transform, evaluation_transform

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Where tokens come from: BERT's `vocab.txt` (or a hub id), or else a WordPiece of `size` trained on the texts."""

    vocab: str | None = None
    size: int = 8000


@dataclass(frozen=True, kw_only=True)
class AnswerVocabConfig:
    """The closed vocabulary of open questions: the `max_size` most frequent answers of the training data, or all."""

    max_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One run.

    `init` is a checkpoint to start from. Then the tokenizer and the sizes of the model are those of the checkpoint;
    only `num_frames`, `dropout`, a larger `max_text_len` and a `time` other than the default of `model` are used.

    `chosen` are the keys that a user has set: where such a setting would be without effect, it is an error.
    """

    model: ModelConfig
    train_data: Mapping[str, Source]
    objectives: Mapping[str, ObjectiveConfig]
    optim: Optim.Config
    evaluators: Mapping[str, EvaluatorConfig] = field(default_factory=dict)
    data: Data = field(default_factory=Data)
    train: TrainConfig = field(default_factory=TrainConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    answers: AnswerVocabConfig = field(default_factory=AnswerVocabConfig)
    init: str | None = None
    chosen: frozenset[str] = field(default=frozenset(), compare=False)

    DERIVED: ClassVar[Mapping[str, str]] = {
        "data.num_frames": "model.num_frames",
        "data.max_text_len": "model.max_text_len",
        "data.group_size": "train_data.NAME.group_size",
        "data.transform.crop": "model.image_size",
        "model.vocab_size": "tokenizer.size, or tokenizer.vocab",
        "train.accumulate": "data.global_batch",
    }
    """Keys that one might expect, and the key that their value follows from."""

    FOR_TRAINING: ClassVar[tuple[str, ...]] = (
        "answers.", "data.cache_mb", "data.drop_last", "data.global_batch", "data.length_window", "data.seed",
        "data.transform.augment", "data.transform.flip_prob", "data.transform.random_crop", "data.unique_videos",
        "init", "model.dropout", "objectives.", "optim.", "tokenizer.", "train.", "train_data.",
    )  # fmt: skip
    """Beginnings of the keys that an evaluation does not read."""


def override(experiment: Experiment, settings: Iterable[str]) -> Experiment:
    """Apply `key.key=value` settings, all at once. `model=tiny` and `model.time=none` name a size and a way of time.

    Raises:
        ValueError: an unknown key, with those there are; or a value of the wrong type, with the right type.
    """
    # The name of a size or of a way of time replaces a whole branch, so it comes before settings inside the branch,
    # in whatever order they are given.
    settings = list(settings)
    names = dict(s.split("=", 1) for s in settings if s.startswith(("model=", "model.time=")))
    tree, keys = parse_settings(s for s in settings if s.partition("=")[0] not in names)
    if (size := names.get("model")) is not None:
        if size not in SIZES:
            inside = ", ".join(f"model.{name}" for name in vars(experiment.model))
            hint = did_you_mean(size, SIZES)
            raise ValueError(f"model is no single value; {hint}sizes are {', '.join(SIZES)}; or set one of: {inside}")
        experiment = replace(experiment, model=SIZES[size])
    if (kind := names.get("model.time")) is not None:
        if kind not in TIMES:
            raise ValueError(
                f"model.time: {did_you_mean(kind, TIMES)}ways of time are {', '.join(TIMES)}; got {kind!r}"
            )
        experiment = replace(experiment, model=experiment.model.replace(time=TIMES[kind].Config()))
    known = list(settable(experiment, Experiment.DERIVED))
    if "model" in tree:
        experiment = changed(experiment, {"model": tree.pop("model")}, Experiment.DERIVED, known)
    new = changed(fit_crop(experiment), tree, Experiment.DERIVED, known)
    return replace(new, chosen=experiment.chosen.union(keys, names))


def fit_crop(experiment: Experiment) -> Experiment:
    """Return the experiment with frames cropped to the model's size, and resized in proportion."""
    size, transform = experiment.model.image_size, experiment.data.transform
    if transform.crop == size:
        return experiment
    transform = replace(transform, crop=size, resize=round(size * transform.resize / transform.crop))
    return replace(experiment, data=replace(experiment.data, transform=transform))


def describe_experiment(experiment: Experiment) -> dict[str, Any]:
    """Return the experiment as JSON, as checkpoints keep it; `code` has the SHA-256 of the user's files it uses."""
    description = describe(experiment, Experiment)
    hashes = code_hashes(description)
    return description | ({"code": hashes} if hashes else {})


# Training


def train(
    experiment: Experiment,
    run_dir: str | Path,
    *,
    resume: bool = False,
    on_step: Callable[[dict[str, Any]], None] | None = None,
    on_progress: Progress | None = None,
    cache: FrameCache | None = None,
    quiet: bool = False,
) -> TrainResult:
    """Train in this process, or in all that torchrun started; see `run_training` for its files and errors.

    Args:
        cache: decoded videos, which stages that follow each other in one process may share.
        quiet: leave logging as it is; by default steps and evaluations are shown on stderr (`show_logs`).
    """
    if not quiet and is_first_process():
        show_logs()
    with join_world(experiment.train.device) as world:
        return run_training(prepare(experiment, world, on_progress, cache), run_dir, resume=resume, on_step=on_step)


def prepare(
    experiment: Experiment, world: World, on_progress: Progress | None = None, cache: FrameCache | None = None
) -> Prepared:
    """Read the data, then build the model and all else that a run needs.

    Raises:
        ValueError: if data is missing, or settings contradict each other.
    """
    if not experiment.train_data:
        raise ValueError("this experiment has nothing to train on; it is for `allinone evaluate CHECKPOINT`")
    # 1. Read and check all data sets, those of evaluators too, before anything is built.
    tables = Tables()
    training_data = TrainingData(experiment.train_data, experiment.data, tables)
    for config in experiment.evaluators.values():
        check_data(config, experiment.data, tables)
    # 2. A checkpoint to start from decides sizes and vocabulary.
    start = load_checkpoint(experiment.init, experiment.model.num_frames) if experiment.init else None
    if start is not None:
        experiment = adopt(experiment, start)
    tokenizer = make_tokenizer(experiment, training_data, start)
    model = replace(experiment.model, vocab_size=tokenizer.vocab_size)
    if model.image_size != experiment.data.transform.crop:
        raise ValueError(
            f"the model takes squares of {model.image_size} pixels, but data.transform.crop is "
            f"{experiment.data.transform.crop}"
        )
    experiment = replace(experiment, model=model)
    answers, classes = training_data.answers(experiment.answers.max_size), training_data.classes()
    # 3. Build the model. From here on the order decides the random start of every parameter.
    torch.manual_seed(experiment.train.seed)
    encoder = VideoTextEncoder(model)
    context = BuildContext(model, tokenizer, answers, classes)
    objectives = {name: config.build(context) for name, config in experiment.objectives.items()}
    weights = {name: config.weight for name, config in experiment.objectives.items()}
    training_model = TrainingModel(encoder, objectives, weights)
    if start is not None:
        start_from(training_model.model, start.model, tokenizer, start.tokenizer)
    loaders = training_data.loaders(
        experiment.data, tokenizer, num_frames=model.num_frames, max_text_len=model.max_text_len, answers=answers,
        classes=classes, rank=world.rank, world_size=world.size, cache=cache,
    )  # fmt: skip

    def evaluate_step(model: Any, step: int) -> dict[str, float]:
        predictor = Predictor(model, tokenizer, data=experiment.data)
        return metric_values(run_evaluators(predictor, experiment, (), on_progress, tables))

    return Prepared(
        training_model=training_model,
        sources={name: TrainSource(loaders[name], s.sampling_weight) for name, s in experiment.train_data.items()},
        optim=experiment.optim,
        config=experiment.train,
        describe=describe_experiment(experiment),
        tokenizer=tokenizer,
        evaluate=evaluate_step,
        accumulate=num_accumulated(
            experiment.train_data, experiment.data, world.size, "data.batch_size" in experiment.chosen
        ),
    )


def adopt(experiment: Experiment, start: Checkpoint) -> Experiment:
    """Return the experiment with the sizes of the checkpoint that it starts from; log those that change."""
    model, own = start.model.config, experiment.model
    transform = experiment.data.transform
    if transform.crop != model.image_size:
        sizes = evaluation_transform(model.image_size)
        transform = replace(transform, resize=sizes.resize, crop=sizes.crop)
    # The default way of time gives way to the checkpoint's, so that fine-tuning keeps the one of pre-training.
    has_own_time = own.time != Rolling.Config() or any(key.startswith("model.time") for key in experiment.chosen)
    model = replace(
        model, num_frames=own.num_frames, dropout=own.dropout, time=own.time if has_own_time else model.time,
        max_text_len=max(model.max_text_len, own.max_text_len),
    )  # fmt: skip
    replaced = refuse_chosen(experiment, model, transform, experiment.init)
    if replaced:
        log.info("as in %s, where this run starts: %s", experiment.init, ", ".join(replaced))
    return replace(experiment, model=model, data=replace(experiment.data, transform=transform))


def refuse_chosen(
    experiment: Experiment, model: ModelConfig, transform: Transform.Config, source: str | Path | None
) -> list[str]:
    """Return what of the experiment a checkpoint replaces, in words.

    Raises:
        ValueError: if a user has set one of these values otherwise.
    """
    # `vocab_size` is left to `make_tokenizer`, which compares the vocabularies themselves.
    replaced = {
        f"{prefix}.{name}": (value, getattr(before, name))
        for prefix, before, now in (
            ("model", experiment.model, model),
            ("data.transform", experiment.data.transform, transform),
        )
        for name, value in vars(now).items()
        if value != getattr(before, name) and name != "vocab_size"
    }
    # A size by name (`model=tiny`) is a choice of these fields.
    sizes = {"model.width", "model.depth", "model.num_heads"} if "model" in experiment.chosen else set()
    refused = {key: replaced[key] for key in replaced if key in experiment.chosen | sizes}
    if refused:
        settings = ", ".join(f"{key}={own}" for key, (_, own) in refused.items())
        there = ", ".join(f"{key}={now}" for key, (now, _) in refused.items())
        raise ValueError(f"{settings} cannot be set here, since {source} decides it: there, {there}")
    return [f"{key} {now!r} (not {own!r})" for key, (now, own) in replaced.items()]


def make_tokenizer(experiment: Experiment, training_data: TrainingData, start: Checkpoint | None) -> Tokenizer:
    """Return the tokenizer of `init`, or that of `tokenizer.vocab`, or else one trained on the texts."""
    config = experiment.tokenizer
    own = None if config.vocab is None else Tokenizer.from_vocab(config.vocab)
    from_elsewhere = experiment.init if start is not None else config.vocab
    if "tokenizer.size" in experiment.chosen and from_elsewhere is not None:
        log.warning("tokenizer.size=%d has no effect: the vocabulary is that of %s", config.size, from_elsewhere)
    # The word embeddings of `init` belong to its vocabulary.
    if start is not None and start.tokenizer is not None:
        if own is not None and own.tokens != start.tokenizer.tokens:
            raise ValueError(f"{experiment.init} was trained with another vocabulary; leave out tokenizer.vocab")
        return start.tokenizer
    if own is not None:
        return own
    if start is not None:
        raise ValueError(
            f"{experiment.init} has no vocabulary; name the one it was trained with: tokenizer.vocab=vocab.txt"
        )
    return Tokenizer.train(training_data.texts(), config.size)


# Evaluation


def evaluate(
    checkpoint: str | Path,
    experiment: Experiment,
    on_progress: Progress | None = None,
    *,
    controls: Sequence[Control] = (),
    name: str = "",
    to: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> dict[str, dict[str, Evaluation]]:
    """Evaluate a checkpoint with the experiment's evaluators and number of frames, cropped as in training.

    Returns, for each evaluator, the real evaluation (`score`) and the same samples under each control.

    Args:
        on_progress: by default progress is logged, and shown as that of `train`.
        name: of the experiment, written to the folder.
        to: a folder to write everything to (`evaluators/results.py`).
        overwrite: replace an evaluation that the folder holds, which is an error otherwise.
    """
    if not quiet and is_first_process():
        show_logs()
        on_progress = on_progress or progress_lines(log.info)
    if not experiment.evaluators:
        raise ValueError("this experiment has no evaluators")
    for control in controls:
        replace(experiment.data, control=control)  # an unknown one is an error now, and not after the real score
    with nullcontext() if to is None else only_process(to):
        # Before the evaluation, which may take hours; `write_results` looks again.
        if to is not None:
            refuse_to_replace(to, overwrite)
        tables = Tables()
        for config in experiment.evaluators.values():
            check_data(config, experiment.data, tables)
        if unused := sorted(key for key in experiment.chosen if key.startswith(Experiment.FOR_TRAINING)):
            log.warning("without effect on an evaluation, since they are for training: %s", ", ".join(unused))
        predictor = load_for(checkpoint, experiment)
        for evaluator, config in experiment.evaluators.items():
            check_heads(predictor, evaluator, config)
        # Frames are resized as in training, unless the user has set it.
        transform = predictor.data.transform
        if "data.transform.resize" in experiment.chosen:
            transform = replace(transform, resize=experiment.data.transform.resize)
        experiment = replace(experiment, data=replace(experiment.data, transform=transform))
        evaluations = run_evaluators(predictor, experiment, controls, on_progress, tables)
        if to is not None:
            facts = {"checkpoint": predictor.name, "experiment": name, **circumstances(predictor, experiment)}
            write_results(to, facts, evaluations, overwrite)
    return evaluations


def run_evaluators(
    predictor: Predictor,
    experiment: Experiment,
    controls: Sequence[Control],
    on_progress: Progress | None,
    tables: Tables | None = None,
) -> dict[str, dict[str, Evaluation]]:
    """Return the columns of each evaluator, by name. Data sets that are not among the open `tables` are read here."""
    tables = tables or Tables()
    return {
        name: run_evaluator(predictor, config, experiment.data, controls, on_progress, tables)
        for name, config in experiment.evaluators.items()
    }


def load_for(checkpoint: str | Path, experiment: Experiment) -> Predictor:
    """Return a predictor with the experiment's number of frames; log where training had another one.

    Raises:
        ValueError: if a user has set what the checkpoint decides.
    """
    predictor, num_frames = load(checkpoint), experiment.model.num_frames
    # These two may differ from the checkpoint: frames by `with_frames`, and dropout has no effect here.
    config = replace(predictor.model.config, num_frames=num_frames, dropout=experiment.model.dropout)
    transform = replace(experiment.data.transform, crop=config.image_size)
    refuse_chosen(experiment, config, transform, checkpoint)
    if predictor.num_frames == num_frames:
        return predictor
    log.info(
        "clips of %d frames, as this experiment says; %s was trained on %d (to evaluate it so: model.num_frames=%d)",
        num_frames, checkpoint, predictor.num_frames, predictor.num_frames,
    )  # fmt: skip
    return load(checkpoint, num_frames=num_frames)


def circumstances(predictor: Predictor, experiment: Experiment) -> dict[str, Any]:
    """Return what else a reader of the scores should know."""
    return {
        "allinone": version("allinone"),
        "num_frames": predictor.num_frames,
        "max_text_len": predictor.max_text_len,
        "resize": experiment.data.transform.resize,
        "control": experiment.data.control,
        "allow_missing": experiment.data.allow_missing,
        "num_views": {evaluator: config.num_views for evaluator, config in experiment.evaluators.items()},
        "settings": describe(experiment.evaluators),
    }


def with_evaluators(experiment: Experiment, names: Sequence[str] = (), num_views: int | None = None) -> Experiment:
    """Return the experiment with only the evaluators of these names, if any, and on `num_views` clips of each video."""
    all_evaluators = experiment.evaluators
    if unknown := [name for name in names if name not in all_evaluators]:
        hint, listed = did_you_mean(unknown[0], all_evaluators), ", ".join(all_evaluators) or "none"
        raise ValueError(f"no evaluator {', '.join(unknown)}; {hint}there are: {listed}")
    evaluators = {name: config for name, config in all_evaluators.items() if not names or name in names}
    if num_views is not None:
        evaluators = {name: replace(config, num_views=num_views) for name, config in evaluators.items()}
    return replace(experiment, evaluators=evaluators)
