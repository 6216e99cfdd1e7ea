"""A class borrows the active key of another one: as its next version, or as its first.

As the next version it is pending, and the class moves to it as to any other key (docs/adr/0031). As the first
it is active at once: of a new class, for paths that had the lender's class until now and are to leave it.
Both write the keyring once, as `file.change_keys` does, and raise and cost what that does.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from sealwire.keys.errors import KeySettingError, KeysReason, UnknownKey
from sealwire.keys.kek.kek import KeyEncryptionKey
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.file import change_keys, with_new_classes
from sealwire.keys.keyring.store import KeyringStore
from sealwire.keys.keyring.turning import next_version, with_class


def borrow(
    place: Path | KeyringStore,
    kek: KeyEncryptionKey,
    names: tuple[str, str],
    now: datetime,
    *,
    dry_run: bool = False,
) -> DataKey:
    """Make a pending version of a class that is the active key of another. `names`: borrower and lender.

    Raises:  UnknownKey CLASS_UNKNOWN of either class
             KeySettingError LENT: the lender has no key to lend, or the class encrypts with it already;
             KEY_STATE: the class has a pending version, or no active one; VERSION_COUNT
    """
    borrower, lender = names

    def change(keys: tuple[DataKey, ...]) -> tuple[DataKey, ...]:
        lent = _lendable(keys, lender)
        return with_class(keys, borrower, partial(_with_borrowed, lent=lent, now=now))

    return _changed(place, kek, borrower, change, now, dry_run=dry_run)


def create_borrowed(
    place: Path | KeyringStore,
    kek: KeyEncryptionKey,
    names: tuple[str, str],
    now: datetime,
    *,
    dry_run: bool = False,
) -> DataKey:
    """Make a new class whose first version, active at once, is the active key of another; as `borrow`.

    Raises:  AlreadyExists CLASS_EXISTS; UnknownKey CLASS_UNKNOWN of the lender
             KeySettingError LENT: the lender has no key to lend; CLASS_NAME, CLASS_COUNT
    """
    borrower, lender = names

    def change(keys: tuple[DataKey, ...]) -> tuple[DataKey, ...]:
        lent = _lendable(keys, lender)
        *others, new = with_new_classes(keys, [borrower], now, ())
        return (*others, _copy(new, lent))

    return _changed(place, kek, borrower, change, now, dry_run=dry_run)


def _changed(
    place: Path | KeyringStore,
    kek: KeyEncryptionKey,
    class_name: str,
    change: Callable[[tuple[DataKey, ...]], tuple[DataKey, ...]],
    now: datetime,
    *,
    dry_run: bool,
) -> DataKey:
    """The newest key of the class after a change."""
    made: list[DataKey] = []

    def noted(keys: tuple[DataKey, ...]) -> tuple[DataKey, ...]:
        after = change(keys)
        made.append([key for key in after if key.class_name == class_name][-1])
        return after

    change_keys(place, kek, noted, now, dry_run=dry_run)
    return made[-1]


def _with_borrowed(versions: Sequence[DataKey], lent: DataKey, now: datetime) -> tuple[DataKey, ...]:
    active = next((key for key in versions if key.state is KeyState.ACTIVE), None)
    if active is None:
        raise KeySettingError(
            KeysReason.KEY_STATE,
            f"class {versions[-1].class_name} has no active version, so no data that could move",
            "give its paths the lender's class in the policy, or a class of another name",
        )
    if lent.ids in (active.ids, active.lender):
        raise KeySettingError(
            KeysReason.LENT,
            f"class {active.class_name} encrypts with that key already",
            "sealwire keys status shows which key is whose",
        )
    return (*versions, _copy(next_version(versions, now, KeyState.PENDING), lent))


def _copy(new: DataKey, lent: DataKey) -> DataKey:
    return replace(new, material=lent.material, lender=lent.ids)


def _lendable(keys: Sequence[DataKey], name: str) -> DataKey:
    """The active key of a class, or the key that this one is itself. Raises UnknownKey, KeySettingError."""
    versions = [key for key in keys if key.class_name == name]
    if not versions:
        raise UnknownKey(
            KeysReason.CLASS_UNKNOWN,
            f"the keyring has no class {name}, whose key was to be borrowed",
            "sealwire keys list shows the classes",
        )
    active = next((key for key in versions if key.state is KeyState.ACTIVE), None)
    if active is None or active.is_plaintext:
        raise KeySettingError(
            KeysReason.LENT,
            f"class {name} is in clear or has no active key: there is none to borrow",
            "borrow the key of a class that is encrypted",
        )
    if versions[-1].state is KeyState.PENDING:
        raise KeySettingError(
            KeysReason.LENT,
            f"class {name} moves to version {versions[-1].version}, and lends no key meanwhile",
            "let that move end first: sealwire migrate status",
        )
    if active.lender is None:
        return active
    return next(key for key in keys if key.ids == active.lender)
