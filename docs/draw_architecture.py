"""Draw which part of the package imports which, as docs/pictures/architecture.svg.

    python docs/draw_architecture.py

A part is a module or package directly below `allinone` or `allinone/apps`. Parts are in rows: each imports only from
rows below it. An arrow that follows from others is left out (transitive reduction), so that the picture stays readable.
"""

import ast
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "allinone"
PICTURE = ROOT / "docs" / "pictures" / "architecture.svg"
GROUND = ("checks", "processes", "progress", "types")  # small modules that nearly everything imports
DRAWN_IN = {
    "checkpoint_config": "checkpoint", "intervals": "metrics", "own_code": "settings", "questions": "inference",
    "scoring": "inference", "text_side": "inference",
}  # fmt: skip
"""Modules that serve one other module, and are drawn as a part of it."""

WIDTH, BOX, GAP, ROW, TOP = 1100, (110, 30), 16, 74, 20

Graph = dict[str, set[str]]


def part_of(module: str) -> str | None:
    """Return the part that a dotted name (without `allinone.`) belongs to; None for the ground modules."""
    names = module.split(".")
    if names[0] in ("", "__init__", "__main__", *GROUND):
        return None
    return ".".join(names[:2]) if names[0] == "apps" and len(names) > 1 else DRAWN_IN.get(names[0], names[0])


def in_core(part: str) -> bool:
    """Whether a part belongs to the core, which imports nothing of the others."""
    return not part.startswith("apps.") and part not in ("cli", "experiments", "datasets")


def import_graph() -> Graph:
    """Read the imports of all modules: part -> the parts that it imports."""
    graph: Graph = {}
    for path in sorted(SRC.rglob("*.py")):
        part = part_of(".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"))
        if part in (None, "apps", "apps.export_example"):  # the last one is a script that imports nothing of ours
            continue
        targets = graph.setdefault(part, set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("allinone."):
                module = str(node.module).removeprefix("allinone.")
                names = [f"apps.{alias.name}" for alias in node.names] if module == "apps" else [module]
                targets |= {part_of(name) or part for name in names}
        targets.discard(part)
    return graph


def reachable(graph: Graph, start: str) -> set[str]:
    """Return every part that `start` imports, directly or not."""
    seen: set[str] = set()
    open_parts = list(graph[start])
    while open_parts:
        part = open_parts.pop()
        if part not in seen:
            seen.add(part)
            open_parts += graph[part]
    return seen


def reduced(graph: Graph) -> Graph:
    """Leave out each arrow whose end is reached through another one."""
    return {
        part: {one for one in targets if not any(one in reachable(graph, other) for other in targets - {one})}
        for part, targets in graph.items()
    }


def rows(graph: Graph) -> list[list[str]]:
    """Sort the parts into rows from the ground up: each one above all that it imports."""
    level: dict[str, int] = {}
    while len(level) < len(graph):
        ready = [part for part, targets in graph.items() if part not in level and targets <= level.keys()]
        assert ready, "the imports have a cycle"
        level |= {part: 1 + max((level[one] for one in graph[part]), default=-1) for part in ready}
    return [sorted(part for part in graph if level[part] == n) for n in range(max(level.values()) + 1)]


def draw(graph: Graph) -> str:
    """Return the picture as SVG."""
    levels, (width, height) = rows(graph), BOX
    corner: dict[str, tuple[float, float]] = {}
    for n, level in enumerate(levels):
        top = TOP + (len(levels) - 1 - n) * ROW
        for center, is_core in ((0.28 * WIDTH, False), (0.73 * WIDTH, True)):
            half = [part for part in level if in_core(part) == is_core]
            shift = 40 if n % 2 else -40  # so that long arrows pass between boxes
            left = center + shift - (len(half) * (width + GAP) - GAP) / 2
            corner |= {part: (left + i * (width + GAP), top) for i, part in enumerate(half)}
    lines = []
    for part, targets in reduced(graph).items():
        for target in sorted(targets):
            (x, y), (to_x, to_y) = corner[part], corner[target]
            lines.append(
                f'<line x1="{x + width / 2:g}" y1="{y + height:g}" x2="{to_x + width / 2:g}" y2="{to_y:g}" '
                'stroke="#8a94a6" marker-end="url(#arrow)"/>'
            )
    boxes = []
    for part, (x, y) in corner.items():
        color = "#dbe9f6" if in_core(part) else "#fdebd0"
        boxes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width}" height="{height}" rx="5" fill="{color}" stroke="#4a5568"/>'
            f'<text x="{x + width / 2:g}" y="{y + 20:g}">{escape(part.removeprefix("apps."))}</text>'
        )
    bottom = TOP + len(levels) * ROW
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom}" font-family="sans-serif" '
            'font-size="13" text-anchor="middle">',
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0 0 8 4 0 8z" fill="#8a94a6"/></marker></defs>',
            f'<rect width="{WIDTH}" height="{bottom}" fill="white"/>',
            *lines,
            *boxes,
            f'<text x="{WIDTH / 2:g}" y="{bottom - 14}" fill="#4a5568">blue: the core; orange: data sets, experiments, '
            f"apps, command line; an arrow means imports; not shown: {', '.join(GROUND)}</text>",
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(import_graph()))
