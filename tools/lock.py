"""Resolve the dependencies of pyproject.toml into requirements/*.txt, or check that they are in step.

Nine locks from one set of tables: `runtime` for a wheel, `demo` for the demos and for what looks for personal
data and known vulnerabilities, `image` and `image-full` for the container image,
with some extras and with all that a proxy may need, `build` for what compiles and makes the wheel, `sbom` for
what lists its parts, `deploy` for that, for what mends and checks wheels and for what renders the Helm chart,
`clients` for the programs of tests/clients, `dev` for everything else that a contributor and CI run.
Each is valid for Python 3.11 to 3.13 on any platform (uv's universal resolution), carries the hash of every
distribution, and opens with a digest of the tables it was resolved from. Checking compares that digest: it
needs neither uv nor a network.

Usage: make lock [ARGS=--upgrade], or python tools/lock.py --check
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE_EXTRAS = ("compression", "otel")
KEY_SERVICE_EXTRAS = ("aws", "azure", "gcp", "pkcs11", "s3")
"""Of which a deployment needs one, if any: 50 MB together."""


def _extras(*names: str) -> tuple[str, ...]:
    return tuple(part for name in names for part in ("--extra", name))


LOCKS = {
    "runtime": ("pyproject.toml",),
    "image": ("pyproject.toml", *_extras(*IMAGE_EXTRAS)),
    "image-full": ("pyproject.toml", *_extras(*IMAGE_EXTRAS, *KEY_SERVICE_EXTRAS)),
    "demo": ("pyproject.toml", *_extras("demo", "coverage", "compliance"), "--group", "build"),
    "build": ("--group", "build", "--group", "compile"),
    "clients": ("--group", "clients"),
    "sbom": ("--group", "sbom"),
    "deploy": ("--group", "deploy"),
    "dev": ("pyproject.toml", "--all-extras", "--group", "build", "--group", "compile"),
}
HEADER = """\
# Locked dependencies ({name}), for Python 3.11 to 3.13. Written by `make lock`; do not edit.
# inputs: sha256:{digest}
"""


def inputs_digest() -> str:
    """SHA-256 over the tables of pyproject.toml that decide what is resolved, in hex."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = document["project"]
    tables = {
        "build-system": document["build-system"]["requires"],
        "dependencies": project["dependencies"],
        "extras": project["optional-dependencies"],
        "groups": document["dependency-groups"],
        "python": project["requires-python"],
    }
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()


def lock_path(name: str) -> Path:
    return ROOT / "requirements" / f"{name}.txt"


def stale_locks() -> list[str]:
    """Names of the locks that are missing or were resolved from other tables than pyproject.toml has now."""
    stale = []
    for name in LOCKS:
        header = HEADER.format(name=name, digest=inputs_digest())
        path = lock_path(name)
        if not path.is_file() or not path.read_text(encoding="utf-8").startswith(header):
            stale.append(name)
    return stale


def resolve(name: str, *, upgrade: bool) -> None:
    """Write one lock. What it already pins is kept where it still fits, unless `upgrade`.

    Raises CalledProcessError where the tables have no solution or the index cannot be reached.
    """
    path = lock_path(name)
    path.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "uv", "pip", "compile", *LOCKS[name], "--quiet", "--no-header"]
    command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--output-file", str(path)]
    command += ["--upgrade"] if upgrade else []
    subprocess.run(command, cwd=ROOT, check=True)
    header = HEADER.format(name=name, digest=inputs_digest())
    path.write_text(header + path.read_text(encoding="utf-8"), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Lock the dependencies of pyproject.toml.")
    parser.add_argument("--check", action="store_true", help="only tell which lock is out of step")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions allowed")
    arguments = parser.parse_args()
    if not arguments.check:
        for name in LOCKS:
            resolve(name, upgrade=arguments.upgrade)
        return 0
    stale = stale_locks()
    if stale:
        print(f"lock: error: out of step with pyproject.toml: {', '.join(stale)}", file=sys.stderr)
        print("lock: hint: run 'make lock' and commit requirements/", file=sys.stderr)
        return 1
    print("lock: in step with pyproject.toml")
    return 0


if __name__ == "__main__":
    sys.exit(main())
