"""Compare two evaluations sample by sample: the difference of each score, with a 95 % interval.

Both evaluations asked about the same samples, so how hard a sample is cancels out in its difference. The interval of
the difference is therefore narrower than those of the two scores, which may overlap although the difference is certain.
"""

import json
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from allinone.evaluators.base import Prediction
from allinone.evaluators.results import REAL, SCORES, predictions_file
from allinone.files.reading import read_json
from allinone.intervals import Bootstrap, Score


@dataclass(frozen=True)
class Difference:
    """A score of the first and of the second evaluation over the samples that both have, and second minus first."""

    first: float
    second: float
    difference: Score
    num_pairs: int


@dataclass(frozen=True)
class Comparison:
    """The differences of one evaluator's scores; `num_unpaired` counts the predictions that only one side has."""

    scores: Mapping[str, Difference]
    num_unpaired: tuple[int, int]


def compare(first: str | Path, second: str | Path, column: str = REAL) -> dict[str, Comparison]:
    """Compare the evaluators that both folders hold; `column` is `score`, or a control such as `blind`.

    Only scores that are a mean over predictions are compared: not the median rank, for example.

    Raises:
        ValueError: if a folder has no evaluation, they share no evaluator with this column, or no sample is in both.
    """
    scores = [read_scores(folder, column) for folder in (first, second)]
    # Runs may have been evaluated with other evaluators, too: only those in both are compared.
    shared = [name for name in scores[0] if name in scores[1]]
    if not shared:
        there = " and ".join(
            f"{folder} has {', '.join(some) or 'none'}" for folder, some in zip((first, second), scores, strict=True)
        )
        raise ValueError(f"no evaluator with the column {column!r} is in both: {there}")
    found = {}
    for name in shared:
        rows = [read_predictions(Path(folder, predictions_file(name, column))) for folder in (first, second)]
        found[name] = compare_rows(rows[0], rows[1], scores[0][name], scores[1][name])
        if not found[name].scores:
            raise ValueError(f"{name}: nothing to compare; {first} and {second} have no scored sample in common")
    return found


def compare_rows(
    first: Mapping[Hashable, Prediction],
    second: Mapping[Hashable, Prediction],
    first_scores: Mapping[str, float],
    second_scores: Mapping[str, float],
) -> Comparison:
    """Pair the predictions by their keys. The scores say which means over predictions are scores of the evaluator."""
    # 1. The scores that are means over predictions on both sides. The median rank is none: it has no difference by
    # sample.
    one, other = ({key: measures(row) for key, row in rows.items()} for rows in (first, second))
    shared = means(one.values(), first_scores).keys() & means(other.values(), second_scores).keys()
    # 2. For each of them, the predictions in both evaluations with this score (v2t has no t2v ranks).
    paired = [key for key in first if key in second]
    differences = {}
    for name in (name for name in first_scores if name in shared):
        keys = [key for key in paired if name in one[key] and name in other[key]]
        if not keys:
            continue
        values = torch.tensor([[measured[key][name] for key in keys] for measured in (one, other)]).double()
        # The interval resamples videos: questions about one video are right or wrong together.
        bootstrap = Bootstrap([first[key]["video_id"] for key in keys])
        first_mean, second_mean = values.mean(dim=1).tolist()
        differences[name] = Difference(first_mean, second_mean, bootstrap.mean(values[1] - values[0]), len(keys))
    return Comparison(differences, (len(first) - len(paired), len(second) - len(paired)))


def measures(row: Prediction) -> dict[str, float]:
    """Return the contribution of one prediction to each score that is a mean; {} if its answer is secret."""
    if row["correct"] is None:
        return {}
    correct = 100 * float(row["correct"])
    if "rank" in row:  # retrieval; the first rank is 1
        recalls = {f"{row['direction']}/R@{k}": 100.0 * (row["rank"] <= k) for k in (1, 5, 10)}
        return recalls | {f"{row['direction']}/MeanR": row["rank"]}
    if "clip_correct" in row:  # pairs of a clip and its reversal
        found = {"t2v/pairs": correct, "v2t/pairs": 100 * float(row["clip_correct"])}
    else:
        found = {"accuracy": correct}
    if "output" in row:  # a number, as counted before it is rounded
        found["mse"] = (row["prediction"] - row["truth"]) ** 2
    return found | ({} if row["kind"] is None else {f"{name}/{row['kind']}": value for name, value in found.items()})


def means(measured: Iterable[Mapping[str, float]], scores: Mapping[str, float]) -> dict[str, float]:
    """Return the scores that are the mean of `measures`. For example, accuracy over both stages of VCR is not."""
    values: dict[str, list[float]] = {}
    for some in measured:
        for name, value in some.items():
            values.setdefault(name, []).append(value)
    # Compared with a tolerance, because the evaluator adds up in another order.
    found = {name: sum(some) / len(some) for name, some in values.items()}
    return {
        name: mean for name, mean in found.items() if name in scores and math.isclose(mean, scores[name], abs_tol=1e-6)
    }


def read_scores(folder: str | Path, column: str) -> dict[str, dict[str, float]]:
    """Return the scores in this column, for each evaluator that has it."""
    path = Path(folder, SCORES)
    if not path.is_file():
        raise ValueError(f"{folder}: no evaluation; needs a folder with {SCORES}, as `allinone evaluate` writes it")
    try:
        return {
            name: {metric: float(score["value"]) for metric, score in columns[column].items()}
            for name, columns in read_json(path)["evaluators"].items()
            if column in columns
        }
    except DAMAGE as error:
        raise ValueError(f"{path}: no scores of an evaluation ({described(error)}); evaluate again") from error


def read_predictions(path: Path) -> dict[Hashable, Prediction]:
    """Return the predictions by question. Of several with the same question, the n-th of both sides are paired."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; evaluate again, so that the predictions of this column are written")
    seen: Counter[Hashable] = Counter()
    found = {}
    try:
        with path.open(encoding="utf-8") as lines:
            # A row without a field that the comparison reads is damage: `measures` raises.
            for line in lines:
                row = json.loads(line)
                key = (row.get("direction"), row["kind"], row["id"], row["video_id"], row.get("text"))
                measures(row)
                found[*key, seen[key]] = row
                seen[key] += 1
    except (*DAMAGE, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: line {seen.total() + 1} is not a prediction ({described(error)}); evaluate again"
        ) from error
    return found


DAMAGE = (AttributeError, KeyError, TypeError)
"""Errors that come from JSON with other content than expected."""


def described(error: BaseException) -> str:
    """Return the type and the message of an error."""
    return f"{type(error).__name__}: {error}"
