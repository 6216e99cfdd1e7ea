"""The construction of the frontier, in every order of its steps."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from itertools import combinations_with_replacement, product
from typing import NamedTuple

import pytest
from _pytest.mark import ParameterSet

from sealwire.keys.frontier.frontier import AFTER_ALL, Form, Frontier, Position, Uses

# Every order in which a job, two proxies and their clients can take their steps, on a few values.
#
# The server holds documents, each with one value in its old or its new form; the frontier that the job has
# written; and for each proxy what it acknowledged. What is checked at each step is what a client would see:
# a duplicate is found exactly where the value is there, a search finds all, a group has one row a value. At
# the end every form is new. A `Weakness` takes one rule of the construction away; the model has to notice
# each.
#
# A value may be of a context that has no key. Its key says where it stands; who asks first makes the key.


VALUES = 2
MAX_STATES = 400_000


class Weakness(Enum):
    """A rule that is not kept."""

    ACKNOWLEDGES_AT_ONCE = auto()
    BEGINS_IN_A_WINDOW = auto()
    READS_BEFORE_IT_REGISTERS = auto()
    CURSORS_ARE_NO_USE = auto()
    TRANSACTIONS_ARE_NO_USE = auto()
    ANY_VALUE_IS_NONE = auto()
    USES_OUTLAST_THE_LEASE = auto()
    MOVES_AFTER_A_CRASH = auto()
    MOVES_WITHOUT_ASKING = auto()
    CLOSES_WITHOUT_LOOKING = auto()
    WITHDRAWS_WHILE_IT_MOVES = auto()
    COMPARES_WITHOUT_A_KEY = auto()


class Trouble(Enum):
    """What goes wrong once, at any moment. One at a time: together they have too many orders."""

    CRASH = "the job crashes"
    LAPSE = "a lease runs out"
    WITHDRAWAL = "a window is withdrawn"


class Kind(Enum):
    """What a client does."""

    INSERT = "insert"
    TRANSACTION = "transaction"
    FIND = "find"
    GROUP = "group"
    COPY = "copy"


class Op(NamedTuple):
    """One thing that a client does, at one value; those that read all have none."""

    kind: Kind
    value: int | None = None


class Stored(NamedTuple):
    """A document: what its value is, and in which form it is there."""

    value: int
    is_new: bool


class Running(NamedTuple):
    """An operation that has begun: the form that the proxy chose, and what its first step saw."""

    op: Op
    is_new: bool | None
    """None: a form that nothing has."""
    positions: tuple[Position, ...] | None
    seen: tuple[int, ...] | None = None
    """Places of the documents that the first batch had."""
    is_use: bool = True


class Proxy(NamedTuple):
    """What one proxy knows, and what its client still wants."""

    frontier: Frontier
    todo: tuple[Op, ...]
    running: Running | None = None
    has_lease: bool = True
    is_registered: bool = True
    acknowledged: int = 0
    lapses: int = 0
    """How often its lease may still run out."""

    def uses(self) -> Uses:
        """The product's own bookkeeping, brought to this state."""
        uses = Uses(_QUIET)
        if self.running is not None and self.running.is_use:
            assert uses.begin(self.running.positions) is not None
        uses.observe(self.frontier)
        return uses


class State(NamedTuple):
    """Everything, at one moment."""

    documents: tuple[Stored, ...]
    frontier: Frontier
    proxies: tuple[Proxy, ...]
    is_asked: bool = False
    """Whether the job has found the open window acknowledged by all. A crash makes it forget this."""
    crashes: int = 0
    withdrawals: int = 0
    places: tuple[int | None, ...] = tuple(range(VALUES))
    """By value, where it stands; None: its context has no key."""

    def position(self, value: int) -> Position:
        place = self.places[value]
        assert place is not None
        return bytes((place + 1,))

    def with_key(self, value: int, place: int) -> "State":
        places = tuple(place if each == value else known for each, known in enumerate(self.places))
        return self._replace(places=places)

    def with_proxy(self, number: int, proxy: Proxy) -> "State":
        proxies = tuple(proxy if place == number else each for place, each in enumerate(self.proxies))
        return self._replace(proxies=proxies)


_QUIET = Frontier(7, 1, 2)


class WrongAnswer(AssertionError):
    """A client has seen what it would not have seen without a move."""


def begun(
    first: Op, second: Op, documents: tuple[int, ...], trouble: Trouble, keyless: int | None = None
) -> State:
    """Before the first window; each proxy's client wants one thing. `keyless`: a value that nobody has."""
    frontier = Frontier(7, 1, 2, generation=2)
    return State(
        documents=tuple(Stored(value, False) for value in documents),
        frontier=frontier,
        proxies=(Proxy(frontier, (first,), lapses=int(trouble is Trouble.LAPSE)), Proxy(frontier, (second,))),
        crashes=int(trouble is Trouble.CRASH),
        withdrawals=int(trouble is Trouble.WITHDRAWAL),
        places=tuple(None if value == keyless else value for value in range(VALUES)),
    )


@dataclass
class Explorer:
    """Walks through all states; `explore` returns how many there are."""

    weakness: Weakness | None = None
    ends: int = field(default=0, init=False)

    def explore(self, first: State) -> int:
        """Raises WrongAnswer."""
        seen = {first}
        waiting = [first]
        while waiting:
            state = waiting.pop()
            moved = False
            for following in self._steps(state):
                moved = True
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)
            if len(seen) > MAX_STATES:
                raise OverflowError("too many states")
            if not moved:
                self._check_end(state)
        return len(seen)

    def _check_end(self, state: State) -> None:
        """Nothing can happen any more: the move must be over, and every client have its answer."""
        self.ends += 1
        if not state.frontier.is_over or any(proxy.todo or proxy.running for proxy in state.proxies):
            raise WrongAnswer("everybody waits for somebody")
        if not all(document.is_new for document in state.documents):
            raise WrongAnswer("an old form was left behind")

    def _steps(self, state: State) -> Iterator[State]:
        yield from self._job(state)
        for number, proxy in enumerate(state.proxies):
            yield from self._proxy(state, number, proxy)

    # ------------------------------------------------------------------------------------------- the job

    def _job(self, state: State) -> Iterator[State]:
        frontier = state.frontier
        window = frontier.window
        if window.is_empty:
            if not frontier.is_over:
                for value in range(VALUES):
                    end = bytes((value + 2,)) if value + 1 < VALUES else AFTER_ALL
                    if end > window.start:
                        yield state._replace(frontier=frontier.opened(end), is_asked=False)
                        break
            return
        if state.crashes:
            is_asked = self.weakness is Weakness.MOVES_AFTER_A_CRASH
            yield state._replace(crashes=state.crashes - 1, is_asked=is_asked)
        may_withdraw = not frontier.is_moving or self.weakness is Weakness.WITHDRAWS_WHILE_IT_MOVES
        if state.withdrawals and may_withdraw:
            back = replace(frontier, is_moving=False).withdrawn()
            yield state._replace(frontier=back, is_asked=False, withdrawals=state.withdrawals - 1)
        if not frontier.is_moving:
            yield from self._ask(state, frontier)
            return
        old = [
            place
            for place, document in enumerate(state.documents)
            if not document.is_new and window.holds(state.position(document.value))
        ]
        for place in old:
            yield state._replace(documents=_changed(state.documents, place))
        if not old or self.weakness is Weakness.CLOSES_WITHOUT_LOOKING:
            yield state._replace(frontier=frontier.closed(), is_asked=False)

    def _ask(self, state: State, frontier: Frontier) -> Iterator[State]:
        """It reads what all have acknowledged, and then writes down that the window moves: two steps."""
        if state.is_asked:
            yield state._replace(frontier=frontier.moving(), is_asked=False)
        elif self.weakness is Weakness.MOVES_WITHOUT_ASKING or all(
            not proxy.is_registered or proxy.acknowledged >= frontier.generation for proxy in state.proxies
        ):
            yield state._replace(is_asked=True)

    # --------------------------------------------------------------------------------------- the proxies

    def _proxy(self, state: State, number: int, proxy: Proxy) -> Iterator[State]:
        if not proxy.has_lease:
            yield from self._renewals(state, number, proxy)
            return
        if proxy.frontier != state.frontier:
            yield state.with_proxy(number, proxy._replace(frontier=state.frontier))
        acknowledged = proxy.uses().acknowledged()
        if self.weakness is Weakness.ACKNOWLEDGES_AT_ONCE:
            acknowledged = proxy.frontier.generation
        if acknowledged is not None and acknowledged > proxy.acknowledged:
            yield state.with_proxy(number, proxy._replace(acknowledged=acknowledged))
        if proxy.lapses:
            running = proxy.running if self.weakness is Weakness.USES_OUTLAST_THE_LEASE else None
            yield state.with_proxy(
                number,
                proxy._replace(
                    running=running, has_lease=False, is_registered=False, lapses=proxy.lapses - 1
                ),
            )
        if proxy.running is not None:
            yield self._server(state, number, proxy, proxy.running)
        elif proxy.todo:
            yield from self._begin(state, number, proxy)

    def _renewals(self, state: State, number: int, proxy: Proxy) -> Iterator[State]:
        """Two steps: it registers, and reads the frontier; only then it has a lease."""
        if proxy.running is not None:
            yield self._server(state, number, proxy, proxy.running)
        if self.weakness is Weakness.READS_BEFORE_IT_REGISTERS:
            if proxy.frontier != state.frontier:
                yield state.with_proxy(number, proxy._replace(frontier=state.frontier))
            yield state.with_proxy(number, proxy._replace(is_registered=True, has_lease=True))
        elif not proxy.is_registered:
            yield state.with_proxy(number, proxy._replace(is_registered=True, acknowledged=0))
        else:
            yield state.with_proxy(number, proxy._replace(has_lease=True, frontier=state.frontier))

    def _begin(self, state: State, number: int, proxy: Proxy) -> Iterator[State]:
        op, *rest = proxy.todo
        if op.value is not None and state.places[op.value] is None:
            yield from self._search(state, number, proxy, op.value)
            return
        positions: tuple[Position, ...] | None = None if op.value is None else (state.position(op.value),)
        if self.weakness is Weakness.ANY_VALUE_IS_NONE and positions is None:
            positions = ()
        uses = proxy.uses()
        is_let_in = uses.begin(positions) is not None
        if not is_let_in and self.weakness is not Weakness.BEGINS_IN_A_WINDOW:
            return
        is_new = positions is not None and any(
            uses.frontier.form(position) is not Form.OLD for position in positions
        )
        is_use = not (positions == () and op.value is None)
        running = Running(op, is_new, positions, is_use=is_use)
        yield state.with_proxy(number, proxy._replace(todo=tuple(rest), running=running))

    def _search(self, state: State, number: int, proxy: Proxy, value: int) -> Iterator[State]:
        """A key is made, wherever it lets the value stand; the command is sent later, in another step."""
        op, *rest = proxy.todo
        if op.kind is Kind.FIND and self.weakness is Weakness.COMPARES_WITHOUT_A_KEY:
            yield state.with_proxy(number, proxy._replace(todo=tuple(rest), running=Running(op, None, ())))
            return
        for place in range(VALUES):
            yield state.with_key(value, place)

    # ---------------------------------------------------------------------------------------- the server

    def _server(self, state: State, number: int, proxy: Proxy, running: Running) -> State:
        """The next step of an operation at the server, and what its client sees of it."""
        documents = state.documents
        match running.op.kind:
            case Kind.INSERT:
                documents = self._insert(documents, running)
                after = None
            case Kind.TRANSACTION:
                if running.seen is None:
                    after = running._replace(
                        seen=(), is_use=self.weakness is not Weakness.TRANSACTIONS_ARE_NO_USE
                    )
                else:
                    documents = self._insert(documents, running)
                    after = None
            case Kind.FIND:
                after = self._find(documents, running)
            case Kind.GROUP:
                after = self._group(documents, running)
            case Kind.COPY if running.seen is None:
                after = running._replace(seen=(int(documents[0].is_new),))
            case Kind.COPY:
                documents = (*documents, Stored(documents[0].value, bool(running.seen[0])))
                after = None
        return state.with_proxy(number, proxy._replace(running=after))._replace(documents=documents)

    def _insert(self, documents: tuple[Stored, ...], running: Running) -> tuple[Stored, ...]:
        assert running.op.value is not None
        new = Stored(running.op.value, bool(running.is_new))
        is_there = any(document.value == new.value for document in documents)
        if (new in documents) is not is_there:
            raise WrongAnswer("a unique index was passed")
        return documents if is_there else (*documents, new)

    def _find(self, documents: tuple[Stored, ...], running: Running) -> Running | None:
        """One document for each batch, in the order of their forms, as an index has them."""
        equal = [place for place, document in enumerate(documents) if document.value == running.op.value]
        places = [place for place in equal if documents[place].is_new is running.is_new]
        if running.seen is None:
            if len(places) != len(equal):
                raise WrongAnswer("a search has missed a document")
            first = tuple(places[:1])
            return running._replace(seen=first, is_use=self.weakness is not Weakness.CURSORS_ARE_NO_USE)
        unseen = [place for place in equal if place not in running.seen]
        if [place for place in places if place not in running.seen] != unseen:
            raise WrongAnswer("a cursor has lost a document")
        return None

    def _group(self, documents: tuple[Stored, ...], running: Running) -> Running | None:
        """The first document is read, and later all others."""
        if running.seen is None:
            return running._replace(seen=(int(documents[0].is_new),))
        first = Stored(documents[0].value, bool(running.seen[0]))
        rows = {first, *documents[1:]}
        if len(rows) != len({document.value for document in documents}):
            raise WrongAnswer("a group has two rows for a value")
        return None


def _changed(documents: tuple[Stored, ...], place: int) -> tuple[Stored, ...]:
    moved = documents[place]._replace(is_new=True)
    return (*documents[:place], moved, *documents[place + 1 :])


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


def in_turn(pairs: Iterable[tuple[Op, Op]]) -> Iterator[ParameterSet]:
    """Each pair with each trouble: every third pair with one of them, in turn; the others are slow tests."""
    troubles = [*Trouble]
    for number, pair in enumerate(pairs):
        turn, is_left_out = divmod(number, len(troubles))
        for trouble in troubles:
            is_first = not is_left_out and trouble is troubles[turn % len(troubles)]
            yield pytest.param(*pair, trouble, marks=() if is_first else pytest.mark.slow)


PAIRS = [*combinations_with_replacement(OPS, 2)]
MIRRORED = [
    pytest.param(*pair, trouble, marks=pytest.mark.slow)
    for pair, trouble in product(product(OPS, OPS), Trouble)
    if pair not in PAIRS
]
"""The proxies are alike, so that these say the same once more."""


@pytest.mark.parametrize(("first", "second", "trouble"), [*in_turn(PAIRS), *MIRRORED])
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
KEYLESS_PAIRS = [*combinations_with_replacement(ON_KEYLESS, 2)]


@pytest.mark.parametrize(("first", "second", "trouble"), [*in_turn(KEYLESS_PAIRS)])
def test_every_answer_is_right_where_a_context_gets_its_key(first: Op, second: Op, trouble: Trouble) -> None:
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
