"""Real database servers for tests: each a SecantusDB process of its own, in the test's temporary folder."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sealwire.testbed.certificates import Authority
from sealwire.testbed.child import Arguments
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess, ServerTls
from sealwire.testbed.mongo_server import User
from tests.support import short_lived

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

    `transaction_s`: how long it lets transactions last, and says so; None: 60 s, and it does not say so.
    Cost:    0.6 s to start, 2 s to stop, 3 s more with users
    """
    tls = None
    client = None
    if authority is not None:
        issued = authority.issue("database")
        tls = ServerTls(issued.certificate, issued.key, authority.certificate_file, mutual_tls)
        client = authority.issue("database-client", client=True).combined if mutual_tls else None
    options = DatabaseOptions(folder / "database", users, tls, replica_set, client_certificate=client)
    process = DatabaseProcess(options) if transaction_s is None else ShortLived(options, transaction_s)
    with process as database:
        yield database


class ShortLived(DatabaseProcess):
    """A server that ends transactions sooner."""

    def __init__(self, options: DatabaseOptions, transaction_s: int) -> None:
        super().__init__(options)
        self._transaction_s = transaction_s

    def arguments(self) -> Arguments:
        _, *more = super().arguments()
        return [sys.executable, "-m", short_lived.__name__, str(self._transaction_s), *more]
