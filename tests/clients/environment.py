"""The environment of the Python clients: build/clients, from requirements/clients.txt, made on demand."""

import fcntl
import hashlib
from functools import cache
from pathlib import Path

from tests.build_context import ROOT
from tests.support.runs import ran
from tests.support.skips import skip_or_fail

LOCK = ROOT / "requirements" / "clients.txt"
FOLDER = ROOT / "build" / "clients"


@cache
def client_python() -> Path:
    """Its interpreter; a test is skipped, or fails where CI=true, when its packages cannot be had.

    Cost: 30 s the first time and when the lock has changed, 400 MB on disk. Other test processes wait.
    """
    python, stamp = FOLDER / "bin" / "python", FOLDER / "installed"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    FOLDER.parent.mkdir(exist_ok=True)
    with FOLDER.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != wanted:
            _run(ROOT / "tools" / "make_venv.sh", FOLDER)
            pip = ("-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--require-hashes")
            _run(python, *pip, "--requirement", LOCK)
            stamp.write_text(wanted)
    return python


def _run(*command: str | Path) -> None:
    done = ran(command)
    if done.returncode != 0:
        skip_or_fail(f"the Python clients cannot be installed: {done.stderr.strip()}")
