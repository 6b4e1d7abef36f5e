"""Answers of open questions: the closed list that a classifier chooses from, and how answers are compared."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from allinone.types import IGNORE


def normalize_answer(answer: str) -> str:
    """Return an answer in lower case, with compatible characters unified (NFKC), single spaces and no mark at the end.

    Articles and number words stay, because data sets disagree about them; their own scorers handle these.
    """
    words = unicodedata.normalize("NFKC", answer).lower().split()
    return " ".join(words).rstrip(" .,;:!?")


VQA_MARKS = ';/[]"{}()=+\\_-><@`,?!'
VQA_NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
VQA_CONTRACTIONS = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd "
    "he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't "
    "needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've "
    "somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll "
    "that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've "
    "weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll "
    "why're why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've"
)
VQA_SPELLING = {"somebody'd": "somebodyd"} | {
    word[: mark.start()] + word[mark.end() :]: word
    for word in VQA_CONTRACTIONS.split()
    for mark in re.finditer("'", word)
}
"""Contractions without one of their apostrophes, and the right spelling."""


def normalize_vqa_answer(answer: str) -> str:
    """Normalize an answer as the official evaluation of VQAv2 does (vqaEval.py), with its peculiarities.

    A mark becomes a space, or nothing if it is next to a space or if the answer has a comma between digits. Full stops
    are removed unless a digit follows, and so are articles; `none` to `ten` become digits; contractions get their
    apostrophe. The evaluation also normalizes the annotators' answers if they differ (old versions: only marks).
    """
    answer = answer.replace("\n", " ").replace("\t", " ").strip()
    has_number = re.search(r"\d,\d", answer) is not None
    text = answer
    for mark in VQA_MARKS:
        # As in vqaEval.py the test is on the whole answer: one mark at a space decides for all of its kind.
        is_at_space = f"{mark} " in answer or f" {mark}" in answer
        text = text.replace(mark, "" if is_at_space or has_number else " ")
    words = re.sub(r"\.(?!\d)", "", text).lower().split()
    words = [VQA_NUMBERS.get(word, word) for word in words]
    return " ".join(VQA_SPELLING.get(word, word) for word in words if word not in ("a", "an", "the"))


@dataclass(frozen=True)
class AnswerVocabulary:
    """Normalized answers, each once; the index of an answer is its label."""

    answers: tuple[str, ...]

    def __post_init__(self):
        if not self.answers:
            raise ValueError("an answer vocabulary needs at least one answer")
        odd = [a for a in self.answers if a != normalize_answer(a) or not a]
        if odd:
            raise ValueError(
                f"answers that are not normalized: {', '.join(map(repr, odd[:5]))}; use AnswerVocabulary.build"
            )
        if len(set(self.answers)) < len(self.answers):
            twice = [a for a, count in Counter(self.answers).items() if count > 1]
            raise ValueError(f"answers listed twice: {', '.join(map(repr, twice[:5]))}")

    @classmethod
    def build(cls, answers: Iterable[str], max_size: int | None = None) -> "AnswerVocabulary":
        """Collect at most `max_size` answers, the most frequent first, equally frequent ones in alphabetical order."""
        counts = Counter(filter(None, map(normalize_answer, answers)))
        if not counts:
            raise ValueError("no answers to build a vocabulary from")
        ranked = sorted(counts, key=lambda answer: (-counts[answer], answer))
        return cls(tuple(ranked[:max_size]))

    def __len__(self) -> int:
        return len(self.answers)

    @cached_property
    def labels(self) -> dict[str, int]:
        """The label of each answer."""
        return {answer: label for label, answer in enumerate(self.answers)}

    def index(self, answer: str) -> int:
        """Return the label of an answer; `IGNORE` if it is out of vocabulary."""
        return self.labels.get(normalize_answer(answer), IGNORE)
