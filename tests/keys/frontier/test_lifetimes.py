"""What outlives a lease, in every order of the steps: with every rule, and with each one taken away."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import pytest

from tests.keys.frontier.lifetime_states import Fault, Op, Weakness, World, WrongAnswer
from tests.keys.frontier.lifetimes import Explorer

FOUND: Final = World((Op.FIND, Op.IDLE), is_there=True)
COMMITTED: Final = World((Op.TRANSACTION, Op.IDLE))
INSERTED: Final = World((Op.INSERT, Op.IDLE), is_there=True)
READ: Final = World((Op.SNAPSHOT, Op.IDLE), is_there=True)


def of(ops: World, *faults: Fault, moves: int = 1, delays: bool = True) -> World:
    """The same clients, where this goes wrong. Refusing is right where a frontier or a keyring is not."""
    may_refuse = not _REFUSED.isdisjoint(faults)
    is_down = Fault.KILL not in faults and not {Fault.RESTART, Fault.RESTART_OLD}.isdisjoint(faults)
    return World(ops.ops, faults, ops.is_there, moves, delays, is_down, may_refuse)


def first(ops: World, *faults: Fault, is_without: bool = False) -> World:
    """The same at the class's first move, which may wait forever: a proxy without a frontier may run on."""
    is_down = Fault.KILL not in faults and Fault.RESTART_WITHOUT in faults
    world = of(ops, *faults)
    return replace(world, is_first=True, is_without=is_without, is_down=is_down, may_refuse=True)


_REFUSED: Final = frozenset(
    {
        Fault.RESTART_OLD,
        Fault.RESTART_WITHOUT,
        Fault.LOSE_FRONTIER,
        Fault.LOSE_DATABASE,
        Fault.PUT_FRONTIER_BACK,
        Fault.PUT_DATABASE_BACK,
    }
)

BREAKS: Final[Mapping[Weakness, World]] = {
    Weakness.SENDS_WITHOUT_A_LEASE: of(FOUND, Fault.STOP),
    Weakness.FORGETS_EARLIER_TRANSACTIONS: of(COMMITTED),
    Weakness.IGNORES_LEASES_EARLY: of(COMMITTED, Fault.KILL),
    Weakness.GIVES_BACK_A_BUSY_LEASE: of(COMMITTED, Fault.END),
    Weakness.READS_THE_TIME_LATER: of(FOUND),
    Weakness.MESSAGES_LAST: of(INSERTED, Fault.KILL),
    Weakness.BEGINS_WITHOUT_THE_KEYRING: of(FOUND, Fault.RESTART, Fault.LOSE_DATABASE),
    Weakness.IGNORES_NEWER_VERSIONS: of(FOUND, Fault.RESTART_OLD),
    Weakness.FORGETS_WHAT_WAS_SEEN: of(FOUND, Fault.RESTART, Fault.PUT_FRONTIER_BACK),
    Weakness.KEEPS_WHAT_IT_WROTE: of(FOUND, Fault.RESTART, Fault.PUT_FRONTIER_BACK),
    Weakness.NAMES_NO_DATABASE: of(FOUND, Fault.RESTART, Fault.PUT_DATABASE_BACK),
    Weakness.OPENS_AT_ONCE: of(FOUND, Fault.LOSE_DATABASE),
    Weakness.BELIEVES_A_COPY: of(FOUND, Fault.PUT_DATABASE_BACK),
    Weakness.READS_WHAT_WAS: of(READ),
    Weakness.FORGETS_RECENT_MOVES: of(READ, Fault.KILL, Fault.RESTART),
    Weakness.ENDS_WITH_AN_ERROR: of(COMMITTED, Fault.BREAK),
    Weakness.OVERWRITES: of(FOUND, Fault.STOP_JOB, Fault.RESTART),
    Weakness.TURNS_BACK_EARLY: of(FOUND, Fault.STOP_JOB, moves=2),
    Weakness.SERVES_WHAT_IS_PENDING: first(FOUND, Fault.RESTART_WITHOUT),
    Weakness.SERVES_WHAT_MOVED: of(FOUND, Fault.KILL, Fault.RESTART_WITHOUT),
    Weakness.COUNTS_NOBODY: first(FOUND, is_without=True),
    Weakness.COUNTS_WHAT_ENDED: first(FOUND, Fault.KILL, Fault.RESTART_WITHOUT),
    Weakness.OPENS_AFTER_THE_COUNT: first(COMMITTED, Fault.KILL, is_without=True),
}
"""For each rule, where it is needed. One is a second line only, and has a test of its own."""

OTHERS: Final = (
    first(FOUND),
    first(INSERTED, Fault.KILL, is_without=True),
    first(COMMITTED, Fault.KILL, Fault.RESTART, is_without=True),
    first(INSERTED, Fault.KILL, Fault.RESTART_WITHOUT),
    *(of(COMMITTED, fault) for fault in (Fault.STOP, Fault.LAPSE)),
    of(COMMITTED, Fault.KILL, moves=2),
    of(FOUND, Fault.LAPSE),
    of(INSERTED, Fault.END),
    of(INSERTED, Fault.STOP),
    of(INSERTED, Fault.RESTART, Fault.LOSE_FRONTIER),
    of(INSERTED, Fault.PUT_DATABASE_BACK),
    of(World((Op.INSERT, Op.INSERT)), Fault.KILL),
    of(World((Op.TRANSACTION, Op.INSERT))),
    of(World((Op.TRANSACTION, Op.TRANSACTION))),
)

LARGER: Final = (
    *(first(COMMITTED, fault) for fault in (Fault.KILL, Fault.END, Fault.STOP, Fault.LAPSE)),
    first(COMMITTED, Fault.KILL, Fault.RESTART_WITHOUT),
    first(FOUND, Fault.KILL, Fault.RESTART_WITHOUT, Fault.STOP_JOB),
    of(COMMITTED, Fault.KILL, Fault.RESTART_WITHOUT),
    *(
        of(World((Op.TRANSACTION, other)), fault)
        for other in (Op.INSERT, Op.FIND, Op.TRANSACTION)
        for fault in (Fault.KILL, Fault.END, Fault.STOP, Fault.LAPSE)
    ),
    of(COMMITTED, Fault.LAPSE, Fault.KILL),
    of(COMMITTED, Fault.LAPSE, Fault.STOP),
    of(COMMITTED, Fault.STOP, Fault.KILL),
    of(COMMITTED, Fault.KILL, Fault.RESTART),
    *(of(COMMITTED, Fault.BREAK, fault) for fault in (Fault.KILL, Fault.END, Fault.STOP, Fault.LAPSE)),
    of(World((Op.TRANSACTION, Op.TRANSACTION)), Fault.BREAK),
    *(of(READ, fault) for fault in (Fault.STOP, Fault.END, Fault.LAPSE)),
    of(READ, moves=2),
    of(COMMITTED, Fault.STOP_JOB),
    of(COMMITTED, Fault.LOSE_DATABASE),
    of(FOUND, Fault.KILL, Fault.RESTART, Fault.LOSE_FRONTIER),
    of(FOUND, Fault.KILL, Fault.RESTART, Fault.LOSE_DATABASE),
    of(FOUND, Fault.KILL, Fault.RESTART, Fault.PUT_FRONTIER_BACK),
    of(FOUND, Fault.KILL, Fault.RESTART, Fault.PUT_DATABASE_BACK),
    of(FOUND, Fault.STOP, Fault.STOP_JOB),
    of(FOUND, Fault.STOP, moves=2),
)


def named(world: World) -> str:
    kind = "-first" * world.is_first + "-without" * world.is_without
    return "-".join(each.name.lower() for each in (*world.ops, *world.faults)) + f"-{world.moves}{kind}"


@pytest.mark.parametrize("world", dict.fromkeys([*BREAKS.values(), *OTHERS]), ids=named)
def test_every_answer_is_right_whatever_outlives_a_lease(world: World) -> None:
    assert Explorer(world).explore() > 20


@pytest.mark.slow
@pytest.mark.parametrize("world", LARGER, ids=named)
def test_every_answer_is_right_with_more_at_once(world: World) -> None:
    assert Explorer(world).explore() > 1000


@pytest.mark.parametrize("weakness", BREAKS)
def test_the_model_notices_a_rule_that_is_not_kept(weakness: Weakness) -> None:
    with pytest.raises(WrongAnswer):
        Explorer(BREAKS[weakness], frozenset({weakness})).explore()


def test_a_lost_transaction_is_aborted_also_if_the_job_does_not_wait_for_it() -> None:
    """The second line, for a server that keeps transactions longer than the job takes it to do."""
    world, too_early = of(COMMITTED, Fault.LAPSE), Weakness.IGNORES_LEASES_EARLY
    assert Explorer(world, frozenset({too_early})).explore() > 1000
    with pytest.raises(WrongAnswer):
        Explorer(world, frozenset({too_early, Weakness.COMMITS_WHAT_IT_LOST})).explore()


def test_a_proxy_that_nobody_counted_and_that_knows_no_move_is_not_noticed() -> None:
    """The manual has to say so: nothing tells its keyring from that of a class that never moved."""
    world = replace(first(FOUND, Fault.RESTART_WITHOUT), is_surprised=True)
    with pytest.raises(WrongAnswer):
        Explorer(world).explore()


def test_an_old_keyring_beside_a_lost_database_is_not_noticed() -> None:
    """Nothing is left then that says that the class has moved: the manual has to say so."""
    with pytest.raises(WrongAnswer):
        Explorer(of(FOUND, Fault.RESTART_OLD, Fault.LOSE_DATABASE)).explore()


NOT_YET: Final = frozenset(Weakness) - {Weakness.IGNORES_NEWER_VERSIONS, Weakness.OVERWRITES}
"""The rules that the construction began without."""

ASKED, TRACKED = Weakness.SENDS_WITHOUT_A_LEASE, Weakness.FORGETS_EARLIER_TRANSACTIONS
TIMED = Weakness.READS_THE_TIME_LATER

DEFECTS: Final[Mapping[str, tuple[World, set[Weakness]]]] = {
    "a transaction from before its class was followed": (of(COMMITTED, delays=False), {TIMED}),
    "a proxy that is killed with a transaction open": (
        of(COMMITTED, Fault.KILL, delays=False),
        {TIMED, TRACKED},
    ),
    "a proxy that ends with a transaction open": (of(COMMITTED, Fault.END, delays=False), {TIMED, TRACKED}),
    "a proxy that is stopped with a transaction open": (
        of(COMMITTED, Fault.STOP, delays=False),
        {TIMED, TRACKED},
    ),
    "a proxy that was stopped while nothing moved": (of(FOUND, Fault.STOP, delays=False), {TIMED}),
    "an old copy of the keyring": (of(FOUND, Fault.RESTART_OLD, delays=False), {TIMED}),
    "a clock that is read after the leases": (of(FOUND, delays=False), {ASKED}),
    "a message that is under way for long": (of(INSERTED, Fault.KILL), {TIMED}),
    "a frontier that is lost": (of(FOUND, Fault.RESTART, Fault.LOSE_FRONTIER, delays=False), {TIMED, ASKED}),
}
"""Each with the rules that close others of them, so that none is found in its place."""


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_model_finds_what_was_wrong_without_these_rules(defect: str) -> None:
    world, kept = DEFECTS[defect]
    with pytest.raises(WrongAnswer):
        Explorer(world, NOT_YET - kept).explore()
