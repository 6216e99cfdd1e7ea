"""What a restore has done so far, on the machine that restores: a second run goes on from it.

Written after every block that the server acknowledged, so that at most the block after it is in doubt. It
holds names and numbers, no document.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sealwire.keys import strict_json
from sealwire.keys.errors import KeysError
from sealwire.keys.private_file import read_private, replace_private, writer_lock
from sealwire.sidecars.backup.errors import BackupReason, BackupSettingError
from sealwire.sidecars.backup.sealed.manifest import MAX_MEMBERS, MAX_NUMBER

MAX_JOURNAL_BYTES = 64 << 20

_FORMAT = "sealwire-restore-journal"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """How far one collection is."""

    uuid: str
    """Which collection of the target it is; "" before it is created, or where the server gives none."""
    documents: int = 0
    """How many documents the server has acknowledged, from the beginning of the collection."""
    whole: bool = False
    """Whether no more documents follow."""


class Journal:
    """The entries by target namespace; every change is on disk when the call returns."""

    def __init__(self, path: Path, purpose: str, entries: dict[str, Entry]) -> None:
        self.path = path
        self._purpose = purpose
        self.entries = entries
        """In the order in which they were begun."""
        self.resumed = bool(entries)

    def begin(self, namespace: str, uuid: str = "") -> None:
        """Note an empty collection: before it is made, so that a crash leaves no unknown one; and after."""
        self.entries[namespace] = Entry(uuid)
        self._write()

    def add(self, namespace: str, documents: int) -> None:
        """Note that the server has acknowledged this many more documents."""
        entry = self.entries[namespace]
        self.entries[namespace] = replace(entry, documents=entry.documents + documents)
        self._write()

    def complete(self, namespaces: Iterable[str]) -> None:
        """Note that all documents of these collections are in place."""
        for namespace in namespaces:
            self.entries[namespace] = replace(self.entries[namespace], whole=True)
        self._write()

    def remove(self) -> None:
        """The restore is done; there is nothing to go on with."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        rows = [
            {"namespace": namespace} | asdict(entry) | {"whole": int(entry.whole)}
            for namespace, entry in self.entries.items()
        ]
        content = {"format": _FORMAT, "version": _VERSION, "purpose": self._purpose, "collections": rows}
        replace_private(self.path, strict_json.serialize(content))


def purpose_of(dump_identity: str, target_identity: str, pairs: list[tuple[str, str]]) -> str:
    """Tells one restore from every other: which dump goes where under which names."""
    whole = strict_json.serialize({"dump": dump_identity, "target": target_identity, "pairs": pairs})
    return hashlib.sha256(whole).hexdigest()


def default_path(purpose: str) -> Path:
    """Where the journal is kept unless another place is named: the state folder of this user."""
    base = os.environ.get("XDG_STATE_HOME")
    folder = Path(base) if base else Path.home() / ".local" / "state"
    return folder / "sealwire" / f"restore-{purpose[:16]}.json"


@contextmanager
def opened(path: Path, purpose: str) -> Iterator[Journal]:
    """The journal at `path`, held by this process alone; a new one where there is none.

    Raises:  BackupSettingError JOURNAL where it cannot be read, written or had; JOURNAL_OTHER where it is of
             another restore
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with writer_lock(path):
            found = _read(path) if path.exists() else (purpose, {})
            if found[0] != purpose:
                text = f"{path} is the journal of another restore"
                raise BackupSettingError(BackupReason.JOURNAL_OTHER, text, "name another file with --journal")
            yield Journal(path, purpose, found[1])
    except KeysError as error:
        raise BackupSettingError(BackupReason.JOURNAL, f"the journal: {error}", error.hint) from None
    except OSError as error:
        text = f"the journal at {path} cannot be kept: {error.strerror}"
        raise BackupSettingError(BackupReason.JOURNAL, text, "name another file with --journal") from None


def _read(path: Path) -> tuple[str, dict[str, Entry]]:
    fields = strict_json.parse(read_private(path, MAX_JOURNAL_BYTES), str(path))
    fields.format(_FORMAT, _VERSION)
    purpose = fields.text("purpose")
    entries: dict[str, Entry] = {}
    for row in fields.sequence("collections", MAX_MEMBERS):
        item = strict_json.Fields(row, str(path))
        namespace = item.text("namespace")
        uuid, documents = item.text("uuid"), item.integer("documents", 0, MAX_NUMBER)
        entries[namespace] = Entry(uuid, documents, bool(item.integer("whole", 0, 1)))
        item.done()
    fields.done()
    return purpose, entries
