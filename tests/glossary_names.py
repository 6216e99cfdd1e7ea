"""The names of the product's modules, classes, functions and variables, and where each stands."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.build_context import ROOMS, ROOT


def product_files() -> list[Path]:
    """Every Python file that is installed, once; links to rooms are not followed."""
    folders = [ROOT / name for name in ROOMS] + [ROOT / "sealwire"]
    found = (path for folder in folders for path in folder.rglob("*.py"))
    return sorted(path for path in found if not any(parent.is_symlink() for parent in path.parents))


def names_in(source: str) -> Iterator[str]:
    """What a module defines: functions, classes, arguments, variables, attributes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def words_of(name: str) -> set[str]:
    """The words of a name: `_LoginGate` and `login_gate` both have login and gate."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}


@cache
def places_of_words() -> dict[str, set[str]]:
    """For each word the files in which something is named with it, or that are."""
    places: dict[str, set[str]] = defaultdict(set)
    for path in product_files():
        place = str(path.relative_to(ROOT))
        for name in {path.stem, *names_in(path.read_text(encoding="utf-8"))}:
            for word in words_of(name):
                places[word].add(place)
    return places


def places_of_classes() -> dict[str, list[str]]:
    """For each name of a class, private ones included, the files that define one."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in product_files():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    return places
