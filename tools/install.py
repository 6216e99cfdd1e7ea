"""Install the packages of a lock and Sealwire into this environment, and show how far that is.

    python tools/install.py requirements/dev.txt

Third-party packages come from the lock with hashes. Sealwire itself is installed after them, in place and
without dependencies. On a terminal one line is rewritten; elsewhere there is a line every few packages. When
pip fails, all its output is shown.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EVERY = 25
"""Packages for each line where there is no terminal."""
_LOOK_S = 0.2
_COLLECTING = re.compile(r"^Collecting ([\w.-]+)", re.M)
_IGNORED = re.compile(r"^Ignoring [\w.-]+: markers", re.M)
_INSTALLING = re.compile(r"^Installing collected packages: (.+)$", re.M)


@dataclass(frozen=True, slots=True)
class Step:
    """How far pip is."""

    what: str
    done: int
    total: int
    name: str

    def __str__(self) -> str:
        return f"{self.what} package {self.done} of {self.total}: {self.name}"


def step_of(said: str, pinned: int, installed: int) -> Step | None:
    """The step that pip's output tells of; None before the first package, and where none is pinned.

    While pip installs it says nothing: the packages that are there are counted, in the order of its list.
    """
    if pinned == 0:
        return None
    if listed := _INSTALLING.search(said):
        names = listed[1].split(", ")
        place = min(installed, len(names) - 1)
        return Step("installing", place + 1, len(names), names[place])
    collected = _COLLECTING.findall(said)
    total = max(pinned - len(_IGNORED.findall(said)), len(collected))
    return Step("fetching", len(collected), total, collected[-1]) if collected else None


class Progress:
    """Shows steps on standard output."""

    def __init__(self) -> None:
        self._rewrites = sys.stdout.isatty()
        self._shown: Step | None = None

    def show(self, step: Step | None) -> None:
        """Shows a step that is new, without a terminal only if it is some packages after the one before."""
        before = self._shown
        if step is None or step == before:
            return
        if self._rewrites:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{str(step)[:width]:{width}}", end="", flush=True)
        elif before and before.what == step.what and step.done - before.done < EVERY:
            return
        else:
            print(step, flush=True)
        self._shown = step

    def end(self) -> None:
        """The cursor goes to a line of its own."""
        if self._rewrites and self._shown:
            print(flush=True)


def run_pip(arguments: list[str], pinned: int, progress: Progress) -> int:
    """pip's exit status. Unless that is 0, its output is on standard error."""
    site = Path(sysconfig.get_path("purelib"))
    before = set(site.glob("*.dist-info"))
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *arguments]
    # setuptools warns that a folder here has the package's name, which is how the rooms are meant to be found
    environment = os.environ | {"PIP_PROGRESS_BAR": "off", "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryFile() as output:
        pip = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        while pip.poll() is None:
            installed = len(set(site.glob("*.dist-info")) - before)
            progress.show(step_of(_text(output.fileno()), pinned, installed))
            time.sleep(_LOOK_S)
        progress.end()
        if pip.returncode != 0:
            print(_text(output.fileno()), file=sys.stderr)
    return pip.returncode


def _text(file: int) -> str:
    return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")


def main() -> int:
    """pip's exit status."""
    (lock,) = map(Path, sys.argv[1:])
    pinned = len(re.findall(r"^[\w.-]+==", lock.read_text(encoding="utf-8"), re.M))
    if status := run_pip(["--require-hashes", "-r", str(lock.resolve())], pinned, Progress()):
        return status
    print("installing Sealwire", flush=True)
    return run_pip(["--no-deps", "--no-build-isolation", "--editable", "."], 0, Progress())


if __name__ == "__main__":
    sys.exit(main())
