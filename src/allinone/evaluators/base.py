"""What an evaluator is: it asks a predictor about a data set, and returns scores and what was said of each example."""

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
from allinone.data.completeness import require_complete
from allinone.data.example import Dataset, Example, HasServer, Task
from allinone.data.loader import DataConfig
from allinone.inference import Predictor
from allinone.metrics import Score, rows_by_kind
from allinone.progress import Progress

log = logging.getLogger(__name__)

Prediction = dict[str, Any]
"""What the model predicts for one example, ready for JSON: what was asked (`row_of`), `prediction`, `truth`, `correct`.

`truth` and `correct` are None where the answer is kept secret. Evaluators add their own keys, such as `probabilities`.
"""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an evaluator found. Shares are in percent; `chance` is what guessing would reach.

    `predictions` are in the order of the data set. `files` (name: text) are what the data set's public server wants.
    `left_out` names the videos that could not be read, where that is allowed; then the score `missing` is their number,
    and `missing_records` by how many examples the data set is short of what was published.
    """

    scores: Mapping[str, Score]
    predictions: Sequence[Prediction]
    num_samples: int
    files: Mapping[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class EvaluatorConfig(ABC):
    """What the frozen `Config` of every evaluator has: on which data set, and how its clips are read.

    `folder` is where the data set lies below the experiment's root, in a mixture.
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
        """All that it reads."""
        return (self.data,)

    def under_control(self, control: Control) -> dict[str, "EvaluatorConfig"]:
        """The columns that a control adds to a table, and how each is evaluated; the frames are withheld elsewhere."""
        # Several views of a video have a middle frame each, so they would show several frames.
        return {control: replace(self, num_views=1) if control == "single_frame" else self}

    @abstractmethod
    def build(self) -> "Evaluator": ...


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
        left_out: Collection[str] = (),
    ) -> Evaluation:
        """Read the data set under `root` as `data` says, at the model's own number of frames, and score it.

        A data set that is incomplete, and videos that cannot be read, are one error that lists them, unless missing
        ones are allowed. Those `left_out` are not even looked at: so a control covers what the real score covers.
        """
        found = self.examine(predictor, root, data, on_progress, left_out)
        return replace(found, files=server_files(self.config.data, found))

    def examine(
        self,
        predictor: Predictor,
        root: str | Path,
        data: DataConfig,
        on_progress: Progress | None,
        left_out: Collection[str],
    ) -> Evaluation:
        """`evaluate`, without the file for a server."""
        config, predictor = self.config, predictor.using(data)
        self.check(predictor)
        clips = Clips(config, Path(root), left_out, on_progress)
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
            left_out=clips.left_out(),
        )

    @abstractmethod
    def check(self, predictor: Predictor) -> None:
        """ValueError where the model lacks a head that is needed, before anything is read."""

    @abstractmethod
    def score(self, predictor: Predictor, clips: "Clips") -> tuple[dict[str, Score], list[Prediction]]: ...


class Clips:
    """The examples of a data set and their distinct clips, each of which is read once.

    `of_example[e]` are the numbers of the clips of example e: one, or where it chooses between clips, several. After
    reading, `missing` holds the numbers of the clips that were left out.
    """

    def __init__(
        self,
        config: EvaluatorConfig,
        root: Path,
        left_out: Collection[str] = (),
        on_progress: Progress | None = None,
    ):
        self.config = config
        self.root = root
        self.on_progress = on_progress
        self.examples = list(config.data.examples(root))
        if not self.examples:
            raise ValueError(f"{root}: {config.data} has no examples to evaluate on")
        self.missing_records = require_complete(config.data, self.examples, root, config.allow_missing)
        seen = [example.clips or (example,) for example in self.examples]
        self.firsts, numbers = unique_clips(chain.from_iterable(seen))
        of_seen = iter(numbers)
        self.of_example = [tuple(next(of_seen) for _ in some) for some in seen]
        self.missing = {n for n, clip in enumerate(self.firsts) if clip.video_id in left_out}

    def read(self, predictor: Predictor) -> Iterator[tuple[list[int], UInt8[Tensor, "G V T C H W"]]]:
        """The numbers of the clips in a batch, and their frames."""
        config, wanted = self.config, [n for n in range(len(self.firsts)) if n not in self.missing]
        found: set[int] = set()
        batches = predictor.clips(
            [self.firsts[n] for n in wanted],
            num_views=config.num_views,
            allow_missing=config.allow_missing,
            on_progress=self.on_progress,
        )
        for places, frames in batches:
            numbers = [wanted[place] for place in places]
            found.update(numbers)
            yield numbers, frames
        self.missing = set(range(len(self.firsts))) - found
        if not found:
            raise ValueError(f"none of the {len(self.firsts)} videos can be read")

    def ask(
        self,
        predictor: Predictor,
        asked: Sequence[tuple[int, str]],
        function: Callable[[Tensor, list[list[int]], Int[Tensor, "M 2"]], Float[Tensor, "M ..."]],
    ) -> Iterator[tuple[list[int], Float[Tensor, "M ..."]]]:
        """Read all clips, and ask about each of (clip, text): their numbers in a batch, and what `function` says.

        The same pair twice is asked about once, so that equal options get equal scores to the last bit.
        """
        of_clip: dict[int, list[int]] = defaultdict(list)
        for number, (clip, _) in enumerate(asked):
            of_clip[clip].append(number)
        distinct = list(dict.fromkeys(text for _, text in asked))
        row_of_text = dict(zip(distinct, predictor.tokenize(distinct), strict=True))
        for clips, frames in self.read(predictor):
            numbers = [number for clip in clips for number in of_clip[clip]]
            place = {clip: i for i, clip in enumerate(clips)}
            texts = {text: i for i, text in enumerate(dict.fromkeys(asked[number][1] for number in numbers))}
            pairs = {pair: i for i, pair in enumerate(dict.fromkeys(asked[number] for number in numbers))}
            where = torch.tensor([[place[clip], texts[text]] for clip, text in pairs])
            found = function(frames, [row_of_text[text] for text in texts], where)
            yield numbers, found[torch.tensor([pairs[asked[number]] for number in numbers])]

    def covered(self) -> list[int]:
        """The numbers of the examples whose clips could all be read."""
        return [e for e, clips in enumerate(self.of_example) if self.missing.isdisjoint(clips)]

    def left_out(self) -> frozenset[str]:
        return frozenset(self.firsts[clip].video_id for clip in self.missing)

    def shortfall(self) -> dict[str, Score]:
        """What is missing, where it is allowed that something is."""
        counts = {"missing": len(self.missing)} if self.config.allow_missing else {}
        if self.missing_records:
            counts["missing_records"] = self.missing_records
        return {name: Score(float(count)) for name, count in counts.items()}


def row_of(example: Example) -> Prediction:
    """The part of a prediction that says what was asked: text, options, files and the span of the video in seconds.

    `options` is there for a choice only. In a choice between clips it holds their ids, and `files` all their files.
    """
    row: Prediction = {"id": example.id, "video_id": example.video_id, "kind": example.kind, "text": example.text}
    if example.options or example.clips:
        row["options"] = list(example.options) or [clip.video_id for clip in example.clips]
    files = [str(path) for path in example.files]
    return row | {"files": files, "start_sec": example.start_sec, "end_sec": example.end_sec}


def rounded(probs: Sequence[float]) -> list[float]:
    """Six digits of a probability are enough for a file."""
    return [round(prob, 6) for prob in probs]


def by_kind(name: str, kinds: Sequence[str | None], measure: Callable[[Int[Tensor, " M"]], Score]) -> dict[str, Score]:
    """A score over all samples, and over those of each kind (`accuracy`, `accuracy/colour`)."""
    parts = {f"{name}/{kind}": rows for kind, rows in rows_by_kind(kinds).items()}
    return {part: measure(rows) for part, rows in {name: torch.arange(len(kinds)), **parts}.items()}


def server_files(dataset: Dataset, found: Evaluation) -> dict[str, str]:
    """The file for the public server, where there is one and the answers are secret."""
    if not isinstance(dataset, HasServer) or any(row.get("truth") is not None for row in found.predictions):
        return {}
    if found.left_out:
        log.warning("no file for the server of %s: %d videos are missing", dataset, len(found.left_out))
        return {}
    name, text = dataset.submission(found.predictions)
    return {name: text}
