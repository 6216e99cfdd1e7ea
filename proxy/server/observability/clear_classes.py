"""Which classes of the policy are stored in clear: logged when that begins and ends, and a gauge for each.

A class is in clear while the active version of its key is plaintext: before it was taken in, and after it was
given back. That is right, and nobody should forget it.
"""

import logging
from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sealwire.proxy.server.observability.logs import note

_log = logging.getLogger("sealwire.server")


class ClearClasses(Collector):
    """Written by the event loop alone, read by any thread."""

    def __init__(self) -> None:
        self._classes: frozenset[str] = frozenset()
        self._next_steps: Mapping[str, str] = {}
        """The classes that the keyring has in clear, each with the command that takes it in."""
        self.shown: tuple[str, ...] = ()
        """The classes that are in clear, in alphabetical order."""

    def use_policy(self, classes: frozenset[str]) -> None:
        """These classes count from now on."""
        self._classes = classes
        self._show()

    def use_keyring(self, next_steps: Mapping[str, str]) -> None:
        """Another keyring counts: its classes in clear, each with the command that takes it in."""
        self._next_steps = next_steps
        self._show()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """A figure for each class of the policy; called by the registry, from any thread."""
        text = "1 while a class is stored in clear"
        family = GaugeMetricFamily("sealwire_class_plaintext", text, labels=["class"])
        shown = self.shown
        for name in sorted(self._classes):
            family.add_metric([name], name in shown)
        yield family

    def _show(self) -> None:
        before, self.shown = self.shown, tuple(sorted(self._classes.intersection(self._next_steps)))
        for name in self.shown:
            if name not in before:
                hint = f"{self._next_steps[name]} takes it in"
                note(_log, logging.WARNING, "class is stored in clear", class_name=name, hint=hint)
        for name in before:
            if name in self._classes and name not in self.shown:
                note(_log, logging.INFO, "class is encrypted", class_name=name)
