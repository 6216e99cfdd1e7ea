"""The format of docs/queries.md, which is read by people and run by test_queries.py.

Every fenced block marked `js` holds examples, one after the other, with an empty line between them:

    db.patients.find({nhs_number: "9990000018"}, {name: 1})
    // server: {find: "patients", filter: {nhs_number: <nhs_number>}, projection: {name: 1}}
    // answer: [{_id: 1, name: "Nia Lloyd"}]

First the query, as it is typed. It is one statement, or several of which all but the last end a line with
`;`: the answer is that of the last. Then what came of it: a line `server:` for each command that reaches the
server, in order, and one line of `answer:`, `error:` (from the server) or `refused:` (by Sealwire, with the
reason). A comment that is indented goes on with the line above it. The first block of the document is no
example but what the collections hold before each of them.
"""

import re
import textwrap
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_BLOCK = re.compile(r"(?<=^```js\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_SERVER = "// server: "
_ENDING = re.compile(r"// (answer|error|refused): (.*)", re.DOTALL)
_CONTINUED = "//   "
_WIDTH = 116


class Ending(Enum):
    """How an example ends."""

    ANSWER = "answer"
    ERROR = "error"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a query: the commands that reached the server, and how it ended."""

    server: tuple[str, ...]
    ending: Ending
    text: str

    def lines(self) -> list[str]:
        """As the document has them."""
        results = [*(("server", command) for command in self.server), (self.ending.value, self.text)]
        return [line for kind, text in results for line in _wrapped(f"// {kind}: {text}")]


@dataclass(frozen=True, slots=True)
class Row:
    """One example. `outcome` is None where the document does not say it yet."""

    name: str
    """The heading it stands under and its place there."""
    query: str
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class QueryDocument:
    """The whole document: what is stored first, and the examples."""

    setup: str
    rows: tuple[Row, ...]


def read_document(path: Path) -> QueryDocument:
    """Read the examples.

    Raises:  ValueError for a block that does not have the format
    """
    text = path.read_text()
    setup, *blocks = _BLOCK.finditer(text)
    rows: list[Row] = []
    places: dict[str, int] = {}
    for block in blocks:
        heading = [*_HEADING.finditer(text, 0, block.start())][-1].group(1)
        for example in block.group().strip().split("\n\n"):
            places[heading] = places.get(heading, 0) + 1
            rows.append(_read_row(f"{heading} {places[heading]}", example))
    return QueryDocument(setup.group(), tuple(rows))


def replace_outcomes(text: str, outcomes: list[Outcome]) -> str:
    """The document's text with other outcomes, one for each example in order."""
    following = iter(outcomes)
    first = True

    def block(match: re.Match[str]) -> str:
        nonlocal first
        if first:
            first = False
            return match.group()
        examples = match.group().strip().split("\n\n")
        return "\n\n".join(_with_outcome(example, next(following)) for example in examples) + "\n"

    return _BLOCK.sub(block, text)


def _with_outcome(example: str, outcome: Outcome) -> str:
    return "\n".join([_read_row("", example).query, *outcome.lines()])


def _read_row(name: str, example: str) -> Row:
    code = [line for line in example.splitlines() if not line.startswith("//")]
    results: list[str] = []
    for line in example.splitlines()[len(code) :]:
        if line.startswith(_CONTINUED) and results:
            results[-1] += " " + line.removeprefix(_CONTINUED)
        elif line.startswith("// "):
            results.append(line)
        else:
            raise ValueError(f"{name}: a line of code after the results")
    return Row(name, "\n".join(code), _read_outcome(name, results) if results else None)


def _read_outcome(name: str, results: list[str]) -> Outcome:
    *server, last = results
    ending = _ENDING.fullmatch(last)
    if ending is None or not all(line.startswith(_SERVER) for line in server):
        raise ValueError(f"{name}: results are `server:` lines and one of `answer:`, `error:`, `refused:`")
    commands = tuple(line.removeprefix(_SERVER) for line in server)
    return Outcome(commands, Ending(ending.group(1)), ending.group(2))


def _wrapped(line: str) -> list[str]:
    # no line ends between a name and its value
    wrapped = textwrap.wrap(
        line.replace(": ", ":\0"),
        _WIDTH,
        subsequent_indent=_CONTINUED,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [part.replace("\0", " ") for part in wrapped]
