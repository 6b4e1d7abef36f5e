"""`allinone ask`, `classify` and `serve`."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from allinone.cli.own_code import OwnCode
from allinone.cli.show import print_json, progress_bars, show_notes, show_table
from allinone.progress import clock

UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
"""Seconds of the units in which `--every` is given."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What `ask` and `classify` share.

    Args:
        model: checkpoint folder, run folder or hub id
        top_k: number of answers
        every (TIME): answer for each part of the video, for example every 5s, 500ms or 1min
        json: print a JSON list instead of a table
    """

    model: str
    top_k: int = 5
    every: str | None = None
    json: bool = False

    def run(self, video: str, question: str | Sequence[str], title: str) -> None:
        """Ask an open question, or which of some labels fits, and print the answers. Notes on it go to stderr."""
        from allinone.inference import load
        from allinone.video.names import on_disk

        predictor, path = load(self.model), on_disk(video)
        asked = predictor.question(question)
        show_notes(asked.notes)  # before the answers, which may take a while
        if self.every is None:
            answers = predictor.ask(path, asked, self.top_k)
            if self.json:
                print_json([{"answer": name, "probability": probability} for name, probability in answers])
            else:
                print("\n".join(f"{probability:6.1%}  {name}" for name, probability in answers))
            return
        with progress_bars() as show:
            moments = predictor.ask_over_time(path, asked, seconds(self.every), show)
        if self.json:
            print_json([asdict(moment) for moment in moments])
        else:
            rows = [(clock(m.start_sec, 1), clock(m.end_sec, 1), m.answer, f"{m.probability:.1%}") for m in moments]
            show_table(("from", "to", "answer", "probability"), rows, title=title)


def ask(video: str, question: str, *, asking: Asking, own: OwnCode) -> None:
    """Ask a question about a video. Prints the most probable answers of the model's list. A text with a [MASK] is
    filled in: "the man is [MASK] a ball".

    Args:
        video: a video or image file
        question: an open question, or a text with one [MASK]
    """
    own.load()
    asking.run(video, question, title=question)


def classify(video: str, *, labels: str, asking: Asking, own: OwnCode) -> None:
    """Choose which of some labels describes a video best. The model needs no training for these labels.

    Args:
        video: a video or image file
        labels (A,B,C): texts, separated by commas
    """
    own.load()
    asking.run(video, labels.split(","), title=video)


def seconds(text: str) -> float:
    """Return the seconds of a length of time as people write it: 5s, 2.5, 500ms, 1min, 1h."""
    # No sign, no exponent; 0 is refused below.
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*", text.lower())
    if match is None or match[2] not in UNITS or not float(match[1]):
        raise ValueError(f"expected a length of time such as 5s, 500ms or 1min; got {text!r}")
    return float(match[1]) * UNITS[match[2]]


def serve(
    *,
    index: str,
    model: str | None = None,
    port: int = 7860,
    host: str = "127.0.0.1",
    max_upload_mb: int = 100,
    password_file: str | None = None,
    password: str | None = None,
    no_password: bool = False,
    own: OwnCode,
) -> None:
    """Search and ask in a browser or over HTTP. By default only this machine can connect.

    Args:
        index: made by `allinone index`
        model: checkpoint folder, run folder or hub id (default: the one that made the index)
        port: 0 takes a free one
        host: 0.0.0.0 lets other machines connect, and needs a password
        max_upload_mb: largest video that may be uploaded

    Access:
        password_file (FILE): its first line is the password
        password: the password itself, which everyone who lists the processes of this machine can read
        no_password: let everyone in who can connect to the host
    """
    from allinone.apps.serve.limits import Limits
    from allinone.apps.serve.server import find_password, serve

    own.load()
    serve(
        index,
        model,
        host=host,
        port=port,
        password=find_password(password, password_file),
        no_password=no_password,
        limits=Limits(max_upload_mb=max_upload_mb),
        say=print,
    )
