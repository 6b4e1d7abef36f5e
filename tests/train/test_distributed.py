import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from allinone.checkpoint import load_checkpoint
from allinone.files.lock import only_process
from allinone.train.run import run_training
from allinone.train.world import join_world
from train.test_run import losses, metrics
from train.two_processes import shared_run


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """The folder in which two processes have trained together."""
    out = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | shared
    command = [sys.executable, str(Path(__file__).with_name("two_processes.py")), str(out)]
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    processes = [subprocess.Popen(command, env=environment | rank, stderr=subprocess.PIPE, text=True) for rank in ranks]
    try:
        with only_process(out / "held"):
            errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return out


@pytest.fixture(scope="module")
def told(two) -> list[dict]:
    return [json.loads((two / f"told-{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_learn_what_one_learns_from_whole_batches(two, tmp_path):
    """VTC's negatives come from both processes; some steps leave a head unused, and some use both."""
    run_training(shared_run(rank=None), tmp_path)
    alone, group_size = metrics(tmp_path), metrics(two / "equal")
    assert {line["sources"] for line in alone} >= {"captions", "captions+questions"}
    for one, other in zip(alone, group_size, strict=True):
        assert one["sources"] == other["sources"]
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
        assert [k for k in one if "/" in k] == [k for k in other if "/" in k]
    own, theirs = (load_checkpoint(folder).model.state_dict() for folder in (tmp_path, two / "equal"))
    for name in own:
        torch.testing.assert_close(theirs[name], own[name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_loss_that_is_not_finite_in_one_process_is_skipped_in_both(told):
    assert [t["skipped"] for t in told] == [[0, 0, 1, 1, 1]] * 2
    assert told[0]["weight"] == told[1]["weight"]


def test_a_signal_to_one_process_stops_both_after_the_same_step_and_both_go_on(two, told):
    assert [t["stopped"] for t in told] == [3, 3]
    assert losses(two / "stopped") == losses(two / "equal")


def test_processes_that_find_other_checkpoints_damaged_do_not_go_on(two, told):
    assert {one["disagreed"] for one in told} == {
        f"{two / 'stopped'}: not every process can read the same checkpoints there"
    }


def test_both_processes_are_refused_where_another_run_writes(two, told):
    assert "is writing there" in told[0]["refused"]
    assert told[1]["refused"] == f"{two / 'held'}: the main process cannot begin there"


def test_a_run_of_two_processes_is_not_gone_on_with_by_one(two):
    with pytest.raises(ValueError, match="num_processes: was 2, is 1"):
        run_training(shared_run(rank=0), two / "equal", resume=True)


def test_the_number_of_processes_stands_in_the_experiment(two):
    assert json.loads((two / "equal" / "experiment.json").read_text())["num_processes"] == 2


def test_a_process_alone_is_a_world_of_one():
    with join_world("cpu") as world:
        assert (world.rank, world.size, world.is_main, world.device.type) == (0, 1, True, "cpu")
        world.wait()
        assert not torch.distributed.is_initialized()
