"""Records what the real server answers, plainly and as it answers Sealwire, for the canned servers to play.

For the second recording each request goes through the session core in this process, so the server sees and
answers exactly what it would behind a running Sealwire.
"""

import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import yaml
from bson import encode

from bench.dataset import policy
from bench.workloads import BATCH, REQUEST_ID, Pool, Workload, ask, command, insert_request, stored, workloads
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import create_keyring
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.session.auditing.subjects import CommandAudit
from sealwire.proxy.session.effects import Effect, LongToClient, LongToServer, ToClient, ToServer
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings, Shared
from sealwire.testbed.child import LOOPBACK
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess
from sealwire.wire.framing import OpCode

REQUESTS, PLAIN, ENCRYPTED = "requests", "plain", "encrypted"
Ask = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Recording:
    """A folder with `NAME.requests`, `NAME.plain` and `NAME.encrypted`: whole messages, one after another."""

    folder: Path
    workloads: Mapping[str, Workload]

    def file(self, name: str, kind: str = REQUESTS) -> Path:
        """Where the messages of one kind lie."""
        return self.folder / f"{name}.{kind}"


def load_bench_policy() -> PolicySet:
    """The policy as the proxy has it."""
    return load_policy(yaml.safe_dump(policy()).encode(), "policy.yaml")


def make_session(keyring: Keyring, policies: PolicySet, audit: CommandAudit | None = None) -> Session:
    """The core with the bench's policy, as one connection has it; `audit`: which commands are on record."""
    shared = Shared(SessionSettings(policies, login_required=False, audit=audit), keyring)
    return Session(shared, Topology(f"{LOOPBACK}:1"))


def make_keyring(folder: Path, kek: str) -> Keyring:
    """A keyring for the bench's policy where `ProxyProcess` looks for it."""
    folder.mkdir(parents=True, exist_ok=True)
    sealed_by = EnvironmentKek("KEK", {"KEK": kek})
    return create_keyring(
        folder / "keyring.json", sealed_by, load_bench_policy().class_names, datetime.now(UTC)
    )


def record(folder: Path, keyring: Keyring, pool: Pool) -> Recording:
    """Load a real server with and without encryption and ask everything either way.

    Cost:    1.5 ms for each different request: 20 s for 4,096 singles
    """
    folder.mkdir(parents=True)
    recording = Recording(folder, workloads(pool))
    for name, workload in recording.workloads.items():
        recording.file(name).write_bytes(b"".join(workload.requests))
    for name, request in _handshakes().items():
        recording.file(name).write_bytes(request)
    with ExitStack() as stack:
        options = DatabaseOptions(folder / "database", replica_set=False, cache="4G")
        database = stack.enter_context(DatabaseProcess(options))
        connection = stack.enter_context(socket.create_connection((LOOPBACK, database.port)))
        session = make_session(keyring, load_bench_policy())

        ask_plainly = partial(ask, connection)

        def ask_encrypted(message: bytes) -> bytes:
            effects = session.client_data(message)
            while True:
                # before the client's own message, the session may have a question: what a name is
                reply = ask(connection, bytes_to_server(effects))
                effects = session.server_data(reply)
                if bytes_to_client(effects):
                    return reply

        _record_all(recording, pool, PLAIN, ask_plainly, ask_plainly)
        ask_plainly(command({"dropDatabase": 1}))
        _record_all(recording, pool, ENCRYPTED, ask_encrypted, ask_plainly)
    return recording


def _record_all(recording: Recording, pool: Pool, kind: str, ask_either: Ask, ask_plainly: Ask) -> None:
    for each in stored(pool):
        for start in range(0, len(each.contents), BATCH):
            ask_either(insert_request(each.contents[start : start + BATCH], each.collection))
        index = {"key": {each.indexed: 1}, "name": each.indexed}
        if each.indexed != "_id":
            ask_either(command({"createIndexes": each.collection, "indexes": [index]}))
    for name, workload in recording.workloads.items():
        replies = b"".join(ask_either(request) for request in workload.requests[: workload.answers])
        recording.file(name, kind).write_bytes(replies)
    for name, request in _handshakes().items():
        recording.file(name, kind).write_bytes(ask_plainly(request))


def _handshakes() -> dict[str, bytes]:
    """What drivers and Sealwire ask of their own accord."""
    query = bytes(4) + b"admin.$cmd\0" + struct.pack("<ii", 0, -1) + encode({"isMaster": 1, "helloOk": True})
    legacy = struct.pack("<iiii", 16 + len(query), REQUEST_ID, 0, OpCode.QUERY) + query
    return {
        "legacy-hello": legacy,
        "hello": command({"hello": 1}),
        "ismaster": command({"ismaster": 1}),
        "build-info": command({"buildInfo": 1}),
        "end-sessions": command({"endSessions": []}),
    }


def bytes_to_server(effects: Iterable[Effect]) -> bytes:
    """All that a session wants sent to the server."""
    return b"".join(
        effect.data if isinstance(effect, ToServer) else b"".join(effect.pieces)
        for effect in effects
        if isinstance(effect, ToServer | LongToServer)
    )


def bytes_to_client(effects: Iterable[Effect]) -> bytes:
    """All that a session wants sent to the client."""
    return b"".join(
        effect.data if isinstance(effect, ToClient) else b"".join(effect.pieces)
        for effect in effects
        if isinstance(effect, ToClient | LongToClient)
    )
