"""Health of one loop, and of all workers as one."""

from dataclasses import replace

from sealwire.proxy.server.health import (
    MAX_SHOWN,
    STUCK_AFTER_S,
    Following,
    Freshness,
    Health,
    JointHealth,
    Keeping,
    ProxyPhase,
    Reachable,
    StoreReach,
    is_ready,
    status_of,
)
from tests.support.rows import rows

NOW_S = 1000.0


def a_loop(
    phase: ProxyPhase = ProxyPhase.READY, keyring: Freshness = Freshness.FRESH, silent_s: float = 0.0
) -> Health:
    return Health(phase, keyring, beat_at=NOW_S - silent_s, clock=lambda: NOW_S)


def of(*workers: Health, own: Health | None = None) -> Health:
    return JointHealth(own or a_loop(), workers=dict(enumerate(workers, 1))).now()


@rows("silent_s, alive", (0.0, True), (STUCK_AFTER_S - 1, True), (STUCK_AFTER_S, False))
def test_one_silent_loop_is_enough_to_be_stuck(silent_s: float, alive: bool) -> None:
    silent = a_loop(silent_s=silent_s)
    assert silent.alive is alive
    assert of(a_loop(), silent).alive is alive
    assert of(a_loop(), own=silent).alive is alive


def test_one_worker_that_accepts_is_enough_to_be_ready() -> None:
    assert of().phase is ProxyPhase.STARTING
    assert of(a_loop(ProxyPhase.DRAINING)).phase is ProxyPhase.STARTING
    assert of(a_loop(ProxyPhase.DRAINING), a_loop()).phase is ProxyPhase.READY


def test_a_drain_of_all_shows_before_the_workers_say_so() -> None:
    assert JointHealth(a_loop(), draining=True, workers={1: a_loop()}).now().phase is ProxyPhase.DRAINING


def test_the_oldest_keys_count() -> None:
    expired, stale, fresh = (a_loop(keyring=freshness) for freshness in Freshness)
    assert of().keyring is Freshness.FRESH
    assert of(fresh, stale).keyring is Freshness.STALE
    assert of(stale, expired, fresh).keyring is Freshness.EXPIRED


def test_workers_with_one_policy_show_it_and_others_all_of_theirs() -> None:
    old, new, unknown = (replace(a_loop(), policies=policies) for policies in (("old",), ("new",), ()))
    assert of().policies == ()
    assert of(new, new, unknown).policies == ("new",)
    assert of(old, new, old).policies == ("new", "old")


def test_plaintext_that_any_worker_met_is_shown_once_and_bounded() -> None:
    one = replace(a_loop(), plaintext=(("a.b", "c"), ("a.b", "d")))
    other = replace(a_loop(), plaintext=(("a.b", "a"), ("a.b", "c")))
    assert of().plaintext == ()
    assert of(one, other).plaintext == (("a.b", "a"), ("a.b", "c"), ("a.b", "d"))
    many = [replace(a_loop(), plaintext=((f"t{number:02}.a", "c"),)) for number in range(MAX_SHOWN + 1)]
    assert of(*many).plaintext == tuple((f"t{number:02}.a", "c") for number in range(MAX_SHOWN))


def test_the_provider_is_that_of_the_supervisor() -> None:
    assert of(a_loop(), own=replace(a_loop(), provider="vault")).provider == "vault"


def test_what_any_worker_only_observes_is_shown_once() -> None:
    one, other = (replace(a_loop(), observed=names) for names in (("b.c",), ("a.b", "b.c")))
    assert of().observed == ()
    assert of(one, other).observed == ("a.b", "b.c")


def test_a_class_that_any_worker_has_in_clear_is_shown_once() -> None:
    one, other = (replace(a_loop(), in_clear=names) for names in (("b",), ("a", "b")))
    assert of().in_clear == ()
    assert of(one, other).in_clear == ("a", "b")


@rows(
    "workers, expected",
    ((), Following.OFF),
    ((Following.OFF, Following.OFF), Following.OFF),
    ((Following.OFF, Following.FOLLOWS), Following.FOLLOWS),
    ((Following.FOLLOWS, Following.LOST), Following.LOST),
)
def test_one_worker_without_a_frontier_shows(workers: tuple[Following, ...], expected: Following) -> None:
    assert of(*(replace(a_loop(), frontier=following) for following in workers)).frontier is expected


@rows(
    "health, status",
    (a_loop(), "ready"),
    (a_loop(ProxyPhase.STARTING), "starting"),
    (a_loop(ProxyPhase.DRAINING), "draining"),
    (a_loop(silent_s=STUCK_AFTER_S), "stuck"),
    (a_loop(keyring=Freshness.STALE), "ready"),
    (a_loop(keyring=Freshness.EXPIRED), "not-ready"),
    (replace(a_loop(), frontier=Following.FOLLOWS), "ready"),
    (replace(a_loop(), frontier=Following.LOST), "not-ready"),
    (replace(a_loop(), audit=Keeping.FULL), "not-ready"),
    (replace(a_loop(), reach=Reachable.DOWN), "not-ready"),
)
def test_what_is_said_agrees_with_whether_clients_are_served(health: Health, status: str) -> None:
    assert status_of(health) == status
    assert is_ready(health) is (status == "ready")


def test_one_worker_that_refuses_a_class_makes_all_unready() -> None:
    """A client may come to any worker."""
    lost = replace(a_loop(), frontier=Following.LOST)
    assert not is_ready(of(a_loop(), lost))


def test_the_worst_that_a_worker_says_of_audit_lines_counts() -> None:
    waits, full, kept = (
        replace(a_loop(), audit=each) for each in (Keeping.WAITING, Keeping.FULL, Keeping.KEPT)
    )
    assert of().audit is Keeping.OFF
    assert of(kept, waits).audit is Keeping.WAITING
    assert of(waits, full, kept).audit is Keeping.FULL
    assert of(kept, kept).audit is Keeping.KEPT


@rows(
    "workers, expected",
    ((), StoreReach.OFF),
    ((StoreReach.OFF,), StoreReach.OFF),
    ((StoreReach.ANSWERS, StoreReach.OFF), StoreReach.ANSWERS),
    ((StoreReach.ANSWERS, StoreReach.AWAY), StoreReach.AWAY),
)
def test_one_worker_without_the_store_of_context_keys_shows(
    workers: tuple[StoreReach, ...], expected: StoreReach
) -> None:
    assert of(*(replace(a_loop(), contexts=reach) for reach in workers)).contexts is expected
