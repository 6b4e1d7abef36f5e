"""An exported folder says what torch says, and works without torch and without us."""

import json
import logging
import os
import runpy
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jaxtyping import config

from allinone.apps import export as exporting
from allinone.apps.export import Exported, export, preprocessing
from allinone.checkpoint import save_checkpoint
from allinone.inference import Predictor, load
from allinone.model.heads import LabelHead, MLMHead
from allinone.model.model import AllInOne
from tiny import ANSWERS, CONFIG, HEADS, TEXTS, tiny_predictor, tiny_tokenizer

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ALONE = """
import runpy, sys
for name in ("torch", "allinone", "PIL"):
    sys.modules[name] = None
import numpy as np
example, video, *texts = sys.argv[1:]
functions = runpy.run_path(example)
ids, mask = functions["read_texts"](texts)
text = functions["run"]("text.onnx", text_ids=ids, text_mask=mask)
np.savez("embedded.npz", video=functions["run"]("video.onnx", frames=functions["read_clip"](video)), text=text)
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    heads = {name: HEADS[name] for name in ("contrastive", "matching")}
    torch.manual_seed(0)
    model = AllInOne.build(CONFIG.replace(depth=1, num_frames=3, patch_order="random", max_text_len=8), heads)
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", model, tiny_tokenizer())


@pytest.fixture(scope="module", autouse=True)
def unchecked():
    """While a model is traced its sizes are symbols, which the checker of shapes takes for mistakes."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def logged() -> list[str]:
    return []


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, logged: list[str]) -> list[Exported]:
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    try:
        return export(checkpoint, tmp_path_factory.mktemp("onnx"))
    finally:
        logging.getLogger().removeHandler(handler)


@pytest.fixture
def folder(exported: list[Exported]) -> Path:
    return exported[0].path.parent


@pytest.fixture
def predictor(checkpoint: Path) -> Predictor:
    return load(checkpoint, device="cpu", precision="float32")


def test_there_is_a_file_for_each_thing_that_the_heads_can_say(exported: list[Exported], folder: Path):
    assert {e.path.name for e in exported} == {"video.onnx", "text.onnx", "joint_matching.onnx"}
    assert all(e.difference <= exporting.TOLERANCE for e in exported)
    beside = {path.name for path in folder.iterdir()} - {e.path.name for e in exported}
    assert beside == {"tokenizer.json", "preprocess.json", "example.py"}


def test_the_exporter_says_nothing_of_its_insides(exported: list[Exported], logged: list[str]):
    assert exported
    assert not logged


def test_a_file_takes_any_batch_and_any_length_of_text_by_named_axes(predictor: Predictor, folder: Path):
    session = onnxruntime.InferenceSession(folder / "text.onnx")
    assert [(i.name, i.shape) for i in session.get_inputs()] == [
        ("text_ids", ["batch", "length"]),
        ("text_mask", ["batch", "length"]),
    ]
    assert session.get_outputs()[0].shape == ["batch", 16]
    part, names = exporting.parts(predictor.model)["text"]
    for batch, length in ((1, 2), (5, 7)):
        inputs = exporting.some_inputs(predictor.model, batch, length)
        [got] = session.run(None, {name: inputs[name].numpy() for name in names})
        with torch.inference_mode():
            assert torch.allclose(torch.from_numpy(got), part(*(inputs[name] for name in names)), atol=1e-5)


def write_film(path: Path, rotation: int) -> Path:
    """Three seconds of 90 x 64 noise that moves, turned by the player, with B-frames."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 200, 3), dtype=np.uint8).repeat(4, axis=0)
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=10, options={"bf": "2"})
        stream.height, stream.width, stream.pix_fmt = 64, 90, "yuv420p"
        stream.set_display_rotation(rotation)
        for number in range(30):
            pixels = np.ascontiguousarray(noise[:, 3 * number : 3 * number + 90])
            target.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        target.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("rotation", [0, 90])
def test_the_example_embeds_as_we_do_where_neither_torch_nor_this_package_is(
    predictor: Predictor, folder: Path, tmp_path: Path, rotation: int
):
    film = write_film(tmp_path / "film.mp4", rotation)
    command = [sys.executable, "-c", ALONE, str(folder / "example.py"), str(film), *TEXTS]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    embedded = np.load(tmp_path / "embedded.npz")
    assert np.abs(embedded["text"] - predictor.embed_text(TEXTS).numpy()).max() <= 1e-6
    assert (embedded["video"] @ predictor.embed_video(film).numpy()[0]).item() >= 0.99999
    clip = runpy.run_path(str(folder / "example.py"))["read_clip"](str(film))
    assert np.array_equal(clip[0], predictor.one_clip(film, 1)[0, 0].numpy())


@pytest.mark.parametrize("sides", [(268, 224), (57, 64), (301, 32), (31, 63)])
def test_the_example_resizes_as_torch_does_bit_for_bit(folder: Path, sides: tuple[int, int]):
    side, size = sides
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    ours = F.interpolate(torch.from_numpy(pixels).permute(2, 0, 1)[None], (size, size), mode="bilinear", antialias=True)
    resized = runpy.run_path(str(folder / "example.py"))["resize"](pixels, size)
    assert np.array_equal(resized, ours[0].permute(1, 2, 0).numpy())


def test_preprocessing_is_data(folder: Path):
    spec = json.loads((folder / "preprocess.json").read_text())
    assert (spec["frames"]["count"], spec["resize"]["short_side"], spec["resize"]["crop"]) == (3, 38, 32)
    assert (spec["text"]["max_len"], spec["text"]["pad_id"], spec["text"]["sep_id"]) == (8, 0, 3)
    assert spec["normalize"]["mean"] == [0.485, 0.456, 0.406]
    assert spec["outputs"]["text.onnx"]["temperature"] == pytest.approx(0.05)


def test_answers_and_classes_are_among_the_outputs():
    predictor = tiny_predictor(heads={"answer": HEADS["answer"], "label": LabelHead.Config(classes=("run", "sit"))})
    outputs = preprocessing(predictor)["outputs"]
    assert outputs["joint_answer.onnx"]["answers"] == ANSWERS
    assert outputs["video_label.onnx"]["classes"] == ("run", "sit")


def test_a_file_that_says_something_else_is_an_error(
    predictor: Predictor, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    part, names = exporting.parts(predictor.model)["video"]
    with pytest.raises(ValueError, match=r"video.onnx: differs from torch by"):
        exporting.difference(onnxruntime, predictor.model, part, names, folder / "video.onnx")


def test_a_model_without_a_head_to_export_says_which_it_has(tmp_path: Path):
    with pytest.raises(ValueError, match="heads of this model are mlm"):
        export(AllInOne.build(CONFIG, {"mlm": MLMHead.Config()}), tmp_path)
