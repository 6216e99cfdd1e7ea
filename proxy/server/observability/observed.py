"""What a policy that is only observed would have done: counted by shape, and logged once for each.

A shape is a verdict, a command, a namespace, and what was in the way. Clients choose namespaces and call
themselves what they like, so shapes are told apart up to a bound. Nothing here ever has a value.
"""

import logging
from collections.abc import Iterator
from typing import Final, final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.session.effects import ObservedCommand, ObservedVerdict

_log = logging.getLogger("sealwire.server")

MAX_SHAPES: Final = 512
OTHERS: Final = "other"
"""Stands for commands, namespaces and applications of shapes beyond those."""

COLLECTIONS: Final = "sealwire_observed_collections"
COMMANDS: Final = "sealwire_observed_commands"
SHAPES: Final = "sealwire_observed_shapes"
LABELS: Final = ("verdict", "command", "namespace", "operator", "path", "reason", "application")

_HINT: Final = "sealwire observe report says where to look first"


@final
class ObservedCounts(Collector):
    """Written by the event loop alone, read by any thread."""

    def __init__(self) -> None:
        self._verdicts = dict.fromkeys(ObservedVerdict, 0)
        self._shapes: dict[tuple[str, ...], int] = {}
        self._collections = 0

    def use_policy(self, collections: int) -> None:
        """Under the policy that counts from now on, so many collections and patterns are only observed."""
        self._collections = collections

    def add(self, met: ObservedCommand) -> None:
        """Carry out one ObservedCommand effect. Of each shape that needs somebody the first one is logged."""
        self._verdicts[met.verdict] += 1
        if met.verdict is ObservedVerdict.UNTOUCHED:
            return
        rest = met.operator, met.path, met.reason, met.application
        shape = (met.verdict.value, met.command, met.namespace, *rest)
        if shape not in self._shapes and len(self._shapes) >= MAX_SHAPES:
            shape = (met.verdict.value, OTHERS, OTHERS, "", "", "", OTHERS)
        before = self._shapes.get(shape, 0)
        self._shapes[shape] = before + 1
        if not before and met.verdict is not ObservedVerdict.ANSWERED:
            fields = {name: text for name, text in zip(LABELS, shape, strict=True) if text}
            level = logging.WARNING if met.verdict is ObservedVerdict.REFUSED else logging.INFO
            note(_log, level, "observed", hint=_HINT, **fields)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry, from any thread."""
        text = "Collections and patterns of the policy that are only observed: their values are in clear"
        yield GaugeMetricFamily(COLLECTIONS, text, self._collections)
        text = "Commands by what would have become of them, while anything is only observed"
        family = CounterMetricFamily(COMMANDS, text, labels=["verdict"])
        for verdict, count in self._verdicts.items():
            family.add_metric([verdict.value], count)
        yield family
        text = "The same by shape, but for commands that reach nothing covered"
        family = CounterMetricFamily(SHAPES, text, labels=list(LABELS))
        for shape, count in dict(self._shapes).items():
            family.add_metric(shape, count)
        yield family
