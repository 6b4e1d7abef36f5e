"""Questions about a video as a whole or about each of its parts; a `Predictor` makes and asks them."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor

MAX_PARTS = 100_000
"""Most parts of a video to ask about. More would be an error in the file's header or in the question."""


@dataclass(frozen=True)
class Question:
    """A question about clips: the possible answers, and a function that gives each clip's probability of each.

    `notes` say what the model misses of the text: unknown words, a cut end.
    """

    answers: tuple[str, ...]
    probs: Callable[[UInt8[Tensor, "G V T C H W"]], Float[Tensor, "G A"]]
    notes: tuple[str, ...] = ()

    def top(self, clip: UInt8[Tensor, "1 V T C H W"], top_k: int | None) -> list[tuple[str, float]]:
        """Return the `top_k` most probable answers about one clip (None: all), best first."""
        probs, indices = self.probs(clip)[0].sort(descending=True, stable=True)
        return [(self.answers[i], p) for i, p in zip(indices[:top_k].tolist(), probs[:top_k].tolist(), strict=True)]


@dataclass(frozen=True)
class Moment:
    """The most probable answer about a part of a video."""

    start_sec: float
    end_sec: float
    answer: str
    probability: float


def parts(duration_sec: int | float, every_sec: int | float) -> list[tuple[float, float]]:
    """Cut a length into equal parts. A rest of half a part or less is added to the last one."""
    if not every_sec > 0:
        raise ValueError(f"parts of a video must be longer than 0 s, got {every_sec:g}")
    count = max(1, round(duration_sec / every_sec))
    if count > MAX_PARTS:
        raise ValueError(f"{duration_sec:g} s in parts of {every_sec:g} s are {count} parts; the limit is {MAX_PARTS}")
    ends = [every_sec * i for i in range(1, count)] + [float(duration_sec)]
    return list(zip([0.0, *ends[:-1]], ends, strict=True))
