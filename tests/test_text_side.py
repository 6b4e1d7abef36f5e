import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from allinone.apps.search import VideoIndex
from allinone.checkpoint import save_checkpoint
from allinone.files.tensors import load_tensors, save_tensors
from allinone.inference import Predictor, load
from tiny import TEXTS, tiny_predictor, write_videos


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    whole = tiny_predictor()
    return save_checkpoint(tmp_path / "model", whole.model, whole.tokenizer)


def loaded_again(folder: Path) -> Predictor:
    """The predictor of a second start, when the digest of the weights is known."""
    load(folder, text_only=True)
    return load(folder, text_only=True)


def test_only_the_tensors_of_the_text_side_are_read(folder: Path):
    predictor = loaded_again(folder)
    read = {name for name, tensor in predictor.model.state_dict().items() if not tensor.is_meta}
    others = set(predictor.model.state_dict()) - read
    assert {name.rpartition(".")[0] for name in others if name.startswith("encoder.")} == {
        "encoder.vision", "encoder.vision.patch", "encoder.pooler"
    }  # fmt: skip
    assert {"heads.contrastive.video.weight", "heads.matching.linear.weight"} <= others
    whole = load(folder, device="cpu", precision="float32")
    assert torch.allclose(predictor.embed_text(TEXTS), whole.embed_text(TEXTS), atol=1e-6)


def test_a_video_is_refused(folder: Path, tmp_path: Path):
    predictor = loaded_again(folder)
    with pytest.raises(ValueError, match="loaded with text_only"):
        predictor.embed_video(write_videos(tmp_path / "videos", 1))


def test_the_identity_is_that_of_the_whole_model_and_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    whole = load(folder, device="cpu").identity
    assert load(folder, text_only=True).identity == whole
    monkeypatch.setattr("allinone.text_side.weights_digest", lambda model: pytest.fail("hashed again"))
    assert load(folder, text_only=True).identity == whole


def test_changed_weights_have_another_identity_also_with_the_size_and_the_time_of_before(folder: Path):
    before = loaded_again(folder).identity
    path = folder / "model.safetensors"
    facts = path.stat()
    tensors = load_tensors(path)
    tensors["encoder.vision.patch.bias"] = tensors["encoder.vision.patch.bias"] + 1  # not of the text side
    save_tensors(path, tensors)
    assert path.stat().st_size == facts.st_size
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert load(folder, text_only=True).identity != before


def test_changed_weights_in_memory_have_another_identity(folder: Path):
    predictor = load(folder, device="cpu")
    before = predictor.identity
    predictor.model.encoder.modality.data[0, 0] += 1
    assert predictor.identity != before


def test_a_damaged_file_is_found_by_the_first_start_after_it_changed(folder: Path):
    loaded_again(folder)
    path = folder / "model.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"model\.safetensors: damaged"):
        load(folder, text_only=True)


SEARCH = """
import sys
from allinone.cli import main
main(["search", "red", "--index", sys.argv[1]])
assert "torch" in sys.modules
assert "torch._dynamo" not in sys.modules, "torch's compiler, which takes seconds to import"
"""


def test_a_search_by_words_finds_what_the_whole_model_finds(folder: Path, tmp_path: Path):
    index = VideoIndex.open(tmp_path / "index", load(folder, device="cpu", precision="float32"))
    index.add(write_videos(tmp_path / "videos", 3))
    loaded_again(folder)
    quick = VideoIndex.open(tmp_path / "index", text_only=True)
    found, wanted = quick.search("red", top_k=3), index.search("red", top_k=3)
    assert [hit.segment for hit in found] == [hit.segment for hit in wanted]
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in wanted], abs=1e-5)
    subprocess.run([sys.executable, "-c", SEARCH, str(tmp_path / "index")], check=True, capture_output=True)
