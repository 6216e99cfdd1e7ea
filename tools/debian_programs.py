"""Programs of Debian packages for tests and benches: from the PATH, else unpacked below build/, without root.

A package is fetched with the machine's own apt and unpacked, not installed: no service is started, nothing
outside `UNPACKED` changes. What it depends on has to be on the machine, or be named and unpacked beside it.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

UNPACKED = Path(__file__).resolve().parent.parent / "build" / "debian-programs"
_SYSTEM_FOLDERS = ("/usr/sbin", "/sbin")  # not on every user's PATH
_WITHIN_S = 600


def find_program(program: str, package: str, *more_packages: str) -> Path | None:
    """The path of `program` or of a library; None where apt cannot give it.

    What is not on the machine comes from `package`; `more_packages` are unpacked into the same folder:
    modules and libraries (see `library_environment`).
    """
    found = shutil.which(program) or shutil.which(program, path=os.pathsep.join(_SYSTEM_FOLDERS))
    return Path(found) if found is not None else unpack(program, package, *more_packages)


def unpack(program: str, package: str, *more_packages: str) -> Path | None:
    """Callers in other processes wait for the lock and find the folder filled."""
    folder = UNPACKED / "+".join((package, *more_packages))
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _find(folder, program)
        if found is not None or shutil.which("apt-get") is None:
            return found
        if not _fetch(folder, package, *more_packages):
            return None
        for archive in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True, timeout=_WITHIN_S)
        return _find(folder, program)


def _fetch(folder: Path, *packages: str) -> bool:
    """What the machine's lists name is gone once there is a newer version: root reads them anew then."""
    apt = ("apt-get", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3")
    fetch, update = (*apt, "download", *packages), (*apt, "update")
    if _runs(fetch, folder):
        return True
    return os.geteuid() == 0 and _runs(update, folder) and _runs(fetch, folder)


def _runs(command: tuple[str, ...], folder: Path) -> bool:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=_WITHIN_S)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def find_file(program: Path, pattern: str) -> Path | None:
    """A file of the packages that `program` was unpacked with, or of the system where it was installed.

    Shape:   `pattern` is relative to usr/, as `lib/*/name.so` is
    """
    usr = program.parent.parent if program.parent.parent.name == "usr" else Path("/usr")
    return next(iter(sorted(usr.glob(pattern))), None)


def library_environment(program: Path) -> Mapping[str, str]:
    """The environment in which `program` also finds the libraries that were unpacked beside it."""
    if not program.is_relative_to(UNPACKED):
        return os.environ
    folders = sorted(
        {
            str(path.parent)
            for path in UNPACKED.joinpath(program.relative_to(UNPACKED).parts[0]).rglob("*.so*")
        }
    )
    return os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(folders)}


def _find(folder: Path, program: str) -> Path | None:
    candidates = [folder / place / program for place in ("usr/bin", "usr/sbin", "bin", "sbin")]
    candidates += folder.glob(f"usr/lib/*/{program}")
    return next((path for path in candidates if path.is_file()), None)
