"""A model of sorting by ranks: every interleaving of a sorted command with writes of others.

A command asks which values are stored, and how many documents have each. For the first few documents it may
ask for the values alone, which an index says. Then it sorts the documents that have one of the first values
by the values' ranks, and gives those in its window. Others write between any two of its steps. What has to
hold is what MongoDB promises of a sort at no one time: the reply is a window on the sorted list of all
documents that nobody changes meanwhile, and of some state of each of the others, or of none. If there is no
such list the order is wrong, or the reply too short. Each rule that is taken away breaks this.
"""

from collections.abc import Iterator
from enum import Enum
from functools import cache
from itertools import product
from typing import NamedTuple

import pytest

from tests.policies.questions.every_order import first_wrong

VALUES = "bcC"
"""In their order. Two are equal under the collation. None, a missing value, comes before them."""
SEVERAL = "cb"
"""What a document has that holds an array: MongoDB sorts it by its least element."""
MOST_WRITES = 2

Stored = str | None
Reply = tuple[tuple[int, Stored], ...]
"""The documents in their order: their numbers, and their values when they were read."""


class Rule(Enum):
    LISTED = "only documents with a listed value are sorted"
    WHOLE = "an array is listed as a whole, and a document with another one is left out"
    THERE = "behind `$unwind`, the question is about the values at that place"
    MISSING = "a missing value is listed though an index may lack documents without one"
    EQUAL = "values that are equal under the collation share a rank, and are listed together"
    GUARDED = "the command fails if it would show what comes behind the sorted documents"


class State(NamedTuple):
    documents: tuple[Stored, ...]
    seen: tuple[frozenset[Stored], ...]
    """Every value that a document has had."""
    is_short: bool = False
    """Whether the question asks an index for the values alone."""
    is_unwound: bool = False
    """Whether `$unwind` comes before the sort."""
    writes: int = 0
    counts: tuple[tuple[Stored, int], ...] = ()
    asked: int = 0
    """How many documents the question has read."""
    read: int = 0
    """How many the command has read."""
    found: tuple[tuple[int, Stored], ...] = ()


def there(value: Stored, *, is_unwound: bool) -> tuple[Stored, ...]:
    """The values that one document has where they are sorted."""
    return tuple(value or "") if is_unwound else (value,)


def place(value: Stored) -> str:
    return "" if value is None else min(value.lower())


@cache  # many states have counted the same
def listed(
    counted: tuple[tuple[Stored, int], ...], is_short: bool, window: tuple[int, int], rules: frozenset[Rule]
) -> tuple[dict[Stored, int], bool]:
    """The first values with their ranks, and whether there are more."""
    known = dict(counted)
    if is_short and Rule.MISSING in rules:
        known.setdefault(None, 0)
    counts = sorted(known.items(), key=lambda each: (place(each[0]), each[0] or ""))
    groups: dict[tuple[str, Stored], dict[Stored, int]] = {}
    for value, count in counts:
        group = place(value), None if Rule.EQUAL in rules else value
        groups.setdefault(group, {})[value] = count
    enough, ranks = sum(window), dict[Stored, int]()
    for rank, group_counts in enumerate(groups.values()):
        if enough <= 0:
            return ranks, True
        ranks |= dict.fromkeys(group_counts, rank)
        enough -= sum(group_counts.values())
    return ranks, False


def steps(state: State, window: tuple[int, int], rules: frozenset[Rule]) -> Iterator[State]:
    documents = state.documents
    if state.asked < len(documents):
        counts = dict(state.counts)
        is_unwound = state.is_unwound and Rule.THERE in rules
        for value in there(documents[state.asked], is_unwound=is_unwound):
            if not state.is_short:
                counts[value] = counts.get(value, 0) + 1
            elif value is not None:
                counts[value] = 1  # one document at least
        yield state._replace(asked=state.asked + 1, counts=tuple(sorted(counts.items(), key=repr)))
    elif state.read < len(documents):
        values, found = listed(state.counts, state.is_short, window, rules)[0], state.found
        for value in there(documents[state.read], is_unwound=state.is_unwound):
            # a list matches an array by any of its elements as well
            is_listed = value in values or (value == SEVERAL and not {*SEVERAL}.isdisjoint(map(str, values)))
            is_sorted = is_listed or Rule.LISTED not in rules
            if value == SEVERAL and Rule.WHOLE in rules:
                is_sorted = value in values
            found = (*found, (state.read, value)) if is_sorted else found
        yield state._replace(read=state.read + 1, found=found)
    if state.writes < MOST_WRITES:
        for number, value in enumerate(documents):
            for written in (*VALUES, None, SEVERAL):
                if written != value:
                    changed = (*documents[:number], written, *documents[number + 1 :])
                    seen = (*state.seen[:number], state.seen[number] | {written}, *state.seen[number + 1 :])
                    yield state._replace(documents=changed, seen=seen, writes=state.writes + 1)


def reply(state: State, window: tuple[int, int], rules: frozenset[Rule]) -> Reply | None:
    """What the client is shown; None: an error."""
    ranks, is_cut = listed(state.counts, state.is_short, window, rules)
    null_rank = ranks.get(None, 0)
    # what is in no list has the rank of null
    ordered = sorted(state.found, key=lambda each: (ranks.get(each[1], null_rank), each[0]))
    skip, limit = window
    shown = tuple(ordered[skip : skip + limit])
    is_short = is_cut and len(ordered) < skip + limit
    return None if is_short and Rule.GUARDED in rules else shown


@cache  # many orders of the same writes end alike
def is_right(
    seen: tuple[frozenset[Stored], ...], window: tuple[int, int], shown: Reply, *, is_unwound: bool
) -> bool:
    """Whether some state of each changed document, or some of its values there, or none of them, makes the
    reply a window on all of them.
    """
    skip, limit = window
    choices: list[list[tuple[Stored, ...]]] = []
    for values in seen:
        states = [there(value, is_unwound=is_unwound) for value in values]
        changed = [(each,) for state in states for each in state]
        choices.append(states if len(states) == 1 else [*states, *changed, ()])
    for chosen in product(*choices):
        existing = [(number, value) for number, values in enumerate(chosen) for value in values]
        ordered = sorted(existing, key=lambda each: (place(each[1]), each[0]))
        if tuple(ordered[skip : skip + limit]) == shown:
            return True
    return False


def wrong(
    rules: frozenset[Rule], window: tuple[int, int], *, is_short: bool, is_unwound: bool
) -> State | None:
    """A state in which a whole command has answered wrongly, or None."""
    starts = product((*VALUES, None, SEVERAL), repeat=3)

    def verdict(state: State) -> bool | None:
        if state.read < len(state.documents):
            return None
        shown = reply(state, window, rules)
        return shown is None or is_right(state.seen, window, shown, is_unwound=is_unwound)

    return first_wrong(
        [State(each, tuple(frozenset({value}) for value in each), is_short, is_unwound) for each in starts],
        lambda state: steps(state, window, rules),
        verdict,
    )


EVERY = frozenset(Rule)
PAGES = [
    ((0, 1), False, False),
    ((0, 2), False, False),
    ((1, 1), False, False),
    ((0, 2), False, True),
    ((0, 2), True, False),
]
"""Skip and limit, whether the question is short, and whether it is behind `$unwind`."""


@pytest.mark.parametrize(("window", "is_short", "is_unwound"), PAGES)
def test_every_interleaving_is_right(window: tuple[int, int], is_short: bool, is_unwound: bool) -> None:
    assert wrong(EVERY, window, is_short=is_short, is_unwound=is_unwound) is None


@pytest.mark.parametrize("rule", Rule)
def test_each_rule_is_needed(rule: Rule) -> None:
    assert any(
        wrong(EVERY - {rule}, window, is_short=is_short, is_unwound=is_unwound) is not None
        for window, is_short, is_unwound in reversed(PAGES)
    )
