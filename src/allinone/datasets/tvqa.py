"""TVQA: multiple-choice questions on clips of six TV shows, with subtitles (Lei et al., EMNLP 2018).

License: MIT (questions); frames under an agreement to be signed.
Get: https://github.com/jayleicn/TVQA, folder `data`, or nlp.cs.unc.edu/data/jielei/tvqa/tvqa_public_html, with
subtitles and the form for the frames.

    root/tvqa_train.jsonl   root/tvqa_val.jsonl   root/tvqa_test_public.jsonl      or in tvqa_qa_release/
    root/tvqa_subtitles/s03e21_seg02_clip_08.srt        or, of TVR, root/tvqa_preprocessed_subtitles.jsonl
    root/frames_hq/bbt_frames/s03e21_seg02_clip_08/00001.jpg        3 frames a second, as published
    root/videos/s03e21_seg02_clip_08.mp4                            used for clips without a folder of frames

Of the frames in question at most 32 are used, evenly spread. `test_public` is half of the test set; the other half is
not public. One of five options is right. The kind of a question is its show. A question has the span of time that it is
about; if that is no number, it is about the whole clip.

Scored by: accuracy, over all questions and by show; the answers of `test_public` are with the server. State whether the
span and the subtitles were given. `submission` writes the file of the official `test.py`, `qid2preds_test.json`: the
number of the chosen option by question id.

One record of `tvqa_val.jsonl`:

    {"a0": "A martini glass", "a1": "Nachos", "a2": "Her purse", "a3": "Marshall's book", "a4": "A beer bottle",
     "answer_idx": 4, "q": "What is Robin holding in her hand when she is talking to Ted about Zoey?", "qid": 7,
     "ts": "1.21-8.49", "vid_name": "met_s06e22_seg01_clip_02", "show_name": "How I Met You Mother"}
"""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from allinone.data.example import Example, SplitSize
from allinone.datasets.base import Card, SplitDataset, distinct
from allinone.datasets.fields import Record, collapse_spaces, listing, shown
from allinone.datasets.files import Annotation, MissingFile, find, find_some
from allinone.datasets.records import right_option
from allinone.datasets.spans import Sentence, is_span
from allinone.datasets.videos import Videos, bare

SECRET = ("test_public", "test")
"""Splits without public answers, and maybe without spans."""

OPTIONS = ("a0", "a1", "a2", "a3", "a4")
FPS = 3  # of the published frames
MAX_FRAMES = 32
"""Of a folder of frames: few enough to list them for every question, more than a model takes."""

MIN_SPAN_SEC = 1.0
"""Shorter spans (some end where they begin) are widened to this."""

SHOWS = ("castle", "friends", "grey", "house", "met")
"""Names of clips begin with one of these; all others are of the show `bbt`."""

SPAN = re.compile(r"\s*(nan|\d+\.?\d*)\s*-\s*(nan|\d+\.?\d*)\s*")

Span = tuple[float, float]


@dataclass(frozen=True)
class Choices(SplitDataset):
    """Every question with its five options.

    `span` shows only the moment that a question is about, not the whole clip. `subtitles` puts the subtitles of that
    time before the question: some 50 words for a span, so raise `model.max_text_len`, or options are cut off.
    """

    splits = {
        "train": SplitSize(records=122_039, videos=17_435),
        "val": SplitSize(records=15_253, videos=2_179),
        "test_public": SplitSize(records=7_623, videos=1_089),
    }
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {split: (f"tvqa_{split}.jsonl",) for split in splits}
    span: bool = True
    subtitles: bool = False

    def examples(self, root: Path) -> Iterator[Example]:
        file = find(root, *self.files[self.split])
        clips = Clips(Path(root))
        subtitles = Subtitles(Path(root)) if self.subtitles else None

        def example(record: Record) -> Example:
            clip = bare(record.text("vid_name"))
            is_secret = self.split in SECRET
            span = seconds(record) if self.span and (record.has("ts") or not is_secret) else None
            lines = subtitles.during(clip, span) if subtitles else ()
            frames = clips.frames(clip, span)
            return Example(
                id=record.name("qid"),
                video=frames or clips.videos.path(clip),  # no folder of frames: the video, cut by its times
                video_id=f"{clip}#{span[0]:g}-{span[1]:g}" if span else clip,
                start_sec=span[0] if span and not frames else None,
                end_sec=span[1] if span and not frames else None,
                text=" ".join([*lines, record.text("q")]),
                options=tuple(record.name(option) for option in OPTIONS),
                right=right_option(record.get("answer_idx"), len(OPTIONS), record.where, is_secret),
                kind=record.optional("show_name"),
            )

        return distinct(map(example, file.objects()), file)

    def submission(self, predictions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        """Return name and text of the server's file."""
        return "qid2preds_test.json", json.dumps({str(p["id"]): int(p["prediction"]) for p in predictions})


def seconds(record: Record) -> Span | None:
    """Read a span "76.01-84.2" or [76.01, 84.2]; None if a time is `nan`. Start and end may be swapped."""
    span = record.field("ts")
    if is_span(span):
        times = map(float, span)
    elif isinstance(span, str) and (match := SPAN.fullmatch(span.lower())):
        times = map(float, match.groups())
    else:
        raise record.wrong("a span like '76.01-84.2'", "ts")
    start, end = sorted(times)  # with a `nan` the order is arbitrary, and not used
    if math.isnan(start) or math.isnan(end):
        return None
    # A short span grows equally on both sides; at 0 it grows only to the right.
    start = max(start - max(MIN_SPAN_SEC - (end - start), 0) / 2, 0)
    return start, max(end, start + MIN_SPAN_SEC)


class Clips:
    """Finds the frames or the video of a clip."""

    def __init__(self, root: Path):
        self.videos = Videos(root)
        shows = [f"{show}_frames" for show in (*SHOWS, "bbt")]
        folders = (root / "frames_hq", root / "frames", root)
        self.roots = [folder for folder in folders if any(self.videos.tree.is_dir(folder / show) for show in shows)]
        self.listed = cache(self.in_folder)

    def in_folder(self, clip: str) -> tuple[Path, ...]:
        """Return all frames of a clip."""
        show = next((show for show in SHOWS if clip.startswith(f"{show}_")), "bbt")
        for root in self.roots:
            folder = root / f"{show}_frames" / clip
            if self.videos.tree.is_dir(folder):
                return tuple(path for path, _ in self.videos.tree.children(folder) if path.suffix.lower() == ".jpg")
        return ()

    def frames(self, clip: str, span: Span | None) -> tuple[Path, ...]:
        """Return the frames of a span, at least one; none if the clip has no folder of frames."""
        listed = self.listed(clip)
        if span and listed:
            # A span that begins after the last frame gets the last frame.
            first = min(int(span[0] * FPS), len(listed) - 1)
            listed = listed[first : max(math.ceil(span[1] * FPS), first + 1)]
        step = len(listed) / MAX_FRAMES  # of more frames, the middle of each of MAX_FRAMES equal segments
        return listed if step <= 1 else tuple(listed[int((n + 0.5) * step)] for n in range(MAX_FRAMES))


class Subtitles:
    """The subtitles of clips: from the preprocessed file of TVR if it exists, else from one srt file for each clip."""

    def __init__(self, root: Path):
        self.folder = next((path for path in (root / "tvqa_subtitles", root / "subtitles") if path.is_dir()), root)
        names = ("tvqa_preprocessed_subtitles.jsonl", "tvqa_preprocessed_subtitles.json", "tv_subtitles.jsonl")
        files = find_some(root, *names)
        self.lines: dict[str, list[Sentence]] = {}
        records = files[0].objects("vid_name", "sub") if files else ()
        for record in distinct(records, files and files[0], key=lambda record: record.text("vid_name")):
            self.lines[record.text("vid_name")] = [
                (line.number("start"), line.number("end"), line.text("text", may_be_empty=True))
                for line in record.objects("sub", may_be_empty=True)
            ]

    def during(self, clip: str, span: Span | None) -> list[str]:
        """Return the lines that overlap a span."""
        if clip not in self.lines:
            path = self.folder / f"{clip}.srt"
            if not os.path.isfile(path):
                named = listing([clip])
                wanted = f"{self.folder / named}.srt, or tvqa_preprocessed_subtitles.jsonl with it"
                raise MissingFile(f"no subtitles of {named}: wanted {wanted}")
            self.lines[clip] = list(read_srt(Annotation(path)))
        start, end = span or (0.0, math.inf)
        return [text for since, until, text in self.lines[clip] if since < end and until > start]


def read_srt(file: Annotation) -> Iterator[Sentence]:
    """Read a SubRip file: blocks of a number, two times and a text, with blank lines between."""
    time = r"(\d+):(\d+):(\d+)[,.](\d+)"
    # Lines are stripped first, so that a line of spaces also separates blocks.
    for block in re.split(r"\n\s*\n", "\n".join(line.strip() for line in file.text().splitlines())):
        if not block.strip():
            continue
        # Not at the start of the block: the number comes before. Positions (X1:...) may follow the times.
        times = re.search(rf"{time}\s*-->\s*{time}.*\n?", block)
        if not times:
            raise ValueError(f"{file}: wanted a number, two times and a text, got {shown(block)}")
        h, m, s, fraction, *until = times.groups()
        # As a decimal fraction, because ",5" is half a second and not five milliseconds.
        start, end = (
            int(hour) * 3600 + int(minute) * 60 + float(f"{sec}.{digits}")
            for hour, minute, sec, digits in ((h, m, s, fraction), until)
        )
        yield start, end, collapse_spaces(block[times.end() :])


CARD = Card.of(__doc__, choices=Choices)
