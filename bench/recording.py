"""Records what the real server answers, plainly and as it answers Sealwire, for the canned servers to play.

The requests are the ones that drivers send. For the second recording each goes through the session core in
this process, so the server sees and answers exactly what it would behind a running Sealwire.
"""

import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from bson import ObjectId, encode

from bench.canned_server import LEGACY_HELLO, CannedReply
from bench.dataset import GROUP, POLICY_FILE, Document, documents
from sealwire.demo.database import DatabaseOptions, DatabaseProcess
from sealwire.demo.ports import LOOPBACK
from sealwire.keys.environment import EnvironmentKek
from sealwire.keys.keyring import Keyring
from sealwire.keys.keyring_file import create_keyring
from sealwire.policies.loader import load_policy
from sealwire.proxy.session.effects import ToClient, ToServer
from sealwire.proxy.session.handshake import Topology
from sealwire.proxy.session.session import Session, SessionSettings
from sealwire.wire.header import OpCode
from sealwire.wire.op_msg import build_op_msg

REQUEST_ID = 7
_NEEDLES = {"find 100": b"batchSize", "unprotected find": b"wards"}


@dataclass(frozen=True, slots=True)
class Recorded:
    """Requests by operation, and the server's replies without and with Sealwire before it."""

    requests: dict[str, bytes]
    plain: tuple[CannedReply, ...]
    encrypted: tuple[CannedReply, ...]

    def encrypted_reply(self, operation: str) -> bytes:
        """What the server answers Sealwire to the request of `operation`."""
        command, needle = _key(operation)
        return next(each.reply for each in self.encrypted if (each.command, each.needle) == (command, needle))


def make_session(keyring: Keyring) -> Session:
    """The core with the bench's policy, as one connection has it."""
    policy = load_policy(POLICY_FILE.read_bytes(), str(POLICY_FILE))
    return Session(SessionSettings(policy, Topology(f"{LOOPBACK}:1")), keyring)


def make_keyring(folder: Path, kek: str) -> Keyring:
    """A keyring for the bench's policy where `ProxyProcess` looks for it."""
    folder.mkdir(parents=True, exist_ok=True)
    names = load_policy(POLICY_FILE.read_bytes(), str(POLICY_FILE)).class_names
    sealed_by = EnvironmentKek("KEK", {"KEK": kek})
    return create_keyring(folder / "keyring.json", sealed_by, names, datetime.now(UTC))


def insert_request(count: int, seed: int = 900) -> bytes:
    """One insert command with `count` documents as a document sequence, as drivers send it."""
    body = encode({"insert": "arrivals", "ordered": True, "$db": "bench"})
    sequence = b"documents\0" + b"".join(
        encode({"_id": ObjectId()} | document) for document in islice(documents(seed), count)
    )
    section = b"\1" + (len(sequence) + 4).to_bytes(4, "little") + sequence
    message = build_op_msg(REQUEST_ID, 0, body) + section
    return len(message).to_bytes(4, "little") + message[4:]


def record(folder: Path, keyring: Keyring) -> Recorded:
    """Load a real server with and without encryption and ask each operation once either way. Cost: 3 s."""
    known = list(islice(documents(1), GROUP))
    requests = _requests(known)
    with ExitStack() as stack:
        database = stack.enter_context(
            DatabaseProcess(DatabaseOptions(folder / "database", replica_set=False))
        )
        connection = stack.enter_context(socket.create_connection((LOOPBACK, database.port)))
        session = make_session(keyring)

        def ask(message: bytes) -> bytes:
            connection.sendall(message)
            return read_message(connection)

        def ask_encrypted(message: bytes) -> bytes:
            effects = session.client_data(message)
            while True:
                # before the client's own message, the session may have a question: what a name is
                reply = ask(b"".join(effect.data for effect in effects if isinstance(effect, ToServer)))
                effects = session.server_data(reply)
                if any(isinstance(effect, ToClient) for effect in effects):
                    return reply

        plain = _replies(requests, known, ask)
        ask(build_op_msg(REQUEST_ID, 0, encode({"dropDatabase": 1, "$db": "bench"})))
        return Recorded(requests, plain, _replies(requests, known, ask_encrypted))


def _key(operation: str) -> tuple[bytes, bytes]:
    """By which command and which bytes in it the canned server knows an operation's request."""
    return (b"insert" if operation.startswith("insert") else b"find"), _NEEDLES.get(operation, b"")


def read_message(connection: socket.socket) -> bytes:
    """One whole message. Raises EOFError when the other side closes."""
    data = connection.recv(65536)
    while data and (len(data) < 4 or len(data) < int.from_bytes(data[:4], "little")):
        more = connection.recv(1 << 20)
        if not more:
            break
        data += more
    if not data or len(data) < int.from_bytes(data[:4], "little"):
        raise EOFError("the server closed the connection")
    return data


def _requests(known: list[Document]) -> dict[str, bytes]:
    return {
        "find one": _find(
            "patients", {"nhs_number": known[3]["nhs_number"]}, {"limit": 1, "singleBatch": True}
        ),
        "insert one": insert_request(1),
        "find 100": _find("patients", {"group": known[0]["group"]}, {"batchSize": GROUP + 1}),
        "unprotected find": _find("wards", {"_id": 1}, {"limit": 1, "singleBatch": True}),
    }


def _legacy_hello() -> bytes:
    """The OP_QUERY with which drivers greet a server that they do not know yet."""
    query = bytes(4) + b"admin.$cmd\0" + struct.pack("<ii", 0, -1) + encode({"isMaster": 1, "helloOk": True})
    return struct.pack("<iiii", 16 + len(query), REQUEST_ID, 0, OpCode.QUERY) + query


def _find(collection: str, where: Document, options: Document) -> bytes:
    return build_op_msg(
        REQUEST_ID, 0, encode({"find": collection, "filter": where} | options | {"$db": "bench"})
    )


def _replies(
    requests: dict[str, bytes], known: list[Document], ask: Callable[[bytes], bytes]
) -> tuple[CannedReply, ...]:
    for collection, contents in (("patients", known), ("wards", [{"_id": 1, "beds": 3}])):
        command = {"insert": collection, "documents": contents, "$db": "bench"}
        ask(build_op_msg(REQUEST_ID, 0, encode(command)))
    replies = [CannedReply(*_key(name), ask(request)) for name, request in requests.items()]
    # The longest needle goes first: the empty one fits everything.
    replies.sort(key=lambda canned: -len(canned.needle))
    # what Sealwire asks of a name that its policy does not know
    asked = {"listCollections": 1, "filter": {"name": "wards"}, "$db": "bench"}
    replies.append(CannedReply(b"listCollections", b"", ask(build_op_msg(REQUEST_ID, 0, encode(asked)))))
    for name in ("hello", "ismaster", "ping"):
        reply = ask(build_op_msg(REQUEST_ID, 0, encode({name: 1, "$db": "admin"})))
        replies.append(CannedReply(name.encode(), b"", reply))
    replies.append(CannedReply(LEGACY_HELLO, b"", ask(_legacy_hello())))
    return tuple(replies)
