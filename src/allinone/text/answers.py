"""Answers of open questions: the closed list that a classifier chooses from, and when two answers are the same."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from allinone.types import IGNORE


def normalize_answer(answer: str) -> str:
    """Lower case, compatible characters unified (NFKC), single spaces, no full stop or other mark at the end.

    Articles and number words stay: data sets disagree about them, and their scorers see to it.
    """
    words = unicodedata.normalize("NFKC", answer).lower().split()
    return " ".join(words).rstrip(" .,;:!?")


@dataclass(frozen=True)
class AnswerVocabulary:
    """Normalised answers, each once; the place of an answer is its label."""

    answers: tuple[str, ...]

    def __post_init__(self):
        if not self.answers:
            raise ValueError("an answer vocabulary needs at least one answer")
        odd = [a for a in self.answers if a != normalize_answer(a) or not a]
        if odd:
            raise ValueError(
                f"answers that are not normalised: {', '.join(map(repr, odd[:5]))}; use AnswerVocabulary.build"
            )
        if len(set(self.answers)) < len(self.answers):
            twice = [a for a, count in Counter(self.answers).items() if count > 1]
            raise ValueError(f"answers listed twice: {', '.join(map(repr, twice[:5]))}")

    @classmethod
    def build(cls, answers: Iterable[str], max_size: int | None = None) -> "AnswerVocabulary":
        """The most frequent answers first, equally frequent ones by alphabet; at most `max_size` of them."""
        counts = Counter(filter(None, map(normalize_answer, answers)))
        if not counts:
            raise ValueError("no answers to build a vocabulary from")
        ranked = sorted(counts, key=lambda answer: (-counts[answer], answer))
        return cls(tuple(ranked[:max_size]))

    def __len__(self) -> int:
        return len(self.answers)

    @cached_property
    def labels(self) -> dict[str, int]:
        return {answer: label for label, answer in enumerate(self.answers)}

    def index(self, answer: str) -> int:
        """The label of an answer; `IGNORE` if the vocabulary does not have it."""
        return self.labels.get(normalize_answer(answer), IGNORE)
