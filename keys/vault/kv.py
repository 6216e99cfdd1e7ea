"""Documents in a KV engine of version 2: the keyring as one of them, and a text that people keep there.

Writes name the version that they replace (check-and-set). The keyring's document has one field, `keyring`,
with the text that the file would have. Vault keeps older versions of it; a keyring is replaced only where it
is still the one that was read.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from hvac import Client
from hvac import exceptions as hvac_errors

from sealwire.keys.errors import AlreadyExists, DamagedFile, KeyringBusy, KeySettingError, KeysReason
from sealwire.keys.keyring.store import MAX_FILE_BYTES, VaultDocument, changed_meanwhile
from sealwire.keys.vault.connection import VaultConnection, failed, says
from sealwire.keys.vault.settings import check_path


class VersionMoved(Exception):
    """The document has not the version that a write named. Met inside an operation, and passes no further."""


class Held(NamedTuple):
    """What the engine has of a document."""

    fields: Any
    """Those of the newest version. None with version 0: nothing was ever written, or all of it was deleted
    with its metadata. None with another version: that one was deleted."""
    version: int
    ends: bool = False
    """Whether the engine will delete this version by itself."""


def read_document(client: Client, place: VaultDocument, what: str) -> Held:
    """The newest version. Raises KekUnavailable VAULT_FAILED ("cannot WHAT") for another form of answer."""
    try:
        answer = client.secrets.kv.v2.read_secret_version(
            place.path, mount_point=place.mount, raise_on_deleted_version=True
        )
        metadata = answer["data"]["metadata"]
        return Held(answer["data"]["data"], int(metadata["version"]), will_end(metadata))
    except hvac_errors.InvalidPath as error:
        if says(error, "no handler for route"):
            raise
        return Held(None, _deleted_version(error))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise failed(what) from None


def put_document(
    client: Client, place: VaultDocument, fields: Mapping[str, Any], version: int, what: str
) -> Mapping[str, Any]:
    """Write `fields` where the newest version is `version`; 0: where nothing is. What the server says of it.

    Raises:  VersionMoved; KeySettingError VAULT_PATH where the engine is of version 1
             KekUnavailable VAULT_FAILED for a request that the server does not take
    """
    body = {"data": dict(fields), "options": {"cas": version}}
    try:
        answer = client.write_data(f"{place.mount}/data/{place.path}", data=body)
    except hvac_errors.InvalidRequest as error:
        if says(error, "check-and-set"):
            raise VersionMoved from None
        raise failed(what) from None
    # Version 1 of the engine accepts any body and answers with an empty one.
    if not isinstance(answer, dict):
        raise KeySettingError(
            KeysReason.VAULT_PATH,
            f"{place} is not in a KV engine of version 2",
            "enable one: vault secrets enable -path=secret -version=2 kv",
        )
    data = answer.get("data")
    return data if isinstance(data, Mapping) else {}


def will_end(metadata: Mapping[str, Any]) -> bool:
    """Whether the engine will delete by itself the version that it said this of."""
    return bool(metadata.get("deletion_time"))


def list_names(client: Client, place: VaultDocument, what: str) -> list[str]:
    """The names right below a path, in rising order; those of folders end with a slash.

    Raises KekUnavailable VAULT_FAILED ("cannot WHAT") for an answer of another form.
    """
    try:
        answer = client.secrets.kv.v2.list_secrets(place.path, mount_point=place.mount)
        return sorted(map(str, answer["data"]["keys"]))
    except hvac_errors.InvalidPath as error:
        if says(error, "no handler for route"):
            raise
        return []
    except (KeyError, TypeError):
        raise failed(what) from None


def keep_newest_only(client: Client, place: VaultDocument) -> None:
    """From the next write on, the engine keeps no older version of this document."""
    client.secrets.kv.v2.update_metadata(place.path, max_versions=1, mount_point=place.mount)


def destroy_versions(client: Client, place: VaultDocument, last: int) -> None:
    """Have the engine drop the content of the versions up to `last`, for good."""
    versions = list(range(1, last + 1))
    client.secrets.kv.v2.destroy_secret_versions(place.path, versions, mount_point=place.mount)


def standing_versions(client: Client, place: VaultDocument, what: str) -> list[Any]:
    """The fields of each version whose content is still there, the newest too; None for a deleted one.

    One that is deleted, and not destroyed, can be brought back by whoever may. Raises as `read_document`.
    """
    try:
        answer = client.secrets.kv.v2.read_secret_metadata(place.path, mount_point=place.mount)
        states = answer["data"]["versions"].items()
        versions = [int(each) for each, state in states if not state["destroyed"]]
        return [_of_version(client, place, each) for each in versions]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise failed(what) from None


def _of_version(client: Client, place: VaultDocument, version: int) -> Any:
    try:
        answer = client.secrets.kv.v2.read_secret_version(
            place.path, version=version, mount_point=place.mount, raise_on_deleted_version=True
        )
    except hvac_errors.InvalidPath:
        return None
    return answer["data"]["data"]


def _deleted_version(error: hvac_errors.InvalidPath) -> int:
    """The version that "not found" is about, where the document is there and its newest version is not."""
    try:
        return int(error.json["data"]["metadata"]["version"])
    except (KeyError, TypeError, ValueError):
        return 0


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
        if content is not None:
            return content
        text, hint = "does not exist", "check the path; if it was there before, restore a backup"
        if version > 0:
            text, hint = "was deleted", "bring it back with: vault kv undelete"
        raise KeySettingError(KeysReason.FILE_MISSING, f"{self} {text}", hint)

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
                raise changed_meanwhile(self)
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
            raise changed_meanwhile(self) from None
        except hvac_errors.InternalServerError as error:
            if says(error, "too large"):
                raise KeySettingError(
                    KeysReason.FILE_TOO_LARGE,
                    f"{self} is too large for Vault's storage",
                    "raise its max_entry_size, or keep the keyring in a file",
                ) from None
            raise

    def _damaged(self, what: str) -> DamagedFile:
        return DamagedFile(KeysReason.SCHEMA, f"{self} {what}", "check that the path is right")


def read_text(connection: VaultConnection, location: str, max_characters: int) -> str:
    """The text at `MOUNT/PATH#FIELD`, of the newest version: a passphrase that people keep in Vault.

    Raises:  KeySettingError VAULT_SETTING, FILE_MISSING; DamagedFile SCHEMA, FILE_TOO_LARGE
             as `VaultConnection.call`
    """
    text, _, field = location.partition("#")
    mount, _, path = text.partition("/")
    if not mount or not path or not field:
        raise KeySettingError(
            KeysReason.VAULT_SETTING,
            "the secret's place in Vault lacks its mount, its path or its field",
            "write vault:MOUNT/PATH#FIELD, such as vault:secret/luks/mongodb#passphrase",
        )
    check_path(text, "the secret's path in Vault")
    place, reading = VaultDocument(mount, path), "read the secret"
    fields = connection.call(reading, lambda client: read_document(client, place, reading)).fields
    named = f"{place}#{field}"
    if fields is None:
        raise KeySettingError(
            KeysReason.FILE_MISSING, f"{named} does not exist, or was deleted", "check the path"
        )
    found = fields.get(field) if isinstance(fields, dict) else None
    if not isinstance(found, str):
        raise DamagedFile(
            KeysReason.SCHEMA, f"{named} is not there, or no text", "check the name of the field"
        )
    if len(found) > max_characters:
        raise DamagedFile(
            KeysReason.FILE_TOO_LARGE,
            f"{named} is longer than {max_characters} characters",
            "check the field",
        )
    return found
