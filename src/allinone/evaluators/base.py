"""Base of the evaluators: they ask a predictor about a data set, and return scores and predictions."""

import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from allinone.checks import check_literals
from allinone.data.clip_reader import Control, unique_clips
from allinone.data.completeness import Tables
from allinone.data.example import Dataset, Example, HasServer, Task
from allinone.data.loader import DataConfig
from allinone.inference import Predictor
from allinone.intervals import Score
from allinone.metrics import indices_by_kind
from allinone.progress import Progress

log = logging.getLogger(__name__)

Prediction = dict[str, Any]
"""What the model predicts for one example, ready for JSON: the question (`row_of`), `prediction`, `truth`, `correct`.

`truth` and `correct` are None if the answer is secret. Evaluators add their own keys, for example `probabilities`.
"""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The result of an evaluator. Accuracies are in percent; `chance` is the score of guessing.

    Args:
        predictions: in the order of the data set.
        files: name and text of what the data set's public server takes.
        skipped: ids of the videos that could not be read, if that is allowed; then the score `missing` is their
            number, and `missing_records` by how many examples the data set is short of the published number.
    """

    scores: Mapping[str, Score]
    predictions: Sequence[Prediction]
    num_samples: int
    files: Mapping[str, str] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class EvaluatorConfig(ABC):
    """Settings of every evaluator: its data set, and how clips are read.

    `folder` is that of the data set below the experiment's root, in a mixture.
    """

    data: Dataset
    folder: str = ""
    num_views: int = 1
    allow_missing: bool = False

    def __post_init__(self):
        check_literals(self)
        if self.num_views < 1:
            raise ValueError(f"num_views must be at least 1, got {self.num_views}")

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """Return all data sets that it reads."""
        return (self.data,)

    def under_control(self, control: Control) -> dict[str, "EvaluatorConfig"]:
        """Return the columns that a control adds to a table, each with its evaluator; `DataConfig` hides the frames."""
        # Each of several views has its own middle frame, so together they would show several frames.
        return {control: replace(self, num_views=1) if control == "single_frame" else self}

    @abstractmethod
    def build(self) -> "Evaluator":
        """Return the evaluator of this config."""


class Evaluator(ABC):
    """Base of the evaluators; each scores examples of some `tasks`. `config` is its frozen `Config`."""

    tasks: ClassVar[tuple[Task, ...]]

    def __init__(self, config: Any):
        self.config = config

    def evaluate(
        self,
        predictor: Predictor,
        root: str | Path,
        data: DataConfig,
        on_progress: Progress | None = None,
        *,
        skipped: Collection[str] = (),
        tables: Tables | None = None,
    ) -> Evaluation:
        """Read the data set under `root` as `data` says, with the model's number of frames, and score it.

        Args:
            skipped: ids of videos that are not read, so that a control covers the same videos as the real score.
            tables: data sets that are open already; by default each evaluation reads its own.

        Raises:
            ValueError: the data set is incomplete, or videos cannot be read (a `VideoError` that lists all of them),
                unless `allow_missing` is set; or its examples are of another task.
        """
        found = self.examine(predictor, root, data, on_progress, skipped, tables or Tables())
        return replace(found, files=server_files(self.config.data, found))

    def examine(
        self,
        predictor: Predictor,
        root: str | Path,
        data: DataConfig,
        on_progress: Progress | None,
        skipped: Collection[str],
        tables: Tables,
    ) -> Evaluation:
        """Do the work of `evaluate`, without the file for a server."""
        config, predictor = self.config, predictor.using(data)
        self.check(predictor)
        clips = Clips(config, Path(root), tables, skipped, on_progress)
        others = {example.task for example in clips.examples} - set(self.tasks)
        if others:
            count = sum(example.task in others for example in clips.examples)
            raise ValueError(
                f"{count} of {len(clips.examples)} examples of {config.data} are of the task "
                f"{' or '.join(sorted(others))}, but {type(self).__name__} is for {' or '.join(self.tasks)}"
            )
        scores, predictions = self.score(predictor, clips)
        return Evaluation(
            scores=scores | clips.shortfall(),
            predictions=predictions,
            num_samples=len(clips.covered()),
            skipped=clips.skipped(),
        )

    @abstractmethod
    def check(self, predictor: Predictor) -> None:
        """Raise `MissingHead` if the model lacks a head that is needed, before anything is read."""

    @abstractmethod
    def score(self, predictor: Predictor, clips: "Clips") -> tuple[dict[str, Score], list[Prediction]]:
        """Return the scores, and predictions for the examples with readable clips."""


class Clips:
    """The examples of a data set and their distinct clips, each of which is read once.

    `firsts[c]` is the first example that shows clip c. `of_example[e]` are the indices of the clips of example e: one,
    or several if it chooses between clips. After reading, `missing` has the indices of the clips that were skipped.
    """

    def __init__(
        self,
        config: EvaluatorConfig,
        root: Path,
        tables: Tables,
        skipped: Collection[str] = (),
        on_progress: Progress | None = None,
    ):
        self.config = config
        self.root = root
        self.on_progress = on_progress
        checked = tables.open(config.data, root, config.allow_missing)
        self.examples = list(checked.examples)
        self.num_missing_records = checked.num_missing_records
        if not self.examples:
            raise ValueError(f"{root}: {config.data} has no examples to evaluate on")
        # Clips of all examples in one list, made distinct, and dealt back to the examples.
        shown = [example.clips or (example,) for example in self.examples]
        self.firsts, indices = unique_clips(chain.from_iterable(shown))
        following = iter(indices)
        self.of_example = [tuple(next(following) for _ in some) for some in shown]
        self.missing = {c for c, clip in enumerate(self.firsts) if clip.video_id in skipped}

    def read(self, predictor: Predictor) -> Iterator[tuple[list[int], UInt8[Tensor, "G V T C H W"]]]:
        """Yield the indices of the clips in a batch, and their frames."""
        config, to_read = self.config, [c for c in range(len(self.firsts)) if c not in self.missing]
        done: set[int] = set()
        # The predictor counts positions in the list that it gets, without the skipped clips.
        batches = predictor.clips(
            [self.firsts[c] for c in to_read],
            num_views=config.num_views,
            allow_missing=config.allow_missing,
            on_progress=self.on_progress,
        )
        for positions, frames in batches:
            indices = [to_read[position] for position in positions]
            done.update(indices)
            yield indices, frames
        # Those to skip from the start, and those that could not be read now.
        self.missing = set(range(len(self.firsts))) - done
        if not done:
            raise ValueError(f"none of the {len(self.firsts)} videos can be read")

    def ask(
        self,
        predictor: Predictor,
        asked: Sequence[tuple[int, str]],
        function: Callable[[Tensor, list[list[int]], Int[Tensor, "M 2"]], Float[Tensor, "M ..."]],
    ) -> Iterator[tuple[list[int], Float[Tensor, "M ..."]]]:
        """Read all clips, and ask about each pair (clip index, text) in `asked`.

        A pair that occurs twice is computed once, so that equal options get equal scores to the last bit.

        Args:
            function: gets the frames of a batch, token ids, and pairs (index of frames, index of token ids).

        Yields:
            Indices in `asked`, and what `function` returns for them.
        """
        # Which questions are about which clip, and the tokens of each distinct text.
        of_clip: dict[int, list[int]] = defaultdict(list)
        for question, (clip, _) in enumerate(asked):
            of_clip[clip].append(question)
        distinct = list(dict.fromkeys(text for _, text in asked))
        tokens_of = dict(zip(distinct, predictor.tokenize(distinct), strict=True))
        for clips, frames in self.read(predictor):
            # The questions of this batch; many may share a clip, a text or both.
            questions = [question for clip in clips for question in of_clip[clip]]
            # 1. From clip index to row of `frames`.
            row_of_clip = {clip: row for row, clip in enumerate(clips)}
            # 2. From text to row of the texts that this batch needs.
            row_of_text = {text: row for row, text in enumerate(dict.fromkeys(asked[q][1] for q in questions))}
            # 3. From pair to row of the output, each distinct pair once.
            row_of_pair = {pair: row for row, pair in enumerate(dict.fromkeys(asked[q] for q in questions))}
            pairs = torch.tensor([[row_of_clip[clip], row_of_text[text]] for clip, text in row_of_pair])
            outputs = function(frames, [tokens_of[text] for text in row_of_text], pairs)
            # Back to questions, so that repeated pairs get the same row of the output.
            yield questions, outputs[torch.tensor([row_of_pair[asked[q]] for q in questions])]

    def covered(self) -> list[int]:
        """Return the indices of the examples with only readable clips."""
        return [e for e, clips in enumerate(self.of_example) if self.missing.isdisjoint(clips)]

    def skipped(self) -> frozenset[str]:
        """Return the ids of the videos that were skipped."""
        return frozenset(self.firsts[clip].video_id for clip in self.missing)

    def shortfall(self) -> dict[str, Score]:
        """Return how much is missing, as scores, if it is allowed that something is."""
        counts = {"missing": len(self.missing)} if self.config.allow_missing else {}
        if self.num_missing_records:
            counts["missing_records"] = self.num_missing_records
        return {name: Score(float(count)) for name, count in counts.items()}


def row_of(example: Example) -> Prediction:
    """Return the part of a prediction that describes the question: text, options, files, and the span in seconds.

    `options` is only there for a choice. In a choice between clips it has their ids, and `files` all their files.
    """
    row: Prediction = {"id": example.id, "video_id": example.video_id, "kind": example.kind, "text": example.text}
    if example.options or example.clips:
        row["options"] = list(example.options) or [clip.video_id for clip in example.clips]
    files = [str(path) for path in example.files]
    return row | {"files": files, "start_sec": example.start_sec, "end_sec": example.end_sec}


def rounded(probs: Sequence[float]) -> list[float]:
    """Round probabilities to six digits, enough for a file."""
    return [round(prob, 6) for prob in probs]


def by_kind(name: str, kinds: Sequence[str | None], measure: Callable[[Int[Tensor, " M"]], Score]) -> dict[str, Score]:
    """Return a score over all samples, and over those of each kind (`accuracy`, `accuracy/color`)."""
    parts = {f"{name}/{kind}": indices for kind, indices in indices_by_kind(kinds).items()}
    return {part: measure(indices) for part, indices in {name: torch.arange(len(kinds)), **parts}.items()}


def server_files(dataset: Dataset, found: Evaluation) -> dict[str, str]:
    """Return the file for the public server, if there is one and the answers are secret."""
    if not isinstance(dataset, HasServer) or any(row.get("truth") is not None for row in found.predictions):
        return {}
    if found.skipped:
        log.warning("no file for the server of %s: %d videos are missing", dataset, len(found.skipped))
        return {}
    name, text = dataset.submission(found.predictions)
    return {name: text}
