"""Where the Node programs that integration tests drive are, and what happens where they are not."""

import shutil
from pathlib import Path

from tests.build_context import ROOT
from tests.support.skips import skip_or_fail

MONGOSH = ROOT / "tests" / "node" / "node_modules" / ".bin" / "mongosh"


def missing(program: Path) -> str | None:
    """Why `program` cannot be run, or None."""
    if shutil.which("node") is None:
        return "Node.js is not on this machine"
    if not program.is_file():
        return f"{program.name} is not installed: run the tests by `make test`, which needs npm for it"
    return None


def require_mongosh() -> Path:
    """The mongosh that tests/node pins; a test without it is skipped, or fails where CI=true."""
    reason = missing(MONGOSH)
    if reason is not None:
        skip_or_fail(reason)
    return MONGOSH
