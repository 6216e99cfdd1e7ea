"""Runs the examples of docs/queries.md in mongosh, through Sealwire and on a database in plaintext.

All examples go through one mongosh process, on one connection, each between two `ping` commands that carry
its number; the line between Sealwire and the server is in clear and recorded, so that the commands of each
example can be cut out of it.

    python -m tests.integration.query_runner      # write what was measured into docs/queries.md
"""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bson import decode, decode_all
from bson.json_util import loads

from sealwire.demo.stage import POLICY_FILE
from sealwire.keys.keyring.file import read_record
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from sealwire.wire.framing import Framer
from sealwire.wire.header import OpCode, op_code_of
from sealwire.wire.op_msg import parse_op_msg
from sealwire.wire.raw_bson import document_end
from tests.build_context import ROOT
from tests.integration.query_document import (
    Ending,
    Outcome,
    QueryDocument,
    Row,
    read_document,
    replace_outcomes,
)
from tests.integration.shell_text import shell_text
from tests.node_programs import MONGOSH
from tests.support.relay import relay

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
        options = ProxyOptions(folder / "sealwire", policy, line.address, access_control=False)
        with ProxyProcess(options) as proxy:
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
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
