"""Questions about a video, whole or over time, and which of them a checkpoint has a head for."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float, UInt8
from torch import Tensor

from allinone.data.clip_reader import Span
from allinone.inference import Predictor, Source, all_pairs, likeliest
from allinone.model.heads import AnswerHead, MLMHead
from allinone.progress import Progress
from allinone.text.tokenizer import MASK

UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
MAX_PARTS = 100_000
"""A video is cut into so many parts at most; more would be a mistake in the header or in what was asked."""


@dataclass(frozen=True)
class Question:
    """What is asked about clips: the answers there may be, and the probability of each for each clip."""

    answers: Sequence[str]
    probs: Callable[[UInt8[Tensor, "G V T C H W"]], Float[Tensor, "G A"]]


@dataclass(frozen=True)
class Moment:
    """The likeliest answer about a part of a video."""

    start_sec: float
    end_sec: float
    answer: str
    probability: float


def abilities(predictor: Predictor) -> list[str]:
    """What the checkpoint has a head for."""
    return predictor.model.abilities


def in_words(predictor: Predictor, text: str) -> Question:
    """An open question, answered from the checkpoint's list; or a text with one [MASK], for a word to stand there."""
    if not text.strip():
        raise ValueError("nothing is asked: the question is empty")
    needed, what = (MLMHead, "fill the gap of a text") if MASK in text else (AnswerHead, "answer an open question")
    if predictor.model.get(needed) is None:
        raise ValueError(
            f"to {what}, a checkpoint needs the head {needed.kind!r}; this one has "
            f"{', '.join(predictor.model.heads) or 'none'}, which can {', '.join(abilities(predictor)) or 'nothing'}: "
            f"ask for one of these. {predictor.model.how_to_add(needed)} adds that head"
        )
    if needed is MLMHead:
        predictor.cloze(text)
        return Question(predictor.words(), lambda clips: predictor.word_probs(clips, text))
    rows = predictor.rows([text])
    return Question(
        predictor.model.require(AnswerHead).config.answers,
        lambda clips: predictor.answer_logits(clips, rows, all_pairs(len(clips), 1)).softmax(dim=1),
    )


def which_of(predictor: Predictor, labels: Sequence[str]) -> Question:
    """Which of these labels fits best (zero-shot)."""
    labels = [label.strip() for label in labels]
    if len(set(labels)) < len(labels) or not all(labels):
        raise ValueError(f"labels are different texts, none of them empty; got {labels}")
    return Question(labels, lambda clips: predictor.label_probs(clips, labels))


def ask(predictor: Predictor, video: Source, question: Question, top_k: int | None = 5) -> list[tuple[str, float]]:
    """The likeliest answers about the whole of a video, with their probabilities."""
    return likeliest(question.answers, question.probs(predictor.one_clip(video, 1))[0], top_k)


def ask_over_time(
    predictor: Predictor,
    video: str | Path,
    question: Question,
    every_sec: int | float,
    on_progress: Progress | None = None,
) -> list[Moment]:
    """The likeliest answer about each part of a video, `every_sec` long, in order."""
    cut, moments = parts(predictor.reader().look_up(Path(video)).duration_sec, every_sec), []
    for numbers, clips in predictor.clips([Span(video, *part) for part in cut], on_progress=on_progress):
        best = question.probs(clips).max(dim=1)
        for number, probability, answer in zip(numbers, best.values.tolist(), best.indices.tolist(), strict=True):
            moments.append(Moment(*cut[number], question.answers[int(answer)], probability))
    return moments


def parts(duration_sec: int | float, every_sec: int | float) -> list[tuple[float, float]]:
    """Equal parts of a length; a rest of half of that or less belongs to the last one."""
    if not every_sec > 0:
        raise ValueError(f"parts of a video are longer than 0 s, got {every_sec:g}")
    count = max(1, round(duration_sec / every_sec))
    if count > MAX_PARTS:
        raise ValueError(
            f"{duration_sec:g} s in parts of {every_sec:g} s are {count}; at most {MAX_PARTS} are asked about"
        )
    ends = [every_sec * i for i in range(1, count)] + [float(duration_sec)]
    return list(zip([0.0, *ends[:-1]], ends, strict=True))


def seconds(text: str) -> float:
    """A length of time as people write it: 5s, 2.5, 500ms, 1min, 1h."""
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*", text.lower())
    if found is None or found[2] not in UNITS or not float(found[1]):
        raise ValueError(f"a length of time is wanted, such as 5s, 500ms or 1min; got {text!r}")
    return float(found[1]) * UNITS[found[2]]
