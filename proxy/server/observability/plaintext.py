"""Where plaintext was met in replies although the policy wants ciphertext there.

It is counted, logged once, and put on record once a minute.

Namespaces come from clients, so pairs of namespace and path are told apart up to a bound. Nothing here ever
has a value.
"""

import logging
from collections.abc import Callable, Iterator
from time import monotonic

from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.session.effects import Audit, PlaintextMet

_log = logging.getLogger("sealwire.server")

MAX_PAIRS = 256
MAX_SHOWN = 20
"""Pairs that /readyz shows."""

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
