"""Where the Node programs that integration tests drive are, and what happens where they are not."""

import shutil
from pathlib import Path

from tests.build_context import ROOT
from tests.support.debian import require_programs
from tests.support.skips import skip_or_fail

NODE = ROOT / "tests" / "node"
MONGOSH = NODE / "node_modules" / ".bin" / "mongosh"
PUPPETEER = NODE / "node_modules" / "puppeteer-core" / "package.json"


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


def require_chromium() -> Path:
    """A Chromium, with what drives it; a test without them is skipped, or fails where CI=true.

    As root on Debian it is installed.
    """
    reason = missing(PUPPETEER)
    if reason is not None:
        skip_or_fail(reason)
    require_programs({"chromium": "chromium"})
    found = shutil.which("chromium")
    if found is None:
        raise RuntimeError("it was there a moment ago")
    return Path(found)
