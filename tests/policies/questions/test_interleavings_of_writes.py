"""A model of writes that ask first: every interleaving with the writes of others.

A write asks for the stored values along an index, and then visits the documents with the list of those that
satisfy its condition. Others write between any two of its steps. What has to hold is what MongoDB promises:

- a document that is written satisfied the condition when it was written
- of the documents that nobody changes meanwhile, a write of many finds those that satisfy, and no others
- a write of one finds something if one of them satisfies; or if a document satisfied at every moment, and was
  changed only once
- an upsert does not insert if a document satisfied the condition at every moment
- a document that is written holds no value any more that was to be pulled from it

Each rule that is taken away breaks one of these. Moves of a class are in the model of reads. Another
condition may say which documents are meant: then the question looks at these alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import product

import pytest

from tests.policies.questions.every_order import first_wrong

SATISFYING = frozenset("ab")
VALUES = "abc"
ORDER = {"c": 0, "b": 1, "a": 2}
"""Where values stand in the index."""
MOST_WRITES = 2

Document = frozenset[str]
"""The values of its field."""
SINGLE = [frozenset[str](), *(frozenset(value) for value in VALUES)]
ARRAYS = [*SINGLE, frozenset("ab"), frozenset("ac"), frozenset("bc")]


class Rule(Enum):
    ATOMIC = "the list is compared when a document is written"
    ONE_TIME = "the question and the write read the same snapshot, and a conflict ends both"
    AGAIN = "a write of one that finds nothing is asked about again, and sent again with new values"
    FRESH = "a statement does not ask for what an earlier one of the command may write"
    MEANT = "a statement asks at all documents if an earlier one may have made documents the meant ones"


class Kind(Enum):
    ONE = "one document"
    MANY = "many documents"
    UPSERT = "one document, or a new one"
    PULL = "what is pulled from the one document that an uncovered field finds"


EVERY = frozenset(Rule)
OUTSIDE = EVERY - {Rule.ONE_TIME}
"""Those of a write without a transaction."""
_OF_ONE = (Kind.ONE, Kind.UPSERT)


@dataclass(frozen=True)
class State:
    documents: tuple[Document, ...]
    meant: tuple[bool, ...]
    """Whether each meets the other condition. The command checks both conditions."""
    seen: tuple[Document, ...]
    """As they were when the command began."""
    touched: frozenset[int] = frozenset()
    failing: frozenset[int] = frozenset()
    """Documents that did not satisfy the condition at some moment."""
    twice: frozenset[int] = frozenset()
    """Those that were changed twice."""
    sent: frozenset[str] | None = None
    """The values with which the command was sent before."""
    writes: int = 0
    at: int = -1
    """Up to where in the index the question has come."""
    is_asked: bool = False
    known: frozenset[str] = frozenset()
    chosen: tuple[int, ...] | None = None
    """The documents that are to be written, if they were found before that."""
    visited: int = 0
    written: frozenset[int] = frozenset()
    is_over: bool = False
    is_aborted: bool = False
    is_right: bool = True


def meant_of(state: State) -> tuple[Document, ...]:
    """The documents, of which those that are not meant are as good as empty."""
    nothing: Document = frozenset()
    return tuple(
        each if is_meant else nothing for each, is_meant in zip(state.documents, state.meant, strict=True)
    )


def asking(state: State, documents: tuple[Document, ...]) -> State:
    ahead = [value for each in documents for value in each if ORDER[value] > state.at]
    if not ahead:
        return replace(state, is_asked=True)
    first = min(ahead, key=lambda each: ORDER[each])
    return replace(state, at=ORDER[first], known=state.known | {first})


def visiting(state: State, kind: Kind, rules: frozenset[Rule]) -> State:
    """The next document is looked at, and written if the command says so."""
    place, documents = state.visited, state.documents
    if place == len(documents):
        is_over = kind is not Kind.ONE or state.written or state.sent is not None
        if is_over or Rule.AGAIN not in rules or Rule.ONE_TIME in rules:
            return replace(state, is_over=True)
        return replace(state, sent=state.known & SATISFYING, at=-1, is_asked=False, visited=0)
    is_in_transaction = Rule.ONE_TIME in rules
    found = state.seen[place] if is_in_transaction else meant_of(state)[place]
    listed = state.known & SATISFYING
    is_found = bool(found & listed) or kind is Kind.PULL
    if state.chosen is not None:
        is_found = place in state.chosen
    state = replace(state, visited=place + 1)
    if not is_found:
        return state
    if is_in_transaction and place in state.touched:
        return replace(state, is_over=True, is_aborted=True)
    is_right = state.is_right and (kind is Kind.PULL or bool(meant_of(state)[place] & SATISFYING))
    if kind is Kind.PULL:
        left = documents[place] - listed
        is_right = is_right and not left & SATISFYING
    return replace(
        state, written=state.written | {place}, is_right=is_right, is_over=state.is_over or kind in _OF_ONE
    )


def choosing(state: State) -> State:
    """Without atomic writes: all that are in the list, before any is written."""
    listed = state.known & SATISFYING
    return replace(state, chosen=tuple(place for place, each in enumerate(meant_of(state)) if each & listed))


def steps(
    state: State, kind: Kind, rules: frozenset[Rule], choices: list[Document], *, narrow: bool
) -> Iterator[State]:
    if state.sent is not None and state.is_asked and state.known & SATISFYING <= state.sent:
        yield replace(state, is_over=True)
    elif not state.is_asked:
        among = state.seen if Rule.ONE_TIME in rules else meant_of(state)
        yield asking(state, among)
    elif Rule.ATOMIC not in rules and state.chosen is None:
        yield choosing(state)
    else:
        yield visiting(state, kind, rules)
    if state.writes == MOST_WRITES:
        return
    for place, document in enumerate(state.documents):
        touched, twice = state.touched | {place}, state.twice | ({place} & state.touched)
        changed = replace(state, touched=touched, twice=twice, writes=state.writes + 1)
        for written in choices:
            if written != document:
                documents = (*state.documents[:place], written, *state.documents[place + 1 :])
                yield failing_in(replace(changed, documents=documents))
        if narrow:
            meant = (*state.meant[:place], not state.meant[place], *state.meant[place + 1 :])
            yield failing_in(replace(changed, meant=meant))


def failing_in(state: State) -> State:
    """The state after documents were changed, with those noted that do not satisfy the condition."""
    failing = {place for place, each in enumerate(meant_of(state)) if not each & SATISFYING}
    return replace(state, failing=state.failing | failing)


def is_right(state: State, kind: Kind) -> bool:
    """What a command that is over has promised."""
    if state.is_aborted or not state.is_right or kind is Kind.PULL:
        return state.is_right
    places = range(len(state.documents))
    found = meant_of(state)
    satisfying = {each for each in places if each not in state.touched and found[each] & SATISFYING}
    if kind is Kind.MANY:
        return satisfying == state.written - state.touched
    if kind is Kind.UPSERT and not state.written:
        return set(places) <= state.failing
    if state.written:
        return True
    return not satisfying and set(places) <= state.failing | state.twice


def wrong(kind: Kind, rules: frozenset[Rule], *, narrow: bool = False) -> State | None:
    choices = ARRAYS if kind is Kind.PULL else SINGLE
    pairs = [(one, two) for one in choices for two in choices]
    starts = [
        failing_in(State(documents, meant, documents))
        for documents in ([(each,) for each in choices] if kind is Kind.PULL else pairs)
        for meant in product([True, False] if narrow else [True], repeat=len(documents))
    ]
    return first_wrong(
        starts,
        lambda state: steps(state, kind, rules, choices, narrow=narrow),
        lambda state: is_right(state, kind) if state.is_over else None,
    )


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("kind", [Kind.ONE, Kind.MANY])
def test_a_filter_is_right_without_a_transaction(kind: Kind, narrow: bool) -> None:
    assert wrong(kind, OUTSIDE, narrow=narrow) is None
    assert wrong(kind, OUTSIDE - {Rule.ATOMIC}, narrow=narrow) is not None


def test_a_write_of_one_that_is_not_asked_about_again_misses_a_document() -> None:
    assert wrong(Kind.ONE, OUTSIDE - {Rule.AGAIN}) is not None


@pytest.mark.parametrize("kind", Kind)
def test_everything_is_right_in_a_transaction(kind: Kind) -> None:
    assert wrong(kind, EVERY) is None


@pytest.mark.parametrize("kind", [Kind.UPSERT, Kind.PULL])
def test_what_decides_more_is_wrong_without_one(kind: Kind) -> None:
    assert wrong(kind, OUTSIDE) is not None


def after_two_statements(rules: frozenset[Rule]) -> frozenset[int] | None:
    """What the second statement writes after one that sets the first document to "b"; None: it is refused."""
    documents = [frozenset("c"), frozenset("a")]
    if Rule.FRESH in rules:
        return None
    known = frozenset().union(*documents)
    documents[0] = frozenset("b")
    return frozenset(place for place, each in enumerate(documents) if each & known & SATISFYING)


def test_a_statement_sees_what_those_before_it_have_written() -> None:
    assert after_two_statements(EVERY) is None
    assert after_two_statements(EVERY - {Rule.FRESH}) != frozenset({0, 1})


def after_one_that_means(rules: frozenset[Rule]) -> frozenset[int]:
    """The documents that a second statement writes, after a first one has made both the meant ones."""
    documents, meant = [frozenset("b"), frozenset("a")], [False, True]
    among = [each for each, is_meant in zip(documents, meant, strict=True) if is_meant]
    known = frozenset[str]().union(*(documents if Rule.MEANT in rules else among))
    return frozenset(place for place, each in enumerate(documents) if each & known & SATISFYING)


def test_a_statement_meets_documents_that_those_before_it_have_made_the_meant_ones() -> None:
    assert after_one_that_means(EVERY) == frozenset({0, 1})
    assert after_one_that_means(EVERY - {Rule.MEANT}) != frozenset({0, 1})
