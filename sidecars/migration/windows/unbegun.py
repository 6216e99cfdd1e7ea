"""Whether the move of a class to its pending version has begun, or somebody is about to begin it."""

from typing import Any, cast

from bson.codec_options import CodecOptions
from pymongo.read_concern import ReadConcern

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.frontier.record import DATABASE, FRONTIERS
from sealwire.keys.keyring.keyring import Keyring
from sealwire.sidecars.direct import Client
from sealwire.sidecars.migration.errors import MigrationReason, MigrationRefused
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.windows.frontiers import Documents

_DECODED = CodecOptions[dict[str, Any]]()


def pending_version(keyring: Keyring, class_name: str) -> int:
    """The version that a class is to move to. Raises KeySettingError KEY_STATE; UnknownKey CLASS_UNKNOWN."""
    pending = keyring.pending_cipher_for(class_name)
    if pending is None:
        keyring.cipher_for(class_name)
        raise KeySettingError(
            KeysReason.KEY_STATE,
            f"class {class_name} has no pending key",
            "sealwire keys list shows the versions and their states",
        )
    return pending.key_version


def require_unbegun(client: Client, keyring: Keyring, class_name: str, version: int) -> None:
    """See that no frontier of a move to `version` stands on the server, and no job for it that is not over.

    Raises:  MigrationRefused OTHER_MOVE; JobDamaged; what the driver raises
    Cost:    two queries
    """
    for job in Ledger(client, keyring).jobs():
        if not job.standing.is_over and any(move.class_name == class_name for move in job.moves):
            text = f"job {job.name} moves class {class_name}, and is not over"
            hint = f"sealwire migrate abort {job.name}, if it has moved nothing yet"
            raise MigrationRefused(MigrationReason.OTHER_MOVE, text, hint)
    found = _frontiers(client).find_one({"_id": keyring.cipher_for(class_name).class_id})
    new = None if found is None else found.get("new")
    # what Sealwire did not write there may be the frontier that somebody damaged
    if found is not None and (not isinstance(new, int) or isinstance(new, bool) or new >= version):
        text = f"the move of class {class_name} to version {version} has begun"
        hint = "let it end: sealwire migrate status shows the job; what has moved needs the key"
        raise MigrationRefused(MigrationReason.OTHER_MOVE, text, hint)


def _frontiers(client: Client) -> Documents:
    collection = client.get_database(DATABASE).get_collection(
        FRONTIERS, codec_options=_DECODED, read_concern=ReadConcern("majority")
    )
    return cast(Documents, collection)
