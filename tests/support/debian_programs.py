"""Programs of Debian packages that tests drive: from the PATH, else unpacked below build/, without root.

A package is fetched with the machine's own apt and unpacked, not installed: no service is started, nothing
outside this folder changes. Its libraries have to be on the machine; where they are not, or where there is no
apt, the test is skipped with the reason, and fails with CI=true.
"""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.build_context import ROOT

UNPACKED = ROOT / "build" / "debian-programs"
_SYSTEM_FOLDERS = ("/usr/sbin", "/sbin")  # not on every user's PATH
_WITHIN_S = 120


def require_program(program: str, package: str, probe: str) -> Path:
    """The path of `program`, from `package` if it is not on the machine; `program probe` must succeed."""
    found = shutil.which(program) or shutil.which(program, path=os.pathsep.join(_SYSTEM_FOLDERS))
    path = Path(found) if found is not None else unpack(program, package)
    reason = "cannot be unpacked with apt" if path is None else _why_not(path, probe)
    if path is None or reason is not None:
        text = f"{program} of the Debian package {package} {reason}"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)
    return path


def _why_not(path: Path, probe: str) -> str | None:
    done = subprocess.run([path, probe], capture_output=True, check=False, timeout=_WITHIN_S)
    return None if done.returncode == 0 else "does not run here: a library is missing"


def unpack(program: str, package: str) -> Path | None:
    """Tests in other processes wait for the lock and find the folder filled."""
    folder = UNPACKED / package
    folder.mkdir(parents=True, exist_ok=True)
    with (UNPACKED / f"{package}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _find(folder, program)
        if found is not None or shutil.which("apt-get") is None:
            return found
        download = ["apt-get", "-o", "APT::Sandbox::User=root", "download", package]
        fetched = subprocess.run(download, cwd=folder, capture_output=True, check=False, timeout=_WITHIN_S)
        if fetched.returncode != 0:
            return None
        for archive in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True, timeout=_WITHIN_S)
        return _find(folder, program)


def _find(folder: Path, program: str) -> Path | None:
    candidates = (folder / place / program for place in ("usr/bin", "usr/sbin", "bin", "sbin"))
    return next((path for path in candidates if path.is_file()), None)
