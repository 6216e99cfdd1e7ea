"""Runs the command blocks of a document, so that what operators copy is what works.

A block that is to be run opens with ```` ```sh test ```` or, to tell the parts of a page apart, with
```` ```sh test NAME ````. Blocks of one name run in the page's order in one shell with `set -euo pipefail`:
variables and the working directory carry over, and the first command that fails ends the run. Any other block
is text.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support import warm

_BLOCK = re.compile(r"^(?P<indent> *)```sh test(?: (?P<name>[\w-]+))?\n(?P<body>.*?)^ *```$", re.M | re.S)
_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: where it starts, the part of the page that it belongs to, and its commands."""

    line: int
    name: str
    commands: str


class CommandFailed(AssertionError):
    """A command of a document ended with another code than 0. `block` says where it is written."""

    def __init__(self, block: Block, code: int, output: str) -> None:
        super().__init__(f"the block at line {block.line} ended with {code}:\n{output}")
        self.block = block


def blocks_of(text: str) -> list[Block]:
    """Every block of `text` that is to be run, in order; indentation of a list is taken off."""
    return [
        Block(
            text.count("\n", 0, match.start()) + 1,
            match["name"] or "",
            re.sub(rf"^{match['indent']}", "", match["body"], flags=re.M),
        )
        for match in _BLOCK.finditer(text)
    ]


def run_document(
    page: Path, folder: Path, name: str = "", environ: Mapping[str, str] | None = None, stdin: str = ""
) -> str:
    """Run the blocks called `name` of `page` in `folder`; what they printed, both streams together.

    `sealwire`, which is forked (see `warm`), and the other programs of this environment are on the path.
    `environ` is added to a bare environment: a document may not rely on variables that it does not set.
    Raises:  ValueError where the page has no such block; CommandFailed
    """
    blocks = [block for block in blocks_of(page.read_text(encoding="utf-8")) if block.name == name]
    if not blocks:
        raise ValueError(f"{page.name} has no block to run that is called {name!r}")
    mark = folder / f".running-{os.getpid()}"
    script = "set -euo pipefail\n" + "".join(
        f"printf %s {number} >'{mark}'\n{block.commands}" for number, block in enumerate(blocks)
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=_with_launchers({**_bare_environment(folder), **(environ or {})}),
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    reached = blocks[int(mark.read_text(encoding="utf-8"))]
    mark.unlink()
    if done.returncode != 0:
        raise CommandFailed(reached, done.returncode, done.stdout)
    return done.stdout


def _with_launchers(environ: Mapping[str, str]) -> dict[str, str]:
    """The same, with the forked `sealwire` before the one of this environment, where that is on the path."""
    programs = str(Path(sys.executable).parent)
    places = environ["PATH"].split(os.pathsep)
    if programs in places:
        places.insert(places.index(programs), str(warm.launchers()))
    return {**environ, "PATH": os.pathsep.join(places)}


def _bare_environment(home: Path) -> dict[str, str]:
    programs = Path(sys.executable).parent
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "120",
    }
