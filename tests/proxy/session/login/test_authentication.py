"""Logins: by certificate they end here; all others pass, and their payloads are never repeated."""

from typing import Any

import pytest

from sealwire.proxy.session.effects import CloseReason, Counter, Effect, ToServer
from sealwire.proxy.session.login.authentication import (
    CertificateLogin,
    certificate_speculations,
    check_login,
)
from tests.proxy.session.playbook import Playbook, audit, client, close, error, server, to_client, to_server
from tests.proxy.session.world import body_of, command, encoded, legacy_query, reply, sealed, session
from tests.wire.corpus import document, element, string

X509 = "MONGODB-X509"
PAYLOAD = b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"
EXTERNAL = {"$db": "$external"}


def start(mechanism: Any, **more: Any) -> dict[str, Any]:
    return {"saslStart": 1, "mechanism": mechanism, "payload": PAYLOAD, **more}


@pytest.mark.parametrize(
    "body",
    [
        {"authenticate": 1, "mechanism": X509, "user": "CN=client", **EXTERNAL},
        {"authenticate": 1, "mechanism": X509, **EXTERNAL},
        {"authenticate": 1, **EXTERNAL},
        {"saslStart": 1, "mechanism": X509, "payload": b"", **EXTERNAL},
    ],
)
def test_a_login_by_certificate_is_refused_clearly(play: Playbook, body: dict[str, Any]) -> None:
    play >> client(command(body, 5))
    play << audit("refused", "", "authenticate", "CertificateLogin")
    play << error(18, "AuthenticationFailed", 5)
    assert play.count(Counter.REFUSALS, "CertificateLogin") == 1
    scram = command({**start("SCRAM-SHA-256"), "$db": "admin"}, 6)
    play >> client(scram) << to_server(scram)


def test_without_a_reply_it_closes(play: Playbook) -> None:
    play >> client(command({"authenticate": 1, **EXTERNAL}, flags=2))
    play << audit("refused", "", "authenticate", "CertificateLogin")
    play << close(CloseReason.REFUSED_UNACKNOWLEDGED, "CertificateLogin")


def test_a_repeated_mechanism_hides_nothing() -> None:
    names = [b"SCRAM-SHA-256", X509.encode(), b"PLAIN"]
    mechanisms = [element(2, b"mechanism", string(name)) for name in names]
    with pytest.raises(CertificateLogin):
        check_login(document(element(0x10, b"saslStart", b"\1\0\0\0"), *mechanisms), 0, b"saslStart")


@pytest.mark.parametrize(
    "mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN", "MONGODB-AWS", "MONGODB-OIDC"]
)
def test_every_other_mechanism_passes_byte_for_byte_both_ways(play: Playbook, mechanism: str) -> None:
    begin = command({**start(mechanism, options={"skipEmptyExchange": True}), **EXTERNAL}, 1)
    answer = reply({"conversationId": 1, "payload": PAYLOAD, "done": False, "ok": 1.0}, 1)
    go_on = command({"saslContinue": 1, "conversationId": 1, "payload": PAYLOAD, **EXTERNAL}, 2)
    play >> client(begin) << to_server(begin) >> server(answer) << to_client(answer)
    play >> client(go_on) << to_server(go_on)


@pytest.mark.parametrize("make", [command, legacy_query])
@pytest.mark.parametrize("flags", [0, 1])
@pytest.mark.parametrize(
    "speculation",
    [{"authenticate": 1, "mechanism": X509, "db": "$external"}, {"saslStart": 1, "mechanism": X509}],
)
def test_a_speculative_login_by_certificate_is_taken_out_of_hello(
    play: Playbook, make: Any, flags: int, speculation: dict[str, Any]
) -> None:
    hello = {"isMaster": 1, "client": {"driver": {"name": "x"}}}
    flags = flags if make is command else 4
    with_it = {**hello, "speculativeAuthenticate": speculation, "helloOk": True, "$db": "admin"}
    without = {**hello, "helloOk": True, "$db": "admin"}
    play >> client(make(with_it, flags=flags)) << to_server(make(without, flags=flags))


def test_another_speculative_login_stays_in_hello(play: Playbook) -> None:
    hello = command({"hello": 1, "speculativeAuthenticate": {**start("SCRAM-SHA-256"), "db": "admin"}})
    play >> client(hello) << to_server(hello)


def test_a_speculation_that_is_no_document_is_taken_out() -> None:
    hello = encoded({"hello": 1, "speculativeAuthenticate": [start(X509)]})
    assert [found.name for found in certificate_speculations(hello, 0)] == [b"speculativeAuthenticate"]


@pytest.mark.parametrize(
    "body",
    [
        start("PLAIN", extra=sealed("nhs", "x")),
        {"saslContinue": 1, "payload": PAYLOAD, "extra": sealed("nhs", "x")},
        start(X509),
        start("PLAIN"),  # without $db
    ],
)
@pytest.mark.parametrize("flags", [0, 2])
def test_payloads_stand_in_no_audit_and_no_error(body: dict[str, Any], flags: int) -> None:
    effects = session().client_data(command(body, flags=flags))
    assert not any(isinstance(effect, ToServer) for effect in effects)
    assert PAYLOAD.decode() not in "".join(map(_shown, effects))


def _shown(effect: Effect) -> str:
    data = getattr(effect, "data", None)
    return repr(effect) if data is None else str(body_of(data))
