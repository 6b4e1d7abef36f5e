"""What a run is made of: `Experiment`, how a user changes one, and what is done with it: train and evaluate."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jsonargparse
import torch

from allinone.checkpoint import Checkpoint, load_checkpoint
from allinone.checks import did_you_mean
from allinone.data.cache import FrameCache
from allinone.data.clip_reader import Control
from allinone.data.completeness import require_complete
from allinone.data.example import Dataset, Example, HasClasses
from allinone.data.loader import DataConfig, Loader
from allinone.evaluators.base import Evaluation, EvaluatorConfig
from allinone.evaluators.results import refuse_to_replace, write_results
from allinone.files.lock import only_process
from allinone.inference import Predictor, evaluation_transform, load
from allinone.model.config import SIZES, ModelConfig
from allinone.model.encoder import VideoTextEncoder
from allinone.model.model import AllInOne, MissingHead
from allinone.model.start import start_from
from allinone.model.time import Rolling
from allinone.objectives.base import BuildContext, ObjectiveConfig
from allinone.progress import Progress, is_first_process, progress_lines, show_logs
from allinone.text.answers import AnswerVocabulary
from allinone.text.tokenizer import Tokenizer
from allinone.train.loop import TrainConfig, TrainResult, TrainSource, run_training
from allinone.train.optim import Optim
from allinone.train.world import join_world
from allinone.video.transforms import Transform

log = logging.getLogger(__name__)

SET_ELSEWHERE = {
    "data.num_frames": "model.num_frames",
    "data.max_text_len": "model.max_text_len",
    "data.group_size": "train_data.NAME.group_size",
    "model.vocab_size": "tokenizer.size, or tokenizer.vocab",
    "train.accumulate": "data.global_batch",
}
"""Keys that one might expect, whose value follows from another key."""

FOR_TRAINING = (
    "answers.", "data.cache_mb", "data.drop_last", "data.global_batch", "data.length_window", "data.seed",
    "data.transform.augment", "data.transform.flip_prob", "data.transform.random_crop", "data.unique_videos", "init",
    "model.dropout", "objectives.", "optim.", "train.", "train_data.", "tokenizer.",
)  # fmt: skip
"""How the keys begin that an evaluation does not read."""


@dataclass(frozen=True, kw_only=True)
class Data(DataConfig):
    """How examples become batches, and the folder in which the data sets look for their files.

    An incomplete data set is an error before the first step, unless `allow_missing`: then every score tells how much
    is missing.

    An update takes `global_batch` clips, however many processes there are: each adds up the gradients of as many
    batches of `batch_size` as that needs. With None an update takes one batch of each process. Contrast finds its
    negatives among the batches that the processes have at the same time, so fewer processes mean fewer negatives.
    """

    root: str = "."
    allow_missing: bool = False
    global_batch: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.global_batch is not None and self.global_batch < 1:
            raise ValueError(f"global_batch must be at least 1, got {self.global_batch}")

    def accumulate(self, num_processes: int) -> int:
        """How many batches each process adds up for an update."""
        if self.global_batch is None:
            return 1
        num_batches, rest = divmod(self.global_batch, self.batch_size * num_processes)
        if num_batches and not rest:
            return num_batches
        share = self.global_batch // num_processes
        fitting = [size for size in range(1, min(self.batch_size, share) + 1) if share % size == 0]
        raise ValueError(
            f"an update of data.global_batch={self.global_batch} clips cannot be made of batches of {self.batch_size} "
            f"in {num_processes} processes; "
            + (
                f"set data.batch_size={fitting[-1]}"
                if share * num_processes == self.global_batch
                else f"set data.global_batch to a multiple of {num_processes}"
            )
        )


@dataclass(frozen=True, kw_only=True)
class Source:
    """Training data; `sampling_weight` says how often a step takes its batch from there, relative to other sources.

    `group_size` = 2 keeps the pairs of a data set of pairs in one batch. `num_frames` is for sources whose clips are
    shorter than the model's: images have one frame. `folder` is where a data set lies below `data.root`, in a mixture.
    """

    data: Dataset
    sampling_weight: float = 1.0
    batch_size: int | None = None
    group_size: int = 1
    num_frames: int | None = None
    folder: str = ""

    def __post_init__(self):
        if self.sampling_weight <= 0:
            raise ValueError(f"sampling_weight must be positive, got {self.sampling_weight}")
        for name in ("batch_size", "group_size", "num_frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Where tokens come from: BERT's `vocab.txt` (or a hub id), or else a WordPiece of `size` trained on the texts."""

    vocab: str | None = None
    size: int = 8000


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The closed list of answers to open questions: the most frequent ones of the training data, all or `max_size`."""

    max_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One run. `init` is a checkpoint to start from: then the sizes of the model, and the words, are those of that one,
    and of `model` only the number of frames, the dropout, a greater length of texts, and a way of time other than the
    default count.

    `chosen` are the keys that a user has set: where such a one would not count, it is refused.
    """

    model: ModelConfig
    train_data: Mapping[str, Source]
    objectives: Mapping[str, ObjectiveConfig]
    optim: Optim.Config
    evaluators: Mapping[str, EvaluatorConfig] = field(default_factory=dict)
    data: Data = field(default_factory=Data)
    train: TrainConfig = field(default_factory=TrainConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    answers: Answers = field(default_factory=Answers)
    init: str | None = None
    chosen: frozenset[str] = field(default=frozenset(), compare=False)

    def folder(self, owner: "Source | EvaluatorConfig") -> Path:
        """Where the data set of a source or of an evaluator lies."""
        return Path(self.data.root) / owner.folder


def override(experiment: Experiment, settings: Iterable[str]) -> Experiment:
    """Apply `key.key=value` settings, all at once.

    ValueError names an unknown key with those there are, or a value of the wrong type with the type wanted.
    """
    tree: dict[str, Any] = {}
    chosen = set(experiment.chosen)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"wanted key=value, such as optim.lr=3e-5; got {setting!r}")
        chosen.add(key)
        if key == "model" and value in SIZES:
            experiment = replace(experiment, model=SIZES[value])
            continue
        *path, last = key.split(".")
        branch = tree
        for name in path:
            branch = branch.setdefault(name, {})
            if not isinstance(branch, dict):
                raise ValueError(f"{key}: nothing to set inside a value")
        branch[last] = value
    return replace(changed(experiment, tree, "", list(settable(experiment))), chosen=frozenset(chosen))


def settable(owner: Any, place: str = "") -> Iterator[str]:
    """Every key that `override` can set."""
    for name, value in parts(owner).items():
        key = f"{place}.{name}" if place else name
        if isinstance(value, Mapping) or dataclasses.is_dataclass(value):
            yield from settable(value, key)
        elif key not in SET_ELSEWHERE:
            yield key


def changed(owner: Any, tree: Mapping[str, Any], place: str, known: Sequence[str]) -> Any:
    """A copy of a config, or of a dictionary of configs, with the values of the tree in it.

    `known` are the keys of the whole experiment, for whoever gives a wrong one.
    """
    if not isinstance(owner, Mapping) and not dataclasses.is_dataclass(owner):
        raise ValueError(f"{place}: nothing to set inside {type(owner).__name__} {owner!r}")
    there = parts(owner)
    new = dict(there)
    for name, value in tree.items():
        key = f"{place}.{name}" if place else name
        if key in SET_ELSEWHERE:
            raise ValueError(f"{key} is not set by itself; set {SET_ELSEWHERE[key]}")
        if name not in there:
            same_name = [one for one in known if one.rpartition(".")[2] == name]
            hint = f"did you mean {' or '.join(same_name[:3])}? " if same_name else did_you_mean(name, there)
            raise ValueError(f"{key}: no such key as {name!r}; {hint}there are: {', '.join(there) or 'none'}")
        if isinstance(value, dict):
            new[name] = changed(there[name], value, key, known)
        elif isinstance(there[name], Mapping) or dataclasses.is_dataclass(there[name]):
            sizes = f"{did_you_mean(value, SIZES)}sizes are {', '.join(SIZES)}; or " if key == "model" else ""
            keys = ", ".join(f"{key}.{inside}" for inside in parts(there[name]))
            raise ValueError(f"{key} is no single value; {sizes}set one of: {keys}")
        else:
            new[name] = parsed(key, get_type_hints(type(owner))[name], value)
    try:
        return new if isinstance(owner, Mapping) else type(owner)(**new)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def parts(owner: Any) -> dict[str, Any]:
    """What is inside a config, or a dictionary of configs, by name."""
    if isinstance(owner, Mapping):
        return dict(owner)
    return {f.name: getattr(owner, f.name) for f in dataclasses.fields(owner) if f.compare}


def parsed(key: str, kind: Any, value: str) -> Any:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    try:
        return parser.parse_args([f"--value={value}"]).value
    except jsonargparse.ArgumentError as error:
        wanted = str(kind).replace("typing.", "") if not isinstance(kind, type) else kind.__name__
        raise ValueError(f"{key}: wanted {wanted}, got {value!r}") from error


def describe(value: Any) -> Any:
    """A config as JSON; what is not fixed by its place carries the name of its class."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {name: describe(part) for name, part in parts(value).items()}
        kind = type(value)
        return fields if kind.__module__ == __name__ else {"class": f"{kind.__module__}.{kind.__qualname__}"} | fields
    if isinstance(value, Mapping):
        return {k: describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    return str(value) if isinstance(value, Path) else value


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
    """Train in this process, or in all that torchrun started; see `run_training` for what is written and raised.

    Stages that follow each other in one process may share a `cache` of decoded videos. What a run logs, its steps and
    evaluations for example, is shown on stderr (`show_logs`); `quiet` leaves logging as it is.
    """
    if not quiet and is_first_process():
        show_logs()
    if not experiment.train_data:
        raise ValueError("this experiment has nothing to train on; it is for `allinone evaluate CHECKPOINT`")
    examples = {
        name: list(allowing(source.data, experiment.data.allow_missing).examples(experiment.folder(source)))
        for name, source in experiment.train_data.items()
    }
    for name, source in experiment.train_data.items():
        require_complete(source.data, examples[name], experiment.folder(source), experiment.data.allow_missing)
    require_evaluated(experiment)
    start = load_checkpoint(experiment.init, experiment.model.num_frames) if experiment.init else None
    if start is not None:
        experiment = adopt(experiment, start)
    tokenizer = make_tokenizer(experiment, examples, start)
    model = replace(experiment.model, vocab_size=tokenizer.vocab_size)
    if model.image_size != experiment.data.transform.crop:
        raise ValueError(
            f"the model takes squares of {model.image_size} pixels, but data.transform.crop is "
            f"{experiment.data.transform.crop}"
        )
    experiment = replace(experiment, model=model)
    answers = known_answers(examples.values(), experiment.answers.max_size)
    classes = known_classes(experiment, examples)
    torch.manual_seed(experiment.train.seed)
    encoder = VideoTextEncoder(model)
    ingredients = BuildContext(model, tokenizer, answers, classes)
    objectives = {name: config.build(ingredients) for name, config in experiment.objectives.items()}
    if start is not None:
        heads = [head for objective in objectives.values() for head in objective.heads()]
        start_from(AllInOne(encoder, heads), start.model, tokenizer, start.tokenizer)
    with join_world(experiment.train.device) as world:
        accumulate = num_batches(experiment, world.size)
        return run_training(
            encoder=encoder,
            objectives=objectives,
            weights={name: config.weight for name, config in experiment.objectives.items()},
            sources=make_sources(experiment, examples, tokenizer, answers, classes, cache, world.rank, world.size),
            optim=experiment.optim,
            config=experiment.train,
            run_dir=run_dir,
            describe=describe(experiment),
            tokenizer=tokenizer,
            evaluate=lambda model, step: run_evaluators(
                Predictor(model, tokenizer, data=experiment.data), experiment, on_progress
            ),
            accumulate=accumulate,
            resume=resume,
            on_step=on_step,
        )


def num_batches(experiment: Experiment, num_processes: int) -> int:
    """How many batches each process adds up for an update; logs how many clips that are."""
    data, sizes = experiment.data, batch_sizes(experiment)
    own = ", ".join(f"train_data.{name}.batch_size={size}" for name, size in sizes.items())
    if "data.batch_size" in experiment.chosen and data.batch_size not in sizes.values():
        log.warning("data.batch_size=%d is for evaluation here; in training: %s", data.batch_size, own)
    size = next(iter(sizes.values()))
    if len(set(sizes.values())) == 1:
        accumulate = replace(data, batch_size=size).accumulate(num_processes)
        total = accumulate * size * num_processes
        batches = f": {accumulate} x {size} clips in each of {num_processes} processes" if total > size else ""
        log.info("an update takes %d clips%s", total, batches)
        return accumulate
    if data.global_batch is not None:
        raise ValueError(f"data.global_batch wants batches of one size, got {own}; set these alike")
    log.info("an update takes a batch of one source in each of %d processes: %s", num_processes, own)
    return 1


def batch_sizes(experiment: Experiment) -> dict[str, int]:
    """Clips in a batch of each source."""
    sources = experiment.train_data.items()
    return {name: source.batch_size or experiment.data.batch_size for name, source in sources}


def adopt(experiment: Experiment, start: Checkpoint) -> Experiment:
    """The experiment with the sizes of the checkpoint that it starts from; logs what does not count because of it."""
    model, own = start.model.config, experiment.model
    transform = experiment.data.transform
    if transform.crop != model.image_size:
        sizes = evaluation_transform(model.image_size)
        transform = replace(transform, resize=sizes.resize, crop=sizes.crop)
    # The default way of time gives way to the checkpoint's, so that fine-tuning goes on with what was pre-trained.
    has_own_time = own.time != Rolling.Config() or any(key.startswith("model.time.") for key in experiment.chosen)
    model = replace(
        model,
        num_frames=own.num_frames,
        dropout=own.dropout,
        max_text_len=max(model.max_text_len, own.max_text_len),
        time=own.time if has_own_time else model.time,
    )
    replaced = require_unchosen(experiment, model, transform, experiment.init)
    if replaced:
        log.info("as in %s, where this run starts: %s", experiment.init, ", ".join(replaced))
    return replace(experiment, model=model, data=replace(experiment.data, transform=transform))


def require_unchosen(
    experiment: Experiment, model: ModelConfig, transform: Transform.Config, source: str | Path | None
) -> list[str]:
    """What of the experiment a checkpoint replaces, in words. ValueError where a user has set it otherwise."""
    replaced = {
        f"{place}.{name}": (value, getattr(before, name))
        for place, before, now in (
            ("model", experiment.model, model),
            ("data.transform", experiment.data.transform, transform),
        )
        for name, value in vars(now).items()
        if value != getattr(before, name) and name != "vocab_size"
    }
    sizes = {"model.width", "model.depth", "model.num_heads"} if "model" in experiment.chosen else set()
    refused = [f"{key}={replaced[key][1]}" for key in replaced if key in experiment.chosen | sizes]
    if refused:
        there = ", ".join(f"{key}={now}" for key, (now, _) in replaced.items() if key in experiment.chosen | sizes)
        raise ValueError(f"{', '.join(refused)} cannot be set here, since {source} decides it: there, {there}")
    return [f"{key} {now!r} (not {before!r})" for key, (now, before) in replaced.items()]


def make_tokenizer(
    experiment: Experiment, examples: Mapping[str, list[Example]], start: Checkpoint | None
) -> Tokenizer:
    own = None if experiment.tokenizer.vocab is None else Tokenizer.from_vocab(experiment.tokenizer.vocab)
    from_elsewhere = experiment.init if start is not None else experiment.tokenizer.vocab
    if "tokenizer.size" in experiment.chosen and from_elsewhere is not None:
        size = experiment.tokenizer.size
        log.warning("tokenizer.size=%d is without effect: the words are those of %s", size, from_elsewhere)
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
    texts = (text for some in examples.values() for e in some for text in (*e.texts, e.label or ""))
    return Tokenizer.train(texts, experiment.tokenizer.size)


def known_answers(examples: Iterable[list[Example]], max_size: int | None) -> AnswerVocabulary | None:
    answers = [e.answer for some in examples for e in some if e.answer is not None]
    return AnswerVocabulary.build(answers, max_size) if answers else None


def known_classes(experiment: Experiment, examples: Mapping[str, list[Example]]) -> tuple[str, ...]:
    """The classes of the training data: all that a data set lists, or else those that its clips show."""
    classes: dict[str, None] = {}
    for name, source in experiment.train_data.items():
        shown = {e.label for e in examples[name] if e.label is not None}
        data = allowing(source.data, experiment.data.allow_missing)
        listed = data.classes(experiment.folder(source)) if isinstance(data, HasClasses) else ()
        classes |= dict.fromkeys([*listed, *sorted(shown)])
    return tuple(classes)


def make_sources(
    experiment: Experiment,
    examples: Mapping[str, list[Example]],
    tokenizer: Tokenizer,
    answers: AnswerVocabulary | None,
    classes: tuple[str, ...],
    cache: FrameCache | None,
    rank: int,
    world_size: int,
) -> dict[str, TrainSource]:
    """A loader for each source; they share one cache of decoded videos, which is made here if none is given."""
    data = experiment.data
    if cache is None and data.cache_mb:
        videos = (path for some in examples.values() for e in some for path in e.files)
        cache = FrameCache(videos, data.cache_mb, data.transform.resize)
    sources, sizes = {}, batch_sizes(experiment)
    for name, source in experiment.train_data.items():
        loader = Loader(
            examples[name], tokenizer, replace(data, batch_size=sizes[name]), training=True,
            num_frames=source.num_frames or experiment.model.num_frames, max_text_len=experiment.model.max_text_len,
            group_size=source.group_size, answers=answers, classes=classes, rank=rank, world_size=world_size,
            cache=cache,
        )  # fmt: skip
        sources[name] = TrainSource(loader, source.sampling_weight)
    return sources


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
    """Evaluate a checkpoint with the experiment's evaluators and its number of frames, cut as in training.

    Returns, for each evaluator, the real evaluation (`score`) and the same samples under each control. With `to`, all
    of it is written to that folder (`results.py`), and `name` says there which experiment it was; an evaluation that
    the folder already holds is an error unless `overwrite` is set. Without `on_progress`, progress is logged, and shown
    as that of `train`.
    """
    if not quiet and is_first_process():
        show_logs()
        on_progress = on_progress or progress_lines(log.info)
    if not experiment.evaluators:
        raise ValueError("this experiment has no evaluators")
    for control in controls:
        replace(experiment.data, control=control)  # a misspelt one is an error now, and not after the real score
    with nullcontext() if to is None else only_process(to):
        if to is not None:
            refuse_to_replace(to, overwrite)
        require_evaluated(experiment)
        if unused := sorted(key for key in experiment.chosen if key.startswith(FOR_TRAINING)):
            log.warning("without effect on an evaluation, since they are for training: %s", ", ".join(unused))
        predictor = load_as_wanted(checkpoint, experiment)
        for evaluator, config in experiment.evaluators.items():
            check_heads(predictor, evaluator, config)
        transform = predictor.data.transform
        if "data.transform.resize" in experiment.chosen:
            transform = replace(transform, resize=experiment.data.transform.resize)
        experiment = replace(experiment, data=replace(experiment.data, transform=transform))
        tables = {
            evaluator: run_evaluator(predictor, experiment, config, controls, on_progress)
            for evaluator, config in experiment.evaluators.items()
        }
        if to is not None:
            facts = {"checkpoint": predictor.name, "experiment": name, **circumstances(predictor, experiment)}
            write_results(to, facts, tables, overwrite)
    return tables


def load_as_wanted(checkpoint: str | Path, experiment: Experiment) -> Predictor:
    """A predictor of the experiment's number of frames; logs where that is another one than in training.

    ValueError where a user has set what the checkpoint decides.
    """
    predictor, num_frames = load(checkpoint), experiment.model.num_frames
    config = replace(predictor.model.config, num_frames=num_frames, dropout=experiment.model.dropout)
    transform = replace(experiment.data.transform, crop=config.image_size)
    require_unchosen(experiment, config, transform, checkpoint)
    if predictor.num_frames == num_frames:
        return predictor
    log.info(
        "clips of %d frames, as this experiment says; %s was trained on %d (to evaluate it so: model.num_frames=%d)",
        num_frames, checkpoint, predictor.num_frames, predictor.num_frames,
    )  # fmt: skip
    return load(checkpoint, num_frames=num_frames)


def check_heads(predictor: Predictor, name: str, config: EvaluatorConfig) -> None:
    """MissingHead where the checkpoint lacks the head that an evaluator needs, with the modes that it has heads for."""
    try:
        config.build().check(predictor)
    except MissingHead as error:
        others = []
        for mode in get_args(get_type_hints(type(config)).get("mode")):
            with suppress(MissingHead):
                replace(config, **{"mode": mode}).build().check(predictor)
                others.append(f"--set evaluators.{name}.mode={mode}")
        way = f"; without training: {' or '.join(others)}" if others else ""
        raise MissingHead(f"evaluator {name}: {error}{way}") from error


def circumstances(predictor: Predictor, experiment: Experiment) -> dict[str, Any]:
    """What else is to be known of an evaluation."""
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


def run_evaluators(predictor: Predictor, experiment: Experiment, on_progress: Progress | None) -> dict[str, float]:
    """Every evaluator's numbers, under its name."""
    tables = {
        name: run_evaluator(predictor, experiment, config, (), on_progress)
        for name, config in experiment.evaluators.items()
    }
    return numbers(tables)


def numbers(tables: Mapping[str, Mapping[str, Evaluation]]) -> dict[str, float]:
    """The real scores without their intervals: `evaluator/metric`."""
    return {
        f"{name}/{metric}": score.value
        for name, columns in tables.items()
        for metric, score in columns["score"].scores.items()
    }


def run_evaluator(
    predictor: Predictor,
    experiment: Experiment,
    config: EvaluatorConfig,
    controls: Sequence[Control],
    on_progress: Progress | None,
) -> dict[str, Evaluation]:
    """The real evaluation and its controls, on the same samples."""
    data, root = experiment.data, experiment.folder(config)
    if config.allow_missing or data.allow_missing:
        allowed = {name: allowing(value, True) for name, value in parts(config).items() if isinstance(value, Dataset)}
        config = replace(config, **{"allow_missing": True, **allowed})
    columns = {"score": config.build().evaluate(predictor, root, data, on_progress)}
    left_out = columns["score"].left_out
    for control in controls:
        for column, variant in config.under_control(control).items():
            withheld = replace(data, control=control)
            columns[column] = variant.build().evaluate(predictor, root, withheld, on_progress, left_out=left_out)
            if columns[column].left_out != left_out:
                log.warning("%s: covers other videos than the real score does", column)
    return columns


def require_evaluated(experiment: Experiment) -> None:
    """ValueError where a data set that will be evaluated on is incomplete."""
    for config in experiment.evaluators.values():
        for dataset in config.datasets:
            root = experiment.folder(config)
            allowed = config.allow_missing or experiment.data.allow_missing
            require_complete(dataset, list(allowing(dataset, allowed).examples(root)), root, allowed)


def allowing(dataset: Dataset, allowed: bool) -> Dataset:
    """The data set, whose reader lets files be missing if that is allowed; most readers do so anyway."""
    reader: Any = dataset
    return replace(reader, allow_missing=True) if allowed and hasattr(reader, "allow_missing") else dataset


def with_evaluators(experiment: Experiment, names: Sequence[str]) -> Experiment:
    """The experiment with some of its evaluators."""
    unknown = [name for name in names if name not in experiment.evaluators]
    if unknown:
        there = ", ".join(experiment.evaluators) or "none"
        hint = did_you_mean(unknown[0], experiment.evaluators)
        raise ValueError(f"no evaluator {', '.join(unknown)}; {hint}there are: {there}")
    return replace(experiment, evaluators={name: experiment.evaluators[name] for name in names})


def with_views(experiment: Experiment, num_views: int) -> Experiment:
    """The experiment with evaluations that look at so many views of each video."""
    evaluators = {name: replace(config, num_views=num_views) for name, config in experiment.evaluators.items()}
    return replace(experiment, evaluators=evaluators)
