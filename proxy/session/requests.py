"""Pair replies with the requests they answer, exhaust streams included."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, final

from mypy_extensions import mypyc_attr

from sealwire.proxy.session.write_errors import WriteErrors

# Drivers send one request at a time on a connection; only unacknowledged writes overlap, and these wait for
# nothing. A client that opens more than this is broken or hostile.
MAX_AWAITED: Final = 1024


class RequestKind(Enum):
    """What the reply to a request needs."""

    HELLO = "hello"
    LEGACY_HELLO = "legacy-hello"
    COMMAND = "command"
    LOGIN = "login"
    """A step of an authentication."""
    LOOK_UP = "look-up"
    """Our own question to the server: what a name is."""


@final
@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False)
class Request:
    """A request that was passed on and waits for its reply. Never changed; see `effects` on its shape."""

    kind: RequestKind
    command: str
    namespace: str
    reveals: bool
    """Whether envelopes in the reply are opened."""
    marks: bool
    """Whether a cursor in the reply has to bring back that its replies are opened (`cursors`)."""
    errors: WriteErrors | None
    """Of the statements that were left out of it."""

    def __init__(
        self,
        kind: RequestKind,
        command: str,
        namespace: str,
        *,
        reveals: bool = False,
        marks: bool = False,
        errors: WriteErrors | None = None,
    ) -> None:
        self.kind = kind
        self.command = command
        self.namespace = namespace
        self.reveals = reveals
        self.marks = marks
        self.errors = errors


@final
class _Others:
    """Requests beside the first one, and exhaust streams. The ids of a stream are among the requests'."""

    __slots__ = ("requests", "streams")

    def __init__(self) -> None:
        self.requests: dict[int, Request] = {}
        # Of each exhaust stream, both ways: the id that was answered last, and the id of that reply.
        self.streams: dict[int, int] = {}


@final
class AwaitedRequests:
    """Requests by the id that the next reply to them answers.

    Nearly always it is one request, and it stands apart. With a thousand connections each thing that a
    message looks at is a cache miss, an empty table too; so there is none.
    """

    __slots__ = ("_only", "_only_id", "_others")

    def __init__(self) -> None:
        self._only: Request | None = None
        self._only_id = 0
        # None: it has no requests.
        self._others: _Others | None = None

    @property
    def idle(self) -> bool:
        """Whether no command awaits its reply. A handshake does not count: monitors always have one open."""
        every = [self._only, *(() if self._others is None else self._others.requests.values())]
        return not any(
            request is not None and request.kind not in (RequestKind.HELLO, RequestKind.LEGACY_HELLO)
            for request in every
        )

    @property
    def full(self) -> bool:
        """Whether no further request can be awaited."""
        others = 0 if self._others is None else len(self._others.requests)
        return others + (self._only is not None) >= MAX_AWAITED

    def has_room_for(self, request_id: int) -> bool:
        """Whether one more request with this id can be told from all others."""
        if self._only is None and self._others is None:
            return True
        return not self.full and self.find(request_id) is None

    def add(self, request_id: int, request: Request) -> None:
        """Wait for a reply to `request_id`, for which there is room."""
        if self._only is None:
            self._only, self._only_id = request, request_id
            return
        if self._others is None:
            self._others = _Others()
        self._others.requests[request_id] = request

    def find(self, request_id: int) -> Request | None:
        """The request that a reply to this id would answer."""
        if self._only is not None and self._only_id == request_id:
            return self._only
        return None if self._others is None else self._others.requests.get(request_id)

    def answer(self, response_to: int, reply_id: int, *, more_to_come: bool) -> Request | None:
        """The request that a reply answers, or None when there is none.

        In an exhaust stream each reply answers the one before it (OP_MSG, exhaustAllowed); a server that
        keeps naming the first request is understood as well. Cost: O(1).
        """
        request = self.find(response_to)
        if request is None:
            return None
        if self._only is not None and response_to == self._only_id:
            self._only = None
        others = self._others
        if others is None:
            if not more_to_come:
                return request
            others = self._others = _Others()
        other = others.streams.pop(response_to, response_to)
        others.streams.pop(other, None)
        others.requests.pop(other, None)
        if more_to_come:
            others.requests[response_to] = others.requests[reply_id] = request
            others.streams[response_to] = reply_id
            others.streams[reply_id] = response_to
            return request
        others.requests.pop(response_to, None)
        if not others.requests:
            self._others = None
        return request
