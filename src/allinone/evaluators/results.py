"""The folder that an evaluation writes: scores as JSON and Markdown, predictions, files for servers.

scores.json                         every score with its interval, those of the controls, and the settings
scores.md                           the same as tables
NAME.predictions.jsonl              for each evaluator, a line for each sample
NAME.CONTROL.predictions.jsonl      the same under each control, such as `test.blind.predictions.jsonl`
...                                 the file for the public server of a data set with secret answers
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from allinone.checkpoint import STEP_FOLDER, step_folders
from allinone.evaluators.base import Evaluation
from allinone.files.reading import read_json
from allinone.files.whole import recover, whole_folder, write_json

SCORES, TABLES, PREDICTIONS = "scores.json", "scores.md", ".predictions.jsonl"
REAL = "score"
"""The column of the real evaluation; the others are controls."""

Columns = Mapping[str, Evaluation]
"""The evaluations of one evaluator by column: the real one (`score`), then each control by its name."""


def default_folder(checkpoint: str | Path, experiment: str) -> Path:
    """Where an evaluation is written by default: `evaluations/EXPERIMENT` in the folder of the checkpoint or run.

    For a checkpoint inside a run it is `evaluations/EXPERIMENT-CHECKPOINT` in the run's folder, because training
    removes old checkpoints; for a hub id, which has no folder, `evaluations/OWNER-NAME/EXPERIMENT` in the current one.
    """
    name = experiment.rpartition(":")[2]  # FILE.py:EXPERIMENT
    if not Path(checkpoint).exists():
        return Path("evaluations", str(checkpoint).replace("/", "-"), name)
    folder = Path(checkpoint).resolve()
    if STEP_FOLDER.fullmatch(folder.name):
        return folder.parents[1] / "evaluations" / f"{name}-{folder.name}"
    if folder.name == "best" and step_folders(folder.parent):
        return folder.parent / "evaluations" / f"{name}-{folder.name}"
    return Path(checkpoint) / "evaluations" / name


def refuse_to_replace(folder: str | Path, overwrite: bool = False) -> None:
    """Raise ValueError where `folder` exists, unless it holds nothing but an evaluation and `overwrite` is set."""
    folder = Path(folder)
    if not folder.exists() and not folder.is_symlink():
        return
    # A file or a link has no names, so it gets one that no evaluation has.
    names = {path.name for path in folder.iterdir()} if folder.is_dir() and not folder.is_symlink() else {""}
    scores = read_json(folder / SCORES) if SCORES in names else {}
    # Only files that the evaluation itself lists may be replaced.
    if others := names - set(scores.get("files", ())):
        listed = ", ".join(sorted(others)[:5]) if names != {""} else "something that is no folder"
        raise ValueError(f"{folder}: holds {listed}, which is no evaluation of ours; choose another folder with --to")
    if scores and not overwrite:
        raise ValueError(
            f"{folder}: holds an evaluation of {scores.get('checkpoint')} already; "
            "--replace overwrites it, --to DIR writes to another folder"
        )


def write_results(
    folder: str | Path, facts: Mapping[str, Any], tables: Mapping[str, Columns], overwrite: bool = False
) -> Path:
    """Write the folder whole or not at all, with `overwrite` in place of an older evaluation.

    `facts` describe the evaluation. `tables` are keyed by the names of the evaluators.
    """
    folder = Path(folder)
    # A replacement that was killed is undone before anything is looked at.
    recover(folder)
    refuse_to_replace(folder, overwrite)
    texts = {TABLES: markdown(facts, tables)}
    for name, columns in tables.items():
        for column, evaluation in columns.items():
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in evaluation.predictions)
            texts[predictions_file(name, column)] = lines
        files = columns[REAL].files
        # Two evaluators may have files of the same name.
        texts |= {(f"{name}.{file}" if file in texts else file): text for file, text in files.items()}
    with whole_folder(folder) as new:
        for file, text in texts.items():
            (new / file).write_text(text, encoding="utf-8", newline="")  # the same bytes on every system
        scores = {"evaluators": {name: as_json(columns) for name, columns in tables.items()}}
        write_json(new / SCORES, {"files": [SCORES, *texts], **facts, **scores})
    return folder


def predictions_file(evaluator: str, column: str = REAL) -> str:
    """Return the name of the file with the predictions of an evaluator."""
    return evaluator + ("" if column == REAL else f".{column}") + PREDICTIONS


def as_json(columns: Columns) -> dict[str, Any]:
    """Return the scores of all columns of one evaluator."""
    found = next(iter(columns.values()))
    scores = {name: {metric: asdict(s) for metric, s in column.scores.items()} for name, column in columns.items()}
    return {"num_samples": found.num_samples, "num_missing": len(found.skipped), **scores}


def markdown(facts: Mapping[str, Any], tables: Mapping[str, Columns]) -> str:
    """Return a Markdown table for each evaluator."""
    lines = ["# Evaluation", ""]
    for name, value in facts.items():
        if name != "settings":
            text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            lines.append(f"- {name}: {text}")
    for name, columns in tables.items():
        header, rows = table(columns)
        lines += ["", f"## {name}", "", *sentences(columns), ""]
        lines += [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines) + "\n"


def sentences(columns: Columns) -> list[str]:
    """Return sentences to read before a table: number of samples, and how much is missing."""
    found = next(iter(columns.values()))
    lines = [f"{found.num_samples:,} samples."]
    if found.skipped:
        lines.append(f"{len(found.skipped):,} videos are missing: this is no score of the whole data set.")
    if "missing_records" in found.scores:
        lines.append(f"{found.scores['missing_records'].value:,.0f} of the published records are missing.")
    return lines


def table(columns: Columns) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows: a score, its interval, and the same score under each control."""
    real, *controls = columns.values()
    header = ["", "score", "95 % interval", *(name.replace("_", " ") for name in list(columns)[1:])]
    rows = []
    for name, score in real.scores.items():
        digits = 0 if name.startswith("missing") else 2  # counts
        others = (control.scores.get(name) for control in controls)
        cells = ["" if other is None else f"{other.value:.{digits}f}" for other in (score, *others)]
        interval = "" if score.low is None else f"{score.low:.1f} to {score.high:.1f}"
        rows.append([name, cells[0], interval, *cells[1:]])
    return header, rows
