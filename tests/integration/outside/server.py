"""A server that somebody else runs: what its connection string says, and Sealwire before it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from sealwire.sidecars.direct import connected
from sealwire.testbed.child import LOOPBACK, free_port
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess
from sealwire.testbed.mongo_server import User
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess

Document = dict[str, Any]
_UNVERIFIED = ("tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames")


class UnusableServer(Exception):
    """The tests cannot run on this server. The text says why and never quotes the connection string."""


@dataclass(frozen=True, slots=True)
class Server:
    """What the tests need to know of it. No password is in its `repr`."""

    uri: str = field(repr=False)
    version: str
    members: tuple[str, ...]
    """`host:port` of each member that clients of Sealwire may be told of; of a standalone server its own."""
    replica_set: bool
    login: str = field(repr=False)
    """`user:password@`, percent-encoded; empty where the string names no user."""
    login_options: str
    """What a connection string needs besides to log in: `authSource`, and the mechanism where it is named."""
    tls: Mapping[str, object]
    """The section `upstream.tls` for Sealwire."""


def look_at(uri: str) -> Server:
    """Ask a server what it is.

    Raises:  UnusableServer; SidecarError, when it cannot be reached, does not let the user in, or is Sealwire
    """
    with connected(uri) as client:
        return describe(uri, client.admin.command("hello"), str(client.admin.command("buildInfo")["version"]))


def describe(uri: str, hello: Mapping[str, Any], version: str) -> Server:
    """What a connection string and a reply to `hello` say together.

    Raises:  UnusableServer
    """
    if hello.get("msg") == "isdbgrid":
        raise UnusableServer("a sharded cluster is not tested: give a standalone server or a replica set")
    try:
        parsed = parse_uri(uri)
    except (PyMongoError, ValueError, OSError):
        raise UnusableServer("the connection string cannot be read") from None
    options = {str(name).lower(): value for name, value in parsed["options"].items()}
    named = tuple(f"{host}:{port}" for host, port in parsed["nodelist"])
    told = tuple(str(host) for kind in ("hosts", "passives", "arbiters") for host in hello.get(kind, ()))
    return Server(
        uri,
        version,
        # A set of one member needs no listener by name, and its own name may mean nothing here.
        told if len(told) > 1 else named[:1],
        "setName" in hello,
        _login(parsed["username"], parsed["password"]),
        _login_options(parsed, options),
        _tls(options),
    )


def _login(user: str | None, password: str | None) -> str:
    if user is None:
        return ""
    return quote(user, safe="") + (f":{quote(password, safe='')}" if password else "") + "@"


def _login_options(parsed: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    if parsed["username"] is None:
        return ""
    if options.get("authmechanism") == "MONGODB-X509":
        raise UnusableServer("these tests have no identity for MONGODB-X509: name a user with a password")
    source = options.get("authsource") or parsed["database"] or "admin"
    mechanism = options.get("authmechanism")
    return f"authSource={quote(source, safe='')}" + (f"&authMechanism={mechanism}" if mechanism else "")


def _tls(options: Mapping[str, Any]) -> Mapping[str, object]:
    if any(options.get(name) for name in _UNVERIFIED):
        raise UnusableServer("Sealwire verifies the server's certificate: name its authority with tlsCAFile")
    if "tlscertificatekeyfilepassword" in options:
        raise UnusableServer("Sealwire reads no private key with a password")
    if not (options.get("tls") or options.get("ssl")):
        return {"mode": "plaintext"}
    files = {"ca": options.get("tlscafile"), "certificate": options.get("tlscertificatekeyfile")}
    return {name: str(file) for name, file in files.items() if file}


class OutsideDatabase(DatabaseProcess):
    """The server in the place of one that the tests start. Nothing here starts or ends it.

    It has the one user of the connection string, whichever user a test asks for; None means no login.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        super().__init__(DatabaseOptions(folder))
        self._server = server

    @property
    def address(self) -> str:
        """The first member."""
        return self._server.members[0]

    def start(self) -> None:
        """It runs already."""

    def stop(self) -> int | None:
        """It goes on running."""
        return None

    def uri(self, user: User | None = None, database: str = "") -> str:
        """The user's own connection string, with `database` as its path."""
        scheme, _, rest = self._server.uri.partition("://")
        authority, _, given = rest.partition("?")
        hosts = authority.partition("/")[0]
        options = [option for option in given.split("&") if option and not option.lower().startswith("auth")]
        if user is None:
            return f"{scheme}://{hosts.rpartition('@')[2]}/{database}?{'&'.join(options)}"
        return f"{scheme}://{hosts}/{database}?{'&'.join([*options, self._server.login_options])}"

    def connect(self, user: User | None = None, **options: Any) -> MongoClient[Document]:
        """A client that goes past Sealwire, to whichever member is the primary."""
        return MongoClient(self._server.uri, **options)


class OutsideProxy(ProxyProcess):
    """Sealwire before the server: on the loopback without TLS, to the server as its string says."""

    def __init__(self, server: Server, folder: Path, policy: Path) -> None:
        super().__init__(ProxyOptions(folder, policy, server.members[0]))
        self._server = server
        self._others = [f"{LOOPBACK}:{free_port()}" for _ in server.members[1:]]

    def uri(self, user: User | None = None, database: str = "") -> str:
        """A connection string for every member's listener, with the server's user; None: no login."""
        if user is None:
            return super().uri(None, database)
        hosts = ",".join([self.address, *self._others])
        return f"mongodb://{self._server.login}{hosts}/{database}?{self._server.login_options}"

    def config(self) -> dict[str, object]:
        """The configuration, with a listener for each member."""
        upstream: dict[str, object] = {
            "tls": dict(self._server.tls),
            "access_control": "required" if self._server.login else "none",
        }
        if not self._others:
            return super().config() | {"upstream": upstream | {"address": self._server.members[0]}}
        listeners = [self.address, *self._others]
        members = [
            {"listen": listener, "upstream": member}
            for listener, member in zip(listeners, self._server.members, strict=True)
        ]
        listen = {"tls": {"mode": "plaintext"}}
        return super().config() | {"listen": listen, "upstream": upstream, "members": members}
