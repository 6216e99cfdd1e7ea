"""Make build/compiled: the repository with Sealwire's core compiled, for tests and benches of that.

    python tools/compiled_tree.py                           # make it, or bring it up to date
    python tools/compiled_tree.py --run pytest tests/wire   # and run a module there, as `python -m` would
    python tools/compiled_tree.py --or-plain --run bench    # on the plain core where there is no compiler
    python tools/compiled_tree.py --can-compile             # only say whether there is one

Sealwire lies there as it would be installed, and what a run starts runs the compiled core too. The plain
sources and the environment stay as they are. Compiling takes about a minute, and is done again only when what
it is made from has changed; all else is copied at every call.
"""

import argparse
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "compiled"
STAMP = ROOT / "build" / "compiled.stamp"
"""Which sources the tree was compiled from; there only when that went well to its end."""
ROOMS = sorted(path.name for path in (ROOT / "sealwire").iterdir() if path.is_symlink())
PACKAGED = frozenset({"sealwire", *ROOMS})
BUILT_BY = ("setup.py", "pyproject.toml", "requirements/dev.txt")
# What programs fetch and measure outlives a tree.
SHARED = {"build": "..", "bench/results": "../../../bench/results"}

NO_COMPILER = 78
"""Exit status, as sysexits.h has it for a machine that is not set up."""


def main() -> int:
    """Bring the tree up to date; run what is asked for. The exit status is that of the run."""
    arguments = parse()
    lacking = missing_for_compiling()
    if lacking and arguments.or_plain:
        print(f"core: plain, because there is {lacking}", flush=True)
        return run(ROOT, arguments.run)
    if lacking:
        hint = "on Debian or Ubuntu: apt-get install gcc libc6-dev python3-dev"
        print(f"compiled: error: there is {lacking}; {hint}", file=sys.stderr)
        return NO_COMPILER
    if arguments.can_compile:
        return 0
    names = tracked_files()
    compile_core(names)
    copy_others(names)
    print(f"core: {core_of_tree()}", flush=True)
    return run(TREE, arguments.run)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compile the core into build/compiled.")
    parser.add_argument("--can-compile", action="store_true", help="compile nothing; exit status 78: cannot")
    parser.add_argument("--or-plain", action="store_true", help="run on the plain core without a compiler")
    parser.add_argument(
        "--run", nargs=argparse.REMAINDER, default=[], metavar="MODULE", help="with arguments"
    )
    return parser.parse_args()


def missing_for_compiling() -> str:
    """What the machine lacks; empty where it can compile."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        return f"no C compiler ({compiler})"
    headers = Path(sysconfig.get_path("include"))
    return "" if (headers / "Python.h").is_file() else "no Python.h, the header of Python's own C interface"


def tracked_files() -> list[str]:
    """The files that git knows or would not ignore, by their paths from the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def is_packaged(name: str) -> bool:
    return name.split("/", 1)[0] in PACKAGED


def compile_core(names: list[str]) -> None:
    """Compile and install into an empty tree, with what this environment has; nothing when that is done."""
    digest = digest_of([name for name in names if is_packaged(name) or name in BUILT_BY])
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") == digest and TREE.is_dir():
        return
    STAMP.unlink(missing_ok=True)
    shutil.rmtree(TREE, ignore_errors=True)
    for left_over in ROOT.glob("build/lib*"):
        shutil.rmtree(left_over)  # a module that is no longer there would be installed from it
    TREE.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(TREE), "."]
    environment = os.environ | {"SEALWIRE_COMPILE": "1", "SEALWIRE_SHORT_SIV": short_siv()}
    subprocess.run([*command, *options], cwd=ROOT, env=environment, check=True)
    for room in ROOMS:
        (TREE / room).symlink_to(Path("sealwire") / room)
    core_of_tree()
    STAMP.write_text(digest, encoding="utf-8")


def short_siv() -> str:
    """The option of the build: like the image, unless the environment says otherwise."""
    return os.environ.get("SEALWIRE_SHORT_SIV", "1")


def digest_of(names: list[str]) -> str:
    """SHA-256 over the interpreter's version, the option of the build and these files, in hex."""
    digest = hashlib.sha256(f"{platform.python_version()} {short_siv()}".encode())
    for name in sorted(names):
        content = (ROOT / name).read_bytes()
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def copy_others(names: list[str]) -> None:
    """Copy what is not packaged, and take away what is no longer there."""
    copied = {name.split("/", 1)[0] for name in names if not is_packaged(name)}
    for top in copied:
        shutil.rmtree(TREE / top, ignore_errors=True)
    for name in names:
        if not is_packaged(name) and not any(name.startswith(f"{shared}/") for shared in SHARED):
            (TREE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, TREE / name, follow_symlinks=False)
    (ROOT / "bench" / "results").mkdir(exist_ok=True)
    links = dict(SHARED)
    if (ROOT / "tests" / "node" / "node_modules").is_dir():
        links["tests/node/node_modules"] = "../../../../tests/node/node_modules"
    for link, target in links.items():
        (TREE / link).unlink(missing_ok=True)
        (TREE / link).symlink_to(target)


def environment() -> dict[str, str]:
    """In which the tree's modules are found before those that are installed."""
    return os.environ | {"PYTHONPATH": str(TREE)}


def core_of_tree() -> str:
    """`compiled`. Raises CalledProcessError when the tree's core is not."""
    question = "import sealwire; assert sealwire.core_is_compiled(); print('compiled')"
    command = [sys.executable, "-c", question]
    answer = subprocess.run(command, cwd=TREE, env=environment(), capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def run(where: Path, module_and_arguments: list[str]) -> int:
    """Run a module in a tree; SEALWIRE_CORE makes a test run fail that finds another core."""
    if not module_and_arguments:
        return 0
    command = [sys.executable, "-m", *module_and_arguments]
    chosen = environment() | {"SEALWIRE_CORE": "compiled"} if where == TREE else dict(os.environ)
    return subprocess.run(command, cwd=where, env=chosen, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
