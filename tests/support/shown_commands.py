"""Follows a page that shows commands and what they print: runs the commands, and compares.

A block opens with ```` ```console test NAME ````. A line that begins with `$ ` is a command, and the lines
below it are what it prints, on both streams. In these `...` is anything, alone in a line also many lines or
none, and `<name>` is one word, the same wherever the name stands in the block. A command may end with any
code. A word in capitals that is such a name in a command is the word that was printed: `resume JOB`, after
`<JOB>`.
"""

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 120
_PIECE = re.compile(r"(?m)^\.\.\.\n|\.\.\.|<(\w+)>")


@dataclass(frozen=True, slots=True)
class ShownCommand:
    """A command of a page, and what the page shows below it."""

    command: str
    output: str


def shown_in(text: str, name: str) -> list[ShownCommand]:
    """The commands of the block called `name`, in order. Raises ValueError if the page has none."""
    found = re.search(rf"^```console test {re.escape(name)}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"no block is called {name!r}")
    parts = re.split(r"^\$ ", found[1], flags=re.MULTILINE)[1:]
    split = (part.partition("\n") for part in parts)
    return [ShownCommand(command, output) for command, _, output in split]


def pattern_of(shown: str, words: Mapping[str, str]) -> str:
    """A regular expression for what the page shows; `words` are the names that have a word already."""
    known, made, at = dict.fromkeys(words), "", 0
    for piece in _PIECE.finditer(shown):
        made += re.escape(shown[at : piece.start()])
        at, name = piece.end(), piece[1]
        if name is None:
            made += r"(?:.*\n)*?" if piece[0].endswith("\n") else ".*?"
        elif name in words:
            made += re.escape(words[name])
        else:
            made += f"(?P={name})" if name in known else rf"(?P<{name}>[^\s\"',;)]+?)"
            known[name] = None
    return made + re.escape(shown[at:])


def follow(
    page: str, name: str, run: Callable[[str], str], edit: Callable[[str], str] = lambda said: said
) -> dict[str, str]:
    """Run the block called `name` by `run`, edit what is printed, and compare; the words that were found.

    Raises AssertionError with both texts if something else is printed than the page shows.
    """
    words: dict[str, str] = {}
    for shown in shown_in(page, name):
        command = shown.command
        for word in filter(str.isupper, words):
            command = re.sub(rf"\b{word}\b", words[word], command)
        said = edit(run(command))
        found = re.fullmatch(pattern_of(shown.output, words), said)
        if found is None:
            raise AssertionError(f"$ {command}\nthe page shows\n{shown.output}\nit prints\n{said}")
        words |= found.groupdict()
    return words


def shell(folder: Path, environ: Mapping[str, str]) -> Callable[[str], str]:
    """What runs a command in `folder`; both streams in order."""

    def run(command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        return done.stdout

    return run
