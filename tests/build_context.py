"""The files that the container build sees, by .dockerignore, copied to where a test may build from them."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def let_through() -> list[str]:
    """What .dockerignore names with `!`, after leaving out everything."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    if rules[0] != "*":
        raise ValueError(".dockerignore does not begin by leaving out everything")
    return [rule[1:] for rule in rules if rule.startswith("!")]


def copy_build_context(destination: Path) -> None:
    """Copy what .dockerignore lets through: it leaves out everything and names what comes in with `!`."""
    for name in let_through():
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(source, destination / source.name, ignore=ignore, symlinks=True)
        else:
            shutil.copy2(source, destination / source.name)


ROOMS = tuple(
    name for name in let_through() if name != "sealwire" and (ROOT / name / "__init__.py").is_file()
)
"""The folders at the root that are packages below `sealwire`."""
