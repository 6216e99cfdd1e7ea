"""Real database servers for tests: each a SecantusDB process of its own, in the test's temporary folder."""

import atexit
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from sealwire.testbed.certificates import Authority
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess, ServerTls
from sealwire.testbed.mongo_server import User
from tests.support import warm
from tests.support.measuring import unmeasured
from tests.support.short_transactions import ShortTransactions

ROOT = User("root", "root password: 100% ?", (("root", "admin"),))
CLINIC = User("clinic", "clinic/password@1", (("readWrite", "clinic"),))
USERS = (ROOT, CLINIC)


@contextmanager
def secantus(
    folder: Path,
    *,
    users: tuple[User, ...] = (),
    authority: Authority | None = None,
    mutual_tls: bool = False,
    replica_set: bool = True,
    transaction_s: int | None = None,
) -> Iterator[DatabaseProcess]:
    """A running server under `folder`; with TLS where an authority is given. Ends with the block.

    It is killed at the end: nothing looks at its files, and a stop in order takes 2 s. `transaction_s` is how
    long it lets transactions last, and it says so; None: 60 s, and it does not say so.

    Cost:    0.6 s, 3 s more for the first in a process with these users
    """
    tls = None
    client = None
    if authority is not None:
        issued = authority.issue("database")
        tls = ServerTls(issued.certificate, issued.key, authority.certificate_file, mutual_tls)
        client = authority.issue("database-client", client=True).combined if mutual_tls else None
    options = DatabaseOptions(folder / "database", users, tls, replica_set, client_certificate=client)
    if users:
        shutil.copytree(_with_users(users, replica_set), options.storage)
    database = (
        DatabaseProcess(options) if transaction_s is None else ShortTransactions(options, transaction_s)
    )
    with unmeasured(), warm.children():
        database.start()
    try:
        yield database
    finally:
        database.kill()


@cache
def _with_users(users: tuple[User, ...], replica_set: bool) -> Path:
    """The files of a server that has these users and nothing else; removed when the process ends."""
    folder = Path(mkdtemp(prefix="secantus-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    options = DatabaseOptions(folder / "database", users, replica_set=replica_set)
    with unmeasured(), warm.children():
        DatabaseProcess(options).create_users()
    return options.storage
