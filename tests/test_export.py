"""ONNX files say what torch says."""

import pytest
import torch
from jaxtyping import config

from allinone import export as exporting
from allinone.export import export
from allinone.model.heads import MLMHead
from allinone.model.model import AllInOne
from tiny import CONFIG, HEADS

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    heads = {name: HEADS[name] for name in ("contrastive", "matching")}
    return AllInOne.build(CONFIG.replace(depth=1, patch_order="random"), heads).eval()


@pytest.fixture(scope="module", autouse=True)
def unchecked():
    """While a model is traced its sizes are symbols, which the checker of shapes takes for mistakes."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return export(model, tmp_path_factory.mktemp("onnx"))


def test_there_is_a_file_for_each_thing_that_the_heads_can_say(exported):
    assert {e.path.name for e in exported} == {"video.onnx", "text.onnx", "joint_matching.onnx"}
    assert all(e.difference <= exporting.TOLERANCE for e in exported)


def test_a_file_takes_any_batch_and_any_length_of_text(model, exported):
    path = next(e.path for e in exported if e.path.name == "text.onnx")
    session = onnxruntime.InferenceSession(path)
    part, names = exporting.parts(model)["text"]
    for batch, length in ((1, 2), (5, 11)):
        inputs = exporting.some_inputs(model, batch, length)
        [got] = session.run(None, {name: inputs[name].numpy() for name in names})
        with torch.inference_mode():
            assert torch.allclose(torch.from_numpy(got), part(*(inputs[name] for name in names)), atol=1e-5)


def test_a_file_that_says_something_else_is_an_error(model, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(ValueError, match=r"video.onnx: differs from torch by"):
        export(model, tmp_path)


def test_a_model_without_a_head_to_export_says_which_it_has(tmp_path):
    with pytest.raises(ValueError, match="heads of this model are mlm"):
        export(AllInOne.build(CONFIG, {"mlm": MLMHead.Config()}), tmp_path)
