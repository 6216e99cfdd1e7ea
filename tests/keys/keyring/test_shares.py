"""A secret in shares: k of n give it back, fewer tell nothing, and no word of one is ever shown."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.keys.errors import KekDenied, KeySettingError, KeysReason
from sealwire.keys.keyring.shares import MAX_SHARES, combine, split

SECRET = bytes(range(32))


@given(st.binary(min_size=32, max_size=32), st.data())
def test_any_threshold_of_the_shares_gives_the_secret_back(secret: bytes, data: st.DataObject) -> None:
    count = data.draw(st.integers(2, MAX_SHARES))
    threshold = data.draw(st.integers(2, count))
    shares = split(secret, threshold, count)
    assert len(set(shares)) == count
    assert combine(data.draw(st.permutations(shares))[:threshold]) == secret


def test_more_shares_than_needed_and_one_twice_do_no_harm() -> None:
    shares = split(SECRET, 2, 3)
    assert combine(shares) == SECRET
    assert combine([shares[2], shares[2], shares[0]]) == SECRET


@pytest.mark.parametrize(("threshold", "count"), [(1, 1), (1, 3), (0, 3), (4, 3), (2, 17), (-1, 3), (2, 0)])
def test_impossible_numbers_are_refused(threshold: int, count: int) -> None:
    with pytest.raises(KeySettingError) as caught:
        split(SECRET, threshold, count)
    assert caught.value.reason is KeysReason.SHARES


def refusal(shares: list[str]) -> KekDenied:
    with pytest.raises(KekDenied) as caught:
        combine(shares)
    assert caught.value.reason is KeysReason.SHARES
    shown = str(caught.value) + caught.value.hint
    assert not any(word in shown.split() for share in shares for word in share.split() if len(word) > 5)
    return caught.value


def test_too_few_and_foreign_and_misspelt_shares_are_refused() -> None:
    shares, others = split(SECRET, 3, 5), split(SECRET, 3, 5)
    for few in (0, 1, 2):
        refusal(shares[:few])
    refusal([shares[0], shares[0], shares[0]])
    refusal([*shares[:2], others[2]])
    words = shares[1].split()
    another = "acid" if words[-1] == "academic" else "academic"
    for wrong in ([*words[:-1], another], words[:-1], [*words[:4], "xyzzy", *words[5:]], []):
        refusal([shares[0], " ".join(wrong), shares[2]])
        refusal([" ".join(wrong), shares[0], shares[2]])


def test_shares_that_are_not_enough_are_the_same_for_every_secret_in_form() -> None:
    for one, two in combinations(split(SECRET, 3, 4), 2):
        assert one.split()[:2] == two.split()[:2]
        assert len(one.split()) == len(two.split()) == 33
