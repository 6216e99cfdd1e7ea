"""Which servers can be reached, as connections have shown: a line when one goes or is back, and figures.

Each server is known by its configured address. A connection that cannot be opened says that it is down. One
that is opened does not say that it is back: the kernel accepts for a process that is frozen. That it is back
says its answer to a hello. A lost connection, or a reply that does not come, is a reason to ask for one
(`proxy.server.reaching`).
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sealwire.proxy.server.observability.logs import note

_log = logging.getLogger("sealwire.server")


class Reachable(Enum):
    """How many of the servers can be reached; the value is what /readyz says."""

    UP = "up"
    PARTLY = "partly"
    DOWN = "down"


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
