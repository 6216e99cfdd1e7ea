"""How a connection ends: what is said, and for how long it may flush."""

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sealwire.proxy.server.connections.lifetime import (
    CLOSE_LINGER_S,
    DRAIN_LINGER_S,
    has_lingered,
    say_closed,
)
from sealwire.proxy.server.observability.client_gate import ClientGate
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.session.effects import Close, CloseReason


def services(*, draining: bool = False) -> Any:
    return SimpleNamespace(draining=draining, metrics=Metrics(), gate=ClientGate(lambda: 0.0))


def pipe(*, has_unsent: bool) -> Any:
    return SimpleNamespace(has_unsent=has_unsent)


@pytest.mark.plain_core(reason="stands in for pipes, which a compiled function does not take")
@pytest.mark.parametrize(
    ("draining", "unsent", "waited_s", "is_over"),
    [
        (False, False, CLOSE_LINGER_S - 1, False),
        (False, False, CLOSE_LINGER_S, True),
        (True, False, DRAIN_LINGER_S, True),
        (True, False, DRAIN_LINGER_S / 2, False),
        (True, True, DRAIN_LINGER_S, False),
        (True, True, CLOSE_LINGER_S, True),
    ],
)
def test_a_drain_waits_for_what_is_unsent_only(
    draining: bool, unsent: bool, waited_s: float, is_over: bool
) -> None:
    pipes = (pipe(has_unsent=False), None, pipe(has_unsent=unsent))
    assert has_lingered(services(draining=draining), waited_s, pipes) is is_over


@pytest.mark.parametrize(
    ("reason", "is_busy", "level", "is_hinted"),
    [
        (CloseReason.CLIENT_EOF, True, logging.DEBUG, False),
        (CloseReason.SERVER_PROTOCOL, False, logging.WARNING, False),
        (CloseReason.TOPOLOGY, False, logging.WARNING, True),
        (CloseReason.SERVER_EOF, True, logging.WARNING, True),
        (CloseReason.SERVER_EOF, False, logging.DEBUG, False),
    ],
)
def test_the_ends_that_somebody_has_to_look_at_are_loud(
    caplog: pytest.LogCaptureFixture, reason: CloseReason, is_busy: bool, level: int, is_hinted: bool
) -> None:
    here = services()
    with caplog.at_level(logging.DEBUG, "sealwire.server"):
        say_closed(here, Close(reason, "flags at 16"), 7, "10.0.0.7:4711", is_busy=is_busy)
    (record,) = caplog.records
    assert record.levelno == level
    fields = dict(vars(record)["fields"])
    assert bool(fields.pop("hint", "")) is is_hinted
    assert fields == {
        **{"reason": reason.value, "detail": "flags at 16"},
        **{"connection": 7, "client": "10.0.0.7:4711"},
    }
    counted = cast(Any, here.metrics.registry).get_sample_value(
        "sealwire_connections_closed_total", {"reason": reason.value}
    )
    assert counted == 1
