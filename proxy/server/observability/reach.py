"""Which servers can be reached, as connections have shown: a line when one goes or is back, and figures.

Each server is known by its configured address. A connection that cannot be opened says that it is down. One
that is opened does not say that it is back: the kernel accepts for a process that is frozen. That it is back
says its answer to a hello. A lost connection, or a reply that does not come, is a reason to ask for one
(`proxy.server.workers.pulse`).
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sealwire.proxy.server.health import MAX_SHOWN, Reachable
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.session.effects import Audit, PlaintextMet

_log = logging.getLogger("sealwire.server")


# ---------------------------- where plaintext was met in replies although the policy wants ciphertext there
#
# It is counted, logged once, and put on record once a minute.
#
# Namespaces come from clients, so pairs of namespace and path are told apart up to a bound. Nothing here
# ever has a value.

MAX_PAIRS = 256
RECORD_S = 60.0
"""A pair is put on record no more often than this."""

OTHERS = ("other", "other")
"""Stands for the pairs beyond MAX_PAIRS."""


class PlaintextCounts(Collector):
    """Sums by namespace and path. Written by the event loop alone, read by any thread."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._sums: dict[tuple[str, str], int] = {}
        self._recorded: dict[tuple[str, str], float] = {}
        """When a pair was last put on record."""

    def add(self, met: PlaintextMet) -> Audit | None:
        """Carry out one PlaintextMet effect; the first of a pair is logged.

        Returns what is to be put on record: nothing where it was in the last minute.
        """
        pair = met.namespace, met.path
        if pair not in self._sums and len(self._sums) >= MAX_PAIRS:
            pair = OTHERS
        if pair not in self._sums:
            where = {"namespace": pair[0], "path": pair[1]}
            hint = "`sealwire policy drift` counts what is stored so; write it again through Sealwire"
            note(_log, logging.WARNING, "plaintext in a covered path", hint=hint, **where)
        self._sums[pair] = self._sums.get(pair, 0) + met.amount
        now, last = self._clock(), self._recorded.get(pair)
        if last is not None and now - last < RECORD_S:
            return None
        self._recorded[pair] = now
        return Audit("plaintext", pair[0], "", path=pair[1])

    def shown(self) -> tuple[tuple[str, str], ...]:
        """The first MAX_SHOWN pairs of namespace and path, in alphabetical order."""
        return tuple(sorted(self._sums)[:MAX_SHOWN])

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Everything that was counted; called by the registry, from any thread."""
        text = "Values in clear in covered paths of replies that were looked at"
        family = CounterMetricFamily("sealwire_plaintext_values", text, labels=["namespace", "path"])
        for pair, amount in dict(self._sums).items():
            family.add_metric(pair, amount)
        yield family


@final
class ServerReach:
    """What is known of one server. Written by the event loop alone, read by any thread."""

    def __init__(self, server: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.server = server
        """Its address, as the configuration has it."""
        self.is_up = True
        self.is_doubted = False
        """Whether somebody has to look: it is down, a connection to it was lost, or it answers nothing."""
        self.opened = 0
        """Connections that were opened."""
        self.returns = 0
        """How often it came back."""
        self._gone_s = 0.0
        self._clock = clock

    def reached(self) -> None:
        """A connection was opened. Cost: an addition."""
        self.opened += 1

    def returned(self) -> None:
        """It has answered a hello, perhaps again."""
        self.is_doubted = False
        if not self.is_up:
            self.is_up = True
            self.returns += 1
            away_s = round(self._clock() - self._gone_s, 1)
            note(_log, logging.WARNING, "server is back", upstream=self.server, away_s=away_s)

    def missed(self, reason: str, problem: str, hint: str) -> None:
        """A connection could not be opened, or a hello was not answered."""
        self.is_doubted = True
        if self.is_up:
            self.is_up = False
            self._gone_s = self._clock()
            fields = {"reason": reason, "problem": problem, "hint": hint}
            note(_log, logging.ERROR, "server is down", upstream=self.server, **fields)

    def leave_out(self) -> None:
        """Whoever follows the servers lets it not be used, and has logged why."""
        self.is_doubted = True
        if self.is_up:
            self.is_up = False
            self._gone_s = self._clock()

    def doubt(self) -> None:
        """A connection that was open has ended, and not because of its client; or a reply does not come."""
        self.is_doubted = True


@final
class UpstreamReach(Collector):
    """All servers of the configuration, in its order."""

    def __init__(self) -> None:
        self.servers: tuple[ServerReach, ...] = ()

    def use_servers(self, names: Iterable[str], left_out: Iterable[str] = ()) -> None:
        """These are the servers; what is known of one that stays is kept. `left_out` are down for clients."""
        known = {each.server: each for each in self.servers}
        unused = tuple(known.get(name) or ServerReach(name) for name in left_out)
        for server in unused:
            server.leave_out()
        self.servers = tuple(known.get(name) or ServerReach(name) for name in names) + unused

    @property
    def down(self) -> tuple[str, ...]:
        """Those that cannot be reached."""
        return tuple(each.server for each in self.servers if not each.is_up)

    @property
    def reach(self) -> Reachable:
        """How many can be reached; DOWN where there is none, as while no followed member has a listener."""
        down = len(self.down)
        if not self.servers:
            return Reachable.DOWN
        if not down:
            return Reachable.UP
        return Reachable.DOWN if down == len(self.servers) else Reachable.PARTLY

    def collect(self) -> Iterator[Metric]:
        """Called by the registry, from any thread."""
        text = "1 while connections to the server can be opened and a hello is answered"
        up = GaugeMetricFamily("sealwire_upstream_up", text, labels=["upstream"])
        text = "Connections to the server that were opened"
        opened = CounterMetricFamily("sealwire_upstream_connections", text, labels=["upstream"])
        text = "Times that the server could be reached again after it was down"
        back = CounterMetricFamily("sealwire_upstream_reconnects", text, labels=["upstream"])
        for each in self.servers:
            up.add_metric([each.server], each.is_up)
            opened.add_metric([each.server], each.opened)
            back.add_metric([each.server], each.returns)
        yield from (up, opened, back)
