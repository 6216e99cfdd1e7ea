"""Whether the proxy is alive and ready, as /healthz and /readyz show it: one event loop, or all workers."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from sealwire.proxy.server.context_feed import StoreReach
from sealwire.proxy.server.frontiers.feed import Following
from sealwire.proxy.server.key_feed import Freshness
from sealwire.proxy.server.observability.audit import Keeping
from sealwire.proxy.server.observability.reach import MAX_SHOWN, Reachable

# A loop beats once a second; ten missed beats are more than any pause it should have.
STUCK_AFTER_S = 10.0

_WORST_FIRST = (Freshness.EXPIRED, Freshness.STALE, Freshness.FRESH)
_LEAST_FIRST = (Following.LOST, Following.FOLLOWS)
_LATEST_FIRST = (Keeping.FULL, Keeping.WAITING, Keeping.KEPT)
_REACHED_FIRST = (Reachable.UP, Reachable.PARTLY, Reachable.DOWN)
_AWAY_FIRST = (StoreReach.AWAY, StoreReach.ANSWERS)


class Phase(Enum):
    """How far the proxy is; only READY takes new clients."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class HealthView(Protocol):
    """What the admin address reads, from a thread of its own."""

    @property
    def alive(self) -> bool:
        """Whether every event loop that serves still turns."""

    @property
    def phase(self) -> Phase:
        """How far the proxy is."""

    @property
    def keyring(self) -> Freshness:
        """How far the keys can be trusted to be the newest."""

    @property
    def frontier(self) -> Following:
        """Whether the classes that move are followed."""

    @property
    def contexts(self) -> StoreReach:
        """Whether the store of the keys of contexts answers."""

    @property
    def policies(self) -> tuple[str, ...]:
        """The hashes of the policies that count, sorted: one, but for a moment of a reload with workers."""

    @property
    def plaintext(self) -> tuple[tuple[str, str], ...]:
        """Namespaces and paths where plaintext was met since the start, sorted, MAX_SHOWN at most."""

    @property
    def in_clear(self) -> tuple[str, ...]:
        """The classes that are stored in clear, sorted."""

    @property
    def observed(self) -> tuple[str, ...]:
        """What of the policy is only observed, MAX_NAMED at most, sorted."""

    @property
    def provider(self) -> str:
        """What kind of provider has the key-encryption key; empty before the admin address is bound."""

    @property
    def audit(self) -> Keeping:
        """Whether audit lines are in the audit log."""

    @property
    def audit_trouble(self) -> str:
        """What keeps them from being written; empty: nothing."""

    @property
    def reach(self) -> Reachable:
        """How many of the servers can be reached."""

    @property
    def down(self) -> tuple[str, ...]:
        """The servers that cannot, sorted."""


def is_ready(health: HealthView) -> bool:
    """Whether clients are served: what /readyz says by its status."""
    return (
        health.alive
        and health.phase is Phase.READY
        and health.keyring is not Freshness.EXPIRED
        and health.audit is not Keeping.FULL
        and health.reach is not Reachable.DOWN
        and health.frontier is not Following.LOST
    )


def status_of(health: HealthView) -> str:
    """`ready` if clients are served, else why not: the phase, `stuck`, or `not-ready` for the rest."""
    if is_ready(health):
        return Phase.READY.value
    if not health.alive:
        return "stuck"
    return "not-ready" if health.phase is Phase.READY else health.phase.value


@dataclass(slots=True)
class Health:
    """What an event loop tells the admin thread; each field is written by the loop only."""

    phase: Phase = Phase.STARTING
    keyring: Freshness = Freshness.FRESH
    beat_at: float = 0.0
    clock: Callable[[], float] = time.monotonic
    policy: str = ""
    """The shown part of the policy's hash; empty before one counts."""
    frontier: Following = Following.OFF
    plaintext: tuple[tuple[str, str], ...] = ()
    """Namespaces and paths where plaintext was met, as `PlaintextCounts.shown` says."""
    in_clear: tuple[str, ...] = ()
    """The classes that are stored in clear, as `ClearClasses.shown` says."""
    observed: tuple[str, ...] = ()
    """What of the policy is only observed."""
    provider: str = ""
    """The kind of provider of the key-encryption key. A change of it needs a restart."""
    audit: Keeping = Keeping.OFF
    audit_trouble: str = ""
    """What keeps audit lines from being written, as `AuditSink.trouble` says."""
    contexts: StoreReach = StoreReach.OFF
    reach: Reachable = Reachable.UP
    down: tuple[str, ...] = ()
    """As `UpstreamReach` says both."""

    @property
    def alive(self) -> bool:
        """Whether the event loop still turns."""
        return self.clock() - self.beat_at < STUCK_AFTER_S

    @property
    def policies(self) -> tuple[str, ...]:
        """The policy that counts, if one does yet."""
        return (self.policy,) if self.policy else ()


@dataclass(slots=True)
class JointHealth:
    """The supervisor's own loop and every worker that accepts, as one.

    Ready while one worker is: the system hands new connections to those that listen. Stuck when one is: it
    still gets its share of them.
    """

    own: Health
    draining: bool = False
    workers: dict[int, Health] = field(default_factory=dict)
    """By number. A worker is here from its first beat to its end."""

    @property
    def alive(self) -> bool:
        """Whether the supervisor's loop and those of all workers turn."""
        return self.own.alive and all(worker.alive for worker in tuple(self.workers.values()))

    @property
    def phase(self) -> Phase:
        """READY as soon as one worker is."""
        if self.draining:
            return Phase.DRAINING
        ready = any(worker.phase is Phase.READY for worker in tuple(self.workers.values()))
        return Phase.READY if ready else Phase.STARTING

    @property
    def keyring(self) -> Freshness:
        """The worst that a worker has."""
        known = {worker.keyring for worker in tuple(self.workers.values())}
        return next((freshness for freshness in _WORST_FIRST if freshness in known), Freshness.FRESH)

    @property
    def frontier(self) -> Following:
        """LOST as soon as one worker has."""
        known = {worker.frontier for worker in tuple(self.workers.values())}
        return next((following for following in _LEAST_FIRST if following in known), Following.OFF)

    @property
    def contexts(self) -> StoreReach:
        """AWAY as soon as it is for one worker."""
        known = {worker.contexts for worker in tuple(self.workers.values())}
        return next((reach for reach in _AWAY_FIRST if reach in known), StoreReach.OFF)

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies of all workers, each once."""
        return tuple(sorted({name for worker in tuple(self.workers.values()) for name in worker.policies}))

    @property
    def plaintext(self) -> tuple[tuple[str, str], ...]:
        """What the workers that run have met, each pair once."""
        met = {pair for worker in tuple(self.workers.values()) for pair in worker.plaintext}
        return tuple(sorted(met)[:MAX_SHOWN])

    @property
    def in_clear(self) -> tuple[str, ...]:
        """Those of all workers, each once; for a moment of a change they may differ."""
        return tuple(sorted({name for worker in tuple(self.workers.values()) for name in worker.in_clear}))

    @property
    def observed(self) -> tuple[str, ...]:
        """Those of all workers, each once."""
        return tuple(sorted({name for worker in tuple(self.workers.values()) for name in worker.observed}))

    @property
    def provider(self) -> str:
        """The supervisor's: workers have the configuration that it began with."""
        return self.own.provider

    @property
    def audit(self) -> Keeping:
        """The worst that a worker has."""
        known = {worker.audit for worker in tuple(self.workers.values())}
        return next((keeping for keeping in _LATEST_FIRST if keeping in known), Keeping.OFF)

    @property
    def audit_trouble(self) -> str:
        """What workers say, one of them where they say several things."""
        return max((worker.audit_trouble for worker in tuple(self.workers.values())), default="")

    @property
    def reach(self) -> Reachable:
        """The best that a worker has: what one reaches is there, and the others look again."""
        known = {worker.reach for worker in tuple(self.workers.values())}
        return next((reach for reach in _REACHED_FIRST if reach in known), Reachable.UP)

    @property
    def down(self) -> tuple[str, ...]:
        """What any worker misses, each once."""
        return tuple(sorted({name for worker in tuple(self.workers.values()) for name in worker.down}))
