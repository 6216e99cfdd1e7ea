"""Make build/compiled: the repository with Sealwire's core compiled, for tests and benches of that.

    python tools/compiled_tree.py

Sealwire lies there as it would be installed. After `cd build/compiled`, `PYTHONPATH=$PWD python -m pytest`
tests the compiled core, and the processes that such a run starts run it too. The plain sources and the
environment stay as they are.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "compiled"
ROOMS = ("wire", "crypto", "keys", "policies", "proxy", "sidecars", "examples")
PACKAGED = frozenset({"sealwire", ".umbrella", *ROOMS})


def main() -> None:
    """Copy what is not packaged, install what is, and check that it is compiled."""
    shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True)
    install()
    for name in tracked_files():
        if name.split("/", 1)[0] not in PACKAGED and (ROOT / name).is_file():
            (TREE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, TREE / name, follow_symlinks=False)
    for room in ROOMS:
        (TREE / room).symlink_to(Path("sealwire") / room)
    node_modules = ROOT / "tests" / "node" / "node_modules"
    if node_modules.is_dir():
        (TREE / "tests" / "node" / "node_modules").symlink_to(node_modules)
    print(check())


def tracked_files() -> list[str]:
    """The files that git knows or would not ignore, by their paths from the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name]


def install() -> None:
    """Build and install into the tree, with what this environment has."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(TREE), "."]
    subprocess.run([*command, *options], cwd=ROOT, env=os.environ | {"SEALWIRE_COMPILE": "1"}, check=True)


def check() -> str:
    """Where the core of the tree comes from. Raises CalledProcessError when it is not compiled."""
    question = "import sealwire; assert sealwire.core_is_compiled(); print('compiled core: ready')"
    answer = subprocess.run(
        [sys.executable, "-c", question],
        cwd=TREE,
        env=os.environ | {"PYTHONPATH": str(TREE)},
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.strip()


if __name__ == "__main__":
    main()
