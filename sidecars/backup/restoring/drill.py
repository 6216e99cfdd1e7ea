"""A drill: restore a backup into a server that is thrown away, compare, and leave nothing behind."""

import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pymongo.errors import PyMongoError

from sealwire.sidecars.backup.archive.dump_files import DumpFiles
from sealwire.sidecars.backup.archive.survey import Survey
from sealwire.sidecars.backup.errors import BackupReason, RestoreStopped, TargetOccupied
from sealwire.sidecars.backup.restoring.journal import opened
from sealwire.sidecars.backup.restoring.plan import plan
from sealwire.sidecars.backup.restoring.restore import Restore, RestoreReport, Tell
from sealwire.sidecars.backup.restoring.server import RestoreServer
from sealwire.sidecars.direct import Client, failure

_OWN = frozenset({"admin", "config", "local"})


@dataclass(frozen=True, slots=True)
class DrillReport:
    """What was restored, by which server, and how long it took."""

    server_version: str
    seconds: float
    restored: RestoreReport


def drill(
    client: Client, files: DumpFiles, found: Survey, only: Sequence[str] = (), tell: Tell = lambda _: None
) -> DrillReport:
    """Restore into the empty server of `client` and compare; drop what was restored, whatever happened.

    Users and roles are left out: they would be those of the drill's server.
    Raises:  TargetOccupied for a server that is not empty; what a restore raises
    """
    server = RestoreServer(client)
    try:
        foreign = sorted(set(client.list_database_names()) - _OWN)
        version = server.version()
    except PyMongoError as error:
        text = f"the drill's server does not answer: {failure(error)}"
        raise RestoreStopped(BackupReason.TARGET_REFUSED, text, "check its address") from None
    if foreign:
        text = f"the drill's server is not empty: it has the database {foreign[0]}"
        hint = "a drill takes an empty server, since it removes everything that it restored"
        raise TargetOccupied(BackupReason.TARGET_OCCUPIED, text, hint)
    restore = Restore(client, files, found, plan(list(found.collections.values()), only=only))
    began = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="sealwire-drill-") as folder,
            opened(Path(folder) / "journal.json", "drill") as journal,
        ):
            report = restore.run(journal, tell)
    finally:
        # A server that is gone keeps what it has; the error that ended the drill says so already.
        with suppress(PyMongoError):
            restore.drop()
    return DrillReport(version, time.monotonic() - began, report)
