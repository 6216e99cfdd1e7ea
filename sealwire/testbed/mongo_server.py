"""A process that speaks MongoDB on a free port, from its start to its end: the database, or the proxy."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from sealwire.testbed.child import LOOPBACK, Arguments, Child, accepts, free_port
from sealwire.testbed.errors import TestbedError, TestbedReason

START_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class User:
    """A user that the server shall know; stored in the database `admin`."""

    name: str
    password: str = field(repr=False)
    roles: tuple[tuple[str, str], ...] = (("readWrite", "clinic"),)
    """(role, database) pairs."""


class MongoServer(ABC):
    """From `start` to `stop`; a context manager does both."""

    name: str
    """What messages call it."""

    def __init__(
        self, log: Path, authority: Path | None, environment: Mapping[str, str] | None = None
    ) -> None:
        """`authority` is what clients check the server with; None: no TLS."""
        self.log = log
        """The file with everything that the server wrote to its terminal."""
        self.port = 0
        self._authority = authority
        self._environment = environment
        self._child: Child | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """Raises:  RuntimeError before `start`"""
        return self._running().pid

    @abstractmethod
    def start(self) -> None:
        """Start and wait until it answers; where it was started before, on the same port and data."""

    @abstractmethod
    def arguments(self) -> Arguments:
        """The command that runs it on `port`, whatever it needs being written before."""

    def choose_ports(self) -> None:
        """Called before a start on ports that nobody knows yet."""
        self.port = free_port()

    def stop(self) -> int | None:
        """End it in order and return its exit code; None where it never ran."""
        return None if self._child is None else self._child.stop()

    def kill(self) -> None:
        self._running().kill()

    def uri(self, user: User | None = None, database: str = "") -> str:
        """A connection string, with the user's password in it and the authority's file as an option."""
        return connection_string(self.address, user, database, authority=self._authority)

    def connect(self, user: User | None = None, **options: Any) -> MongoClient[dict[str, Any]]:
        """A client of its own for whoever looks at the server directly; the caller closes it."""
        return MongoClient(self.uri(user), directConnection=True, **options)

    def launch(self) -> None:
        """Run it. Raises:  TestbedError (DIED, SILENT)"""
        for attempt in range(1, START_ATTEMPTS + 1):
            fresh_port = self.port == 0
            if fresh_port:
                self.choose_ports()
            self._child = Child(self.arguments(), self.log, self._environment)
            try:
                self._child.wait_until(self._answers, self.name)
            except TestbedError as error:
                self._child.stop()
                # Another process may have taken the port since it was chosen. A port that clients know stays.
                if error.reason is not TestbedReason.DIED or not fresh_port or attempt == START_ATTEMPTS:
                    raise
                self.port = 0
            else:
                return

    def _answers(self) -> bool:
        # cheap, and again at once: the driver waits half a second after a refused connection
        if not accepts(self.port):
            return False
        try:
            with self.connect(serverSelectionTimeoutMS=300) as client:
                client.admin.command("hello")
        except PyMongoError:
            return False
        return True

    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._child


def connection_string(address: str, user: User | None, database: str, *, authority: Path | None) -> str:
    """`mongodb://` with percent-encoded user, SCRAM-SHA-256, and TLS checked against `authority`."""
    login = "" if user is None else f"{quote(user.name, safe='')}:{quote(user.password, safe='')}@"
    options: dict[str, str] = {}
    if user is not None:
        options |= {"authSource": "admin", "authMechanism": "SCRAM-SHA-256"}
    if authority is not None:
        options |= {"tls": "true", "tlsCAFile": str(authority)}
    return f"mongodb://{login}{address}/{database}" + (f"?{urlencode(options, safe='/')}" if options else "")
