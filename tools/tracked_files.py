"""Look through the tracked files for what must not be there: registry hosts, one machine's paths, binaries.

A lock or a script that names a package registry's host works only where that host is reached; a path of
somebody's machine works nowhere else; what was built from sources has no place beside them. Run by
`make check` and by tests/test_repository.py.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Put together from parts, so that this file does not hold what it looks for.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("yarnpkg", "com"),
        ("deb", "debian", "org"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
    )
)
MACHINE_PATHS = tuple(
    "/" + "/".join(parts) + "/" for parts in (("work",), ("root",), ("tmp", "lab"), ("opt", "wheels"))
)

# A path counts where it starts, not as the tail of another one; a home directory of any name counts too.
FORBIDDEN = re.compile(
    "|".join(
        [*(re.escape(host) for host in REGISTRY_HOSTS)]
        + [r"(?<![\w.~-])" + re.escape(path) for path in MACHINE_PATHS]
        + [r"(?<![\w.~-])/" + r"(?:home|Users)/\w+/"]
    )
)


def tracked_files(*, or_new: bool = True) -> list[Path]:
    """Every file that git tracks (or would add), without symbolic links and without deleted ones."""
    command = ["git", "ls-files", "-z", "--cached"]
    command += ["--others", "--exclude-standard"] if or_new else []
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    paths = (ROOT / name for name in listing.decode().split("\0") if name)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


# What is no text has to say why it is here: pictures that tests take for the documents.
PICTURES = ("docs/operations/page.png", "docs/operations/page-dark.png")


def findings_in(text: str) -> Iterator[tuple[int, str]]:
    """Line number and match of everything in `text` that must not be published."""
    for number, line in enumerate(text.splitlines(), start=1):
        for match in FORBIDDEN.finditer(line):
            yield number, match.group()


def findings() -> list[str]:
    """`path:line: match` for every finding; what is not UTF-8 is looked through all the same."""
    found = []
    for path in tracked_files():
        content, name = path.read_bytes(), path.relative_to(ROOT)
        if is_binary(content) and name.as_posix() not in PICTURES:
            found.append(f"{name}: a binary file")
        text = content.decode("utf-8", errors="replace")
        found += [f"{name}:{number}: {match}" for number, match in findings_in(text)]
    return found


def is_binary(content: bytes) -> bool:
    """Whether a file is no text: it holds a NUL, as git tells them apart too."""
    return b"\0" in content


def main() -> int:
    found = findings()
    for finding in found:
        print(f"tracked files: error: {finding}", file=sys.stderr)
    if not found:
        print("tracked files: no registry hosts, no machine paths, no binaries")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
