"""Whether the proxy is alive and ready, as /healthz and /readyz show it: one event loop, or all workers."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TypeVar

# A loop beats once a second; ten missed beats are more than any pause it should have.
STUCK_AFTER_S = 10.0

MAX_SHOWN = 20
"""Places of plaintext that /readyz shows."""

T = TypeVar("T", bound=Enum)
S = TypeVar("S", str, tuple[str, str])


class ProxyPhase(Enum):
    """How far the proxy is; only READY takes new clients."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


# The states that parts of the proxy report, as /readyz shows them. If workers differ, the first one counts:
# the worst, but of Reachable the best, because a server that one worker reaches is there.


class Freshness(Enum):
    """How far the keyring can be trusted to be the newest."""

    EXPIRED = "expired"
    """The keys are too old and serve no longer."""
    STALE = "stale"
    """The last load failed; the keys from before serve."""
    FRESH = "ok"


class StoreReach(Enum):
    """Whether the store of the keys of contexts answers."""

    AWAY = "away"
    """It did not answer when it was asked last."""
    ANSWERS = "ok"
    OFF = "off"
    """There is none."""


class Following(Enum):
    """Whether the classes that move are followed."""

    LOST = "lost"
    """There is no lease, or a class that moves or has moved is refused."""
    FOLLOWS = "ok"
    OFF = "off"
    """Nothing is set, and nothing moves."""


class Keeping(Enum):
    """Where audit lines go."""

    FULL = "full"
    """No more can wait: connections that have something to report are cut."""
    WAITING = "waiting"
    """The audit log cannot be written; they wait in memory."""
    KEPT = "kept"
    OFF = "off"
    """There is no audit log: they go into the proxy's log."""


class Reachable(Enum):
    """How many of the servers can be reached."""

    UP = "up"
    PARTLY = "partly"
    DOWN = "down"


@dataclass(slots=True)
class Beat:
    """The state that the event loop of a worker reports about once a second."""

    phase: ProxyPhase = ProxyPhase.STARTING
    keyring: Freshness = Freshness.FRESH
    policies: tuple[str, ...] = ()
    """The shown part of the hash of the policy that counts, if one does yet; workers may differ in it."""
    frontier: Following = Following.OFF
    plaintext: tuple[tuple[str, str], ...] = ()
    """Namespaces and paths where plaintext was met since the start, sorted, MAX_SHOWN at most."""
    in_clear: tuple[str, ...] = ()
    """The classes that are stored in clear, sorted."""
    audit: Keeping = Keeping.OFF
    contexts: StoreReach = StoreReach.OFF
    audit_trouble: str = ""
    """Why audit lines cannot be written, as `AuditSink.trouble` says; empty: they can."""
    reach: Reachable = Reachable.UP
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
        and health.phase is ProxyPhase.READY
        and health.keyring is not Freshness.EXPIRED
        and health.audit is not Keeping.FULL
        and health.reach is not Reachable.DOWN
        and health.frontier is not Following.LOST
    )


def status_of(health: Health) -> str:
    """`ready` if clients are served, else why not: the phase, `stuck`, or `not-ready` for the rest."""
    if is_ready(health):
        return ProxyPhase.READY.value
    if not health.alive:
        return "stuck"
    return "not-ready" if health.phase is ProxyPhase.READY else health.phase.value


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
        is_ready = any(worker.phase is ProxyPhase.READY for worker in workers)
        phase = ProxyPhase.READY if is_ready else ProxyPhase.STARTING
        return Health(
            ProxyPhase.DRAINING if self.draining else phase,
            _first((each.keyring for each in workers), Freshness.FRESH),
            _joined(each.policies for each in workers),
            _first((each.frontier for each in workers), Following.OFF),
            _joined(each.plaintext for each in workers)[:MAX_SHOWN],
            _joined(each.in_clear for each in workers),
            _first((each.audit for each in workers), Keeping.OFF),
            _first((each.contexts for each in workers), StoreReach.OFF),
            max((each.audit_trouble for each in workers), default=""),
            _first((each.reach for each in workers), Reachable.UP),
            _joined(each.down for each in workers),
            _joined(each.observed for each in workers),
            min(each.beat_at for each in (self.own, *workers)),
            self.own.clock,
            self.own.provider,
        )


HealthView = Health | JointHealth
"""The admin address asks it by `now`, from a thread of its own."""


def _first(said: Iterable[T], without: T) -> T:
    return min(said, key=list(type(without)).index, default=without)


def _joined(said: Iterable[tuple[S, ...]]) -> tuple[S, ...]:
    """Every item of any of them, once, sorted."""
    return tuple(sorted({each for one in said for each in one}))
