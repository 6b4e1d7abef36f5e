import logging
import warnings

import pytest

from allinone.cli import quiet_other_ranks


@pytest.mark.parametrize(("rank", "heard"), [(0, {"shared", "video", "failed"}), (1, {"video", "failed"})])
def test_only_the_first_process_logs_what_all_would_log(rank: int, heard: set[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        quiet_other_ranks(rank)
        warnings.warn("of every process", stacklevel=1)
    logging.getLogger("allinone.experiment").warning("shared")
    logging.getLogger("allinone.data.loader").warning("video")
    logging.getLogger("allinone.experiment").error("failed")
    assert set(lines) == heard
    assert len(warned) == (rank == 0)
