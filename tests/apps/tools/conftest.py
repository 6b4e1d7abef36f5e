"""What tests of tools share: a small data set, and a cache of their own."""

import pytest

from apps.tools.world import write_small


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    return write_small(tmp_path / "small")
