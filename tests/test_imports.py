"""What may import what: data flows one way (the layout in the README)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "allinone"
ALLOWED = {
    "checks": set(),
    "progress": set(),
    "types": set(),
    "files": set(),
    "processes": set(),
    "metrics": {"types"},
    "shards": {"files"},
    "video": {"files", "types", "shards"},
    "text": {"files", "types"},
    "model": {"files", "types"},
    "data": {"processes", "types", "video", "text", "shards"},
    "datasets": {"processes", "data.example", "video.encode", "video.names", "shards"},
    "objectives": {"types", "model", "text"},
    "checkpoint": {"files", "types", "model", "text"},
    "convert": {"checkpoint", "files", "model", "text"},
    "inference": {"types", "model", "video", "text", "data", "checkpoint"},
    "export": {"inference", "model", "text", "video"},
    "export_example": set(),
    "complete": {"data", "datasets.base"},
    "evaluators": {"types", "metrics", "inference", "model", "text", "data", "complete"},
    "results": {"files", "checkpoint", "evaluators", "metrics"},
    "comparison": {"checkpoint", "evaluators", "metrics", "results"},
    "search": {"files", "processes", "inference", "model", "data", "video", "types"},
    "train": {"files", "types", "model", "text", "objectives", "checkpoint"},
    "plots": {"video"},
    "experiment": {
        "types", "model", "text", "data", "objectives", "checkpoint", "inference", "evaluators", "train", "video",
        "complete", "files", "results",
    },
    "experiments": {"experiment", "data", "datasets", "evaluators", "objectives", "model", "train", "video"},
    "app": {
        "files", "experiment", "experiments", "datasets", "data", "inference", "search", "plots", "video", "evaluators",
        "results", "asking",
    },
    "asking": {"inference", "data", "model", "text", "video"},
    "tools": {"files", "processes", "data", "datasets", "video", "shards"},
    "cli": {
        "app", "convert", "experiment", "experiments", "inference", "search", "train", "results", "tools", "datasets",
        "asking", "export", "files", "processes", "comparison", "video.names",
    },
    "__main__": {"cli", "processes"},
    "__init__": {"inference", "search", "video"},
}  # fmt: skip
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
    for path in (SRC / "datasets").glob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & {"torch", "av"}


@pytest.mark.parametrize("statement", ["import allinone", "from allinone.cli import build_parser; build_parser()"])
def test_torch_is_not_loaded_before_it_is_needed(statement):
    code = f"{statement}; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
