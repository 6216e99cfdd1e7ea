"""The environment of what makes and lists packages (requirements/deploy.txt), in build/deploy-venv.

It is made when it is first asked for, and anew when its lock has changed: `make setup` stays small.
"""

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "build" / "deploy-venv"
LOCK = ROOT / "requirements" / "deploy.txt"


def deploy_python() -> Path:
    """Its interpreter. Callers in other processes wait.

    Raises:  CalledProcessError where pip reaches no index
    """
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    stamp = VENV / ".lock"
    VENV.parent.mkdir(exist_ok=True)
    with VENV.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text(encoding="utf-8") != digest:
            subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", VENV], check=True)
            install(VENV / "bin" / "python", "--require-hashes", "-r", str(LOCK))
            stamp.write_text(digest, encoding="utf-8")
    return VENV / "bin" / "python"


def install(python: Path, *arguments: str) -> None:
    """pip of this environment, at work in that of `python`."""
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", *arguments], check=True)
