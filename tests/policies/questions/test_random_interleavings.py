"""The two steps of a read or a write on a random class, with two writes of others and a job, as a model.

The question reads the documents one by one, and then the command visits them with the list of envelopes. What
has to hold: a document that no client changes meanwhile is found if and only if its value satisfies the
condition, and whatever is found satisfies it when it is visited. Or the command is refused. Each rule that is
taken away breaks this.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

import pytest

from tests.policies.questions.every_order import first_wrong

VALUES, SATISFYING = "ac", "a"
MOST_WRITES = 2


class Rule(Enum):
    ENVELOPES = "the list has envelopes, and not the documents that had them"
    COMPLEMENT = "below a negation, the list has the envelopes that do not satisfy the condition"
    NEWEST = "what a job may encrypt anew is not listed: the command is refused"


class Stored(NamedTuple):
    """A value: each write and each key makes another envelope of it."""

    value: str
    write: int
    is_newest: bool


@dataclass(frozen=True)
class State:
    documents: tuple[Stored, ...]
    touched: frozenset[int] = frozenset()
    writes: int = 0
    asked: int = 0
    known: frozenset[tuple[int, Stored]] = frozenset()
    """By place, what the question has met."""
    visited: int = 0
    found: frozenset[int] = frozenset()
    is_right: bool = True


def satisfies(stored: Stored, *, negated: bool) -> bool:
    return (stored.value in SATISFYING) is not negated


def is_found(state: State, place: int, rules: frozenset[Rule], *, negated: bool) -> bool:
    listed = Rule.COMPLEMENT in rules or not negated
    known = [each for each in state.known if satisfies(each[1], negated=negated) is listed]
    if Rule.ENVELOPES not in rules:
        return any(where == place for where, _ in known) is listed
    return any(stored == state.documents[place] for _, stored in known) is listed


def steps(state: State, rules: frozenset[Rule], *, negated: bool) -> Iterator[State]:
    documents = state.documents
    if state.asked < len(documents):
        met = state.asked, documents[state.asked]
        yield replace(state, asked=state.asked + 1, known=state.known | {met})
    else:
        found = is_found(state, state.visited, rules, negated=negated)
        yield replace(
            state,
            visited=state.visited + 1,
            found=state.found | ({state.visited} if found else set()),
            is_right=state.is_right and (not found or satisfies(documents[state.visited], negated=negated)),
        )
    for place, stored in enumerate(documents):
        if not stored.is_newest:
            moved = stored._replace(is_newest=True)
            yield replace(state, documents=(*documents[:place], moved, *documents[place + 1 :]))
        for value in VALUES if state.writes < MOST_WRITES else ():
            written = Stored(value, state.writes + 1, is_newest=True)
            yield replace(
                state,
                documents=(*documents[:place], written, *documents[place + 1 :]),
                touched=state.touched | {place},
                writes=state.writes + 1,
            )


def is_refused(state: State, rules: frozenset[Rule], *, negated: bool) -> bool:
    listed = [stored for _, stored in state.known if satisfies(stored, negated=negated)]
    return Rule.NEWEST in rules and not all(stored.is_newest for stored in listed)


def wrong(rules: frozenset[Rule], *, negated: bool) -> State | None:
    """A state in which a whole command has answered wrongly, or None."""
    stored = [Stored(value, 0, is_newest) for value in VALUES for is_newest in (False, True)]

    def verdict(state: State) -> bool | None:
        if state.asked == len(state.documents) and is_refused(state, rules, negated=negated):
            return True
        if state.visited < len(state.documents):
            return None
        untouched = set(range(len(state.documents))) - state.touched
        wanted = {place for place in untouched if satisfies(state.documents[place], negated=negated)}
        return state.is_right and wanted == state.found & untouched

    starts = [State((one, two)) for one in stored for two in stored]
    return first_wrong(starts, lambda state: steps(state, rules, negated=negated), verdict)


@pytest.mark.parametrize("negated", [False, True])
def test_every_interleaving_is_right(negated: bool) -> None:
    assert wrong(frozenset(Rule), negated=negated) is None


@pytest.mark.parametrize("rule", Rule)
def test_each_rule_is_needed(rule: Rule) -> None:
    assert wrong(frozenset(Rule) - {rule}, negated=rule is Rule.COMPLEMENT) is not None
