"""How a connection ends: what is said of it, and how long it may take to flush."""

import logging
from collections.abc import Iterable
from typing import Final

from sealwire.proxy.server.connections.pipe import Pipe
from sealwire.proxy.server.connections.services import Services
from sealwire.proxy.server.observability.logs import Field, note
from sealwire.proxy.session.effects import Close, CloseReason
from sealwire.proxy.session.login.handshake import UnknownMember

_log = logging.getLogger("sealwire.server")

CLOSE_LINGER_S: Final = 10.0

# A TLS peer that does not read never answers our close-notify. In a drain, one that has been sent everything
# is not waited for any longer than this.
DRAIN_LINGER_S: Final = 1.0

# Reasons that deserve an operator's attention; the others are the ordinary ends of a connection.
_LOUD: Final = frozenset(
    {
        CloseReason.CLIENT_PROTOCOL,
        CloseReason.SERVER_PROTOCOL,
        CloseReason.KEYS_UNAVAILABLE,
        CloseReason.TOPOLOGY,
    }
)

_HINTS: Final = {
    CloseReason.TOPOLOGY: UnknownMember.hint,
    CloseReason.SERVER_EOF: "look into the server's log: it stopped, or closed the connection in the middle",
}


def say_closed(services: Services, close: Close, number: int, peer: str, *, is_busy: bool) -> None:
    """Count why the connection `number` of the client `peer` ends, and log it.

    `is_busy`: a command awaited its reply. A server that leaves then leaves a client without an answer.
    """
    reason = close.reason
    services.metrics.closed.labels(reason.value).inc()
    fields: dict[str, Field] = {
        "reason": reason.value,
        "detail": close.detail,
        "connection": number,
        "client": peer,
    }
    if reason in _LOUD or (reason is CloseReason.SERVER_EOF and is_busy):
        if reason in _HINTS:
            fields["hint"] = _HINTS[reason]
        kind = f"closed {reason.value}"
        services.gate.note(_log, logging.WARNING, "connection closed", kind, **fields)
    else:
        note(_log, logging.DEBUG, "connection closed", **fields)


def has_lingered(services: Services, waited_s: float, pipes: Iterable[Pipe | None]) -> bool:
    """Whether a connection has flushed for as long as it may, `waited_s` after its end began."""
    if services.draining and waited_s >= DRAIN_LINGER_S:
        return not any(pipe and pipe.has_unsent for pipe in pipes) or waited_s >= CLOSE_LINGER_S
    return waited_s >= CLOSE_LINGER_S
