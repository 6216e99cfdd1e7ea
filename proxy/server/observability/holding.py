"""What connections are doing at the moment: commands under way, and whom is not read from and why.

Counted about once a second by the event loop, and shown as it was then.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, final

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

HOLDS: Final = ("connecting", "keys", "client-full", "server-full", "look-up", "audit", "behind")
"""Why a client is not read from, by the names of `connections.pipe.Hold`."""


@final
class ConnectionFigures(Collector):
    """Written by the event loop alone, read by any thread."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._held: Mapping[str, int] = {}

    def show(self, in_flight: int, holds: Iterable[str]) -> None:
        """`holds`: one name for each reason for which a connection is held."""
        counted = dict.fromkeys(HOLDS, 0)
        for hold in holds:
            counted[hold] = counted.get(hold, 0) + 1
        self._in_flight, self._held = in_flight, counted

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Called by the registry, from any thread."""
        text = "Connections on which a command awaits its reply"
        yield GaugeMetricFamily("sealwire_commands_in_flight", text, self._in_flight)
        text = "Connections whose client is not read from, by what they wait for"
        family = GaugeMetricFamily("sealwire_connections_held", text, labels=["reason"])
        held = self._held
        for name in HOLDS:
            family.add_metric([name], held.get(name, 0))
        yield family
