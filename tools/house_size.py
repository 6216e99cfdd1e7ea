"""Count the modules and lines of the product, and hold each count to what was reached: growth is a decision.

Who needs more raises the ceiling in the same commit and says why there. Who has made something smaller lowers
it: a ceiling far above its count is an error as well. Run by `make check`; `--counts` only prints.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

from tools.dead_code import PRODUCT, ROOT

CEILINGS: Final[Mapping[str, int]] = {
    "modules": 394,
    "lines": 103_515,
    "modules of 50 lines or fewer": 12,
    "modules with one importer": 61,
    "modules that import the envelope": 40,
    "longest chain of imports": 22,
    "floors of policies": 12,
}
SLACK: Final = 1.02
"""How far a ceiling may be above its count: commits that take something out need not all touch it."""
_SMALL: Final = 50
_ENVELOPE: Final = "crypto.envelope"
_POLICIES: Final = "policies."


def sources(root: Path = ROOT) -> dict[str, str]:
    """The text of each module of the product by its dotted name. Links are not followed."""
    files = (file for room in PRODUCT for file in sorted((root / room).rglob("*.py")))
    named = ((file.relative_to(root).with_suffix("").as_posix(), file) for file in files)
    return {
        name.removesuffix("/__init__").replace("/", "."): file.read_text(encoding="utf-8")
        for name, file in named
    }


def counts(modules: Mapping[str, str]) -> dict[str, int]:
    """Each count of CEILINGS. A module that only documents its room is none, and neither is an empty one."""
    trees = {name: ast.parse(text) for name, text in modules.items()}
    imports = {name: set(_imports(name, ast.walk(tree), modules)) for name, tree in trees.items()}
    importers: dict[str, set[str]] = defaultdict(set)
    for name, imported in imports.items():
        for each in imported:
            importers[each].add(name)
    sizes = {name: text.count("\n") for name, text in modules.items() if len(trees[name].body) > 1}
    return {
        "modules": len(sizes),
        "lines": sum(sizes.values()),
        "modules of 50 lines or fewer": sum(size <= _SMALL for size in sizes.values()),
        "modules with one importer": sum(len(importers[name]) == 1 for name in sizes),
        "modules that import the envelope": len(importers[_ENVELOPE]),
        "longest chain of imports": _longest_chain(trees),
        "floors of policies": _longest_chain(
            {name: trees[name] for name in trees if name.startswith(_POLICIES)}
        ),
    }


def _imports(name: str, nodes: Iterable[ast.AST], modules: Collection[str]) -> Iterator[str]:
    """The modules among these that one imports by these nodes."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            base = node.module.removeprefix("sealwire.")
            for alias in node.names:
                found = f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base
                if found in modules and found != name:
                    yield found


def _longest_chain(trees: Mapping[str, ast.Module]) -> int:
    """How many of these modules are imported one for the other. Imports inside functions are left out."""
    imports = {name: set(_imports(name, tree.body, trees)) for name, tree in trees.items()}
    depths: dict[str, int] = {}
    for name in TopologicalSorter(imports).static_order():
        depths[name] = 1 + max((depths[each] for each in imports[name]), default=0)
    return max(depths.values(), default=0)


def judge(found: Mapping[str, int], ceilings: Mapping[str, int]) -> list[str]:
    """What is above its ceiling, or so far below that the ceiling holds nothing."""
    problems = []
    for name, ceiling in ceilings.items():
        if found[name] > ceiling:
            problems.append(f"{name}: {found[name]}, and {ceiling} is the ceiling")
        elif found[name] * SLACK < ceiling - 1:
            problems.append(f"{name}: {found[name]}; lower the ceiling, which is {ceiling}")
    return problems


def main(arguments: list[str]) -> int:
    """The exit code: 1 where a count does not fit its ceiling."""
    found = counts(sources())
    print("house: " + ", ".join(f"{name} {count}" for name, count in found.items()))
    problems = [] if "--counts" in arguments else judge(found, CEILINGS)
    for problem in problems:
        print(f"house: error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
