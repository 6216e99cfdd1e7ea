"""Which of two ways to be shown a value shows more."""

import pytest

from sealwire.policies.roles.role import CLEAR, DENIED, ClassAccess, Disclosure, Level, Mask

CIPHERTEXT, FIXED, LAST4 = (
    Disclosure(Level.CIPHERTEXT),
    Disclosure(Level.MASKED),
    Disclosure(Level.MASKED, Mask.LAST4),
)
IN_ORDER = [DENIED, CIPHERTEXT, FIXED, LAST4, CLEAR]


@pytest.mark.parametrize("place", range(len(IN_ORDER)))
def test_levels_have_an_order(place: int) -> None:
    shows_more = [IN_ORDER[place].shows_more_than(other) for other in IN_ORDER]
    assert shows_more == [True] * place + [False] * (len(IN_ORDER) - place)


def test_of_two_masks_that_show_a_part_the_first_stays() -> None:
    year = Disclosure(Level.MASKED, Mask.YEAR)
    assert ClassAccess(LAST4).joined(ClassAccess(year)).read == LAST4
    assert ClassAccess(year).joined(ClassAccess(LAST4)).read == year


def test_together_they_allow_what_either_does() -> None:
    one, other = ClassAccess(DENIED, filters=True), ClassAccess(FIXED, writes=True)
    assert one.joined(other) == other.joined(one) == ClassAccess(FIXED, filters=True, writes=True)
