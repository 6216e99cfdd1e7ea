"""A model of asking first: every interleaving of a command with writes of others and with a move.

A read asks for the stored values along an index, and then reads the documents with the list of those that
satisfy its condition. Others write between any two of its steps, and a class may move to another key. What
has to hold is what MongoDB promises of a read at no one time: a document that nobody changes meanwhile is
found if and only if it satisfies the condition, and whatever is found satisfied it when it was read.
Each rule that is taken away breaks this. A condition below a negation is looked at with arrays as well.
Another condition beside it may say which documents are meant: then the question looks at these alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import product

import pytest

from tests.policies.questions.every_order import first_wrong

SATISFYING = frozenset("ab")
VALUES = "abc"
ORDER = {("a", 0): 1, ("b", 0): 5, ("c", 0): 3, ("a", 1): 4, ("b", 1): 0, ("c", 1): 2}
"""Where the two forms of each value stand in the index."""
MOST_WRITES = 2

Form = tuple[str, int]
"""A value, and the version of the key under which it is stored."""
Document = tuple[Form, ...]
"""The values of its field: none, one, or several in an array."""
Documents = tuple[Document, ...]


class Rule(Enum):
    COMPLEMENT = "below a negation, the list has the values that do not satisfy the condition"
    EVERY_VALUE = "below a negation, every value of a document has to be in the list"
    HELD = "no value moves while the question is answered"
    FORMS = "the list has every form of a value"


@dataclass(frozen=True)
class State:
    documents: Documents
    meant: tuple[bool, ...]
    """Whether each meets the other condition. The command checks both conditions."""
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


def satisfies(document: Document, *, negated: bool) -> bool:
    return any(value in SATISFYING for value, _ in document) is not negated


def is_let_in(document: Document, known: frozenset[Form], rules: frozenset[Rule], *, negated: bool) -> bool:
    """Whether the command finds the document, as it stands when it is read."""
    if not negated or Rule.COMPLEMENT not in rules:
        return any(form in listed(known, rules, satisfying=True) for form in document) is not negated
    inside = [form in listed(known, rules, satisfying=False) for form in document]
    return all(inside) or (Rule.EVERY_VALUE not in rules and any(inside))


def listed(known: frozenset[Form], rules: frozenset[Rule], *, satisfying: bool) -> frozenset[Form]:
    found = {form for form in known if (form[0] in SATISFYING) is satisfying}
    if Rule.FORMS in rules:
        found |= {(value, version) for value, _ in found for version in (0, 1)}
    return frozenset(found)


def steps(
    state: State, rules: frozenset[Rule], choices: list[tuple[str, ...]], *, negated: bool, narrow: bool
) -> Iterator[State]:
    documents = state.documents
    if not state.is_asked:
        among = [each for each, is_meant in zip(documents, state.meant, strict=True) if is_meant]
        ahead = [form for document in among for form in document if ORDER[form] > state.at]
        if ahead:
            first = min(ahead, key=lambda each: ORDER[each])
            yield replace(state, at=ORDER[first], known=state.known | {first})
        else:
            yield replace(state, is_asked=True)
    elif state.read < len(documents):
        document = documents[state.read]
        is_found = state.meant[state.read] and is_let_in(document, state.known, rules, negated=negated)
        is_right = not is_found or satisfies(document, negated=negated)
        found = state.found | {state.read} if is_found else state.found
        yield replace(state, read=state.read + 1, found=found, is_right=state.is_right and is_right)
    for place, document in enumerate(documents):
        is_moved = any(version for _, version in document)
        if state.writes < MOST_WRITES and narrow:
            meant = (*state.meant[:place], not state.meant[place], *state.meant[place + 1 :])
            yield replace(state, meant=meant, touched=state.touched | {place}, writes=state.writes + 1)
        if state.writes < MOST_WRITES:
            for chosen in choices:
                written = tuple((value, int(is_moved)) for value in chosen)
                if written != document:
                    changed = (*documents[:place], written, *documents[place + 1 :])
                    yield replace(
                        state, documents=changed, touched=state.touched | {place}, writes=state.writes + 1
                    )
        may_move = state.is_asked or state.at < 0 or Rule.HELD not in rules
        if document and not is_moved and may_move:
            moved = tuple((value, 1) for value, _ in document)
            changed = (*documents[:place], moved, *documents[place + 1 :])
            yield replace(state, documents=changed)


SINGLE: list[tuple[str, ...]] = [(), *((value,) for value in VALUES)]
ARRAYS = [*SINGLE, ("a", "c"), ("c", "c"), ("a", "b")]


def wrong(rules: frozenset[Rule], *, negated: bool, arrays: bool, narrow: bool = False) -> State | None:
    """A state in which a whole command has answered wrongly, or None.

    There are two documents with one value, or one document with an array.
    """
    choices = ARRAYS if arrays else SINGLE
    starts = [(each,) for each in choices] if arrays else [(one, two) for one in choices for two in choices]

    def verdict(state: State) -> bool | None:
        if state.read < len(state.documents):
            return None
        untouched = set(range(len(state.documents))) - state.touched
        wanted = {
            place
            for place in untouched
            if state.meant[place] and satisfies(state.documents[place], negated=negated)
        }
        return state.is_right and wanted == state.found & untouched

    return first_wrong(
        [
            State(tuple(tuple((value, 0) for value in chosen) for chosen in documents), meant)
            for documents in starts
            for meant in product([True, False] if narrow else [True], repeat=len(documents))
        ],
        lambda state: steps(state, rules, choices, negated=negated, narrow=narrow),
        verdict,
    )


EVERY = frozenset(Rule)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("arrays", [False, True])
@pytest.mark.parametrize("negated", [False, True])
def test_every_interleaving_is_right(negated: bool, arrays: bool, narrow: bool) -> None:
    assert wrong(EVERY, negated=negated, arrays=arrays, narrow=narrow) is None


@pytest.mark.parametrize("rule", Rule)
def test_each_rule_is_needed(rule: Rule) -> None:
    negated = rule in (Rule.COMPLEMENT, Rule.EVERY_VALUE)
    assert wrong(EVERY - {rule}, negated=negated, arrays=rule is Rule.EVERY_VALUE) is not None


@pytest.mark.parametrize("rule", [Rule.HELD, Rule.FORMS])
def test_a_negation_needs_the_rules_of_a_move_as_well(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.SATISFYING", frozenset("c"))
    assert wrong(EVERY - {rule}, negated=True, arrays=False) is not None
    assert wrong(EVERY, negated=True, arrays=False) is None
