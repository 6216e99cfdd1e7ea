"""Draws the rooms and their arrows from the imports of the code, for docs/ENCRYPTION_ARCHITECTURE.md.

An arrow says who imports whom. An arrow that follows from others is left out: if a imports b and c, and b
imports c, there is no arrow from a to c. Inside a box rooms that stand higher import those that stand lower.
`python -m tools.generate_docs` writes the diagram, and a test compares it.
"""

import ast
import re
import textwrap
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
ROOMS = (
    *("cli", "demo", "testbed", "sidecars", "proxy.server", "proxy.session"),
    *("policies", "keys", "audit", "crypto", "wire", "files", "examples"),
)

Edges = dict[str, set[str]]
"""For each room the rooms that it imports."""

_LETTERS = 34
"""The longest line of what a room is for."""


def imports_between(graph: grimp.ImportGraph, above: str, names: tuple[str, ...]) -> Edges:
    """Which of the packages `above.name` import which others of them, anywhere below."""
    found: Edges = {name: set() for name in names}

    def owner(module: str) -> str | None:
        return next((name for name in names if f"{module}.".startswith(f"{above}.{name}.")), None)

    for module in graph.modules:
        name = owner(module)
        if name is not None:
            targets = {owner(target) for target in graph.find_modules_directly_imported_by(module)}
            found[name] |= {target for target in targets if target not in (None, name)}
    return found


def reduced(edges: Edges) -> Edges:
    """Without the arrows that follow from others. Raises graphlib.CycleError where rooms form a circle."""
    reach: dict[str, set[str]] = {}
    for name in TopologicalSorter(edges).static_order():
        reach[name] = edges[name].union(*(reach[target] for target in edges[name]))
    return {
        name: {target for target in targets if not any(target in reach[other] for other in targets)}
        for name, targets in edges.items()
    }


def floors_of(edges: Edges) -> list[list[str]]:
    """From the top down: each room directly below the lowest one that imports it."""
    above: dict[str, set[str]] = {name: set() for name in edges}
    for name, targets in edges.items():
        for target in targets:
            above[target].add(name)
    depth: dict[str, int] = {}
    for name in TopologicalSorter(above).static_order():
        depth[name] = max((depth[importer] + 1 for importer in above[name]), default=0)
    return [[name for name in edges if depth[name] == floor] for floor in range(max(depth.values()) + 1)]


def rooms_inside(graph: grimp.ImportGraph, package: str) -> tuple[tuple[str, ...], ...]:
    """The packages directly in one, in rows."""
    children = sorted(child for child in graph.find_children(package) if graph.find_children(child))
    names = tuple(child.rpartition(".")[2] for child in children)
    if not names:
        return ()
    return tuple(map(tuple, floors_of(imports_between(graph, package, names))))


def purpose_of(room: str) -> str:
    """The first sentence of a room's docstring."""
    folder = ROOT / "sealwire" / room.replace(".", "/")
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".").replace("`", "")


def draw() -> str:
    """A diagram of today's imports, for mermaid, without those that a contract exempts. Cost: 2 s"""
    graph = grimp.build_graph("sealwire", cache_dir=None)
    remove_exempt(graph, "layers")
    edges = reduced(imports_between(graph, "sealwire", ROOMS))
    remove_exempt(graph, "independence")
    lines = ["```mermaid", "flowchart TB"]
    for room in ROOMS:
        rows = (" · ".join(row) for row in rooms_inside(graph, f"sealwire.{room}"))
        says = textwrap.wrap(purpose_of(room), _LETTERS)
        text = "<br>".join([f"<b>{room.replace('.', '/')}</b>", *says, *rows])
        lines.append(f'  {room}["{text}"]')
    for room, targets in edges.items():
        lines += [f"  {room} --> {target}" for target in sorted(targets)]
    return "\n".join([*lines, "```"])


def remove_exempt(graph: grimp.ImportGraph, kind: str) -> None:
    """Take out of `graph` what the contracts of this type ignore."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    for line in (
        line for each in contracts if each["type"] == kind for line in each.get("ignore_imports", ())
    ):
        importers, imported = (
            re.escape(end.strip()).replace(r"\*\*", ".+").replace(r"\*", "[^.]+") for end in line.split("->")
        )
        for module in (module for module in graph.modules if re.fullmatch(importers, module)):
            for target in graph.find_modules_directly_imported_by(module):
                if re.fullmatch(imported, target):
                    graph.remove_import(importer=module, imported=target)
