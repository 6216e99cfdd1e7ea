"""One text out of a document in a KV engine of version 2: a passphrase that people keep in Vault."""

from dataclasses import dataclass
from typing import Any

from hvac import Client
from hvac import exceptions as hvac_errors

from sealwire.keys.errors import DamagedFile, KeySettingError, KeysReason
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.errors import says
from sealwire.keys.vault.settings import check_path

_READ = "read the secret"


@dataclass(frozen=True, slots=True)
class SecretField:
    """Where a text is. Holds no secret."""

    mount: str
    path: str
    field: str

    def __str__(self) -> str:
        return f"vault:{self.mount}/{self.path}#{self.field}"


def parse_field(location: str) -> SecretField:
    """Read `MOUNT/PATH#FIELD`. Raises KeySettingError VAULT_SETTING; connects to nothing."""
    place, _, field = location.partition("#")
    mount, _, path = place.partition("/")
    if not mount or not path or not field:
        raise KeySettingError(
            KeysReason.VAULT_SETTING,
            "the secret's place in Vault lacks its mount, its path or its field",
            "write vault:MOUNT/PATH#FIELD, such as vault:secret/luks/mongodb#passphrase",
        )
    check_path(place, "the secret's path in Vault")
    return SecretField(mount, path, field)


def read_text(connection: VaultConnection, place: SecretField, max_characters: int) -> str:
    """The newest version's text.

    Raises:  KeySettingError FILE_MISSING; DamagedFile SCHEMA, FILE_TOO_LARGE; as `VaultConnection.call`
    """
    found = connection.call(_READ, lambda client: _newest(client, place))
    if not isinstance(found, str):
        raise DamagedFile(
            KeysReason.SCHEMA, f"{place} is not there, or no text", "check the name of the field"
        )
    if len(found) > max_characters:
        raise DamagedFile(
            KeysReason.FILE_TOO_LARGE,
            f"{place} is longer than {max_characters} characters",
            "check the field",
        )
    return found


def _newest(client: Client, place: SecretField) -> Any:
    """The field's value, None where the document has no such field."""
    try:
        answer = client.secrets.kv.v2.read_secret_version(
            place.path, mount_point=place.mount, raise_on_deleted_version=True
        )
        return answer["data"]["data"].get(place.field)
    except hvac_errors.InvalidPath as error:
        if says(error, "no handler for route"):
            raise
        raise KeySettingError(
            KeysReason.FILE_MISSING, f"{place} does not exist, or was deleted", "check the path"
        ) from None
    except (KeyError, TypeError, AttributeError):
        return None
