"""The folder that an evaluation writes: scores as JSON and Markdown, what was said of each sample, files for servers.

scores.json                 every score with its interval, beside those of the controls, and what was evaluated
scores.md                   the same as tables
NAME.predictions.jsonl      for each evaluator, a line for each sample
...                         what the public server of a data set with secret answers wants
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from allinone.checkpoint import beside, flush, put_in_place, read_json, recover, write_json
from allinone.evaluators.base import Evaluation

SCORES, TABLES, PREDICTIONS = "scores.json", "scores.md", ".predictions.jsonl"

Columns = Mapping[str, Evaluation]
"""What an evaluator found: first the real evaluation, then each control by its name."""


def refuse_to_replace(folder: str | Path) -> None:
    """ValueError where something stands there that is no evaluation of ours."""
    folder = Path(folder)
    if not folder.exists() and not folder.is_symlink():
        return
    there = {path.name for path in folder.iterdir()} if folder.is_dir() and not folder.is_symlink() else {""}
    ours = set(read_json(folder / SCORES).get("files", ())) if SCORES in there else set()
    if there - ours:
        names = ", ".join(sorted(there - ours)[:5]) or "something that is no folder"
        raise ValueError(
            f"{folder}: holds {names}, which is no evaluation of ours to replace; choose another with --to"
        )


def write_results(folder: str | Path, facts: Mapping[str, Any], tables: Mapping[str, Columns]) -> Path:
    """Write the folder, in place of an older evaluation; a process that is killed leaves no half.

    `facts` tell what was evaluated. `tables` are by the names of the evaluators.
    """
    folder = Path(folder)
    recover(folder)
    refuse_to_replace(folder)
    texts = {TABLES: markdown(facts, tables)}
    for name, columns in tables.items():
        found = next(iter(columns.values()))
        texts[name + PREDICTIONS] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found.predictions)
        texts |= {(f"{name}.{file}" if file in texts else file): text for file, text in found.files.items()}
    new = beside(folder, "new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        for file, text in texts.items():
            (new / file).write_text(text, encoding="utf-8", newline="")
        found = {"evaluators": {name: as_json(columns) for name, columns in tables.items()}}
        write_json(new / SCORES, {"files": [SCORES, *texts], **facts, **found})
        flush(new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    put_in_place(new, folder)
    return folder


def as_json(columns: Columns) -> dict[str, Any]:
    found = next(iter(columns.values()))
    scores = {name: {metric: asdict(s) for metric, s in column.scores.items()} for name, column in columns.items()}
    return {"num_samples": found.num_samples, "num_missing": len(found.left_out), **scores}


def markdown(facts: Mapping[str, Any], tables: Mapping[str, Columns]) -> str:
    """A table for each evaluator."""
    lines = ["# Evaluation", ""]
    for name, value in facts.items():
        if name != "settings":
            told = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            lines.append(f"- {name}: {told}")
    for name, columns in tables.items():
        header, rows = table(columns)
        lines += ["", f"## {name}", "", *sentences(columns), ""]
        lines += [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines) + "\n"


def sentences(columns: Columns) -> list[str]:
    """What is to be known before a table is read."""
    found = next(iter(columns.values()))
    told = [f"{found.num_samples:,} samples."]
    if found.left_out:
        told.append(f"{len(found.left_out):,} videos are missing: this is no score of the whole data set.")
    if "missing_records" in found.scores:
        told.append(f"{found.scores['missing_records'].value:,.0f} of the published records are missing.")
    return told


def table(columns: Columns) -> tuple[list[str], list[list[str]]]:
    """The header and the rows: a score, its interval, and the same score of each control."""
    real, *controls = columns.values()
    header = ["", "score", "95 % interval", *(name.replace("_", " ") for name in list(columns)[1:])]
    rows = []
    for name, score in real.scores.items():
        digits = 0 if name.startswith("missing") else 2
        others = (control.scores.get(name) for control in controls)
        cells = ["" if other is None else f"{other.value:.{digits}f}" for other in (score, *others)]
        interval = "" if score.low is None else f"{score.low:.1f} to {score.high:.1f}"
        rows.append([name, cells[0], interval, *cells[1:]])
    return header, rows
