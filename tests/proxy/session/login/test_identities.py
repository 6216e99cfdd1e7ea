"""SCRAM as RFC 7677 and RFC 5802 show it, and what a server may not do in it."""

import base64
from typing import Any

import pytest
from bson.binary import Binary

from sealwire.proxy.session.choices import ScramHash
from sealwire.proxy.session.login import identities
from sealwire.proxy.session.login.identities import (
    NONCE_BYTES,
    CertificateSteps,
    NotLoggedIn,
    ScramExchange,
    ScramFailed,
    ScramIdentity,
    ScramSecret,
    ScramSteps,
)
from tests.proxy.session.world import encoded

# The nonces of the RFCs are texts; ours is bytes, whose base64 they happen to be.
NONCE_256 = base64.b64decode("rOprNGfwEbeRWgbNEkqO")
FIRST_256 = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
LAST_256 = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
PENCIL = ScramSecret(ScramHash.SHA_256, b"pencil")


def exchange(secret: ScramSecret = PENCIL, user: str = "user") -> ScramExchange:
    return ScramExchange(user, secret, NONCE_256)


def test_the_vector_of_rfc_7677() -> None:
    login = exchange()
    assert login.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert login.proof(FIRST_256) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    login.verify(LAST_256)


def test_the_vector_of_rfc_5802() -> None:
    secret = ScramSecret(ScramHash.SHA_1, b"pencil")
    login = ScramExchange("user", secret, base64.b64decode("fyko+d2lbbFgONRv9qkxdawL"))
    assert login.first() == b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"
    first = b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
    assert login.proof(first).endswith(b",p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=")
    login.verify(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")


def test_a_name_with_signs_of_the_protocol_is_escaped() -> None:
    assert exchange(user="a=b,c").first().startswith(b"n,,n=a=3Db=2Cc,r=")


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",  # nothing of the server's own
        FIRST_256.replace(b"i=4096", b"i=4095"),  # a server that wants the password
        FIRST_256.replace(b"i=4096", b"i=300001"),  # one that wants our time
        FIRST_256.replace(b"i=4096", b"i=99999999999"),
        FIRST_256.replace(b"i=4096", b"i=x"),
        FIRST_256.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s=%%"),
        FIRST_256 + b",m=extension",
        b"\xff\xfe",
    ],
)
def test_a_first_message_that_is_wrong_gets_no_proof(first: bytes) -> None:
    with pytest.raises(ScramFailed):
        exchange().proof(first)


@pytest.mark.parametrize("last", [b"", b"v=", b"e=invalid-proof", b"v=" + b"A" * 44, LAST_256[:-5]])
def test_a_server_that_does_not_know_the_password_is_not_believed(last: bytes) -> None:
    login = exchange()
    login.proof(FIRST_256)
    with pytest.raises(ScramFailed):
        login.verify(last)


def test_nothing_is_verified_before_a_proof() -> None:
    with pytest.raises(ScramFailed):
        exchange().verify(b"v=")


def test_what_was_derived_is_remembered_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = ScramSecret(ScramHash.SHA_256, b"pencil")
    salts = [bytes((number,)) * 16 for number in range(10)]
    for salt in salts:
        assert secret.salted(salt, 4096) == secret.salted(salt, 4096)
    assert len(secret._derived) <= identities._REMEMBERED


def test_no_repr_shows_a_password() -> None:
    login = exchange(ScramSecret(ScramHash.SHA_256, b"hunter2"))
    assert "hunter2" not in f"{login!r}{login._secret!r}"


IDENTITY = ScramIdentity("app", "admin", ScramSecret(ScramHash.SHA_1, b"pencil"))


def scram() -> ScramSteps:
    return ScramSteps(IDENTITY, bytes(NONCE_BYTES))


def test_a_certificate_needs_one_yes() -> None:
    assert CertificateSteps().after(encoded({"ok": 1.0}), 0) is None
    with pytest.raises(NotLoggedIn) as caught:
        CertificateSteps().after(encoded({"ok": 0.0, "code": 18, "errmsg": "user app"}), 0)
    assert caught.value.why == "code 18"


def test_the_mechanism_is_the_one_that_is_configured() -> None:
    assert scram().first()["mechanism"] == "SCRAM-SHA-1"


@pytest.mark.parametrize(
    "change",
    [
        {"conversationId": "7"},
        {"payload": "r=x"},
        {"payload": Binary(b"x" * 5000)},
        {"done": True},
        {"ok": 0.0},
    ],
)
def test_an_answer_of_another_shape_ends_the_login(change: dict[str, Any]) -> None:
    steps = scram()
    nonce = bytes(steps.first()["payload"]).partition(b",r=")[2]  # type: ignore[call-overload]
    payload = Binary(b"r=" + nonce + b"x,s=c2FsdHNhbHQ=,i=4096")
    answer = {"ok": 1.0, "conversationId": 7, "done": False, "payload": payload}
    assert scram_next(scram, answer) is not None
    with pytest.raises(NotLoggedIn):
        steps.after(encoded({**answer, **change}), 0)


def scram_next(make: Any, answer: dict[str, Any]) -> object:
    return make().after(encoded(answer), 0)
