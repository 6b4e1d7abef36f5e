"""What may import what: data flows one way (the layout in the README)."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "allinone"
CORE = {
    "checks": set(),
    "progress": set(),
    "processes": set(),
    "files": set(),
    "types": set(),
    "metrics": {"types"},
    "intervals": {"metrics"},
    "video": {"files", "types"},
    "text": {"files", "types"},
    "model": {"files", "types", "text"},
    "data": {"processes", "types", "video", "text", "files"},
    "objectives": {"types", "model", "text"},
    "own_code": set(),
    "settings": {"own_code"},
    "checkpoint_config": {"files", "model", "own_code", "settings"},
    "checkpoint": {"checkpoint_config", "files", "model", "text", "own_code"},
    "text_side": {"checkpoint", "checkpoint_config", "files", "model"},
    "scoring": {"model", "text"},
    "questions": set(),
    "inference": {"model", "video", "text", "data", "checkpoint", "scoring", "questions", "text_side"},
    "evaluators": {"files", "types", "metrics", "intervals", "inference", "model", "text", "data", "checkpoint"},
    "train": {"files", "types", "model", "text", "objectives", "checkpoint", "checkpoint_config", "settings"},
    "experiment": {
        "settings", "own_code", "types", "model", "text", "data", "objectives", "checkpoint", "inference", "evaluators",
        "train", "video", "files",
    },
}  # fmt: skip
OTHERS = {
    "datasets": {"processes", "data.example", "video.encode", "video.names", "files"},
    "experiments": {
        "experiment", "settings", "own_code", "checkpoint", "checkpoint_config", "files", "data", "datasets",
        "evaluators", "objectives", "model", "train", "video",
    },
    "apps": {*CORE, "datasets", "experiments"},
    "cli": {*CORE, "datasets", "experiments", "apps"},
    "__main__": {"cli", "processes"},
    "__init__": {"inference", "apps.search", "video"},
}  # fmt: skip
ALLOWED = CORE | OTHERS
"""The parts of the package, and those that each may import besides itself; one with a dot is that module alone."""


def imports(path: Path) -> set[str]:
    """Modules of other packages that a file imports, with `allinone.` taken off our own."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda p: str(p.relative_to(SRC)))
def test_imports_follow_the_layout(path):
    part = path.relative_to(SRC).parts[0].removesuffix(".py")
    allowed = ALLOWED[part] | {part, "checks", "progress"}  # which import nothing of ours
    ours = {name.removeprefix("allinone.") for name in imports(path) if name.startswith("allinone.")}
    wrong = {name for name in ours if not any(name == ok or name.startswith(f"{ok}.") for ok in allowed)}
    assert not wrong


def test_data_sets_know_neither_torch_nor_the_decoder():
    for path in (SRC / "datasets").rglob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & {"torch", "av"}


@pytest.mark.parametrize("statement", ["import allinone", "from allinone.cli import build_parser; build_parser()"])
def test_torch_is_not_loaded_before_it_is_needed(statement):
    code = f"{statement}; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_picture_of_the_architecture_shows_the_imports(monkeypatch):
    monkeypatch.syspath_prepend(SRC.parents[1] / "docs")
    architecture = importlib.import_module("draw_architecture")
    drawn = architecture.draw(architecture.import_graph())
    assert architecture.PICTURE.read_text() == drawn, "run python docs/draw_architecture.py"


PUBLIC = {
    "allinone": ["load", "VideoIndex", "Predictor", "VideoError"],
    "allinone.video": ["read_frames", "probe", "VideoError"],
    "allinone.text": ["Tokenizer"],
    "allinone.model": ["AllInOne", "ModelConfig"],
}
"""Short names that stay, wherever their modules move."""


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_short(module: str):
    for name in PUBLIC[module]:
        assert name in importlib.import_module(module).__all__
        assert callable(getattr(importlib.import_module(module), name))
