"""What rights say of classes, also where an envelope leaves open which class it is of."""

from sealwire.policies.roles.access import CLEAR, DENIED, ClassAccess, Disclosure, Level, Mask
from sealwire.policies.roles.rights import Rights

LAST4, YEAR = Disclosure(Level.MASKED, Mask.LAST4), Disclosure(Level.MASKED, Mask.YEAR)
RIGHTS = Rights(
    ("r",),
    {
        "clear": ClassAccess(CLEAR),
        "last4": ClassAccess(LAST4),
        "year": ClassAccess(YEAR),
        "fixed": ClassAccess(Disclosure(Level.MASKED)),
        "ciphertext": ClassAccess(Disclosure(Level.CIPHERTEXT)),
    },
)


def test_a_class_that_is_not_named_is_denied() -> None:
    assert RIGHTS.disclosure(["clear"]) == CLEAR
    assert RIGHTS.disclosure(["another"]) == DENIED


def test_of_classes_that_share_a_key_the_least_counts() -> None:
    assert RIGHTS.disclosure(["clear", "last4"]) == LAST4
    assert RIGHTS.disclosure(["last4", "clear"]) == LAST4
    assert RIGHTS.disclosure(["last4", "ciphertext", "clear"]) == Disclosure(Level.CIPHERTEXT)
    assert RIGHTS.disclosure(["clear", "another"]) == DENIED
    assert RIGHTS.disclosure([]) == DENIED


def test_of_two_masks_neither_is_used() -> None:
    fixed = Disclosure(Level.MASKED, Mask.FIXED)
    assert RIGHTS.disclosure(["last4", "year"]) == fixed
    assert RIGHTS.disclosure(["last4", "fixed"]) == fixed
    assert RIGHTS.disclosure(["fixed", "last4"]) == fixed
    assert RIGHTS.disclosure(["last4", "last4"]) == LAST4


def test_all_in_clear() -> None:
    assert RIGHTS.sees_in_clear(["clear"])
    assert RIGHTS.sees_in_clear([])
    assert not RIGHTS.sees_in_clear(["clear", "last4"])


def test_who_has_no_role() -> None:
    assert Rights().is_empty
    assert not RIGHTS.is_empty
    assert Rights().lacks == "a role"
