"""How many documents each client was shown in the last hour, where its roles have a limit.

Counted by this process alone: where several workers serve, each grants its share of the limit. An hour is 60
minutes as the shell's ticks count them, the one that runs included: a process too busy to tick makes it
longer.
"""

from typing import Final, final

from sealwire.proxy.session.replies import TooManyDocuments
from sealwire.wire import kinds
from sealwire.wire.raw_bson import elements, find_element

MINUTES: Final = 60
_MINUTE_S: Final = 60
MAX_CLIENTS: Final = 100_000
"""More than these are forgotten, oldest first: they come from the server's list of users."""

_BATCHES: Final = (b"firstBatch", b"nextBatch")


@final
class DocumentsRead:
    """One for all sessions of a process."""

    __slots__ = ("_by_client", "_seconds")

    def __init__(self) -> None:
        self._seconds = 0
        self._by_client: dict[str, dict[int, int]] = {}
        """By client: documents by the minute in which they were shown."""

    def next_second(self) -> None:
        """Another second has begun."""
        self._seconds += 1
        if self._seconds % _MINUTE_S == 0:
            oldest = self._seconds // _MINUTE_S - MINUTES
            for client, minutes in tuple(self._by_client.items()):
                minutes.pop(oldest, None)
                if not minutes:
                    del self._by_client[client]

    def of_last_hour(self, client: str) -> int:
        """How many documents a client was shown."""
        return sum(self._by_client.get(client, {}).values())

    def take(self, client: str, documents: int, limit: int) -> None:
        """A client is about to be shown some. Raises TooManyDocuments, and then they do not count."""
        if not documents:
            return
        if self.of_last_hour(client) + documents > limit:
            raise TooManyDocuments
        minutes = self._by_client.get(client)
        if minutes is None:
            if len(self._by_client) >= MAX_CLIENTS:
                del self._by_client[next(iter(self._by_client))]
            minutes = self._by_client[client] = {}
        minute = self._seconds // _MINUTE_S
        minutes[minute] = minutes.get(minute, 0) + documents


def documents_in(buf: bytes, body: int) -> int:
    """How many documents, or distinct values, a reply shows. Raises BsonError. Cost: O(documents)."""
    cursor = find_element(buf, body, b"cursor")
    if cursor is not None and cursor.kind == kinds.OBJECT:
        batches = (find_element(buf, cursor.value, name) for name in _BATCHES)
        return sum(_count(buf, batch.value) for batch in batches if batch and batch.kind == kinds.ARRAY)
    values = find_element(buf, body, b"values")
    if values is not None and values.kind == kinds.ARRAY:
        return _count(buf, values.value)
    value = find_element(buf, body, b"value")
    return 1 if value is not None and value.kind == kinds.OBJECT else 0


def _count(buf: bytes, array: int) -> int:
    return sum(1 for _ in elements(buf, array))
