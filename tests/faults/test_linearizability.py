"""The judge of histories, on histories whose verdict is known."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.linearizability import UNKNOWN_S, Act, Operation, is_linearizable


def read(value: str | None, began_s: float, ended_s: float = UNKNOWN_S) -> Operation:
    return Operation(Act.READ, value, began_s, ended_s)


def write(value: str, began_s: float, ended_s: float = UNKNOWN_S) -> Operation:
    return Operation(Act.WRITE, value, began_s, ended_s)


def swap(expected: str, value: str, began_s: float, ended_s: float, *, matched: bool = True) -> Operation:
    return Operation(Act.SWAP, value, began_s, ended_s, expected, matched)


SOUND = {
    "nothing": [],
    "one after the other": [write("1", 0, 1), read("1", 2, 3)],
    "a read beside a write may see either": [
        write("1", 0, 1),
        write("2", 2, 5),
        read("1", 3, 4),
        read("2", 3, 4),
    ],
    "an unknown write takes effect late": [write("1", 0, 1), write("2", 2), read("1", 3, 4), read("2", 5, 6)],
    "an unknown write never takes effect": [write("1", 0, 1), write("2", 2), read("1", 9, 10)],
    "an unknown read says nothing": [write("1", 0, 1), read("7", 2)],
    "a swap": [write("1", 0, 1), swap("1", "2", 2, 3), read("2", 4, 5)],
    "a swap that fails": [write("1", 0, 1), swap("3", "2", 2, 3, matched=False), read("1", 4, 5)],
    "a swap beside the write that it needs": [write("1", 0, 9), swap("1", "2", 1, 2), read("2", 3, 4)],
    "an unknown swap": [write("1", 0, 1), swap("1", "2", 2, UNKNOWN_S), read("1", 3, 4), read("2", 5, 6)],
    "three writes at once": [write("1", 0, 9), write("2", 0, 9), write("3", 0, 9), read("2", 10, 11)],
}
BROKEN = {
    "a lost write": [write("1", 0, 1), write("2", 2, 3), read("1", 4, 5)],
    "a value that nobody wrote": [write("1", 0, 1), read("2", 2, 3)],
    "a read before its write": [read("1", 0, 1), write("1", 2, 3)],
    "back and forth": [write("1", 0, 1), write("2", 2, 9), read("2", 3, 4), read("1", 5, 6)],
    "twice of an unknown write": [
        write("1", 0, 1),
        write("2", 2),
        read("2", 3, 4),
        write("3", 5, 6),
        read("2", 7, 8),
    ],
    "two swaps of one value": [write("1", 0, 1), swap("1", "2", 2, 5), swap("1", "3", 2, 5)],
    "a swap that fails for nothing": [write("1", 0, 1), swap("1", "2", 2, 3, matched=False)],
    "a swap that was not carried out": [write("1", 0, 1), swap("1", "2", 2, 3), read("1", 4, 5)],
}


@pytest.mark.parametrize("name", SOUND)
def test_a_history_that_an_order_explains(name: str) -> None:
    assert is_linearizable(SOUND[name])


@pytest.mark.parametrize("name", BROKEN)
def test_a_history_that_no_order_explains(name: str) -> None:
    assert not is_linearizable(BROKEN[name])


def test_the_first_value_counts() -> None:
    assert is_linearizable([read(None, 0, 1)])
    assert is_linearizable([read("0", 0, 1)], first="0")
    assert not is_linearizable([read("0", 0, 1)])


@st.composite
def _histories(draw: st.DrawFn) -> list[Operation]:
    found = []
    for _ in range(draw(st.integers(1, 5))):
        began_s, length_s = draw(st.integers(0, 6)), draw(st.integers(1, 4))
        ended_s = draw(st.sampled_from([began_s + length_s, UNKNOWN_S]))
        value = draw(st.sampled_from("123"))
        act = draw(st.sampled_from([read, write]))
        found.append(act(value, began_s, ended_s))
    return found


def slowly(history: list[Operation]) -> bool:
    """The definition itself: some order of some of the unknown operations and of all others."""
    known = [each for each in history if each.is_known]
    unknown = [each for each in history if not each.is_known and each.act is Act.WRITE]
    subsets = [
        [one for n, one in enumerate(unknown) if chosen >> n & 1] for chosen in range(1 << len(unknown))
    ]
    return any(_explains(order) for subset in subsets for order in permutations(known + subset))


def _explains(order: tuple[Operation, ...]) -> bool:
    register: str | None = None
    for place, each in enumerate(order):
        if any(later.ended_s < each.began_s for later in order[place + 1 :]):
            return False
        if each.act is Act.READ and each.value != register:
            return False
        register = each.value
    return True


@given(_histories())
def test_the_quick_search_says_what_the_definition_says(history: list[Operation]) -> None:
    assert is_linearizable(history) is slowly(history)
