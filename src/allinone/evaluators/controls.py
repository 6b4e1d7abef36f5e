"""An evaluation and its controls: the same samples again, with frames or the question withheld.

A control shows how much of a score needs no video. An evaluator says which columns a control adds (`under_control`).
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import get_args, get_type_hints

from allinone.data.clip_reader import Control
from allinone.data.completeness import Tables
from allinone.data.example import Dataset
from allinone.data.sources import Data, allowing
from allinone.evaluators.base import Evaluation, EvaluatorConfig
from allinone.inference import Predictor
from allinone.model.model import MissingHead
from allinone.progress import Progress

log = logging.getLogger(__name__)


def run_evaluator(
    predictor: Predictor,
    config: EvaluatorConfig,
    data: Data,
    controls: Sequence[Control] = (),
    on_progress: Progress | None = None,
    tables: Tables | None = None,
) -> dict[str, Evaluation]:
    """Return the real evaluation (`score`), and the same samples under each control, by column.

    The data set is read once, or not at all if it is one of the `tables` that are open.
    """
    folder, tables = data.folder(config), tables or Tables()
    if config.allow_missing or data.allow_missing:
        # Every data set of the config, such as a second stage; their readers accept missing files too.
        values = {field.name: getattr(config, field.name) for field in fields(config)}
        datasets = {name: allowing(value, True) for name, value in values.items() if isinstance(value, Dataset)}
        config = replace(config, **{"allow_missing": True, **datasets})
    columns = {"score": config.build().evaluate(predictor, folder, data, on_progress, tables=tables)}
    skipped = columns["score"].skipped
    for control in controls:
        withheld = replace(data, control=control)
        for column, variant in config.under_control(control).items():
            evaluator = variant.build()
            columns[column] = evaluator.evaluate(
                predictor, folder, withheld, on_progress, skipped=skipped, tables=tables
            )
            # A control may read other frames of a video, such as only the middle one, and not all may decode.
            if columns[column].skipped != skipped:
                log.warning("%s: covers other videos than the real score does", column)
    return columns


def metric_values(tables: Mapping[str, Mapping[str, Evaluation]]) -> dict[str, float]:
    """Return the real scores of each evaluator, without their intervals, as `evaluator/metric`."""
    return {
        f"{name}/{metric}": score.value
        for name, columns in tables.items()
        for metric, score in columns["score"].scores.items()
    }


def check_data(config: EvaluatorConfig, data: Data, tables: Tables | None = None) -> None:
    """Open the data sets of an evaluator.

    Raises:
        ValueError: if one of them is incomplete.
    """
    folder, allowed = data.folder(config), config.allow_missing or data.allow_missing
    tables = tables or Tables()
    for dataset in config.datasets:
        tables.open(allowing(dataset, allowed), folder, allowed)


def check_heads(predictor: Predictor, name: str, config: EvaluatorConfig) -> None:
    """Raise MissingHead where the model lacks the head that the evaluator `name` needs.

    The error lists the modes that the model has heads for.
    """
    try:
        config.build().check(predictor)
    except MissingHead as error:
        # If the evaluator has modes: those that this model has heads for.
        others = []
        for mode in get_args(get_type_hints(type(config)).get("mode")):
            with suppress(MissingHead):
                replace(config, **{"mode": mode}).build().check(predictor)
                others.append(f"--set evaluators.{name}.mode={mode}")
        way = f"; without training: {' or '.join(others)}" if others else ""
        raise MissingHead(f"evaluator {name}: {error}{way}") from error
