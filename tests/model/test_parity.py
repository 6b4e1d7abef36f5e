"""The released weights give the same numbers: `benchmarks/parity.py` on the fixtures."""

from pathlib import Path

import pytest
from parity import Fixture, compare, left_out

from real import SHARED, needs_parity

SMALL = Path(__file__).parents[1] / "data" / "parity_small"


@pytest.mark.parametrize("folder", [SMALL, pytest.param(SHARED / "parity" / "distilled", marks=needs_parity)])
def test_every_output_of_the_released_model_is_within_tolerance(folder):
    fixture = Fixture(folder)
    comparisons = list(compare(fixture))
    assert [str(c) for c in comparisons if not c.within] == []
    compared = {c.name for c in comparisons}
    assert {name for name in fixture.expected if not left_out(name)} <= compared
