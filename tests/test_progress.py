import subprocess
import sys

import pytest

from allinone.progress import clock

SCRIPT = """
import logging, sys
{setup}
from allinone.progress import is_first_process, progress_lines, show_logs
log = logging.getLogger("allinone.anywhere")
for _ in range(2):
    if is_first_process():
        show_logs()
log.info("a step")
show = progress_lines(log.info, every_sec=0.0)
for done in range(3):
    show("clips", done, 4)
"""


@pytest.mark.parametrize(
    ("setup", "rank", "shown"),
    [
        ("", "0", ["a step", "clips: 1 of 4", "clips: 2 of 4"]),
        ("", "1", []),
        ("logging.basicConfig(level=logging.WARNING)", "0", []),
        ("logging.getLogger('allinone').addHandler(logging.NullHandler())", "0", []),
    ],
)
def test_logs_are_shown_once_and_only_where_nobody_has_set_up_logging(setup: str, rank: str, shown: list[str]):
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(setup=setup)], capture_output=True, text=True, check=True,
        env={"RANK": rank, "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert [line.split(",", 1)[0] for line in ran.stderr.splitlines()] == shown
    assert not ran.stdout


@pytest.mark.parametrize(
    ("seconds", "decimals", "text"),
    [
        (0.0, 0, "0:00"),
        (59.6, 0, "1:00"),
        (3725.0, 0, "1:02:05"),
        (360000.0, 0, "100:00:00"),
        (3.46, 1, "0:03.5"),
        (59.97, 1, "1:00.0"),
        (3725.04, 1, "1:02:05.0"),
    ],
)
def test_times_are_written_as_on_a_clock(seconds: float, decimals: int, text: str):
    assert clock(seconds, decimals) == text
