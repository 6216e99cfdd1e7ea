"""What the tests of this room share: a keyring of two classes, and ways to ask for their contexts."""

from sealwire.keys.contexts.cache import ContextWanted
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from tests.keys.samples import NOW

NOTES, LETTERS = 1, 2


def keyring(newest: int = 1) -> Keyring:
    """Of each class, all versions up to the newest."""
    keys = [
        DataKey(
            name,
            class_id,
            version,
            KeyState.ACTIVE if version == newest else KeyState.DECRYPT_ONLY,
            NOW,
            bytes([class_id, version]) * 32,
        )
        for name, class_id in (("notes", NOTES), ("letters", LETTERS))
        for version in range(1, newest + 1)
    ]
    return Keyring(keys)


def wanted(context: str, class_name: str = "notes", *, is_stored: bool = True) -> ContextWanted:
    return ContextWanted(class_name, context.encode(), is_stored)
