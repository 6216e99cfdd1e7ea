"""Make build/wheels: a compiled wheel for every CPython on this machine, and their checksums in SHA256SUMS.

    python -m tools.wheels                    # python3.11 and newer on the PATH; two at a time
    python -m tools.wheels --python 3.13      # for this one only
    python -m tools.wheels --own              # for the one that runs this
    python -m tools.wheels --jobs 1

Each is built like the image (SEALWIRE_COMPILE=1, SEALWIRE_SHORT_SIV=1) in an environment of its own with
the locked dependencies, and named `manylinux` by auditwheel for the oldest glibc that it runs on. A wheel
that was made from the same files is kept. What is built lies below build/wheel-work, so only what has
changed is compiled again. The same files, Python and compiler give the same bytes on any path.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.compiled_tree import (
    BUILT_BY,
    NO_COMPILER,
    ROOMS,
    ROOT,
    WHEELS,
    built_wheel,
    digest_of,
    is_packaged,
    missing_for_compiling,
    stamp_wheel,
    tracked_files,
)
from tools.sbom import FILE, deploy_python, install, write_sbom

WORK = ROOT / "build" / "wheel-work"
SUMS = WHEELS / "SHA256SUMS"
ALL = ("3.11", "3.12", "3.13")
"""What the locks are valid for."""
JOBS = 2
"""Wheels that are built at once: mypyc works on one processor, the C compiler on all."""
FIXED = {"SOURCE_DATE_EPOCH": "315532800", "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"}
"""For builds that do not depend on the time: 1980, the first year of a zip archive."""
_ABOUT = (
    "import json, pathlib, platform, sysconfig as s; print(json.dumps([platform.python_implementation(), "
    "platform.python_version(), pathlib.Path(s.get_path('include'), 'Python.h').is_file()]))"
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A CPython that wheels can be built for."""

    program: Path
    version: str
    """As `3.13.5`."""

    @property
    def tag(self) -> str:
        """As wheels name it, `cp313`."""
        return "cp" + "".join(self.version.split(".")[:2])


def main() -> int:
    """Build what is missing; exit status 78 where nothing can be compiled."""
    arguments = parse()
    if lacking := missing_for_compiling():
        print(f"wheels: error: there is {lacking}; install it, or use the image", file=sys.stderr)
        return NO_COMPILER
    asked = [f"python{version}" for version in arguments.python or ALL]
    found = interpreters([sys.executable] if arguments.own else asked)
    for newer in passed_over():
        print(f"{newer}: passed over, as the locks are valid for {ALL[0]} to {ALL[-1]}", file=sys.stderr)
    if not found:
        print("wheels: error: no CPython with its headers was found", file=sys.stderr)
        return NO_COMPILER
    wheels_for(found, arguments.jobs)
    return 0


def wheels_for(found: list[Interpreter], jobs: int = JOBS) -> list[Path]:
    """The wheels of these Pythons and SHA256SUMS, in build/wheels. Raises:  CalledProcessError"""
    WHEELS.mkdir(parents=True, exist_ok=True)
    names = context()
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        made = list(pool.map(lambda each: wheel_for(each, names), found))
    write_sums(made)
    return made


def context() -> list[str]:
    """The files that a wheel is made from."""
    return [name for name in tracked_files() if is_context(name)]


def passed_over() -> list[str]:
    """The Pythons on the PATH that are newer than what the locks are valid for."""
    newest = int(ALL[-1].partition(".")[2])
    names = [f"python3.{minor}" for minor in range(newest + 1, newest + 8)]
    return [name for name in names if shutil.which(name)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make compiled wheels in build/wheels.")
    parser.add_argument("--python", action="append", metavar="3.N", help="for this one; may be repeated")
    parser.add_argument("--own", action="store_true", help="for the Python that runs this")
    parser.add_argument("--jobs", type=int, default=JOBS, metavar="N", help="wheels built at once (2)")
    return parser.parse_args()


def is_context(name: str) -> bool:
    """Whether a file belongs to what a wheel is made from."""
    return is_packaged(name) or name in BUILT_BY or name in {"README.md", "LICENSE"}


def interpreters(programs: Iterable[str]) -> list[Interpreter]:
    """Those of these programs that wheels can be built for."""
    return [each for program in programs if (each := interpreter(program))]


def interpreter(name: str) -> Interpreter | None:
    """The CPython of this name; None where it is missing, is another implementation or has no headers."""
    program = shutil.which(name)
    if program is None:
        return None
    asked = subprocess.run([program, "-c", _ABOUT], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        return None
    implementation, version, has_headers = json.loads(asked.stdout)
    return Interpreter(Path(program), version) if implementation == "CPython" and has_headers else None


def wheel_for(python: Interpreter, names: list[str]) -> Path:
    """The wheel of these files for one Python, built where it is not there. Raises:  CalledProcessError"""
    digest = digest_of([name for name in names if is_packaged(name) or name in BUILT_BY], python.version)
    if (there := built_wheel(digest)) is not None:
        print(f"{there.name}: there already", flush=True)
        return there
    began = time.monotonic()
    plain = compile_wheel(python, names, WORK / python.tag)
    for old in WHEELS.glob(f"*-{python.tag}-*.whl"):
        old.unlink()
    wheel = repaired(plain, WHEELS)
    stamp_wheel(digest, wheel)
    print(f"{wheel.name}: built in {time.monotonic() - began:.0f} s", flush=True)
    return wheel


def compile_wheel(python: Interpreter, names: list[str], work: Path) -> Path:
    """A wheel as pip builds it below `work`, where only what has changed is compiled again."""
    source, builder, fresh = work / "source", WORK / python.tag / "venv" / "bin" / "python", work / "fresh"
    copy_sources(names, source)
    make_builder(python, builder)
    shutil.rmtree(fresh, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--python", str(builder), "--disable-pip-version-check", "--quiet"]
    command = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(fresh), str(source)]
    options = {"SEALWIRE_COMPILE": "1", "SEALWIRE_SHORT_SIV": "1"}
    subprocess.run(command, env=os.environ | FIXED | options, umask=0o022, check=True)
    (wheel,) = fresh.glob("*.whl")
    return wheel


def copy_sources(names: list[str], target: Path) -> None:
    """Bring a copy up to date. Files keep their times, by which setuptools knows what has changed."""
    for room in target.iterdir() if target.is_dir() else ():
        if room.name != "build":
            shutil.rmtree(room) if room.is_dir() and not room.is_symlink() else room.unlink()
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    set_modes(target)
    for name in ROOMS:
        (target / "sealwire" / name).symlink_to(Path("..") / name)


def set_modes(folder: Path) -> None:
    """Modes that do not depend on the umask of a clone: 755 for what may be run, else 644."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def make_builder(python: Interpreter, builder: Path) -> None:
    """An environment with the locked compiler and the dependencies, by whose types the core is compiled."""
    locks = [ROOT / "requirements" / name for name in ("build.txt", "runtime.txt")]
    digest = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()
    stamp = builder.parent.parent / ".locks"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == digest:
        return
    create = [str(python.program), "-m", "venv", "--clear", "--without-pip", str(builder.parent.parent)]
    subprocess.run(create, check=True)
    install(builder, "--require-hashes", *(part for lock in locks for part in ("-r", str(lock))))
    stamp.write_text(digest, encoding="utf-8")


def repaired(wheel: Path, into: Path) -> Path:
    """The wheel in this folder, named for the oldest glibc that it runs on, or as it was."""
    tools = deploy_python().parent
    environment = os.environ | FIXED | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    command = [str(tools / "python"), "-m", "auditwheel", "repair", "--wheel-dir", str(into), str(wheel)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    tag = wheel.name.split("-")[2]
    found = sorted(into.glob(f"*-{tag}-*.whl"))
    if done.returncode == 0 and found:
        return found[0]
    print(f"{wheel.name}: auditwheel leaves it as it is: {done.stderr.strip()[-200:]}", file=sys.stderr)
    return Path(shutil.copy2(wheel, into))


def write_sums(wheels: list[Path]) -> None:
    """One line for each and for the bill of materials, as `sha256sum --check` reads them. Other wheels go."""
    for other in set(WHEELS.glob("*.whl")) - set(wheels):
        other.unlink()
    files = [*sorted(wheels), write_sbom(FILE)]
    lines = [f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {each.name}\n" for each in files]
    SUMS.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
