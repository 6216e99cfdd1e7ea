"""The keyring as one document in a KV version 2 engine, written with check-and-set.

The document has one field, `keyring`, with the text that the file would have. Vault keeps older versions of
it; a keyring is replaced only where it is still the one that was read.
"""

from typing import Any

from hvac import Client
from hvac import exceptions as hvac_errors

from sealwire.keys.errors import (
    AlreadyExists,
    DamagedFile,
    KeyringBusy,
    KeysError,
    KeySettingError,
    KeysReason,
)
from sealwire.keys.keyring.record import MAX_FILE_BYTES
from sealwire.keys.keyring.store import VaultDocument
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.errors import says
from sealwire.keys.vault.kv_document import VersionMoved, put_document, read_document
from sealwire.keys.vault.settings import check_path

FIELD = "keyring"


class KvStore:
    """A `keyring.store.KeyringStore` in Vault. Every call asks the server."""

    def __init__(self, connection: VaultConnection, document: VaultDocument) -> None:
        """Connects to nothing. Raises KeySettingError VAULT_SETTING."""
        check_path(f"{document.mount}/{document.path}", "the keyring's path in Vault")
        self._connection = connection
        self._document = document
        self._reading = f"read {document}"
        self._writing = f"write {document}"

    def __str__(self) -> str:
        return str(self._document)

    def exists(self) -> bool:
        """Whether there is a version that can be read. Raises what `read` raises, but for FILE_MISSING."""
        return self._connection.call(self._reading, self._current)[0] is not None

    def read(self) -> bytes:
        """The newest version's text. Raises KeySettingError FILE_MISSING, DamagedFile; as `call`."""
        content, version = self._connection.call(self._reading, self._current)
        if content is None:
            raise self._missing(deleted=version > 0)
        return content

    def create(self, content: bytes) -> None:
        """Write the first version. Raises AlreadyExists FILE_EXISTS, also where all versions were deleted."""
        try:
            self._connection.call(
                self._writing, lambda client: self._put(client, content, 0), repeatable=False
            )
        except KeyringBusy:
            raise AlreadyExists(
                KeysReason.FILE_EXISTS,
                f"{self} exists already, or did",
                "choose another path, or delete its metadata if nothing needs it",
            ) from None

    def replace(self, old: bytes, new: bytes) -> None:
        """Write `new` where the newest version still is `old`. Raises KeyringBusy WRITER."""

        def swap(client: Client) -> None:
            content, version = self._current(client)
            if content != old:
                raise self._busy()
            self._put(client, new, version)

        self._connection.call(self._writing, swap, repeatable=False)

    def _current(self, client: Client) -> tuple[bytes | None, int]:
        """The newest text and its version; no text with a version above 0: that version was deleted."""
        held = read_document(client, self._document, self._reading)
        return None if held.fields is None else self._content(held.fields), held.version

    def _content(self, fields: Any) -> bytes:
        text = fields[FIELD] if isinstance(fields, dict) and list(fields) == [FIELD] else None
        if not isinstance(text, str):
            raise self._damaged(f"does not have the one field {FIELD!r}")
        if len(text) > MAX_FILE_BYTES:
            raise self._damaged(f"is larger than {MAX_FILE_BYTES} bytes")
        return text.encode("utf-8", "replace")

    def _put(self, client: Client, content: bytes, version: int) -> None:
        fields = {FIELD: content.decode("ascii")}
        try:
            put_document(client, self._document, fields, version, self._writing)
        except VersionMoved:
            raise self._busy() from None
        except hvac_errors.InternalServerError as error:
            if says(error, "too large"):
                raise KeySettingError(
                    KeysReason.FILE_TOO_LARGE,
                    f"{self} is too large for Vault's storage",
                    "raise its max_entry_size, or keep the keyring in a file",
                ) from None
            raise

    def _missing(self, *, deleted: bool) -> KeysError:
        if deleted:
            return KeySettingError(
                KeysReason.FILE_MISSING, f"{self} was deleted", "bring it back with: vault kv undelete"
            )
        return KeySettingError(
            KeysReason.FILE_MISSING,
            f"{self} does not exist",
            "check the path; if it was there before, restore a backup",
        )

    def _busy(self) -> KeyringBusy:
        return KeyringBusy(
            KeysReason.WRITER, f"{self} was changed by somebody else meanwhile", "look at it, then try again"
        )

    def _damaged(self, what: str) -> DamagedFile:
        return DamagedFile(KeysReason.SCHEMA, f"{self} {what}", "check that the path is right")
