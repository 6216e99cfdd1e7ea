"""A model of a write of the first document in an order: every interleaving with the writes of others.

A write asks along an index for the first value, and then visits the documents for one that has it. If it
finds none, it asks again. Others write between any two of its steps. What has to hold:

- the document that is written is the first one of all that nobody changes meanwhile, and of some state of
  each of the others, or of none
- none is found only if every document did not satisfy the filter at some moment, or was changed twice; and
  each one that satisfies it was changed

Each rule that is taken away breaks one of these.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import product

import pytest

from tests.policies.questions.every_order import first_wrong

VALUES = "abc"
"""In their order."""
IN_INDEX = "cba"
MOST_WRITES = 2

Stored = str | None
"""None: it does not satisfy the filter."""


class Rule(Enum):
    FIRST = "only a document with the first value is written"
    LATEST = "the value is compared when a document is written"
    AGAIN = "a write that finds nothing is sent again, also with the same value"
    FAILS = "it is not said after some times that none is there, but that the write has failed"


EVERY = frozenset(Rule)


@dataclass(frozen=True)
class State:
    documents: tuple[Stored, ...]
    seen: tuple[frozenset[Stored], ...]
    """Every value that a document has had."""
    twice: frozenset[int] = frozenset()
    writes: int = 0
    at: int = -1
    """Up to where in the index the question has come."""
    known: frozenset[str] = frozenset()
    before: str | None = None
    """The value with which the command was sent before."""
    sent: int = 0
    visited: int = -1
    """How many documents were visited; less than zero: the question is not answered yet."""
    chosen: int | None = None
    """The document that is to be written, if its value is not compared then."""
    is_over: bool = False
    written: tuple[int, Stored] | None = None


def asking(state: State, most: int, rules: frozenset[Rule]) -> State:
    for place in range(state.at + 1, len(IN_INDEX)):
        if IN_INDEX[place] in state.documents:
            return replace(state, at=place, known=state.known | {IN_INDEX[place]})
    first = min(state.known, default=None)
    is_repeated = Rule.AGAIN not in rules and first == state.before
    if state.sent and (first is None or is_repeated):
        return replace(state, is_over=True)
    if state.sent == most:
        # an error says nothing of documents
        failed = (0, state.documents[0]) if Rule.FAILS in rules else None
        return replace(state, is_over=True, written=failed, sent=-1)
    return replace(state, visited=0, sent=state.sent + 1, before=first)


def visiting(state: State, rules: frozenset[Rule]) -> State:
    place, first = state.visited, min(state.known, default=None)
    if state.chosen is not None:
        chosen = state.chosen
        return replace(state, is_over=True, written=(chosen, state.documents[chosen]))
    if place == len(state.documents):
        return replace(state, visited=-1, at=-1, known=frozenset())
    value = state.documents[place]
    is_found = value is not None and (value == first or Rule.FIRST not in rules)
    if is_found and Rule.LATEST not in rules:
        return replace(state, chosen=place)
    if is_found:
        return replace(state, is_over=True, written=(place, value))
    return replace(state, visited=place + 1)


def steps(state: State, most: int, rules: frozenset[Rule]) -> Iterator[State]:
    yield asking(state, most, rules) if state.visited < 0 else visiting(state, rules)
    if state.writes == MOST_WRITES:
        return
    for place, value in enumerate(state.documents):
        for written in (*VALUES, None):
            if written != value:
                touched = {place} if len(state.seen[place]) > 1 else set[int]()
                seen = (*state.seen[:place], state.seen[place] | {written}, *state.seen[place + 1 :])
                documents = (*state.documents[:place], written, *state.documents[place + 1 :])
                yield replace(
                    state,
                    documents=documents,
                    seen=seen,
                    twice=state.twice | touched,
                    writes=state.writes + 1,
                )


def is_right(state: State) -> bool:
    """What a command that is over has promised."""
    if state.sent < 0 and state.written is not None:
        return True
    if state.written is None:
        unchanged = [seen for seen in state.seen if len(seen) == 1]
        stayed = [place for place, seen in enumerate(state.seen) if None not in seen]
        return all(None in seen for seen in unchanged) and state.twice.issuperset(stayed)
    number, value = state.written
    if value is None:
        return False
    choices = [[*seen] if len(seen) == 1 else [*seen, None] for seen in state.seen]
    return any(
        chosen[number] == value
        and min((each, place) for place, each in enumerate(chosen) if each is not None) == (value, number)
        for chosen in product(*choices)
    )


def wrong(rules: frozenset[Rule], most: int) -> State | None:
    starts = product((*VALUES, None), repeat=3)
    return first_wrong(
        [State(each, tuple(frozenset({value}) for value in each)) for each in starts],
        lambda state: steps(state, most, rules),
        lambda state: is_right(state) if state.is_over else None,
    )


@pytest.mark.parametrize("most", [1, 2, 4])
def test_every_interleaving_is_right(most: int) -> None:
    assert wrong(EVERY, most) is None


@pytest.mark.parametrize("rule", Rule)
def test_each_rule_is_needed(rule: Rule) -> None:
    assert any(wrong(EVERY - {rule}, most) is not None for most in (1, 2))
