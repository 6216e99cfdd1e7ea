"""Runs the examples of docs/queries.md in mongosh, through Sealwire and on a database in plaintext.

All examples go through one mongosh process, on one connection, each between two `ping` commands that carry
its number; the line between Sealwire and the server is in clear and recorded, so that the commands of each
example can be cut out of it.

    python -m tests.integration.query_runner      # write what was measured into docs/queries.md

The format of docs/queries.md, which is read by people and run by test_queries.py.

Every fenced block marked `js` holds examples, one after the other, with an empty line between them:

    db.patients.find({nhs_number: "9990000018"}, {name: 1})
    // server: {find: "patients", filter: {nhs_number: <nhs_number>}, projection: {name: 1}}
    // answer: [{_id: 1, name: "Nia Lloyd"}]

First the query, as it is typed. It is one statement, or several of which all but the last end a line with
`;`: the answer is that of the last. Then what came of it: a line `server:` for each command that reaches
the server, in order, and one line of `answer:`, `error:` (from the server) or `refused:` (by Sealwire,
with the reason). A comment that is indented goes on with the line above it. The first block of the
document is no example but what the collections hold before each of them.
"""

import json
import re
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from bson import Binary, ObjectId, Regex, decode, decode_all
from bson.json_util import loads

from sealwire.crypto.envelope import SUBTYPE, parse_header
from sealwire.demo.stage import POLICY_FILE
from sealwire.keys.keyring.file import read_record
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess
from sealwire.wire.framing import Framer, OpCode, op_code_of
from sealwire.wire.op_msg import parse_op_msg
from sealwire.wire.raw_bson import document_end
from tests.build_context import ROOT
from tests.node_programs import MONGOSH
from tests.support.proxied import proxied
from tests.support.relay import relay
from tests.support.runs import ran

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


# Values and commands as one would type them in mongosh, with `<class>` where ciphertext stands.


_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_MANY = 5
"""A list of that many ciphertexts of one class is shown as their number."""


def shell_text(value: object, classes: Mapping[int, str]) -> str:
    """`value` in mongosh's notation.

    Shape:   `classes` has the name of each class by the id that its envelopes carry
    Raises:  KeyError for an envelope of another class, TypeError for a value that has no notation here
    """
    match value:
        case None | bool() | int() | float() | str():
            return json.dumps(value, ensure_ascii=False)
        case Binary(subtype=subtype) if subtype == SUBTYPE:
            return f"<{classes[parse_header(value).class_id]}>"
        case datetime():
            return f'ISODate("{value:%Y-%m-%d}")' if value.time() == datetime.min.time() else _moment(value)
        case ObjectId():
            return "ObjectId(…)"
        case Regex():
            return f"/{value.pattern}/"
        case list():
            return _list_text(value, classes)
        case dict():
            pairs = (f"{_name(key)}: {shell_text(below, classes)}" for key, below in value.items())
            return "{" + ", ".join(pairs) + "}"
        case _:
            raise TypeError(type(value).__name__)


def _moment(value: datetime) -> str:
    return f'ISODate("{value:%Y-%m-%dT%H:%M:%SZ}")'


def _list_text(values: list[Any], classes: Mapping[int, str]) -> str:
    shown = [shell_text(value, classes) for value in values]
    if len(shown) >= _MANY and len(set(shown)) == 1 and shown[0].startswith("<"):
        return f"[{len(shown)} x {shown[0]}]"
    return f"[{', '.join(shown)}]"


def _name(key: str) -> str:
    return key if _IDENTIFIER.fullmatch(key) else json.dumps(key, ensure_ascii=False)


DOCUMENT = ROOT / "docs" / "queries.md"
WITHIN_S = 240

Document = dict[str, Any]
Classes = Mapping[int, str]
"""The name of each class by its id."""

_PROGRAM = """
const examples = [%s];
const show = (place, result) => print(EJSON.stringify({place, ...result}, {relaxed: false}));
for (let place = 0; place < examples.length; place++) {
    for (const name of db.getCollectionNames()) db.getCollection(name).drop();
    prepare();
    db.adminCommand({ping: 1, comment: place});
    try {
        const result = examples[place]();
        const listed = result !== null && typeof result === "object" && typeof result.toArray === "function";
        show(place, {answer: listed ? result.toArray() : result});
    } catch (error) {
        const {code, message, errorResponse} = error;
        show(place, {error: {code, message, keyValue: errorResponse?.keyValue}});
    }
    db.adminCommand({ping: 1, comment: -1});
}
function prepare() {
%s
}
"""

# What every driver adds or does by itself, whatever is asked, and with what Sealwire asks for views.
_NOISE_COMMANDS = frozenset({"hello", "ping", "getMore", "endSessions", "listCollections"})
_NOISE_FIELDS = frozenset(
    {"$db", "lsid", "txnNumber", "autocommit", "startTransaction", "$clusterTime", "$readPreference"}
)
_DEFAULTS: tuple[tuple[str, object], ...] = (("ordered", True), ("cursor", {}))


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of all examples."""

    outcomes: list[Outcome]
    """Through Sealwire."""
    plain: list[Outcome]
    """On a database in plaintext, without Sealwire."""
    sent: bytes
    """Everything that Sealwire sent to the server, the preparations included."""


def write_policy(folder: Path) -> Path:
    """The example's policy, and a collection whose surnames can be searched by a part of them."""
    rules = POLICY_FILE.read_text()
    asking = "\nclasses:\n  surname: {mode: deterministic, type: string, ask: true}\n"
    file = folder / "policy.yaml"
    file.write_text(rules.replace("\nclasses:\n", asking) + "  clinic.callers:\n    surname: surname\n")
    return file


def measure(document: QueryDocument, folder: Path) -> Measured:
    """Run all examples both ways, on servers of their own.

    Raises:  AssertionError when mongosh fails
    Cost:    about 15 s for 70 examples
    """
    with DatabaseProcess(DatabaseOptions(folder / "plain")) as database:
        plain = [_outcome(result, [], {}) for result in _run(document, database.uri(None, "clinic"), folder)]
    with DatabaseProcess(DatabaseOptions(folder / "guarded")) as database, relay(database.address) as line:
        policy = write_policy(folder)
        with proxied(folder, policy, line.address) as proxy:
            results = _run(document, proxy.uri(None, "clinic"), folder)
            classes = {entry.class_id: entry.name for entry in read_record(proxy.keyring).classes}
    commands = _by_example(line.connections, len(document.rows))
    outcomes = [_outcome(result, sent, classes) for result, sent in zip(results, commands, strict=True)]
    return Measured(outcomes, plain, bytes(line.to_server))


def _run(document: QueryDocument, uri: str, folder: Path) -> list[Document]:
    """The results that mongosh prints for each example."""
    program = _PROGRAM % (",\n".join(map(_function, document.rows)), document.setup)
    script = folder / "examples.js"
    script.write_text(program)
    command = [str(MONGOSH), f"{uri}?directConnection=true&maxPoolSize=1", "--quiet", "--norc", str(script)]
    done = ran(command, timeout=WITHIN_S)
    assert done.returncode == 0, done.stderr or done.stdout
    results: list[Document] = [loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [result["place"] for result in results] == list(range(len(document.rows)))
    return results


def _function(row: Row) -> str:
    before, mark, last = row.query.rpartition(";\n")
    return f"() => {{\n{before}{mark}return {last};\n}}"


def _by_example(connections: list[bytearray], count: int) -> list[list[Document]]:
    """The commands of each example, from the connection that carried the marks."""
    found: list[list[Document]] = [[] for _ in range(count)]
    for connection in connections:
        place = -1
        for command in _commands(bytes(connection)):
            if "ping" in command and "comment" in command:
                place = command["comment"]
            elif place >= 0 and next(iter(command)) not in _NOISE_COMMANDS:
                found[place].append(command)
    return found


def _commands(stream: bytes) -> Iterator[Document]:
    for message in Framer().feed(stream):
        if op_code_of(message) != OpCode.MSG:
            continue  # the handshake
        parsed = parse_op_msg(message)
        command = decode(message[parsed.body : document_end(message, parsed.body, parsed.end)])
        for sequence in parsed.sequences:
            command[sequence.identifier.decode()] = decode_all(message[sequence.documents : sequence.end])
        yield command


def _outcome(result: Document, sent: list[Document], classes: Classes) -> Outcome:
    server = tuple(shell_text(_essence(command), classes) for command in sent)
    if "error" not in result:
        return Outcome(server, Ending.ANSWER, shell_text(_tidy(result.get("answer")), classes))
    error = result["error"]
    message = error.get("message", "")
    if message.startswith("Sealwire refused "):
        return Outcome(server, Ending.REFUSED, message[message.rindex("[") :])
    key = f" {shell_text(error['keyValue'], classes)}" if error.get("keyValue") else ""
    return Outcome(server, Ending.ERROR, f"{error.get('code')}{key}")


def _essence(command: Document) -> Document:
    return {
        key: value
        for key, value in command.items()
        if key not in _NOISE_FIELDS and (key, value) not in _DEFAULTS
    }


def _tidy(answer: object) -> object:
    """Without what the result of every write says: that it was acknowledged, and counts of 0."""
    if not isinstance(answer, dict) or "acknowledged" not in answer:
        return answer
    return {
        key: value for key, value in answer.items() if key != "acknowledged" and value not in (0, None, {})
    }


def main() -> None:
    """Write what was measured into the document."""
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(read_document(DOCUMENT), Path(folder))
    DOCUMENT.write_text(replace_outcomes(DOCUMENT.read_text(), measured.outcomes))


if __name__ == "__main__":
    main()
