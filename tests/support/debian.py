"""Programs of the distribution that tests drive: installed where that is possible, else a reason to skip."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.support.skips import skip_or_fail

_SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def require_programs(packages: Mapping[str, str], *more_packages: str) -> None:
    """See to it that each program is there; `packages` says which Debian package has it.

    As root on Debian what is missing is installed. A test is skipped where that is not possible, and fails
    where CI=true.
    """
    if not _missing(packages):
        return
    reason = _install([*packages.values(), *more_packages])
    missing = _missing(packages)
    if missing:
        reason = f"not installed: {', '.join(missing)} ({reason})"
        skip_or_fail(reason)


def require_files(packages: Mapping[str, str], *more_packages: str) -> None:
    """See to it that there is a file or folder for each pattern; `packages` says which Debian package has it.

    As `require_programs` does.
    Shape:   patterns are relative to /, as `usr/lib/*/name.so` is
    """
    if not _without_file(packages):
        return
    reason = _install([*packages.values(), *more_packages])
    missing = _without_file(packages)
    if missing:
        skip_or_fail(f"not installed: {', '.join(missing)} ({reason})")


def _without_file(patterns: Iterable[str]) -> list[str]:
    return [pattern for pattern in patterns if next(Path("/").glob(pattern), None) is None]


def _missing(packages: Mapping[str, str]) -> list[str]:
    return [program for program in packages if shutil.which(program, path=_SEARCH_PATH) is None]


def _install(packages: list[str]) -> str:
    """Install `packages`; what stood against it, or nothing."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "needs root and apt-get"
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    # Test processes that run side by side take turns: apt-get does not wait for another one.
    with (Path(tempfile.gettempdir()) / "sealwire-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        apt = ["apt-get", "-qq", "-o", "Acquire::Retries=3"]
        install = [*apt, "install", "-y", "--no-install-recommends", *packages]
        for command in ([*apt, "update"], install):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                return f"apt-get failed: {done.stderr.strip()[-300:]}"
    return ""
