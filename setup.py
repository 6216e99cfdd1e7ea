"""Finds the rooms through their links in `sealwire/`; pyproject.toml holds everything else.

With SEALWIRE_COMPILE=1 the core is compiled by mypyc, from the same sources (docs/adr/0020-compiled-core.md).
That needs a C compiler, and mypy with the dependencies beside it, which pip brings along unless told not to
isolate the build. Without it the plain sources run.

With SEALWIRE_SHORT_SIV=1 as well, `crypto/short_siv.py` is compiled with it and so comes into use
(docs/adr/0021-aes-siv-of-short-values.md). `sealwire --version` names both.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from setuptools import Extension, find_packages, setup

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
    "keys/keyring/opened.py",
    "proxy/server/audit_writer/ring.py",
    "proxy/server/audit_writer/sink.py",
    "proxy/server/connections/busy_poll.py",
    "proxy/server/connections/carrying.py",
    "proxy/server/connections/connection.py",
    "proxy/server/connections/lifetime.py",
    "proxy/server/connections/pipe.py",
    "proxy/server/connections/recorder.py",
    "proxy/server/observability/command_lines.py",
    "proxy/server/observability/counts.py",
    "proxy/server/observability/record_bytes.py",
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
        "policies/file/subject_links.py",
        "policies/roles/reader.py",
        "policies/commands/matrix.py",
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
_ONCE = """\
#if defined(__GNUC__) && !defined(__clang__)
#define ONCE __attribute__((optimize("O0")))
#else
#define ONCE
#endif
"""
_RUN_ONCE = re.compile(r"^extern (char CPyDef_\w+_____top_level__\(void\));$", re.MULTILINE)


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
    found: list[Extension] = mypycify(
        ["--config-file", "pyproject.toml", *modules],
        opt_level="3",
        group_name="sealwire.core",
        target_dir=str(GENERATED),
    )
    # a function that another library could replace is neither inlined nor called directly
    flags = ["-fvisibility=hidden", "-include", str(GENERATED / "run_once.h")]
    declared = declare_what_runs_once([*found[0].extra_compile_args, *flags])
    for extension in found:
        extension.extra_compile_args += flags
        extension.depends += [str(declared), "requirements/build.txt"]
    remove_left_over({extension.name for extension in found})
    return found


def declare_what_runs_once(flags: list[str]) -> Path:
    """A header that has the compiler not optimise the bodies of modules, which run once each.

    They are 38 % of all lines, and the longest functions are among them. For a tenth of the core gcc takes
    11.9 s of processor time without this header, and 8.6 s with it (11.1 s with `cold`; 9.6 s with -O2). It
    is written only when it or a flag changes, as mypyc does with its own files, so that nothing is compiled
    again without need.
    """
    text = (GENERATED / "sealwire" / "__native_internal_core.h").read_text(encoding="utf-8")
    declarations = f"/* {flags} */\n{_ONCE}"
    declarations += "".join(f"extern {name} ONCE;\n" for name in _RUN_ONCE.findall(text))
    header = GENERATED / "run_once.h"
    if not header.is_file() or header.read_text(encoding="utf-8") != declarations:
        header.write_text(declarations, encoding="utf-8")
    return header


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
        packages=find_packages(include=["sealwire", "sealwire.*"]),
        ext_modules=extensions(),
        data_files=shared_files(),
    )
