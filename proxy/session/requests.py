"""Pair replies with the requests they answer, exhaust streams included."""

from enum import Enum
from typing import NamedTuple

# Drivers send one request at a time on a connection; only unacknowledged writes overlap, and these wait for
# nothing. A client that opens more than this is broken or hostile.
MAX_AWAITED = 1024


class RequestKind(Enum):
    """What the reply to a request needs."""

    HELLO = "hello"
    LEGACY_HELLO = "legacy-hello"
    COMMAND = "command"
    LOOK_UP = "look-up"
    """Our own question to the server: what a name is."""


class Request(NamedTuple):
    """A request that was passed on and is waiting for its reply."""

    kind: RequestKind
    command: str
    namespace: str


class AwaitedRequests:
    """Requests by the id that the next reply to them answers."""

    __slots__ = ("_awaited",)

    def __init__(self) -> None:
        self._awaited: dict[int, Request] = {}

    @property
    def idle(self) -> bool:
        """Whether no command awaits its reply. A handshake does not count: monitors always have one open."""
        return not any(
            request.kind in (RequestKind.COMMAND, RequestKind.LOOK_UP) for request in self._awaited.values()
        )

    @property
    def full(self) -> bool:
        """Whether no further request can be awaited."""
        return len(self._awaited) >= MAX_AWAITED

    def has_room_for(self, request_id: int) -> bool:
        """Whether one more request with this id can be told from all others."""
        return not self.full and request_id not in self._awaited

    def add(self, request_id: int, request: Request) -> None:
        """Wait for a reply to `request_id`."""
        self._awaited[request_id] = request

    def awaits(self, response_to: int, kind: RequestKind) -> bool:
        """Whether a reply to this id would answer a request of this kind."""
        request = self._awaited.get(response_to)
        return request is not None and request.kind is kind

    def answer(self, response_to: int, reply_id: int, *, more_to_come: bool) -> Request | None:
        """The request that a reply answers, or None when there is none.

        In an exhaust stream each reply answers the one before it (OP_MSG, exhaustAllowed); a server that
        keeps naming the first request is understood as well.
        """
        request = self._awaited.get(response_to)
        if request is None:
            return None
        if more_to_come:
            self._awaited = {
                number: other
                for number, other in self._awaited.items()
                if other is not request or number == response_to
            }
            self._awaited[reply_id] = request
        else:
            self._awaited = {number: other for number, other in self._awaited.items() if other is not request}
        return request
