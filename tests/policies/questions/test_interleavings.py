"""A model of asking first: every interleaving of a command with writes of others and with a move.

A read asks for the stored values along an index, and then reads the documents with the list of those that
satisfy its condition. Others write between any two of its steps, and a class may move to another key. What
has to hold is what MongoDB promises of a read at no one time: a document that nobody changes meanwhile is
found if and only if it satisfies the condition, and whatever is found satisfied it when it was read.
Each rule that is taken away breaks this.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

import pytest

SATISFYING = frozenset("ab")
VALUES = "abc"
ORDER = {("a", 0): 1, ("b", 0): 5, ("c", 0): 3, ("a", 1): 4, ("b", 1): 0, ("c", 1): 2}
"""Where the two forms of each value stand in the index."""
MOST_WRITES = 2

Form = tuple[str, int]
"""A value, and the version of the key under which it is stored."""
Documents = tuple[Form | None, ...]


class Rule(Enum):
    POSITIVE = "a condition below a negation is not asked about"
    HELD = "no value moves while the question is answered"
    FORMS = "the list has every form of a value"


@dataclass(frozen=True)
class State:
    documents: Documents
    touched: frozenset[int] = frozenset()
    writes: int = 0
    at: int = -1
    """Up to where in the index the question has come."""
    is_asked: bool = False
    known: frozenset[Form] = frozenset()
    read: int = 0
    """How many documents the command has read."""
    found: frozenset[int] = frozenset()
    is_right: bool = True


def listed(state: State, rules: frozenset[Rule]) -> frozenset[Form]:
    found = {form for form in state.known if form[0] in SATISFYING}
    if Rule.FORMS in rules:
        found |= {(value, version) for value, _ in found for version in (0, 1)}
    return frozenset(found)


def steps(state: State, rules: frozenset[Rule], *, negated: bool) -> Iterator[State]:
    documents = state.documents
    if not state.is_asked:
        ahead = [form for form in documents if form is not None and ORDER[form] > state.at]
        if ahead:
            first = min(ahead, key=lambda each: ORDER[each])
            yield replace(state, at=ORDER[first], known=state.known | {first})
        else:
            yield replace(state, is_asked=True)
    elif state.read < len(documents):
        form = documents[state.read]
        is_in_list = form is not None and form in listed(state, rules)
        is_found = form is not None and is_in_list is not negated
        is_right = form is None or not is_found or (form[0] in SATISFYING) is not negated
        found = state.found | {state.read} if is_found else state.found
        yield replace(state, read=state.read + 1, found=found, is_right=state.is_right and is_right)
    for place, form in enumerate(documents):
        if state.writes < MOST_WRITES:
            version = 1 if form is not None and form[1] else 0
            for written in (*((value, version) for value in VALUES), None):
                if written != form:
                    changed = (*documents[:place], written, *documents[place + 1 :])
                    yield replace(
                        state,
                        documents=changed,
                        touched=state.touched | {place},
                        writes=state.writes + 1,
                    )
        may_move = state.is_asked or state.at < 0 or Rule.HELD not in rules
        if form is not None and not form[1] and may_move:
            changed = (*documents[:place], (form[0], 1), *documents[place + 1 :])
            yield replace(state, documents=changed)


def wrong(rules: frozenset[Rule], *, negated: bool) -> State | None:
    """A state in which a whole command has answered wrongly; None where there is none."""
    if negated and Rule.POSITIVE in rules:
        return None
    pairs = [(first, second) for first in (*VALUES, None) for second in (*VALUES, None)]
    waiting = [State(tuple(None if value is None else (value, 0) for value in pair)) for pair in pairs]
    seen = set(waiting)
    while waiting:
        state = waiting.pop()
        if state.read == len(state.documents):
            untouched = set(range(len(state.documents))) - state.touched
            for place in untouched:
                form = state.documents[place]
                satisfies = form is not None and (form[0] in SATISFYING) is not negated
                if (place in state.found) is not satisfies:
                    return state
            if not state.is_right:
                return state
            continue
        for further in steps(state, rules, negated=negated):
            if further not in seen:
                seen.add(further)
                waiting.append(further)
    return None


EVERY = frozenset(Rule)


@pytest.mark.parametrize("negated", [False, True])
def test_every_interleaving_is_right(negated: bool) -> None:
    assert wrong(EVERY, negated=negated) is None


@pytest.mark.parametrize("rule", Rule)
def test_each_rule_is_needed(rule: Rule) -> None:
    assert wrong(EVERY - {rule}, negated=rule is Rule.POSITIVE) is not None
