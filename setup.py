"""Finds the rooms through their links in `sealwire/`; pyproject.toml holds everything else.

With SEALWIRE_COMPILE=1 the core is compiled by mypyc, from the same sources (docs/adr/0020-compiled-core.md).
That needs a C compiler, and mypy with the dependencies beside it, which pip brings along unless told not to
isolate the build. Without it the plain sources run.

With SEALWIRE_SHORT_SIV=1 as well, `crypto/short_siv.py` is compiled with it and so comes into use
(docs/adr/0021-aes-siv-of-short-values.md). `sealwire --version` names both.
"""

import os
import subprocess
import sys
import tomllib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

IS_COMPILED = os.environ.get("SEALWIRE_COMPILE") == "1"
HAS_SHORT_SIV = os.environ.get("SEALWIRE_SHORT_SIV") == "1"

# The data path: from bytes to bytes, and between these and the transports.
COMPILED = (
    "wire/*.py",
    "crypto/*.py",
    "policies/*.py",
    "policies/*/*.py",
    "proxy/session/*.py",
    "proxy/session/*/*.py",
    "keys/keyring/keyring.py",
    "proxy/server/audit_writer/ring.py",
    "proxy/server/audit_writer/sink.py",
    "proxy/server/connections/carrying.py",
    "proxy/server/connections/connection.py",
    "proxy/server/connections/recorder.py",
    "proxy/server/observability/counts.py",
    "proxy/server/observability/record_bytes.py",
    "proxy/server/transports.py",
)
PLAIN = frozenset(
    {
        "crypto/selftest.py",  # runs once
        "crypto/unpicklable.py",  # a base of plain classes, and those cannot have a compiled one
        "crypto/host_names.py",  # these two are for files and for TLS, not for values
        "crypto/x509.py",
        "wire/compressors.py",  # calls libraries that do all the work, and that need not be there
        "policies/file/lint.py",  # these read the policy file, once
        "policies/file/loader.py",
        "policies/roles/reader.py",
        "policies/planning/rules.py",  # a generic dataclass with slots, which mypyc cannot make
    }
)


SHORT_SIV = "crypto/short_siv.py"

COMPLETIONS = (
    ("bash", "share/bash-completion/completions", "sealwire"),
    ("zsh", "share/zsh/site-functions", "_sealwire"),
    ("fish", "share/fish/vendor_completions.d", "sealwire.fish"),
)

GENERATED = Path("build/mypyc")


def compiled_files() -> list[Path]:
    """The files that mypyc compiles, by their paths from here."""
    found = sorted(path for pattern in COMPILED for path in Path().glob(pattern))
    left_out = PLAIN if HAS_SHORT_SIV else PLAIN | {SHORT_SIV}
    return [path for path in found if path.name != "__init__.py" and path.as_posix() not in left_out]


def extensions() -> list[Extension]:
    """The compiled core, when it is asked for and not only described."""
    if HAS_SHORT_SIV and not IS_COMPILED:
        raise SystemExit("SEALWIRE_SHORT_SIV=1 needs SEALWIRE_COMPILE=1: it is of no use in a plain core")
    if not IS_COMPILED or not {"egg_info", "dist_info"}.isdisjoint(sys.argv):
        return []
    from mypyc.build import mypycify  # noqa: PLC0415 - only here: nothing else needs it to be there

    modules = [f"sealwire/{path}" for path in compiled_files()]
    how = {
        "opt_level": "3",
        "debug_level": "0",
        "group_name": "sealwire.core",
        "target_dir": str(GENERATED),
        "multi_file": True,
    }
    # mypyc leaves millions of objects: a process that ends at once need not let go of each
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        found: list[Extension] = pool.submit(
            mypycify, ["--config-file", "pyproject.toml", *modules], **how
        ).result()
    for extension in found:
        # a function that another library could replace is neither inlined nor called directly
        extension.extra_compile_args.append("-fvisibility=hidden")
        extension.include_dirs.append(str(GENERATED / "sealwire"))  # the headers of all files
        extension.depends += ["setup.py", "requirements/build.txt"]
    remove_left_over({extension.name for extension in found})
    return found


class BuildInParallel(build_ext):
    """Compiles on every processor. setuptools does so for extensions, and the core is one of many files.

    A file per module takes a third of the compiler's time for all in one: 82 s of processor time for 270 s.
    An object stays that is newer than its source and all headers, so a change within functions is quick.
    """

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count() or 1

    def build_extensions(self) -> None:
        compile_in_turn = self.compiler.compile
        unfinished = str(Path(self.build_temp, "unfinished"))

        def compile_one(source: str, options: dict[str, Any]) -> str:
            (name,) = self.compiler.object_filenames([source], output_dir=self.build_temp)
            if not is_newer(Path(name), [Path(each) for each in (source, *options["depends"])]):
                # a compiler that is killed leaves half a file
                (made,) = compile_in_turn([source], **options | {"output_dir": unfinished})
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                Path(made).replace(name)
            return name

        def compile_all(sources: list[str], **options: Any) -> list[str]:
            with ThreadPoolExecutor(self.parallel) as pool:
                return list(pool.map(lambda source: compile_one(source, options), sources))

        self.compiler.compile = compile_all
        super().build_extensions()


def is_newer(made: Path, made_from: list[Path]) -> bool:
    """Whether a file is there and younger than all that it is made from."""
    return made.is_file() and all(made.stat().st_mtime > each.stat().st_mtime for each in made_from)


def remove_left_over(compiled: set[str]) -> None:
    """Leave of an earlier build what this one may take over: libraries of what is still compiled."""
    for folder in Path("build").glob("lib*"):
        for path in (each for each in folder.rglob("*") if each.is_file()):
            module = ".".join(path.relative_to(folder).parts).partition(".cpython-")[0]
            if path.suffix != ".so" or module not in compiled:
                path.unlink()


def shared_files() -> list[tuple[str, list[str]]]:
    """Manual pages and completion, which the program prints, by where they lie below a prefix."""
    if not IS_COMPILED or not {"egg_info", "dist_info"}.isdisjoint(sys.argv):
        return []
    manual = Path("build/share/man")
    manual.mkdir(parents=True, exist_ok=True)
    ask_program("manual", str(manual))
    found = [("share/man/man1", [str(path) for path in sorted(manual.glob("*.1"))])]
    for shell, folder, name in COMPLETIONS:
        file = Path("build/share") / shell / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(ask_program("completion", shell), encoding="utf-8")
        found.append((folder, [str(file)]))
    return found


def ask_program(*arguments: str) -> str:
    """What a command prints. Nothing is installed while it is built, so the version is handed to it."""
    version = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    program = (
        f"import importlib.metadata as about\nabout.version = lambda _: {version!r}\n"
        "from sealwire.cli import main\nmain()"
    )
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603


def needed_to_build() -> list[str]:
    """What pip has to install before it builds, besides what pyproject.toml says of every build."""
    if not IS_COMPILED:
        return []
    document = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    return [*document["dependency-groups"]["compile"], *document["project"]["dependencies"]]


if __name__ == "__main__":
    setup(
        setup_requires=needed_to_build(),
        cmdclass={"build_ext": BuildInParallel},
        packages=find_packages(include=["sealwire", "sealwire.*"]),
        ext_modules=extensions(),
        data_files=shared_files(),
    )
