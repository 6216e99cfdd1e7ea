"""Keeps a log readable in a storm of connection problems, and says of every client that it had one.

In ten seconds an address has one line of a kind, and a kind has ten lines. The gate holds the others back,
and tells of them when the ten seconds are over, in one line with their addresses. A flood of connections
writes no more than that, and an address is missing only where it is one of very many.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, final

from sealwire.proxy.server.observability.logs import Field, note

INTERVAL_S: Final = 10.0
MAX_LINES: Final = 10
"""Lines of a kind in an interval; one more tells of those that are held."""
MAX_NAMED: Final = 64
"""Addresses in the line of what was held."""


@dataclass(slots=True)
class _Storm:
    """What came of one kind since `began_s`."""

    logger: logging.Logger
    level: int
    event: str
    began_s: float
    shown: set[str] = field(default_factory=set)
    held: int = 0
    named: dict[str, None] = field(default_factory=dict)
    """Addresses whose lines were held, in the order in which they came."""
    unnamed: int = 0
    """Lines of addresses beyond those."""

    def lets_through(self, address: str) -> bool:
        """Whether a line of this client is shown; it counts as held where it is not."""
        if address not in self.shown and len(self.shown) < MAX_LINES:
            self.shown.add(address)
            return True
        self.held += 1
        if address in self.named or len(self.named) < MAX_NAMED:
            self.named[address] = None
        else:
            self.unnamed += 1
        return False


@final
class ClientGate:
    """See the module. For one event loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._storms: dict[str, _Storm] = {}

    def note(self, logger: logging.Logger, level: int, event: str, kind: str, **fields: Field) -> None:
        """Log as `logs.note`, unless there were lines of this `kind` (from a small set) just now.

        The client's address is the field `client`, as `ADDRESS:PORT`. Cost: a microsecond where it is held.
        """
        now_s = self._clock()
        storm = self._storms.get(kind)
        if storm is None or now_s - storm.began_s >= INTERVAL_S:
            self._tell(kind, storm)
            storm = self._storms[kind] = _Storm(logger, level, event, now_s)
        if storm.lets_through(str(fields.get("client", "")).rpartition(":")[0]):
            note(logger, level, event, **fields)

    def tick(self) -> None:
        """Tell of what was held, where its time is over; about once a second."""
        now_s = self._clock()
        over = [kind for kind, storm in self._storms.items() if now_s - storm.began_s >= INTERVAL_S]
        for kind in over:
            self._tell(kind, self._storms.pop(kind))

    def close(self) -> None:
        """Tell of all that is held still: no more will come."""
        while self._storms:
            self._tell(*self._storms.popitem())

    def _tell(self, kind: str, storm: _Storm | None) -> None:
        if storm is None or not storm.held:
            return
        fields: dict[str, Field] = {"held": storm.event, "kind": kind, "similar_lines_held": storm.held}
        if any(storm.named):
            fields["clients"] = ",".join(filter(None, storm.named))
        if storm.unnamed:
            fields["of_other_clients"] = storm.unnamed
        note(storm.logger, storm.level, "similar lines held", **fields)
