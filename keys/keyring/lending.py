"""Keys that a class borrows: what has to hold between the borrowed version and the one that it is.

A class may have, as one of its versions, the active key of another class: the same material, and the lender's
ids in its envelopes. So both make the same ciphertext of a value, and the values of one can be taken over by
the other without being touched. For policies they are two classes all the same.

While a borrowed version opens anything, the lender's version has to stay what encrypts: were the lender to
move to another key, or into clear, the two would part, and nobody would see it. So the lender's class does
not turn until all that it has lent is retired, and its key is not destroyed while a borrower has a copy.
"""

from collections.abc import Iterable, Iterator
from enum import Enum
from hmac import compare_digest
from typing import NamedTuple

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.keyring.data_key import DataKey, KeyIds, KeyState


class LentVersion(NamedTuple):
    """One version of a class, as far as lending is concerned."""

    class_name: str
    ids: KeyIds
    state: KeyState
    is_plaintext: bool
    lender: KeyIds | None

    @classmethod
    def of(cls, key: DataKey) -> "LentVersion":
        """That of a key."""
        return cls(key.class_name, key.ids, key.state, key.is_plaintext, key.lender)


class Breach(Enum):
    """What is wrong between a borrowed version and its lender's."""

    NO_LENDER = "there is no such key that could be lent"
    DESTROYED = "its lender's key is destroyed, and the copy is not"
    TURNED = "its lender's class encrypts with another key, or is about to"
    HALF_WAY = "its class has a pending version and none that it moves from"


class BrokenLoan(NamedTuple):
    """A borrowed version that may not be there as things are."""

    borrower: LentVersion
    lender: LentVersion | None
    breach: Breach


def broken_loans(versions: Iterable[LentVersion]) -> Iterator[BrokenLoan]:
    """Those of a keyring's versions that break a rule. Raises nothing. Cost: O(versions)."""
    by_ids = {each.ids: each for each in versions}
    moving = {each.ids.class_id for each in by_ids.values() if each.state is KeyState.PENDING}
    active = {each.ids.class_id for each in by_ids.values() if each.state is KeyState.ACTIVE}
    for each in by_ids.values():
        if each.lender is None:
            continue
        lender = by_ids.get(each.lender)
        if lender is None or lender.is_plaintext or lender.lender is not None:
            yield BrokenLoan(each, lender, Breach.NO_LENDER)
        elif each.ids.class_id in moving and each.ids.class_id not in active:
            yield BrokenLoan(each, lender, Breach.HALF_WAY)
        elif lender.state is KeyState.DESTROYED and each.state is not KeyState.DESTROYED:
            yield BrokenLoan(each, lender, Breach.DESTROYED)
        elif each.state.decrypts and (lender.state is not KeyState.ACTIVE or lender.ids.class_id in moving):
            yield BrokenLoan(each, lender, Breach.TURNED)


def refuse_broken_loans(keys: Iterable[DataKey]) -> None:
    """See that a change left every loan whole. Raises KeySettingError LENT for the first that it did not."""
    for borrower, lender, breach in broken_loans(map(LentVersion.of, keys)):
        name, version = borrower.class_name, borrower.ids.version
        whose = "of another class" if lender is None else f"{lender.ids.version} of class {lender.class_name}"
        state = borrower.state.value
        text = f"class {name} borrows version {whose} as its version {version} ({state}), and {breach.value}"
        raise KeySettingError(
            KeysReason.LENT,
            text,
            _next_step(borrower, breach),
        )


def _next_step(borrower: LentVersion, breach: Breach) -> str:
    key = f"{borrower.class_name} {borrower.ids.version}"
    if breach is Breach.DESTROYED:
        return f"destroy the copy first: sealwire keys destroy {key}"
    if breach is Breach.HALF_WAY:
        return "let its move end first; a class that gave its key back gets no other one: name a new class"
    if borrower.state in (KeyState.ACTIVE, KeyState.PENDING):
        name = borrower.class_name
        return (
            f"give the paths of class {name} the lender's class in the policy, or move them to another key; "
            f"then sealwire keys retire {key}"
        )
    return f"sealwire keys retire {key}; what it would open, its lender opens"


def is_same_material(keys: Iterable[DataKey]) -> bool:
    """Whether each borrowed key that is not destroyed is its lender's. Cost: O(keys)."""
    by_ids = {key.ids: key for key in keys}
    for key in by_ids.values():
        if key.lender is None or key.material is None:
            continue
        lender = by_ids.get(key.lender)
        if lender is None or lender.material is None or not compare_digest(key.material, lender.material):
            return False
    return True
