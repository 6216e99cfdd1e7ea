"""What the tests of this room share: a keyring of two classes, and ways to ask for their contexts."""

from sealwire.keys.contexts.cache import ContextWanted
from sealwire.keys.keyring.keyring import Keyring
from tests.keys.samples import keyring_up_to

NOTES, LETTERS = 1, 2


def keyring(newest: int = 1) -> Keyring:
    """Of each class, all versions up to the newest."""
    return keyring_up_to(newest, {"notes": NOTES, "letters": LETTERS})


def wanted(context: str, class_name: str = "notes", *, is_stored: bool = True) -> ContextWanted:
    return ContextWanted(class_name, context.encode(), is_stored)
