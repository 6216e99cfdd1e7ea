"""On which machine and with which versions the figures were taken."""

import os
import platform
import ssl
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sealwire import core_name

_PACKAGES = ("sealwire", "pymongo", "cryptography", "uvloop", "pymongocrypt", "SecantusDB")


def describe_machine() -> dict[str, object]:
    """Processor, cores, memory, kernel, Python, packages, commit and load, as plain JSON values."""
    return {
        "processor": _first_after(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory": _first_after(Path("/proc/meminfo"), "MemTotal"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "packages": {name: _version(name) for name in _PACKAGES},
        "core": core_name(),
        "commit": _commit(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _first_after(file: Path, key: str) -> str:
    if not file.exists():
        return ""
    lines = (line for line in file.read_text().splitlines() if line.startswith(key))
    return next(lines, ":").partition(":")[2].strip()


def _commit() -> str:
    """Short commit id, `-dirty` when anything but earlier results differs from it."""
    commit = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--", ":/", ":(top,exclude)bench/results")
    return f"{commit}-dirty" if commit and changed else commit or "unknown"


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
