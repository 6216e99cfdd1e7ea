"""How much each client has had in the last hour, where its roles have a limit, and what counts as a document.

Each process counts what it grants itself: where several workers serve, each grants its share of the limit. If
the shell has a store that processes share, it says what the others have granted (`elsewhere`), and both count
against the whole limit. An hour is 60 minutes as the shell's ticks count them, the one that runs included: a
process too busy to tick makes it longer.

A reply counts as its documents, if each of these is one document of the collection. If a pipeline or view may
have gathered many into one, what is in their arrays counts.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final, NamedTuple, final

from sealwire.policies.file.schema import PathNode
from sealwire.policies.planning.plan import Plan
from sealwire.proxy.session.replies import TooManyDocuments, cursor_in
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, find_element

MINUTES: Final = 60
_MINUTE_S: Final = 60
MAX_CLIENTS: Final = 100_000
"""More than these are forgotten, oldest first: they come from the server's list of users."""

_PSEUDONYM_DIGITS: Final = 32

_BATCHES: Final = (b"firstBatch", b"nextBatch")
_CONTAINERS: Final = frozenset({kinds.OBJECT, kinds.ARRAY})
_APART: Final = frozenset(
    b"""$match $project $addFields $set $unset $sort $limit $skip $sample $unwind $redact $replaceRoot
    $replaceWith $count $sortByCount""".split()
)
"""Stages that yield no document made of several, nor bring others in."""


class ReplyDocuments(NamedTuple):
    """What is known of the documents that the replies to a command show."""

    tree: PathNode | None = None
    """Their covered paths; None if nothing is known to be covered."""
    gathers: bool = True
    """Whether one of them may hold what many documents had."""


UNKNOWN: Final = ReplyDocuments()


@final
class HourlyCount:
    """What is counted of each client; one for all sessions of a process."""

    __slots__ = ("_by_client", "_seconds", "elsewhere", "kind", "unreported")

    def __init__(self, kind: str = "documents") -> None:
        self.kind: Final = kind
        """What is counted."""
        self.elsewhere: Mapping[str, int] = {}
        """By `pseudonym`, how many other processes have granted in the last hour, as far as that is known."""
        self.unreported: dict[str, int] | None = None
        """By client, what was granted since somebody last took this away; None if nobody does."""
        self._seconds = 0
        self._by_client: dict[str, dict[int, int]] = {}
        """By client: how many by the minute."""

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
        """How many a client has had from this process."""
        return sum(self._by_client.get(client, {}).values())

    def left(self, client: str, limit: int, workers: int = 1) -> int:
        """How many more a client may have of `limit`, which so many workers share; none if not positive.

        Together the workers grant no more than the limit, or one each where that is less.
        """
        own = self.of_last_hour(client)
        left = max(1, limit // workers) - own
        if self.elsewhere:
            left = min(left, limit - own - self.elsewhere.get(pseudonym(self.kind, client), 0))
        return left

    def take(self, client: str, amount: int, limit: int, workers: int = 1) -> None:
        """A client is about to have so many more. Raises TooManyDocuments, and then they do not count."""
        if not amount:
            return
        if amount > self.left(client, limit, workers):
            raise TooManyDocuments
        minutes = self._by_client.get(client)
        if minutes is None:
            if len(self._by_client) >= MAX_CLIENTS:
                del self._by_client[next(iter(self._by_client))]
            minutes = self._by_client[client] = {}
        minute = self._seconds // _MINUTE_S
        minutes[minute] = minutes.get(minute, 0) + amount
        if self.unreported is not None:
            self.unreported[client] = self.unreported.get(client, 0) + amount


def pseudonym(kind: str, client: str) -> str:
    """Under which name other processes learn what a client was granted of this kind.

    It hides no name from a reader who can guess it. Cost: one hash.
    """
    return sha256(f"sealwire limit {kind} {client}".encode()).hexdigest()[:_PSEUDONYM_DIGITS]


def gathers(plan: Plan) -> bool:
    """Whether a pipeline may put several documents into one. Raises BsonError. Cost: O(elements)."""
    pipeline = plan.arguments.get(b"pipeline")
    if pipeline is None or pipeline.kind != kinds.ARRAY:
        return True
    return not all(
        stage.kind == kinds.OBJECT and all(part.name in _APART for part in elements(plan.buf, stage.value))
        for stage in elements(plan.buf, pipeline.value)
    )


def documents_in(buf: bytes, body: int, *, gathered: bool) -> int:
    """How many documents, or distinct values, a reply shows. With `gathered`, what is in their arrays counts.

    Raises BsonError. Cost: O(documents), with `gathered` O(elements).
    """
    cursor = cursor_in(buf, body)
    if cursor is not None:
        batches = (find_element(buf, cursor.value, name) for name in _BATCHES)
        return sum(
            _count(buf, batch.value, gathered=gathered)
            for batch in batches
            if batch and batch.kind == kinds.ARRAY
        )
    values = find_element(buf, body, b"values")
    if values is not None and values.kind == kinds.ARRAY:
        return _count(buf, values.value, gathered=False)
    value = find_element(buf, body, b"value")
    return 1 if value is not None and value.kind == kinds.OBJECT else 0


def _count(buf: bytes, array: int, *, gathered: bool) -> int:
    return sum(_gathered_in(buf, each, 0) if gathered else 1 for each in elements(buf, array))


def _gathered_in(buf: bytes, element: Element, depth: int) -> int:
    """One, or as many as the arrays at and below an element have items, if these are more."""
    if element.kind not in _CONTAINERS:
        return 1
    if depth > MAX_DEPTH:
        raise BsonError(WireReason.BSON_DEPTH, element.start)
    is_array = element.kind == kinds.ARRAY
    inner = (each for each in elements(buf, element.value) if is_array or each.kind in _CONTAINERS)
    counts = [_gathered_in(buf, each, depth + 1) for each in inner]
    # fields side by side are of one document, as long as none of them is an array of several
    return max(1, sum(counts) if is_array else sum(count for count in counts if count > 1))
