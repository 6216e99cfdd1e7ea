"""Make build/wheels/sealwire.cdx.json: the parts of Sealwire as installed, a CycloneDX bill of materials.

    python -m tools.sbom

Its components are those of requirements/runtime.txt with their hashes, so the same lock gives the same file.
The image holds one of its own, of what is really in it: /opt/sealwire/share/sealwire.cdx.json.

What makes and lists packages (requirements/deploy.txt) has its own environment, build/deploy-venv. It is made
when it is first asked for, and anew when its lock has changed: `make setup` stays small.
"""

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "build" / "deploy-venv"
LOCK = ROOT / "requirements" / "deploy.txt"
FILE = ROOT / "build" / "wheels" / "sealwire.cdx.json"


def deploy_python() -> Path:
    """The interpreter of this environment. Callers in other processes wait.

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


def main() -> int:
    """Write the file, and say where it is."""
    print(write_sbom(FILE).relative_to(ROOT))
    return 0


def write_sbom(file: Path) -> Path:
    """Ask cyclonedx-py for it, which checks it by CycloneDX' schema. Raises:  CalledProcessError"""
    file.parent.mkdir(parents=True, exist_ok=True)
    lock, project = (str(ROOT / name) for name in ("requirements/runtime.txt", "pyproject.toml"))
    options = ["--pyproject", project, "--of", "JSON", "--output-reproducible", "--output-file", str(file)]
    command = [str(deploy_python()), "-m", "cyclonedx_py", "requirements", *options, lock]
    subprocess.run(command, check=True)
    return file


if __name__ == "__main__":
    sys.exit(main())
