"""The construction of the frontier, in every order of its steps."""

from itertools import combinations_with_replacement, product

import pytest

from tests.keys.frontier.model import Explorer, Kind, Op, State, Trouble, Weakness, WrongAnswer, begun

OPS = (
    Op(Kind.INSERT, 0),
    Op(Kind.INSERT, 1),
    Op(Kind.TRANSACTION, 1),
    Op(Kind.FIND, 1),
    Op(Kind.GROUP),
    Op(Kind.COPY),
)
INSERT_SEEN, INSERT_UNSEEN, TRANSACTION, FIND, GROUP, COPY = OPS

# Documents that an operation needs for its answer to differ.
DOCUMENTS = {Kind.FIND: (1, 1), Kind.GROUP: (1, 1), Kind.COPY: (0,)}

# For each rule, clients that get a wrong answer where it is not kept, and what has to go wrong besides.
BREAKS = {
    Weakness.ACKNOWLEDGES_AT_ONCE: (GROUP, INSERT_SEEN, Trouble.CRASH),
    Weakness.BEGINS_IN_A_WINDOW: (FIND, INSERT_SEEN, Trouble.CRASH),
    Weakness.READS_BEFORE_IT_REGISTERS: (INSERT_SEEN, INSERT_UNSEEN, Trouble.LAPSE),
    Weakness.CURSORS_ARE_NO_USE: (FIND, INSERT_SEEN, Trouble.CRASH),
    Weakness.TRANSACTIONS_ARE_NO_USE: (TRANSACTION, INSERT_SEEN, Trouble.CRASH),
    Weakness.ANY_VALUE_IS_NONE: (COPY, INSERT_SEEN, Trouble.CRASH),
    Weakness.USES_OUTLAST_THE_LEASE: (TRANSACTION, INSERT_SEEN, Trouble.LAPSE),
    Weakness.MOVES_AFTER_A_CRASH: (GROUP, INSERT_SEEN, Trouble.CRASH),
    Weakness.MOVES_WITHOUT_ASKING: (INSERT_SEEN, INSERT_UNSEEN, Trouble.CRASH),
    Weakness.WITHDRAWS_WHILE_IT_MOVES: (FIND, INSERT_SEEN, Trouble.WITHDRAWAL),
    Weakness.CLOSES_WITHOUT_LOOKING: (INSERT_SEEN, INSERT_UNSEEN, Trouble.CRASH),
}


def state_of(first: Op, second: Op, trouble: Trouble) -> State:
    documents = DOCUMENTS.get(first.kind) or DOCUMENTS.get(second.kind) or (0,)
    return begun(first, second, documents, trouble)


PAIRS = [*combinations_with_replacement(OPS, 2)]
MIRRORED = [pytest.param(*pair, marks=pytest.mark.slow) for pair in product(OPS, OPS) if pair not in PAIRS]
"""The proxies are alike, so that these say the same once more."""


@pytest.mark.parametrize("trouble", Trouble)
@pytest.mark.parametrize(("first", "second"), [*PAIRS, *MIRRORED])
def test_every_answer_is_right_whoever_goes_first(first: Op, second: Op, trouble: Trouble) -> None:
    explorer = Explorer()
    assert explorer.explore(state_of(first, second, trouble)) > 100
    assert explorer.ends


KEYLESS = 1
"""A value of a context that has no key yet; a document with another one is there."""
ON_KEYLESS = (
    Op(Kind.INSERT, KEYLESS),
    Op(Kind.TRANSACTION, KEYLESS),
    Op(Kind.FIND, KEYLESS),
    Op(Kind.GROUP),
    Op(Kind.INSERT, 0),
)


@pytest.mark.parametrize("trouble", Trouble)
@pytest.mark.parametrize(("first", "second"), [*combinations_with_replacement(ON_KEYLESS, 2)])
def test_every_answer_is_right_where_a_context_gets_its_key_meanwhile(
    first: Op, second: Op, trouble: Trouble
) -> None:
    """The keys of contexts, of a class that is put back in clear: a value stands where its key says."""
    explorer = Explorer()
    assert explorer.explore(begun(first, second, (0,), trouble, KEYLESS)) > 100
    assert explorer.ends


def test_the_model_notices_a_filter_without_the_key_of_its_context() -> None:
    find, insert = Op(Kind.FIND, KEYLESS), Op(Kind.INSERT, KEYLESS)
    with pytest.raises(WrongAnswer):
        Explorer(Weakness.COMPARES_WITHOUT_A_KEY).explore(begun(find, insert, (0,), Trouble.CRASH, KEYLESS))


@pytest.mark.parametrize("weakness", BREAKS)
def test_the_model_notices_a_rule_that_is_not_kept(weakness: Weakness) -> None:
    with pytest.raises(WrongAnswer):
        Explorer(weakness).explore(state_of(*BREAKS[weakness]))
