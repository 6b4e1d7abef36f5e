"""How many clips an update takes, on one process and on many."""

import pytest

from allinone.data.sources import Data, num_accumulated
from allinone.experiment import override
from allinone.experiments import find


@pytest.mark.parametrize(
    ("num_processes", "batch_size", "accumulate"), [(1, 128, 8), (8, 128, 1), (2, 64, 8), (4, 1, 256)]
)
def test_an_update_takes_the_same_clips_whatever_the_number_of_processes(num_processes, batch_size, accumulate):
    assert Data(batch_size=batch_size, global_batch=1024).accumulate(num_processes) == accumulate
    assert Data(batch_size=batch_size).accumulate(num_processes) == 1


@pytest.mark.parametrize(
    ("num_processes", "batch_size", "way_out"),
    [(16, 128, "data.batch_size=64"), (1, 100, "data.batch_size=64"), (3, 128, "data.global_batch to a multiple of 3")],
)
def test_a_batch_that_cannot_be_made_says_which_can(num_processes, batch_size, way_out):
    with pytest.raises(ValueError, match=f"global_batch=1024 clips cannot be made .* set {way_out}"):
        Data(batch_size=batch_size, global_batch=1024).accumulate(num_processes)


def test_an_update_is_made_of_the_batches_that_its_sources_have(caplog):
    caplog.set_level("INFO")
    joint = override(find("world_joint"), ["data.batch_size=16", "data.global_batch=256"])
    assert num_accumulated(joint.train_data, joint.data, 2, is_size_chosen=True) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "data.batch_size=16 is for evaluation here; in training: train_data.captions.batch_size=64, "
        "train_data.pairs.batch_size=64, train_data.questions.batch_size=64",
        "an update takes 256 clips: 2 x 64 clips in each of 2 processes",
    ]
    uneven = override(joint, ["train_data.pairs.batch_size=32"])
    with pytest.raises(ValueError, match=r"global_batch needs batches of one size, got .*pairs\.batch_size=32"):
        num_accumulated(uneven.train_data, uneven.data, 1)
    free = override(uneven, ["data.global_batch=null"])
    assert num_accumulated(free.train_data, free.data, 1) == 1
