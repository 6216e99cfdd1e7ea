"""Make build/compiled: the repository with Sealwire's core compiled, for tests and benches of that.

    python tools/compiled_tree.py                           # make it, or bring it up to date
    python tools/compiled_tree.py --run pytest tests/wire   # and run a module there, as `python -m` would
    python tools/compiled_tree.py --or-plain --run bench    # on the plain core where there is no compiler
    python tools/compiled_tree.py --if-built --here --run sealwire demo   # or where nobody has compiled it
    python tools/compiled_tree.py --can-compile             # only say whether there is one

Sealwire lies there as it would be installed, and what a run starts runs the compiled core too. The plain
sources and the environment stay as they are. Compiling takes one to four minutes, on all processors, and is
done again only when what it is made from has changed; a wheel of the same files (tools/wheels.py) is taken
instead. All else is copied at every call.
"""

import argparse
import hashlib
import os
import platform
import shlex
import shutil
import signal
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
BUILT_BY = ("setup.py", "pyproject.toml", "requirements/build.txt", "requirements/runtime.txt")
WHEELS = ROOT / "build" / "wheels"
WHEEL_STAMPS = ROOT / "build" / "wheel-work" / "stamps"
"""For each digest of what was built, a file with the name of its wheel and that one's own SHA-256: wheels of
other commits have the same name."""
# What programs fetch and measure outlives a tree.
SHARED = {"build": "..", "bench/results": "../../../bench/results"}

NO_COMPILER = 78
"""Exit status, as sysexits.h has it for a machine that is not set up."""


def main() -> int:
    """Bring the tree up to date; run what is asked for. The exit status is that of the run."""
    arguments = parse()
    lacking = missing_for_compiling()
    if lacking and (arguments.or_plain or arguments.if_built):
        print(f"core: plain, because there is {lacking}", flush=True)
        return run(ROOT, arguments.run)
    if lacking:
        hint = "on Debian or Ubuntu: apt-get install gcc libc6-dev python3-dev"
        print(f"compiled: error: there is {lacking}; {hint}", file=sys.stderr)
        return NO_COMPILER
    if arguments.can_compile:
        return 0
    names = tracked_files()
    if arguments.if_built and not is_built(core_digest(names)):
        print("core: plain; `make compiled` compiles it once, in one to four minutes", flush=True)
        return run(ROOT, arguments.run)
    compile_core(names)
    copy_others(names)
    print(f"core: {core_of_tree()}", flush=True)
    return run(ROOT if arguments.here else TREE, arguments.run, TREE)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compile the core into build/compiled.")
    parser.add_argument("--can-compile", action="store_true", help="compile nothing; exit status 78: cannot")
    parser.add_argument("--or-plain", action="store_true", help="run on the plain core without a compiler")
    parser.add_argument("--here", action="store_true", help="run in this folder, not in the tree")
    parser.add_argument("--if-built", action="store_true", help="run on the plain core rather than compile")
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


def core_digest(names: list[str]) -> str:
    """Of what the core is compiled from."""
    return digest_of([name for name in names if is_packaged(name) or name in BUILT_BY])


def is_compiled(digest: str) -> bool:
    """Whether the tree is of these contents."""
    return STAMP.is_file() and STAMP.read_text(encoding="utf-8") == digest and TREE.is_dir()


def is_built(digest: str) -> bool:
    """Whether nothing has to be compiled for them: there is the tree, or a wheel."""
    return is_compiled(digest) or built_wheel(digest) is not None


def compile_core(names: list[str]) -> None:
    """Compile and install into an empty tree, with what this environment has; nothing when that is done."""
    digest = core_digest(names)
    if is_compiled(digest):
        return
    wheel = built_wheel(digest)
    STAMP.unlink(missing_ok=True)
    shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(TREE), str(wheel or ".")]
    environment = os.environ | {"SEALWIRE_COMPILE": "1", "SEALWIRE_SHORT_SIV": short_siv()}
    pip = subprocess.Popen([*command, *options], cwd=ROOT, env=environment, start_new_session=True)
    try:
        status = pip.wait()
    except BaseException:
        os.killpg(pip.pid, signal.SIGKILL)  # pip's compiler too
        pip.wait()
        raise
    if status != 0:
        raise subprocess.CalledProcessError(status, pip.args)
    for room in ROOMS:
        (TREE / room).symlink_to(Path("sealwire") / room)
    core_of_tree()
    STAMP.write_text(digest, encoding="utf-8")


def short_siv() -> str:
    """The option of the build: like the image, unless the environment says otherwise."""
    return os.environ.get("SEALWIRE_SHORT_SIV", "1")


def built_wheel(digest: str) -> Path | None:
    """The wheel of these contents in build/wheels; None where there is none."""
    stamp = WHEEL_STAMPS / digest
    if not stamp.is_file():
        return None
    name, _, said = stamp.read_text(encoding="utf-8").partition(" ")
    wheel = WHEELS / name
    return wheel if wheel.is_file() and said == hashlib.sha256(wheel.read_bytes()).hexdigest() else None


def stamp_wheel(digest: str, wheel: Path) -> None:
    """Let `built_wheel` find a wheel of build/wheels, for as long as it is this one."""
    WHEEL_STAMPS.mkdir(parents=True, exist_ok=True)
    said = f"{wheel.name} {hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    (WHEEL_STAMPS / digest).write_text(said, encoding="utf-8")


def digest_of(names: list[str], python_version: str = platform.python_version()) -> str:
    """SHA-256 over the interpreter's version, the option of the build and these files, in hex."""
    digest = hashlib.sha256(f"{python_version} {short_siv()}".encode())
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


def run(where: Path, module_and_arguments: list[str], tree: Path | None = None) -> int:
    """Run a module in a folder, with the modules of a tree. SEALWIRE_CORE makes tests of another core fail.

    Elsewhere than in the tree, PYTHONSAFEPATH keeps the folder's own modules from being found first.
    """
    if not module_and_arguments:
        return 0
    chosen = environment() | {"SEALWIRE_CORE": "compiled"} if tree is not None else dict(os.environ)
    if tree not in (None, where):
        chosen |= {"PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", *module_and_arguments]
    return subprocess.run(command, cwd=where, env=chosen, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
