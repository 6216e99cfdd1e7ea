"""Programs of the distribution that tests drive: installed where that is possible, else a reason to skip."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tests.support.skips import skip_or_fail
from tools.debian_programs import find_file, find_program, library_environment

_SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def require_programs(packages: Mapping[str, str], *more_packages: str) -> None:
    """See to it that each program is there; `packages` says which Debian package has it.

    As root on Debian what is missing is installed. A test is skipped where that is not possible, and fails
    where CI=true.
    """
    _require(_missing, packages, more_packages)


def require_files(packages: Mapping[str, str], *more_packages: str) -> None:
    """See to it that there is a file or folder for each pattern; `packages` says which Debian package has it.

    As `require_programs` does.
    Shape:   patterns are relative to /, as `usr/lib/*/name.so` is
    """
    _require(_without_file, packages, more_packages)


def _require(
    absent: Callable[[Iterable[str]], list[str]], packages: Mapping[str, str], more_packages: Iterable[str]
) -> None:
    if absent(packages):
        reason = _install([*packages.values(), *more_packages])
        if missing := absent(packages):
            skip_or_fail(f"not installed: {', '.join(missing)} ({reason})")


def _without_file(patterns: Iterable[str]) -> list[str]:
    return [pattern for pattern in patterns if next(Path("/").glob(pattern), None) is None]


def _missing(programs: Iterable[str]) -> list[str]:
    return [program for program in programs if shutil.which(program, path=_SEARCH_PATH) is None]


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


# Programs of Debian packages that tests drive; a test that needs one is skipped where it cannot be had.
#
# Its libraries have to be on the machine or be named; where they are not, or where there is no apt, the
# test is skipped with the reason, and fails with CI=true.


_WITHIN_S = 120


def require_program(program: str, package: str, probe: str, *libraries: str) -> Path:
    """The path of `program`, from `package` if it is not on the machine; `program probe` must succeed.

    `libraries` are packages that are unpacked beside it; it finds them in `library_environment` only.
    """
    path = find_program(program, package, *libraries)
    reason = "cannot be unpacked with apt" if path is None else _why_not(path, probe)
    if path is None or reason is not None:
        skip_or_fail(f"{program} of the Debian package {package} {reason}")
    return path


def _why_not(path: Path, probe: str) -> str | None:
    done = subprocess.run(
        [path, probe],
        env=dict(library_environment(path)),
        capture_output=True,
        check=False,
        timeout=_WITHIN_S,
    )
    return None if done.returncode == 0 else "does not run here: a library is missing"


# systemd-analyze of this machine or of its Debian package: it judges units, and no systemd has to run.


def systemd_analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """One run, with the units of the distribution and none of this machine's own."""
    program = require_program("systemd-analyze", "systemd", "--version", "libsystemd-shared")
    units = find_file(program, "lib/systemd/system/sysinit.target")
    assert units is not None, "systemd's package has its units"
    environment = {**library_environment(program), "SYSTEMD_UNIT_PATH": str(units.parent)}
    return subprocess.run([program, *arguments], env=environment, check=False, capture_output=True, text=True)
