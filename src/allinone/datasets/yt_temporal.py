"""YT-Temporal-180M: six million YouTube videos with every word said in them (Zellers et al., MERLOT, NeurIPS 2021).

License: annotations on request (the code: MIT); videos of YouTube.
Get: https://rowanzellers.com/merlot.

    root/yttemporal180m_000of100.jsonl.gz       a record for each video; or one file for each video:
    root/annotations/WAaKRUoY6Io.grover.json
    root/annotations/WAaKRUoY6Io.en.vtt         YouTube's captions, for videos without a grover.json
    root/videos/WAaKRUoY6Io.mp4                 or .webm, .mkv

`subtitles` are the words as YouTube recognized them, each with its time; `denoised` is the same text in parts, cleaned
(with capitals, punctuation and better words), without times. The words of both are matched; a cleaned word without a
match gets the time of the one before. A part that was not cleaned is used as it was recognized. `num_words` neighboring
words are one text, which lasts from its first word to the next text, yet at most a second beyond its last.

Records are read one by one.

Scored by: nothing (pre-training).

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

from allinone.checks import plain
from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset, distinct
from allinone.datasets.fields import Record
from allinone.datasets.files import Annotation, MissingFile, find_all
from allinone.datasets.spans import part
from allinone.datasets.videos import Videos

log = logging.getLogger(__name__)

WORD_SEC = 1.0
"""Longest duration of a word."""

ENDING = ".en.vtt"
# The hours may be left out: 00:01.000 and 00:00:01.000 are the same.
CUE = re.compile(r"(?:(\d+):)?(\d\d):(\d\d\.\d+) *-->")
TIME_TAG = re.compile(r"<(?:(\d+):)?(\d\d):(\d\d\.\d+)>")
MARKUP = re.compile(r"<[^<>]*>|\[[^\[\]]*\]")  # tags such as <c>, and sounds such as [Music]

Word = tuple[str, float]
"""A word, and the second at which it is said."""


@dataclass(frozen=True, kw_only=True)
class Captions(SplitDataset):
    """Texts of `num_words` neighboring words, with their part of the video, in the order of the files."""

    splits = {"train": SplitSize()}
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
                if rest and start < rest[0][1] < end:  # the next text begins within a second of the last word
                    end = rest[0][1]
                text = " ".join(word for word, _ in near)
                yield part(path, video, start, end, text, f"{video}#{first // self.num_words}")


def spoken(root: Path) -> Iterator[tuple[str, list[Word]]]:
    """Yield each video with its words; a warning counts the videos without any."""
    collected = [file for ending in ("jsonl", "jsonl.gz") for file in find_all(root, f"*of100.{ending}")]
    single = find_all(root, "*.grover.json")
    captions = {file.path.name[: -len(ENDING)]: file for file in find_all(root, f"*{ENDING}")}
    if not collected and not single and not captions:
        raise MissingFile(f"{root}: no annotation files *of100.jsonl.gz, *.grover.json or *{ENDING} there, nor below")
    records = chain((record for file in collected for record in file.objects()), (file.object() for file in single))
    named = ((record.object("info").text("id"), record) for record in records)
    num_silent = 0
    for video, record in distinct(named, root, key=itemgetter(0)):
        words = words_of_record(record, captions.pop(video, None))  # popped: videos without a record remain
        num_silent += not words
        yield video, words
    for video, file in captions.items():
        words = list(words_of_captions(file))
        num_silent += not words
        yield video, words
    if num_silent:
        log.warning("%s: no word with a time in %d videos", root, num_silent)


def words_of_record(record: Record, captions: Annotation | None) -> list[Word]:
    """Return the words of a record, with the times of YouTube's captions if it has none."""
    heard = [
        (word.text("word", may_be_empty=True), word.number("time"))
        for word in record.objects("subtitles", may_be_empty=True)
    ]
    parts = record.objects("denoised", may_be_empty=True)
    texts = [part.optional("cleanasr") or part.text("noisyasr", may_be_empty=True) for part in parts]
    if not heard and captions:
        heard = list(words_of_captions(captions))
    return cleaned(heard, texts) if parts else heard


def cleaned(heard: list[Word], texts: list[str]) -> list[Word]:
    """Return the words of the cleaned texts with the times of the recognized words; none if none was recognized."""
    if not heard:
        return []
    words = " ".join(texts).split()
    times: list[float | None] = [None] * len(words)
    # Words are matched without capitals and punctuation. `autojunk` would ignore frequent words of long texts.
    matcher = SequenceMatcher(None, [plain(word) for word, _ in heard], list(map(plain, words)), autojunk=False)
    for block in matcher.get_matching_blocks():
        times[block.b : block.b + block.size] = (time for _, time in heard[block.a : block.a + block.size])
    timed, now = [], heard[0][1]
    for word, time in zip(words, times, strict=True):
        now = now if time is None else max(now, time)  # times never decrease
        timed.append((word, now))
    return timed


def words_of_captions(file: Annotation) -> Iterator[Word]:
    """Yield the words of YouTube's captions, without sounds ([Music]).

    In recognized speech each caption repeats the line before and adds one with a time for each word. In captions
    written by people all words of a caption are new and get its time.
    """
    blocks = file.text().replace("\r\n", "\n").split("\n\n")
    is_recognized = any(TIME_TAG.search(block) for block in blocks)
    for block in blocks:
        head, *lines = block.strip("\n").split("\n")
        if not (cue := CUE.match(head)):
            continue
        time = seconds(*cue.groups())
        # The pattern has three groups, so the pieces are a text, then (hours, minutes, seconds, text) repeated.
        pieces = iter(TIME_TAG.split(" ".join(lines[1:] if is_recognized else lines)))
        yield from ((word, time) for word in MARKUP.sub("", next(pieces)).split())
        for hours, minutes, secs, text in zip(pieces, pieces, pieces, pieces, strict=True):
            yield from ((word, seconds(hours, minutes, secs)) for word in MARKUP.sub("", text).split())


def seconds(hours: str | None, minutes: str, secs: str) -> float:
    """Return a time of a VTT file in seconds."""
    return int(hours or 0) * 3600 + int(minutes) * 60 + float(secs)


CARD = Card.of(__doc__, captions=Captions)
