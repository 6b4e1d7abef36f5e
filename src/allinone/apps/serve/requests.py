"""What may be asked of a server, each value within its bounds; the page asks the same as the HTTP API."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def in_our_time(moment: datetime) -> datetime:
    """Years at the ends of the calendar have no timestamp everywhere."""
    if not 1970 <= moment.year < 3000:
        raise ValueError(f"a year from 1970 to 2999 is wanted, got {moment.year}")
    return moment


Text = Annotated[str, Field(min_length=1, max_length=1000)]
Id = Annotated[str, Field(pattern="^[0-9a-f]{16,64}$", description="of a segment of the index, or of an upload")]
Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
NumAnswers = Annotated[int, Field(ge=1, le=100)]

Moment = Annotated[datetime, AfterValidator(in_our_time)]

MAX_HITS = 100


class Asked(BaseModel):
    """A request; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def one_of(self, *names: str) -> None:
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(names)}; got {' and '.join(given) or 'none'}")


class Where(Asked):
    """Which segments may be found; all that is given must hold."""

    folder: str | None = Field(
        default=None, max_length=4000, description="the video lies in it or below it: a path, or the end of one"
    )
    name: str | None = Field(default=None, max_length=255, description="is part of the file's name")
    added_after: Moment | None = None
    added_before: Moment | None = None
    min_duration_sec: Seconds | None = Field(default=None, description="of the whole video")
    max_duration_sec: Seconds | None = None


class Search(Asked):
    """Moments that fit a text, or that are like a segment; `rerank` = k lets the joint mode re-read the best k."""

    text: Text | None = None
    like: Id | None = None
    top_k: int = Field(default=10, ge=1, le=MAX_HITS)
    offset: int = Field(default=0, ge=0, le=10_000)
    rerank: int = Field(default=0, ge=0, le=MAX_HITS)
    where: Where = Where()

    @model_validator(mode="after")
    def check(self) -> "Search":
        self.one_of("text", "like")
        if self.like and self.rerank:
            raise ValueError("rerank reads a text again: it goes with text, and not with like")
        return self


class About(Asked):
    """A request about one video: a segment of the index (or another part of the segment's video), or an upload."""

    segment: Id | None = None
    upload: Id | None = None
    start_sec: Seconds | None = None
    end_sec: Seconds | None = None

    @model_validator(mode="after")
    def check(self) -> "About":
        self.one_of("segment", "upload")
        if (self.start_sec is None) != (self.end_sec is None):
            raise ValueError("give start_sec and end_sec, or neither")
        if self.start_sec is not None and self.end_sec is not None:
            if self.upload is not None:
                raise ValueError("start_sec and end_sec go with a segment; an upload is looked at as a whole")
            if self.end_sec < self.start_sec:
                raise ValueError("end_sec lies before start_sec")
        return self


class Answer(About):
    """A question in words, answered from the checkpoint's list; or a text with one [MASK] to fill in."""

    question: Text
    top_k: NumAnswers = 5


class Classify(About):
    """Which of some labels fits best."""

    labels: list[Text] = Field(min_length=1, max_length=400)
    top_k: NumAnswers = 5


class Match(About):
    """Whether each of some texts belongs to the video."""

    texts: list[Text] = Field(min_length=1, max_length=64)


class Embed(Asked):
    """Vectors of texts, or the one of a video."""

    texts: list[Text] | None = Field(default=None, min_length=1, max_length=64)
    video: About | None = None

    @model_validator(mode="after")
    def check(self) -> "Embed":
        self.one_of("texts", "video")
        return self


class Found(BaseModel):
    """A moment that was found. `thumbnail` and `play` are addresses on this server."""

    segment: str
    video: str
    start_sec: float
    end_sec: float
    score: float
    match: float | None
    gone: bool = Field(description="the file is no longer there")
    thumbnail: str
    play: str


Notes = Annotated[
    list[str], Field(description="what the model cannot read of the texts, and which filter left nothing; often empty")
]


class Hits(BaseModel):
    """The moments that were found, the best first."""

    hits: list[Found]
    notes: Notes


class Likely(BaseModel):
    """An answer and its probability."""

    answer: str
    probability: float


class Answers(BaseModel):
    """Answers, the likeliest first."""

    answers: list[Likely]
    notes: Notes


class Matched(BaseModel):
    """A text and the probability that it belongs to the video."""

    text: str
    probability: float


class Matches(BaseModel):
    """The texts in the order in which they were sent."""

    matches: list[Matched]
    notes: Notes


class Uploaded(BaseModel):
    """An upload of which the server remembers the frames that the model looks at, at `times_sec`."""

    upload: str
    times_sec: list[float]


class Vectors(BaseModel):
    """Unit vectors."""

    vectors: list[list[float]]
    notes: Notes


class State(BaseModel):
    """What the server has: the index, the model, and what that can do."""

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
