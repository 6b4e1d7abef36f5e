import pytest

from allinone.apps.tools.pool import Failure, run_tasks
from apps.tools.misbehaving import work


def test_what_hangs_or_crashes_costs_its_own_task_and_no_other():
    tasks = ["a", "hang", "b", "crash", "c", "raise", "refuse", "exit", "d"]
    found = dict(run_tasks(tasks, work, num_workers=2, patience_sec=3))
    assert {task: found[task] for task in "abcd"} == {task: f"{task} done" for task in "abcd"}
    causes = {task: result.cause for task, result in found.items() if isinstance(result, Failure)}
    assert causes == {
        "hang": "no sign of life for 3 s; given up",
        "crash": "the process that read it died (SIGSEGV)",
        "exit": "the process that read it died (exit code 3)",
        "raise": "KeyError('what a decoder may raise')",
        "refuse": "refuse: no video stream",
    }


def test_a_full_disk_ends_all_work():
    with pytest.raises(OSError, match=r"No space left on device: 'copy\.mp4'"):
        list(run_tasks(["a", "full", *"bcdefgh"], work, num_workers=2, patience_sec=30))


def test_a_sign_of_life_lengthens_the_patience():
    assert dict(run_tasks(["slow"], work, num_workers=1, patience_sec=3)) == {"slow": "slow done"}


def test_nothing_to_do_is_done_at_once_and_no_workers_are_refused():
    assert list(run_tasks([], work, num_workers=2, patience_sec=1)) == []
    with pytest.raises(ValueError, match="must be 1 or more, got 0"):
        list(run_tasks(["a"], work, num_workers=0, patience_sec=1))


def test_workers_end_when_the_results_are_no_longer_needed():
    results = run_tasks(["a", "hang"], work, num_workers=2, patience_sec=60)
    assert next(results) == ("a", "a done")
    results.close()
