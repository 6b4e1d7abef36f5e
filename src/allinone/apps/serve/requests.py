"""Requests and responses, each value within its bounds; the page uses the same ones as the HTTP API."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from allinone.apps.search.filters import Filters

Text = Annotated[str, Field(min_length=1, max_length=1000)]
Id = Annotated[str, Field(pattern="^[0-9a-f]{16,64}$", description="of a segment of the index, or of an upload")]
Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
NumAnswers = Annotated[int, Field(ge=1, le=100)]

MAX_HITS = 100


class Body(BaseModel):
    """A request; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def require_one_of(self, *names: str) -> None:
        """Raise ValueError unless exactly one of these fields is given."""
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(names)}; got {' and '.join(given) or 'none'}")


class Search(Body):
    """Find moments that match a text, or that are like a segment; `rerank` = k: the joint mode reads the best k again.

    All conditions of `where` must hold: see `Filters` of the Python API.
    """

    text: Text | None = None
    like: Id | None = None
    top_k: int = Field(default=10, ge=1, le=MAX_HITS)
    offset: int = Field(default=0, ge=0, le=10_000)
    rerank: int = Field(default=0, ge=0, le=MAX_HITS)
    where: Filters = Filters()

    @model_validator(mode="after")
    def check(self) -> "Search":
        """Require one of text and like, and rerank only with a text."""
        self.require_one_of("text", "like")
        if self.like and self.rerank:
            raise ValueError("rerank reads a text again: it goes with text, and not with like")
        return self


class VideoPart(Body):
    """The video that a request is about: a segment of the index, another part of the segment's video, or an upload."""

    segment: Id | None = None
    upload: Id | None = None
    start_sec: Seconds | None = None
    end_sec: Seconds | None = None

    @model_validator(mode="after")
    def check(self) -> "VideoPart":
        """Require one of segment and upload, and both times or none, for a segment and in order."""
        self.require_one_of("segment", "upload")
        if (self.start_sec is None) != (self.end_sec is None):
            raise ValueError("give start_sec and end_sec, or neither")
        if self.start_sec is not None and self.end_sec is not None:
            if self.upload is not None:
                raise ValueError("start_sec and end_sec go with a segment; an upload is looked at as a whole")
            if self.end_sec < self.start_sec:
                raise ValueError("end_sec is before start_sec")
        return self


class Answer(VideoPart):
    """A question in words, answered from the checkpoint's list; or a text with one [MASK] to fill in."""

    question: Text
    top_k: NumAnswers = 5


class Classify(VideoPart):
    """Which of the labels fits best?"""

    labels: list[Text] = Field(min_length=1, max_length=400)
    top_k: NumAnswers = 5


class Match(VideoPart):
    """Does each of the texts belong to the video?"""

    texts: list[Text] = Field(min_length=1, max_length=64)


class Embed(Body):
    """Embed texts or a video."""

    texts: list[Text] | None = Field(default=None, min_length=1, max_length=64)
    video: VideoPart | None = None

    @model_validator(mode="after")
    def check(self) -> "Embed":
        """Require one of texts and video."""
        self.require_one_of("texts", "video")
        return self


class FoundMoment(BaseModel):
    """A hit of a search. `thumbnail` and `play` are addresses on this server."""

    segment: str
    video: str
    start_sec: float
    end_sec: float
    score: float
    match: float | None
    gone: bool = Field(description="the file no longer exists")
    thumbnail: str
    play: str


Notes = Annotated[
    list[str], Field(description="words that the model does not know, cut texts, filters that no video passes; or none")
]


class Hits(BaseModel):
    """Hits, best first."""

    hits: list[FoundMoment]
    notes: Notes


class LikelyAnswer(BaseModel):
    """An answer and its probability."""

    answer: str
    probability: float


class Answers(BaseModel):
    """Answers, most probable first."""

    answers: list[LikelyAnswer]
    notes: Notes


class TextMatch(BaseModel):
    """A text and the probability that it belongs to the video."""

    text: str
    probability: float


class Matches(BaseModel):
    """The texts, in the order of the request."""

    matches: list[TextMatch]
    notes: Notes


class Uploaded(BaseModel):
    """The id of an upload, and the times of its frames that the model reads; the server keeps only these frames."""

    upload: str
    times_sec: list[float]


class Vectors(BaseModel):
    """Unit vectors."""

    vectors: list[list[float]]
    notes: Notes


class State(BaseModel):
    """The index, the model, and what the model can do."""

    index: str
    num_videos: int
    num_segments: int
    duration_sec: float
    num_bytes: int
    last_added: datetime | None
    cut: str
    search: str
    model: str
    abilities: list[str]


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str
