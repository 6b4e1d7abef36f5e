import pickle
from pathlib import Path

import pytest
import torch

from allinone.model.weight_files import read_tensors

RELEASED = Path(__file__).parents[1] / "data" / "parity_small" / "checkpoint.ckpt"


def test_a_malicious_pickle_runs_nothing(tmp_path):
    trap = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (trap,))

    (tmp_path / "evil.ckpt").write_bytes(pickle.dumps({"state_dict": Evil()}, protocol=2))
    torch.save({"state_dict": Evil()}, tmp_path / "evil2.ckpt")
    for name in ("evil.ckpt", "evil2.ckpt"):
        with pytest.raises(ValueError, match="could run code"):
            read_tensors(tmp_path / name)
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"no weights at all", RELEASED.read_bytes()[:5000]])
@pytest.mark.parametrize("name", ["x.ckpt", "x.safetensors"])
def test_a_damaged_file_is_one_clear_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        read_tensors(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_tensors(tmp_path / "absent.ckpt")
