"""Servers that look like members of one replica set, or like mongos: relays that rewrite what they say of it.

Behind each may stand a real server of its own; nothing is replicated between them. A primary is whom the test
elects: the others answer writes as a secondary does. Without a server behind it a member answers only what it
knows itself, which is enough for whoever watches the set.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import bson

from sealwire.wire.framing import op_code_of, request_id_of, response_to_of
from sealwire.wire.op_msg import build_op_msg, parse_op_msg
from sealwire.wire.op_query import build_op_reply, parse_op_query, parse_op_reply
from sealwire.wire.raw_bson import int32_at

Document = dict[str, Any]
Play = Callable[[str, Document], Document | None]
"""From a command's name and document to an answer in place of the server's; None: the server answers."""

_MSG = 2013
_OF_SETS = frozenset(
    b"""setName setVersion hosts passives arbiters primary me secondary isWritablePrimary ismaster
    topologyVersion electionId lastWrite isreplicaset msg""".decode().split()
)
_WRITES = frozenset(
    ["insert", "update", "delete", "findAndModify", "bulkWrite", "create", "drop", "createIndexes"]
)
_NOT_PRIMARY = {
    "ok": 0.0,
    "code": 10107,
    "codeName": "NotWritablePrimary",
    "errmsg": "not primary",
    "errorLabels": ["RetryableWriteError"],
}
_HELLO = {
    "ok": 1.0,
    "helloOk": True,
    "minWireVersion": 0,
    "maxWireVersion": 21,
    "maxBsonObjectSize": 16 * 1024 * 1024,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "logicalSessionTimeoutMinutes": 30,
}
HELLOS = frozenset({"hello", "isMaster", "ismaster"})


class PlayedServer:
    """One of them, on a port of its own that it keeps while it is away."""

    def __init__(self, upstream: str = "", host: str = "127.0.0.1") -> None:
        self.upstream = upstream
        self.host = host
        self.tls: ssl.SSLContext | None = None
        """For connections from now on."""
        self.facts: Callable[[], Mapping[str, Any]] = dict
        """What its hello says of the deployment."""
        self.play: Play = lambda _name, _command: None
        self.asked: list[str] = []
        """Names of the commands that reached it, but for hello."""
        self.heard: list[Document] = []
        """Those commands, as they came."""
        self._is_away = False
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    @property
    def name(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"

    def stop(self) -> None:
        """Go away: no new connections, and those that are open are cut.

        One that is cut later than another, or was just accepted, must not answer meanwhile that all is well.
        """
        self._is_away = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Reset every connection."""
        while self._open:
            sock = self._open.pop()
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def start(self) -> None:
        """Come back on the same port."""
        self._listener = socket.create_server((self.host, self.port))
        self._is_away = False
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One request after another, as drivers send them."""
        server: socket.socket | None = None
        with suppress(OSError, EOFError):
            if self.tls is not None:
                self._open.remove(client)
                client = self.tls.wrap_socket(client, server_side=True)
                self._open.append(client)
            if self.upstream:
                host, _, port = self.upstream.rpartition(":")
                server = socket.create_connection((host, int(port)))
                self._open.append(server)
            while True:
                answer = self._answer(_message(client), server)
                if self._is_away:
                    break
                client.sendall(answer)
        for sock in (client, server):
            if sock is not None:
                sock.close()

    def _answer(self, request: bytes, server: socket.socket | None) -> bytes:
        command = _document(request)
        name = next(iter(command))
        if name not in HELLOS:
            self.asked.append(name)
            self.heard.append(command)
        played = None if name in HELLOS else self.play(name, command)
        if played is None and server is not None:
            server.sendall(request)
            reply = _message(server)
            if name not in HELLOS:
                return reply
            played = _reply(reply)
        elif played is None:
            played = dict(_HELLO) if name in HELLOS else {"ok": 1.0}
        if name in HELLOS:
            played = {key: value for key, value in played.items() if key not in _OF_SETS} | dict(self.facts())
        build = build_op_msg if op_code_of(request) == _MSG else build_op_reply
        return build(1, request_id_of(request), bson.encode(played))


class PlayedSet:
    """A replica set of `PlayedServer`s, with the primary that the test elects."""

    def __init__(self, upstreams: list[str], name: str = "rs0") -> None:
        self.name = name
        self.members: list[PlayedServer] = []
        self.version = 1
        self.term = 1
        self.primary: PlayedServer | None = None
        self.hidden: list[str] = []
        """Names that are in the configuration, and in no hello."""
        for upstream in upstreams:
            self.add(PlayedServer(upstream))
        self.elect(self.members[0])

    @property
    def uri(self) -> str:
        """A connection string with all members."""
        return f"mongodb://{','.join(member.name for member in self.members)}/?replicaSet={self.name}"

    def add(self, member: PlayedServer) -> PlayedServer:
        """A reconfiguration with one more."""
        member.facts = lambda: self._facts(member)
        member.play = lambda name, command: self._play(member, name, command)
        self.members.append(member)
        self.version += 1
        return member

    def remove(self, member: PlayedServer) -> None:
        """A reconfiguration with one less."""
        self.members.remove(member)
        self.version += 1

    def elect(self, member: PlayedServer | None) -> None:
        """Nobody, or another one, is primary from now on."""
        self.primary = member
        self.term += 1

    def close(self) -> None:
        for member in self.members:
            member.stop()

    def _facts(self, member: PlayedServer) -> Document:
        is_primary = member is self.primary
        facts: Document = {
            "setName": self.name,
            "setVersion": self.version,
            "hosts": [each.name for each in self.members],
            "me": member.name,
            "isWritablePrimary": is_primary,
            "ismaster": is_primary,
            "secondary": not is_primary,
        }
        if self.primary is not None:
            facts["primary"] = self.primary.name
        if is_primary:
            facts["electionId"] = bson.ObjectId(f"7fffffff{self.term:016x}")
        return facts

    def _play(self, member: PlayedServer, name: str, _command: Document) -> Document | None:
        names = [each.name for each in self.members] + self.hidden
        if name in _WRITES and member is not self.primary:
            return dict(_NOT_PRIMARY)
        if name == "replSetGetStatus":
            source = "" if self.primary is None or member is self.primary else self.primary.name
            states = [{"_id": place, "name": each} for place, each in enumerate(names)]
            return {"ok": 1.0, "set": self.name, "syncSourceHost": source, "members": states}
        if name == "replSetGetConfig":
            hosts = [
                {"_id": place, "host": each, "horizons": {"outside": each}, "tags": {"name": each}}
                for place, each in enumerate(names)
            ]
            return {"ok": 1.0, "config": {"_id": self.name, "version": self.version, "members": hosts}}
        return None


def play_mongos(upstream: str = "") -> PlayedServer:
    """A server that looks like a mongos, and answers what one does not know with its error."""
    server = PlayedServer(upstream)
    server.facts = lambda: {"msg": "isdbgrid", "isWritablePrimary": True, "ismaster": True}

    def play(name: str, _command: Document) -> Document | None:
        if name.startswith("replSet"):
            text = f"{name} is not supported through mongos"
            return {"ok": 0.0, "code": 59, "codeName": "CommandNotFound", "errmsg": text}
        return None

    server.play = play
    return server


@contextmanager
def played_set(*upstreams: str) -> Iterator[PlayedSet]:
    """A set with one member for each `host:port` behind it, or "" for none; ended with the block."""
    played = PlayedSet(list(upstreams))
    members = list(played.members)
    try:
        yield played
    finally:
        for member in {*members, *played.members}:
            member.stop()


def _message(sock: socket.socket) -> bytes:
    """Raises EOFError, OSError."""
    head = _exactly(sock, 16)
    return head + _exactly(sock, int32_at(head, 0) - 16)


def _exactly(sock: socket.socket, size: int) -> bytes:
    """Raises EOFError, OSError."""
    data = b""
    while len(data) < size:
        if not (more := sock.recv(size - len(data))):
            raise EOFError
        data += more
    return data


def _document(request: bytes) -> Document:
    start = parse_op_msg(request).body if op_code_of(request) == _MSG else parse_op_query(request).query
    return _at(request, start)


def _reply(reply: bytes) -> Document:
    start = parse_op_msg(reply).body if op_code_of(reply) == _MSG else parse_op_reply(reply).documents[0]
    assert response_to_of(reply)
    return _at(reply, start)


def _at(message: bytes, start: int) -> Document:
    document: Document = bson.decode(message[start : start + int32_at(message, start)])
    return document
