"""One document in a KV engine of version 2: read with its version, and written where that still stands.

Functions for use inside `VaultConnection.call`, whose client they get. What hvac raises passes through.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from hvac import Client
from hvac import exceptions as hvac_errors

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.keyring.store import VaultDocument
from sealwire.keys.vault.errors import failed, says


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
