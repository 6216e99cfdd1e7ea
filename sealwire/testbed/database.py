"""Runs a SecantusDB server as a separate process, with SCRAM and TLS if asked.

SecantusDB has no localhost exception: where authentication is on, the users are made on a first run without
it that listens on loopback only, then the server is started again with it.
"""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from sealwire.testbed.child import Child
from sealwire.testbed.errors import DemoError, DemoReason
from sealwire.testbed.ports import LOOPBACK, free_port

START_WITHIN_S = 20.0
START_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class User:
    """A user that the server shall know; stored in the database `admin`."""

    name: str
    password: str = field(repr=False)
    roles: tuple[tuple[str, str], ...] = (("readWrite", "clinic"),)
    """(role, database) pairs."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """PEM files that a server presents and the authority that a client should check them with."""

    certificate: Path
    key: Path
    authority: Path
    require_client_certificate: bool = False


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """How the server runs. `storage` is its folder, kept after the end; no users means no authentication."""

    storage: Path
    users: tuple[User, ...] = ()
    tls: ServerTls | None = None
    replica_set: bool = True
    cache: str = "1G"
    client_certificate: Path | None = None
    """Certificate and key in one PEM file, for this module's own connections where the server wants one."""


class DatabaseProcess:
    """A SecantusDB server, from `start` to `stop`; a context manager does both."""

    def __init__(self, options: DatabaseOptions) -> None:
        self.options = options
        self.port = 0
        self._child: Child | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """`host:port` as the server itself advertises it."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def log(self) -> Path:
        """The file with everything that the server wrote to its terminal."""
        return self.options.storage.with_suffix(".log")

    @property
    def pid(self) -> int:
        """Raises:  RuntimeError before `start`"""
        return self._running().pid

    def start(self) -> None:
        """Start and wait until it answers; where it was started before, on the same port and data.

        Raises:  DemoError (DATABASE_MISSING, DATABASE_DIED, DATABASE_SILENT)
        Cost:    about 0.6 s; with users 3 s the first time
        """
        program = server_program()
        if self.options.users and not self.options.storage.exists():
            self._launch(program, guarded=False)
            self._create_users()
            self.stop()
        self._launch(program, guarded=True)

    def stop(self) -> None:
        """End it in order; harmless where it does not run."""
        if self._child is not None:
            self._child.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        self._running().kill()

    def uri(self, user: User | None = None, database: str = "") -> str:
        """A connection string, with the user's password in it and the authority's file as an option."""
        return connection_string(self.address, user, database, authority=self._authority)

    def connect(self, user: User | None = None, **options: Any) -> MongoClient[dict[str, Any]]:
        """A client of its own for whoever looks at the server directly; the caller closes it."""
        if self.options.client_certificate is not None:
            options["tlsCertificateKeyFile"] = str(self.options.client_certificate)
        return MongoClient(self.uri(user), directConnection=True, **options)

    @property
    def _authority(self) -> Path | None:
        return None if self.options.tls is None else self.options.tls.authority

    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError("the database was not started")
        return self._child

    def _launch(self, program: Path, *, guarded: bool) -> None:
        for attempt in range(1, START_ATTEMPTS + 1):
            fresh_port = self.port == 0
            if fresh_port:
                self.port = free_port()
            self._child = Child(self._arguments(program, guarded=guarded), self.log)
            try:
                self._wait()
            except DemoError as error:
                self._child.stop()
                # Another process may have taken the port since it was chosen. A port that clients know stays.
                if (
                    error.reason is not DemoReason.DATABASE_DIED
                    or not fresh_port
                    or attempt == START_ATTEMPTS
                ):
                    raise
                self.port = 0
            else:
                return

    def _arguments(self, program: Path, *, guarded: bool) -> list[str | Path]:
        options = self.options
        arguments: list[str | Path] = [program, "--host", LOOPBACK, "--port", str(self.port)]
        arguments += [
            "--storage-path",
            options.storage,
            "--cache-size",
            options.cache,
            "--log-level",
            "WARNING",
        ]
        if not options.replica_set:
            arguments.append("--standalone")
        if options.users and guarded:
            arguments.append("--auth")
        if options.tls is not None:
            arguments += ["--tls-cert-file", options.tls.certificate, "--tls-key-file", options.tls.key]
            if options.tls.require_client_certificate:
                arguments += ["--tls-ca-file", options.tls.authority, "--tls-require-client-cert"]
        return arguments

    def _wait(self) -> None:
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline:
            if self._running().exit_code is not None:
                text = f"the database server ended while it started: {self._running().last_lines()}"
                raise DemoError(
                    DemoReason.DATABASE_DIED, text, "look for another process on its port or folder"
                )
            try:
                with self.connect(serverSelectionTimeoutMS=300) as client:
                    client.admin.command("hello")
            except PyMongoError:
                time.sleep(0.05)
            else:
                return
        text = f"the database server did not answer in {START_WITHIN_S:.0f} s: {self._running().last_lines()}"
        raise DemoError(DemoReason.DATABASE_SILENT, text, "the machine may be too busy; try again")

    def _create_users(self) -> None:
        with self.connect() as client:
            for user in self.options.users:
                roles = [{"role": role, "db": database} for role, database in user.roles]
                client.admin.command("createUser", user.name, pwd=user.password, roles=roles)


def server_program() -> Path:
    """The server's launcher in this environment.

    Raises:  DemoError (DATABASE_MISSING)
    """
    program = Path(sys.executable).with_name("secantusd-py")
    if not program.exists():
        hint = "install it with: pip install 'sealwire[demo]'"
        raise DemoError(DemoReason.DATABASE_MISSING, "the database server of the demo is not installed", hint)
    return program


def connection_string(address: str, user: User | None, database: str, *, authority: Path | None) -> str:
    """`mongodb://` with percent-encoded user, SCRAM-SHA-256, and TLS checked against `authority`."""
    login = "" if user is None else f"{quote(user.name, safe='')}:{quote(user.password, safe='')}@"
    options: dict[str, str] = {}
    if user is not None:
        options |= {"authSource": "admin", "authMechanism": "SCRAM-SHA-256"}
    if authority is not None:
        options |= {"tls": "true", "tlsCAFile": str(authority)}
    return f"mongodb://{login}{address}/{database}" + (f"?{urlencode(options, safe='/')}" if options else "")
