"""Checkpoints as others saved them: pickles that name classes which are not here, and pickles that mean harm."""

import builtins
import io
import os
import pickle
import sys
import types
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._utils import _rebuild_tensor_v2 as rebuild

from allinone.apps.convert import convert
from allinone.model.weight_files import read_tensors

RELEASED = Path(__file__).parents[1] / "data" / "parity_small" / "checkpoint.ckpt"
TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3).T, "a.bias": torch.tensor([1, 2], dtype=torch.bfloat16)}


@pytest.fixture
def absent_classes(monkeypatch):
    """A module with classes as Lightning 1.x pickles them, which is gone when the file is read."""
    module: Any = types.ModuleType("absent_package")
    for name, bases in {"Callback": (), "AttributeDict": (dict,), "Options": (list,), "Words": (set,)}.items():
        setattr(module, name, type(name, bases, {"__module__": "absent_package"}))
    monkeypatch.setitem(sys.modules, "absent_package", module)
    return module


def same(tensors: dict[str, torch.Tensor]) -> bool:
    return tensors.keys() == TENSORS.keys() and all(
        torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype for name, value in TENSORS.items()
    )


@pytest.mark.parametrize(("protocol", "new_format"), [(2, True), (4, True), (2, False)])
def test_unknown_classes_of_a_training_framework_do_not_matter(
    tmp_path, absent_classes, monkeypatch, protocol, new_format
):
    callback, options = absent_classes.Callback(), absent_classes.Options([1, 2])
    callback.state = {"monitor": "loss"}
    holds = {
        "state_dict": {name: torch.nn.Parameter(x) if x.is_floating_point() else x for name, x in TENSORS.items()},
        "callbacks": {absent_classes.Callback: {"best": torch.tensor(1.0)}, "other": callback},
        "hyper_parameters": absent_classes.AttributeDict(lr=1e-4, nested=absent_classes.AttributeDict(x=options)),
        "more": [Namespace(x=Path("y")), absent_classes.Words({1}), getattr, b"bytes", 1j, {1}],
    }
    path = tmp_path / "x.ckpt"
    torch.save(holds, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new_format)
    monkeypatch.delitem(sys.modules, "absent_package")
    assert same(read_tensors(tmp_path / "x.ckpt"))
    assert "absent_package" not in sys.modules


def test_an_outer_dictionary_of_an_unknown_class_is_told_from_tensors(tmp_path, absent_classes):
    torch.save({"state_dict": absent_classes.AttributeDict(TENSORS)}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"x\.ckpt: refused, since its weights are objects of absent_package\.Attr"):
        read_tensors(tmp_path / "x.ckpt")


def test_a_whole_model_in_a_pickle_is_refused_with_the_way_out(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"torch\.nn\.modules\.linear\.Linear.*save model\.state_dict\(\) instead"):
        read_tensors(tmp_path / "x.pth")


class Call:
    """Pickles as a call of this function, with this state given to what it returns."""

    def __init__(self, function: Any, *args: Any, state: Any = None):
        self.parts = (function, args, state) if state is not None else (function, args)

    def __reduce__(self) -> Any:
        return self.parts


def inner_file() -> bytes:
    file = io.BytesIO()
    pickle.dump(Call(os.mkdir, "trap"), file)
    return file.getvalue()


ATTACKS = {
    "os": Call(os.mkdir, "trap"),
    "eval": Call(builtins.eval, "__import__('os').mkdir('trap')"),
    "exec": Call(builtins.exec, "import os; os.mkdir('trap')"),
    "what getattr returns": Call(getattr, Path("trap"), "mkdir"),
    "a state": Call(Namespace, state=Call(os.mkdir, "trap")),
    "setting what a class computes": Call(Path, "x", state=(None, {"__init__": Call(os.mkdir, "trap")})),
    "a nested pickle": Call(pickle.loads, inner_file()),
    "a nested file of torch": Call(torch.storage._load_from_bytes, inner_file()),
    "torch.load": Call(torch.load, "inner.pt"),
    "torch.jit": Call(torch.jit.load, "inner.pt"),
    "an import": Call(torch.hub._import_module, "trap", "trap.py"),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("place", ["beside", "instead", "as a tensor", "as a name"])
@pytest.mark.parametrize("old_format", [False, True])
def test_nothing_of_a_malicious_pickle_runs(tmp_path, monkeypatch, attack, place, old_format):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inner.pt").write_bytes(inner_file())
    (tmp_path / "trap.py").write_text("import os; os.mkdir('trap')")
    evil = ATTACKS[attack]
    holds = {
        "beside": {"state_dict": TENSORS, "callbacks": {"x": [evil]}},
        "instead": {"state_dict": evil},
        "as a tensor": {"state_dict": {**TENSORS, "b": evil}},
        "as a name": {"state_dict": TENSORS, "x": {("k", evil): 1}},
    }[place]
    torch.save(holds, tmp_path / "x.ckpt", _use_new_zipfile_serialization=not old_format)
    if place in ("beside", "as a name"):
        assert same(read_tensors(tmp_path / "x.ckpt"))
    else:
        with pytest.raises(ValueError, match=r"x\.ckpt: "):
            read_tensors(tmp_path / "x.ckpt")
    assert not (tmp_path / "trap").exists()


def write_pickle(path: Path, opcodes: bytes) -> None:
    """A file of `torch.save` with this pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", opcodes)
        archive.writestr("x/version", "3\n")


CALL_OF_A_CALL = (
    b"\x80\x02}X\x01\x00\x00\x00acbuiltins\ngetattr\ncos\nX\x05\x00\x00\x00mkdir\x86RX\x04\x00\x00\x00trap\x85Rs."
)


@pytest.mark.parametrize(
    "opcodes",
    [
        CALL_OF_A_CALL,
        b"\x80\x02cos\nmkdir\nX\x04\x00\x00\x00trap\x85R.",
        b"\x80\x02(X\x04\x00\x00\x00trapios\nmkdir\n.",  # INST
        b"\x80\x02(cos\nmkdir\nX\x04\x00\x00\x00trapo.",  # OBJ
        b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c\x04trap\x85R.",  # STACK_GLOBAL
        b"\x80\x04\x8c\x08builtins\x8c\x0cobject.__new__\x93.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__)s\x86b.",  # sets an attribute
        b"\x80\x02ccollections\nOrderedDict\nN}X\x07\x00\x00\x00__new__Ns\x86b.",
        b"\x80\x02X\x01\x00\x00\x00xQ.",  # a persistent id that is no storage
        b"\x80\x02\x82\x01.",  # the extension registry
        b"\x80\x02",
        b"",
    ],
)
def test_odd_opcodes_run_nothing_and_are_one_error(tmp_path, monkeypatch, opcodes):
    monkeypatch.chdir(tmp_path)
    write_pickle(tmp_path / "x.ckpt", opcodes)
    with pytest.raises(ValueError, match=r"x\.ckpt: "):
        read_tensors(tmp_path / "x.ckpt")
    assert not (tmp_path / "trap").exists()
    assert rebuild.__defaults__ is not None
    assert same_after_all(tmp_path)


def same_after_all(folder: Path) -> bool:
    """Files are still read as before."""
    torch.save(TENSORS, folder / "good.pt")
    return same(read_tensors(folder / "good.pt"))


@pytest.mark.parametrize("length", [1, 9, 100, 10_000])
def test_an_old_file_that_is_cut_off_is_one_error(tmp_path, absent_classes, length):
    holds = {"x": torch.zeros(4000), "y": absent_classes.Callback}
    torch.save(holds, tmp_path / "x.ckpt", _use_new_zipfile_serialization=False)
    (tmp_path / "x.ckpt").write_bytes((tmp_path / "x.ckpt").read_bytes()[:-length])
    with pytest.raises(ValueError, match=r"x\.ckpt: .*damaged"):
        read_tensors(tmp_path / "x.ckpt")


def test_a_storage_smaller_than_its_tensor_is_one_error(tmp_path, absent_classes):
    torch.save({"x": torch.zeros(8), "y": absent_classes.Callback}, tmp_path / "x.ckpt")
    with zipfile.ZipFile(tmp_path / "x.ckpt") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "y.ckpt", "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content[:8] if name.endswith("data/0") else content)
    with pytest.raises(ValueError, match=r"y\.ckpt: .*damaged"):
        read_tensors(tmp_path / "y.ckpt")


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "model.", "module._orig_mod.", "_orig_mod.module.model.", "model._orig_mod."]
)
def test_the_prefixes_of_wrappers_are_taken_off(tmp_path, prefix):
    torch.save({"state_dict": {prefix + name: x for name, x in TENSORS.items()}}, tmp_path / "x.ckpt")
    assert same(read_tensors(tmp_path / "x.ckpt"))


def test_a_wrapper_inside_of_the_model_leaves_no_trace_in_the_names(tmp_path):
    torch.save({"a._orig_mod.weight": TENSORS["a.weight"], "a.module.bias": TENSORS["a.bias"]}, tmp_path / "x.ckpt")
    assert same(read_tensors(tmp_path / "x.ckpt"))


def test_two_models_in_one_file_are_not_mixed(tmp_path):
    torch.save(TENSORS | {f"module.{name}": x for name, x in TENSORS.items()}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"two tensors are a\.weight without the prefixes"):
        read_tensors(tmp_path / "x.ckpt")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value):
    tensors = read_tensors(RELEASED)
    tensors["transformer.norm.weight"][3] = value
    torch.save({"state_dict": tensors}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"x\.ckpt: NaN or infinite numbers in transformer\.norm\.weight"):
        convert(tmp_path / "x.ckpt", tmp_path / "to")
    assert not (tmp_path / "to").exists()


ODD = {
    "sparse": torch.eye(3).to_sparse(),
    "complex": torch.zeros(3, dtype=torch.complex64),
    "float8": torch.zeros(3).to(torch.float8_e4m3fn),
    "meta": torch.zeros(3, device="meta"),
    "repeated": torch.zeros(1).expand(10**12),
}


@pytest.mark.parametrize("kind", ODD)
def test_tensors_of_other_kinds_and_repeated_numbers_are_refused_by_name(tmp_path, kind):
    torch.save({"state_dict": {**TENSORS, "b.weight": ODD[kind]}}, tmp_path / "odd.ckpt")
    with pytest.raises(ValueError, match=r"odd\.ckpt: wanted ordinary tensors .*, not b\.weight"):
        read_tensors(tmp_path / "odd.ckpt")


def test_large_numbers_in_half_precision_are_finite(tmp_path):
    tensors = {name: x.half() if x.is_floating_point() else x for name, x in read_tensors(RELEASED).items()}
    tensors["transformer.norm.weight"][:] = 60000
    torch.save({"state_dict": tensors}, tmp_path / "x.ckpt")
    convert(tmp_path / "x.ckpt", tmp_path / "to")


def test_a_compressed_file_is_refused(tmp_path, absent_classes):
    torch.save({"x": torch.zeros(8), "y": absent_classes.Callback}, tmp_path / "x.ckpt")
    with zipfile.ZipFile(tmp_path / "x.ckpt") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "y.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r"y\.ckpt: .*is compressed"):
        read_tensors(tmp_path / "y.ckpt")
