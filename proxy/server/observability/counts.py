"""What sessions have counted, until somebody asks. Compiled with the connections, which count here."""

from typing import final

from sealwire.proxy.session.effects import Count, Counter


@final
class CoreCounts:
    """Sums by counter and label, kept by the event loop alone.

    A counter of the metrics library takes a lock for every increment.
    """

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums: dict[tuple[Counter, str], int] = {}

    def add(self, count: Count) -> None:
        """Carry out one Count effect. Cost: two look-ups."""
        key = count.counter, count.label
        self._sums[key] = self._sums.get(key, 0) + count.amount

    def sums(self) -> dict[tuple[Counter, str], int]:
        """A copy of the sums, as they are now. May be called from any thread."""
        return dict(self._sums)
