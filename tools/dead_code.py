"""Find what nothing uses, with vulture. The product is looked at without its tests: they use what they test.

A name that something uses which vulture cannot see (a library calls it, a report writes it) stands in
dead_code.toml with the reason. A name there that is used in plain sight, or gone, is an error as well.
"""

import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from vulture import Vulture

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "tools" / "dead_code.toml"
PRODUCT = (
    *("audit", "crypto", "examples", "files", "keys", "policies", "proxy", "sealwire", "sidecars", "wire"),
)
WORKSHOP = ("bench", "tools")
TESTS = ("tests",)
EXCLUDED = ("*/node_modules/*", "*/tests/clients/programs/*")
# pytest calls these; click and FastAPI call what their decorators made a command or a route of.
FRAMEWORK_NAMES = ("test_*", "pytest_*", "pytestmark")
FRAMEWORK_DECORATORS = ("@pytest.fixture", "@*.command", "@*.group", "@router.*", "@given")

Finding = tuple[str, str]
"""The name, and `path:line: what` for a reader."""


def unused(folders: Iterable[str]) -> list[Finding]:
    """What nothing in `folders` uses."""
    look = Vulture(ignore_names=list(FRAMEWORK_NAMES), ignore_decorators=list(FRAMEWORK_DECORATORS))
    look.scavenge([str(ROOT / folder) for folder in folders], exclude=list(EXCLUDED))
    return [
        (item.name, f"{item.filename.relative_to(ROOT)}:{item.first_lineno}: unused {item.typ} {item.name}")
        for item in look.get_unused_code()
    ]


def kept(text: str) -> dict[str, str]:
    """Each name of the list with its reason."""
    groups = tomllib.loads(text)["kept"]
    return {name: group["why"] for group in groups for name in group["names"]}


def judge(found: Iterable[Finding], reasons: Mapping[str, str]) -> list[str]:
    """What is wrong: dead code, and names that the list need not hold."""
    every = dict.fromkeys(found)
    dead = [place for name, place in every if name not in reasons]
    names = {name for name, _ in every}
    needless = [name for name in reasons if name not in names]
    return [*dead, *(f"{KEPT.name}: {name} is used, or gone: strike it" for name in needless)]


def main() -> int:
    in_tests = [found for found in unused(PRODUCT + WORKSHOP + TESTS) if found[1].startswith("tests/")]
    problems = judge(unused(PRODUCT + WORKSHOP) + in_tests, kept(KEPT.read_text(encoding="utf-8")))
    for problem in problems:
        print(f"dead code: error: {problem}", file=sys.stderr)
    if not problems:
        print("dead code: none")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
