"""Everything that the story plays on: two databases, certificates, keys, Sealwire in front of one of them."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sealwire.demo.dataset import Dataset, make_dataset
from sealwire.demo.layout import POLICY_FILE
from sealwire.testbed.certificates import Authority, create_authority
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess, ServerTls
from sealwire.testbed.mongo_server import User
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess

CLINIC = "clinic"
SETUP_STEPS = 4

Announce = Callable[[str], None]
"""Told what begins; the text is for a progress bar."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The running parts. `plain` and `guarded` are equal servers; only `guarded` has Sealwire before it."""

    plain: DatabaseProcess
    guarded: DatabaseProcess
    proxy: ProxyProcess
    user: User
    administrator: User
    dataset: Dataset
    folder: Path

    @property
    def direct_uri(self) -> str:
        return self.plain.uri(self.user, CLINIC)

    @property
    def sealwire_uri(self) -> str:
        return self.proxy.uri(self.user, CLINIC)

    @property
    def raw_uri(self) -> str:
        """The connection string of the guarded database's administrator, past Sealwire."""
        return self.guarded.uri(self.administrator, CLINIC)


@contextmanager
def build(
    folder: Path, patients: int, seed: int, announce: Announce, policy: Path = POLICY_FILE
) -> Iterator[Stage]:
    """Start everything in `folder`, end everything with the block, also when starting fails half-way.

    Raises:  TestbedError
    Cost:    about 6 s on two cores, most of it the two databases' start, stop and start with users
    """
    user = User(CLINIC, secrets.token_urlsafe(12), (("readWrite", CLINIC),))
    administrator = User("admin", secrets.token_urlsafe(12), (("root", "admin"),))
    announce("inventing patients")
    dataset = make_dataset(folder / "data", patients, seed)
    announce("making certificates")
    authority = create_authority(folder / "tls")
    with ExitStack() as stack:
        announce("starting two databases")
        plain, guarded = (
            DatabaseProcess(database_options(folder / name, authority, (administrator, user)))
            for name in ("plain", "guarded")
        )
        stack.callback(plain.stop)
        stack.callback(guarded.stop)
        with ThreadPoolExecutor(2) as threads:
            for started in [threads.submit(database.start) for database in (plain, guarded)]:
                started.result()
        announce("making keys and starting Sealwire")
        proxy = ProxyProcess(
            ProxyOptions(
                folder / "sealwire",
                policy,
                guarded.address,
                authority.issue("sealwire"),
                authority.certificate_file,
            )
        )
        stack.enter_context(proxy)
        yield Stage(plain, guarded, proxy, user, administrator, dataset, folder)


def database_options(folder: Path, authority: Authority, users: tuple[User, ...]) -> DatabaseOptions:
    """A server in a folder of its own, with TLS and with users."""
    folder.mkdir(parents=True)
    issued = authority.issue(f"database-{folder.name}")
    tls = ServerTls(issued.certificate, issued.key, authority.certificate_file)
    return DatabaseOptions(folder / "storage", users, tls)
