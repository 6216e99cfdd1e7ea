"""Whether the proxy is alive and ready, as /healthz and /readyz show it: one event loop, or all workers."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TypeVar

from sealwire.proxy.server.context_feed import StoreReach
from sealwire.proxy.server.frontiers.feed import Following
from sealwire.proxy.server.key_feed import Freshness
from sealwire.proxy.server.observability.audit import Keeping
from sealwire.proxy.server.observability.reach import MAX_SHOWN, Reachable

# A loop beats once a second; ten missed beats are more than any pause it should have.
STUCK_AFTER_S = 10.0

_OLDEST_FIRST = (Freshness.EXPIRED, Freshness.STALE, Freshness.FRESH)
_LOST_FIRST = (Following.LOST, Following.FOLLOWS, Following.OFF)
_FULL_FIRST = (Keeping.FULL, Keeping.WAITING, Keeping.KEPT, Keeping.OFF)
_UP_FIRST = (Reachable.UP, Reachable.PARTLY, Reachable.DOWN)
_AWAY_FIRST = (StoreReach.AWAY, StoreReach.ANSWERS, StoreReach.OFF)

T = TypeVar("T")
S = TypeVar("S", str, tuple[str, str])


class Phase(Enum):
    """How far the proxy is; only READY takes new clients."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


@dataclass(slots=True)
class Beat:
    """The state that the event loop of a worker reports about once a second."""

    phase: Phase = Phase.STARTING
    keyring: Freshness = Freshness.FRESH
    """How far the keys can be trusted to be the newest."""
    policies: tuple[str, ...] = ()
    """The shown part of the hash of the policy that counts, if one does yet; workers may differ in it."""
    frontier: Following = Following.OFF
    """Whether the classes that move are followed."""
    plaintext: tuple[tuple[str, str], ...] = ()
    """Namespaces and paths where plaintext was met since the start, sorted, MAX_SHOWN at most."""
    in_clear: tuple[str, ...] = ()
    """The classes that are stored in clear, sorted."""
    audit: Keeping = Keeping.OFF
    """Whether audit lines are in the audit log."""
    contexts: StoreReach = StoreReach.OFF
    """Whether the store of the keys of contexts answers."""
    audit_trouble: str = ""
    """Why audit lines cannot be written, as `AuditSink.trouble` says; empty: they can."""
    reach: Reachable = Reachable.UP
    """How many of the servers can be reached."""
    down: tuple[str, ...] = ()
    """The servers that cannot, sorted."""
    observed: tuple[str, ...] = ()
    """The parts of the policy that are only observed, MAX_NAMED at most, sorted."""


@dataclass(slots=True)
class Health(Beat):
    """The state that the admin thread reads; only an event loop writes its fields."""

    beat_at: float = 0.0
    clock: Callable[[], float] = time.monotonic
    provider: str = ""
    """The kind of provider of the key-encryption key. A change of it needs a restart."""

    @property
    def alive(self) -> bool:
        """Whether the event loop still turns."""
        return self.clock() - self.beat_at < STUCK_AFTER_S

    @property
    def beat(self) -> Beat:
        """The part that a supervisor is told."""
        return Beat(*(getattr(self, each.name) for each in fields(Beat)))

    def now(self) -> "Health":
        """As of `JointHealth`."""
        return self


def is_ready(health: Health) -> bool:
    """Whether clients are served: what /readyz says by its status."""
    return (
        health.alive
        and health.phase is Phase.READY
        and health.keyring is not Freshness.EXPIRED
        and health.audit is not Keeping.FULL
        and health.reach is not Reachable.DOWN
        and health.frontier is not Following.LOST
    )


def status_of(health: Health) -> str:
    """`ready` if clients are served, else why not: the phase, `stuck`, or `not-ready` for the rest."""
    if is_ready(health):
        return Phase.READY.value
    if not health.alive:
        return "stuck"
    return "not-ready" if health.phase is Phase.READY else health.phase.value


@dataclass(slots=True)
class JointHealth:
    """The supervisor's own loop and every worker that accepts, as one."""

    own: Health
    draining: bool = False
    workers: dict[int, Health] = field(default_factory=dict)
    """By number. A worker is here from its first beat to its end."""

    def now(self) -> Health:
        """The worst that any worker says, but for servers: what one reaches is there.

        Ready while one worker is: the system hands new connections to those that listen. Stuck when one is:
        it still gets its share of them.
        """
        workers = tuple(self.workers.values())
        is_ready = any(worker.phase is Phase.READY for worker in workers)
        phase = Phase.READY if is_ready else Phase.STARTING
        return Health(
            Phase.DRAINING if self.draining else phase,
            _first(_OLDEST_FIRST, (each.keyring for each in workers), Freshness.FRESH),
            _joined(each.policies for each in workers),
            _first(_LOST_FIRST, (each.frontier for each in workers), Following.OFF),
            _joined(each.plaintext for each in workers)[:MAX_SHOWN],
            _joined(each.in_clear for each in workers),
            _first(_FULL_FIRST, (each.audit for each in workers), Keeping.OFF),
            _first(_AWAY_FIRST, (each.contexts for each in workers), StoreReach.OFF),
            max((each.audit_trouble for each in workers), default=""),
            _first(_UP_FIRST, (each.reach for each in workers), Reachable.UP),
            _joined(each.down for each in workers),
            _joined(each.observed for each in workers),
            min(each.beat_at for each in (self.own, *workers)),
            self.own.clock,
            self.own.provider,
        )


HealthView = Health | JointHealth
"""The admin address asks it by `now`, from a thread of its own."""


def _first(order: Sequence[T], said: Iterable[T], without: T) -> T:
    return min(said, key=order.index, default=without)


def _joined(said: Iterable[tuple[S, ...]]) -> tuple[S, ...]:
    """Every item of any of them, once, sorted."""
    return tuple(sorted({each for one in said for each in one}))
