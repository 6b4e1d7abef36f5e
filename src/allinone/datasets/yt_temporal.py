"""YT-Temporal-180M: six million YouTube videos with every word said in them (Zellers et al., MERLOT, NeurIPS 2021).

Licence: MIT for the code; the annotations on request, rowanzellers.com/merlot; the videos are YouTube's.

    root/yttemporal180m_000of100.jsonl.gz       a record a video; or one file a video:
    root/annotations/WAaKRUoY6Io.grover.json
    root/annotations/WAaKRUoY6Io.en.vtt         YouTube's captions; read where a video has no grover.json
    root/videos/WAaKRUoY6Io.mp4                 or .webm, .mkv

`subtitles` are the words as YouTube has heard them, each with its time; `denoised` is the same text in parts, cleaned
(with capitals, points and better words), without times. The words of both are matched, and a cleaned word that has no
counterpart takes the time of the one before. A part that was not cleaned is read as it was heard. `num_words`
neighbouring words are one text, which lasts from its first word to the next text, yet at most a second beyond its last.

About 6 million videos. Records are read one by one. For pre-training; no score.

One record:

    {"info": {"id": "WAaKRUoY6Io", "duration": 255, ...},
     "denoised": [{"noisyasr": "guys this is ...", "cleanasr": "Guys, this is ...", ...}, ...],
     "subtitles": [{"word": "guys", "time": 0.0}, {"word": "this", "time": 0.179}, ...]}
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import chain
from operator import itemgetter
from pathlib import Path

from allinone.data.example import Example
from allinone.datasets.base import Card, SplitDataset, SplitSize, TaskReader, distinct, part
from allinone.datasets.files import Annotation, MissingFile, Videos, find_all

log = logging.getLogger(__name__)

SPLITS = {"train": SplitSize()}
WORD_SEC = 1.0
"""A word lasts no longer."""

ENDING = ".en.vtt"
CUE = re.compile(r"(?:(\d+):)?(\d\d):(\d\d\.\d+) *-->")
TIME_TAG = re.compile(r"<(?:(\d+):)?(\d\d):(\d\d\.\d+)>")
MARKUP = re.compile(r"<[^<>]*>|\[[^\[\]]*\]")

Word = tuple[str, float]
"""A word, and when it is said, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Captions(SplitDataset):
    """Texts of so many neighbouring words, with their part of the video, in the order of the files."""

    splits = SPLITS
    split: str = "train"
    num_words: int = 32

    def __post_init__(self):
        super().__post_init__()
        if self.num_words < 1:
            raise ValueError(f"a text has at least one word; got num_words={self.num_words}")

    def examples(self, root: Path) -> Iterator[Example]:
        videos = Videos(root, search_below=False)
        for video, words in spoken(root):
            path = videos.path(video, f"{video}.webm", f"{video}.mkv")
            for first in range(0, len(words), self.num_words):
                near, rest = words[first : first + self.num_words], words[first + self.num_words :]
                start, end = near[0][1], near[-1][1] + WORD_SEC
                if rest and start < rest[0][1] < end:
                    end = rest[0][1]
                text = " ".join(word for word, _ in near)
                yield part(path, video, start, end, text, f"{video}#{first // self.num_words}")


def spoken(root: Path) -> Iterator[tuple[str, list[Word]]]:
    """Each video with its words; one without any counts in a warning."""
    collected = [file for ending in ("jsonl", "jsonl.gz") for file in find_all(root, f"*of100.{ending}")]
    single = find_all(root, "*.grover.json")
    captions = {file.path.name[: -len(ENDING)]: file for file in find_all(root, f"*{ENDING}")}
    if not collected and not single and not captions:
        raise MissingFile(f"{root}: no annotation files *of100.jsonl.gz, *.grover.json or *{ENDING} there, nor below")
    records = chain((record for file in collected for record in file.objects()), (file.object() for file in single))
    found = ((record.object("info").text("id"), record) for record in records)
    num_silent = 0
    for video, record in distinct(found, root, key=itemgetter(0)):
        heard = [
            (said.text("word", may_be_empty=True), said.number("time"))
            for said in record.objects("subtitles", may_be_empty=True)
        ]
        parts = record.objects("denoised", may_be_empty=True)
        texts = [part.optional("cleanasr") or part.text("noisyasr", may_be_empty=True) for part in parts]
        beside = captions.pop(video, None)
        if not heard and beside:
            heard = list(words_of_captions(beside))
        words = cleaned(heard, texts) if parts else heard
        num_silent += not words
        yield video, words
    for video, file in captions.items():
        words = list(words_of_captions(file))
        num_silent += not words
        yield video, words
    if num_silent:
        log.warning("%s: no word with a time in %d videos", root, num_silent)


def cleaned(heard: list[Word], texts: list[str]) -> list[Word]:
    """The words of the cleaned texts, with the times of those that were heard; none where nothing was heard."""
    if not heard:
        return []
    words = " ".join(texts).split()
    times: list[float | None] = [None] * len(words)
    matcher = SequenceMatcher(None, [plain(word) for word, _ in heard], list(map(plain, words)), autojunk=False)
    for block in matcher.get_matching_blocks():
        times[block.b : block.b + block.size] = (time for _, time in heard[block.a : block.a + block.size])
    found, now = [], heard[0][1]
    for word, time in zip(words, times, strict=True):
        now = now if time is None else max(now, time)
        found.append((word, now))
    return found


def words_of_captions(file: Annotation) -> Iterator[Word]:
    """The words of YouTube's captions, without sounds ([Music]).

    Where YouTube has heard them, each caption repeats the line before and adds one, whose words have times; where
    people wrote them, all words of a caption are new and take its time.
    """
    blocks = file.text().replace("\r\n", "\n").split("\n\n")
    is_heard = any(TIME_TAG.search(block) for block in blocks)
    for block in blocks:
        head, *lines = block.strip("\n").split("\n")
        if not (cue := CUE.match(head)):
            continue
        time = seconds(*cue.groups())
        pieces = iter(TIME_TAG.split(" ".join(lines[1:] if is_heard else lines)))
        yield from ((word, time) for word in MARKUP.sub("", next(pieces)).split())
        for hours, minutes, secs, text in zip(pieces, pieces, pieces, pieces, strict=True):
            yield from ((word, seconds(hours, minutes, secs)) for word in MARKUP.sub("", text).split())


def seconds(hours: str | None, minutes: str, secs: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + float(secs)


def plain(word: str) -> str:
    """A word as far as hearing tells."""
    return "".join(letter for letter in word.lower() if letter.isalnum())


CARD = Card(
    title="YT-Temporal-180M: 6 million YouTube videos with every word said in them",
    licence="on request; videos of YouTube",
    get="rowanzellers.com/merlot",
    metric="none: for pre-training",
    readings={"captions": TaskReader(reader=Captions, splits=SPLITS)},
)
