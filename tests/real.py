"""Real clips and annotations beside the checkout; tests that use them skip where the folder is absent."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
DATA = SHARED / "data"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the folder shared/data is not beside the checkout")
needs_parity = pytest.mark.skipif(
    not (SHARED / "parity").is_dir(), reason="the folder shared/parity is not beside the checkout"
)
