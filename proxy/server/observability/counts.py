"""What sessions and connections have counted, until somebody asks. Compiled with those that count.

Cost for each message: one addition for each peer whose bytes it is, and one look-up for each Count effect.
"""

from typing import final

from sealwire.proxy.session.effects import Count, Counter


@final
class CoreCounts:
    """Sums by counter and label, and bytes, kept by the event loop alone.

    A counter of the metrics library takes a lock for every increment.
    """

    __slots__ = (
        "_sums",
        "from_client_bytes",
        "from_server_bytes",
        "is_watching",
        "to_client_bytes",
        "to_server_bytes",
    )

    def __init__(self) -> None:
        self._sums: dict[tuple[Counter, str], int] = {}
        self.from_client_bytes = 0
        self.to_server_bytes = 0
        self.from_server_bytes = 0
        self.to_client_bytes = 0
        self.is_watching = False
        """Whether every command is timed, and not each eighth: for the log of slow ones, or for traces."""

    def add(self, count: Count) -> None:
        """Carry out one Count effect. Cost: two look-ups."""
        key = count.counter, count.label
        self._sums[key] = self._sums.get(key, 0) + count.amount

    def sums(self) -> dict[tuple[Counter, str], int]:
        """A copy of the sums, as they are now. May be called from any thread."""
        return dict(self._sums)
