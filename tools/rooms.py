"""Draws the rooms and their arrows as docs/rooms.svg, from the imports of the code.

An arrow says who imports whom. One that follows from others is left out: where a imports b and c, and b
imports c, there is no arrow from a to c. Inside a box rooms that stand higher import those that stand lower.
`python -m tools.generate_docs` writes the picture, and a test compares it.
"""

import ast
import re
import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from html import escape
from itertools import pairwise, permutations
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
ROOMS = (
    *("cli", "demo", "testbed", "sidecars", "proxy.server", "proxy.session"),
    *("policies", "keys", "audit", "crypto", "wire", "files", "examples"),
)

Edges = dict[str, set[str]]
"""For each room the rooms that it imports."""

LEAST_WIDTH, GAP_X, GAP_Y, MARGIN = 214, 26, 44, 14
LINE, CHIP, PASSING_WIDTH = 15, 22, 8
LETTER, SMALL_LETTER = 6.9, 6.6
"""How wide a letter is, about: at most in a name, on the average in a text."""
_STYLE = """
text { font: 12px sans-serif; fill: #1f2933; } .name { font-weight: bold; font-size: 14px; }
.room { fill: #f5f7fa; stroke: #52606d; } .sub { fill: #ffffff; stroke: #9aa5b1; }
.sub-name { text-anchor: middle; } .arrow { fill: none; stroke: #3e7cb1; stroke-width: 1.6; }
"""


@dataclass(frozen=True, slots=True)
class Room:
    """A box: what it is for, and rows of the rooms inside it."""

    name: str
    purpose: str
    inside: tuple[tuple[str, ...], ...]

    @property
    def width(self) -> int:
        """In pixels: room for its widest row."""
        return max([LEAST_WIDTH, *(16 + sum(map(_chip_width, row)) for row in self.inside)])

    @property
    def says(self) -> list[str]:
        """Its purpose in lines."""
        return textwrap.wrap(self.purpose, int((self.width - 16) / SMALL_LETTER))

    @property
    def height(self) -> int:
        """In pixels."""
        return 30 + LINE * len(self.says) + CHIP * len(self.inside) + (8 if self.inside else 0)


def _chip_width(name: str) -> int:
    return round(len(name) * LETTER) + 16


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
    """The picture of today's imports, without those that a contract exempts. Cost: 2 s"""
    graph = grimp.build_graph("sealwire", cache_dir=None)
    remove_exempt(graph, "layers")
    edges = reduced(imports_between(graph, "sealwire", ROOMS))
    remove_exempt(graph, "independence")
    rooms = {name: Room(name, purpose_of(name), rooms_inside(graph, f"sealwire.{name}")) for name in ROOMS}
    return _svg(rooms, edges)


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


# -- the layout ----------------------------------------------------------------------------------------------


def _svg(rooms: Mapping[str, Room], edges: Edges) -> str:
    floors, paths = _with_passages(floors_of(edges), edges)
    places = _places(_ordered(floors, paths, rooms), rooms)
    width = max(x + _width(name, rooms) for name, (x, _) in places.items()) + MARGIN
    height = max(places[name][1] + room.height for name, room in rooms.items()) + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img">\n<title>The rooms and who imports whom</title>\n'
        f"<style>{_STYLE}</style>\n"
        '<marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#3e7cb1"/></marker>\n<rect width="100%" height="100%" fill="#ffffff"/>'
    )
    arrows = [_arrow(path, places, rooms, paths) for path in paths]
    boxes = [_box(room, *places[name]) for name, room in rooms.items()]
    return "\n".join([head, *arrows, *boxes, "</svg>\n"])


def _with_passages(floors: list[list[str]], edges: Edges) -> tuple[list[list[str]], list[list[str]]]:
    """The floors with a free place wherever an arrow passes one, and each arrow as what it goes through."""
    floors = [list(floor) for floor in floors]
    floor_of = {name: number for number, floor in enumerate(floors) for name in floor}
    paths = []
    for name in edges:
        for target in sorted(edges[name]):
            path = [name]
            for between in range(floor_of[name] + 1, floor_of[target]):
                place = f"{name}>{target}@{between}"
                floors[between].append(place)
                path.append(place)
            paths.append([*path, target])
    return floors, paths


def _ordered(floors: list[list[str]], paths: list[list[str]], rooms: Mapping[str, Room]) -> list[list[str]]:
    """Each floor in the order that leaves the arrows shortest; two sweeps up and down find it."""
    steps = [step for path in paths for step in pairwise(path)]

    def length(order: list[list[str]]) -> int:
        middle = {name: x + _width(name, rooms) // 2 for name, (x, _) in _places(order, rooms).items()}
        return sum((middle[one] - middle[other]) ** 2 for one, other in steps)

    order = [list(floor) for floor in floors]
    numbers = range(len(order))
    for number in [*numbers, *reversed(numbers)] * 2:
        tried = (
            [*order[:number], list(floor), *order[number + 1 :]] for floor in permutations(order[number])
        )
        order = min(tried, key=length)
    return order


def _width(name: str, rooms: Mapping[str, Room]) -> int:
    return rooms[name].width if name in rooms else PASSING_WIDTH


def _places(order: list[list[str]], rooms: Mapping[str, Room]) -> dict[str, tuple[int, int]]:
    """The upper left corner of everything."""
    widths = [sum(_width(name, rooms) + GAP_X for name in floor) - GAP_X for floor in order]
    places: dict[str, tuple[int, int]] = {}
    y = MARGIN
    for floor, taken in zip(order, widths, strict=True):
        x = MARGIN + (max(widths) - taken) // 2
        for name in floor:
            places[name] = (x, y)
            x += _width(name, rooms) + GAP_X
        y += max(rooms[name].height for name in floor if name in rooms) + GAP_Y
    return places


def _arrow(
    path: list[str], places: Mapping[str, tuple[int, int]], rooms: Mapping[str, Room], paths: list[list[str]]
) -> str:
    """From the lower edge of a box, past the lower edge of its floor, to the upper edge of another."""
    first, last = path[0], path[-1]
    leaving = sorted((other for other in paths if other[0] == first), key=lambda other: places[other[1]][0])
    coming = sorted((other for other in paths if other[-1] == last), key=lambda other: places[other[-2]][0])
    lower = {
        y: y + max(rooms[name].height for name, (_, other) in places.items() if other == y and name in rooms)
        for _, y in places.values()
    }
    x, y = places[first]
    x += rooms[first].width * (leaving.index(path) + 1) // (len(leaving) + 1)
    parts = [f"M{x} {y + rooms[first].height}V{lower[y]}"]
    for name in path[1:]:
        to_x, to_y = places[name]
        share = (coming.index(path) + 1) / (len(coming) + 1) if name == last else 0.5
        to_x += int(_width(name, rooms) * share)
        middle = (lower[y] + to_y) // 2
        parts.append(f"C{x} {middle} {to_x} {middle} {to_x} {to_y - 2}")
        if name != last:
            parts.append(f"V{lower[to_y]}")
        x, y = to_x, to_y
    return f'<path class="arrow" d="{"".join(parts)}" marker-end="url(#end)"/>'


def _box(room: Room, x: int, y: int) -> str:
    lines = [
        f'<rect class="room" x="{x}" y="{y}" width="{room.width}" height="{room.height}" rx="6"/>',
        f'<text class="name" x="{x + 10}" y="{y + 20}">{escape(room.name.replace(".", "/"))}</text>',
    ]
    for number, text in enumerate(room.says):
        lines.append(f'<text x="{x + 10}" y="{y + 36 + LINE * number}">{escape(text)}</text>')
    top = y + 30 + LINE * len(room.says)
    for number, row in enumerate(room.inside):
        lines += _chips(row, x + 8, top + CHIP * number, room.width - 16)
    return "\n".join(lines)


def _chips(row: tuple[str, ...], x: int, y: int, width: int) -> list[str]:
    spare = (width - sum(map(_chip_width, row))) // len(row)
    lines = []
    for name in row:
        wide = _chip_width(name) + spare
        lines.append(
            f'<rect class="sub" x="{x + 1}" y="{y}" width="{wide - 2}" height="{CHIP - 4}" rx="4"/>'
            f'<text class="sub-name" x="{x + wide // 2}" y="{y + 13}">{escape(name)}</text>'
        )
        x += wide
    return lines
