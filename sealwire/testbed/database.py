"""Runs a SecantusDB server as a separate process, with SCRAM and TLS if asked.

SecantusDB has no localhost exception: where authentication is on, the users are made on a first run without
it that listens on loopback only, then the server is started again with it.
"""

import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient

from sealwire import from_lock
from sealwire.keys.frontier import record
from sealwire.keys.keyring.file import read_record
from sealwire.testbed.child import LOOPBACK, Arguments
from sealwire.testbed.errors import TestbedError, TestbedReason
from sealwire.testbed.mongo_server import MongoServer, User

_VERSIONS: Final = range(1, 6)
"""Those to which a test or a demo moves a class."""
_LEASES_S: Final = 10.0
"""A proxy that has started has a lease; that of one which was killed counts for so long."""


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


class DatabaseProcess(MongoServer):
    """A SecantusDB server."""

    name = "the database server"

    def __init__(self, options: DatabaseOptions) -> None:
        authority = None if options.tls is None else options.tls.authority
        super().__init__(options.storage.with_suffix(".log"), authority)
        self.options = options
        self._guarded = True

    def start(self) -> None:
        """Cost: about 0.6 s; with users 3 s the first time. Raises:  TestbedError"""
        if self.options.users and not self.options.storage.exists():
            self.create_users()
        self.launch()

    def create_users(self) -> None:
        """Make the storage with its users in it, and leave it stopped. Cost: 3 s. Raises:  TestbedError"""
        self._guarded = False
        self.launch()
        with self.connect() as client:
            for user in self.options.users:
                roles = [{"role": role, "db": database} for role, database in user.roles]
                client.admin.command("createUser", user.name, pwd=user.password, roles=roles)
        self.stop()
        self._guarded = True

    def connect(self, user: User | None = None, **options: Any) -> MongoClient[dict[str, Any]]:
        """A client with the certificate that the server wants, if it wants one; the caller closes it."""
        if self.options.client_certificate is not None:
            options["tlsCertificateKeyFile"] = str(self.options.client_certificate)
        return super().connect(user, **options)

    def arguments(self) -> Arguments:
        """Raises:  TestbedError (PROGRAM_MISSING)"""
        options = self.options
        arguments: list[str | Path] = [server_program(), "--host", LOOPBACK, "--port", str(self.port)]
        arguments += ["--storage-path", options.storage, "--cache-size", options.cache]
        arguments += ["--log-level", "WARNING"]
        if not options.replica_set:
            arguments.append("--standalone")
        if options.users and self._guarded:
            arguments.append("--auth")
        if options.tls is not None:
            arguments += ["--tls-cert-file", options.tls.certificate, "--tls-key-file", options.tls.key]
            if options.tls.require_client_certificate:
                arguments += ["--tls-ca-file", options.tls.authority, "--tls-require-client-cert"]
        return arguments


def vouch_for_leases(client: MongoClient[dict[str, Any]], keyring: Path | None = None) -> None:
    """Say that no lease of a proxy was lost at this server, which is new, and that no proxy runs.

    Otherwise a job that moves a deterministic class waits until a lost lease cannot matter any more. Jobs
    with `--proxies 0` do not wait either for classes of the `keyring`. Raises as `read_record`
    """
    leases = client[record.DATABASE][record.LEASES]
    stands = {
        "_id": record.STANDS,
        "since": datetime(2000, 1, 1, tzinfo=UTC),
        "counted": _vouched(keyring, []),
    }
    leases.replace_one({"_id": record.STANDS}, stands, upsert=True)
    (listed,) = client[record.DATABASE].list_collections(filter={"name": record.LEASES})
    leases.update_one({"_id": record.STANDS}, {"$set": {"place": record.place_of(listed)}})


def first_move(client: MongoClient[dict[str, Any]], proxies: int, keyring: Path | None) -> tuple[str, str]:
    """The option for the first move of a class, once so many Sealwires have a lease; they are vouched for.

    Otherwise the job waits until nothing can matter that was begun before they were counted. That is so for
    classes of the `keyring`.
    Raises:  TestbedError (SILENT); as `read_record`
    """
    leases = client[record.DATABASE][record.LEASES]
    until = time.monotonic() + _LEASES_S
    while True:
        found = map(record.parse_lease, leases.aggregate(record.leases_pipeline()))
        addresses = record.addresses_of(each for each in found if each is not None)
        if len(addresses) == proxies:
            break
        if time.monotonic() > until:
            text = f"{len(addresses)} of {proxies} proxies have a lease"
            raise TestbedError(TestbedReason.SILENT, text, "do all of them have frontier.uri_file?")
        time.sleep(0.1)
    vouched = {"$addToSet": {"counted": {"$each": _vouched(keyring, addresses)}}}
    leases.update_one({"_id": record.STANDS}, vouched)
    return "--proxies", str(proxies)


def _vouched(keyring: Path | None, addresses: Sequence[str]) -> list[str]:
    """As if they had been counted long ago for the early moves of each class."""
    class_ids = [] if keyring is None else list(read_record(keyring).names)
    moves = itertools.product(class_ids, _VERSIONS)
    return [name for move in moves for name in record.counted_names(*move, addresses)]


def server_program() -> Path:
    """The server's launcher in this environment.

    Raises:  TestbedError (PROGRAM_MISSING)
    """
    program = Path(sys.executable).with_name("secantusd-py")
    if not program.exists():
        text, hint = "the database server of the demo is not installed", from_lock("demo")
        raise TestbedError(TestbedReason.PROGRAM_MISSING, text, f"install it with: {hint}")
    return program
