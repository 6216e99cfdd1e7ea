"""Steps of a login by certificate read nothing of an answer but what they need."""

from typing import Any

import pytest
from bson.binary import Binary

from sealwire.proxy.session.login.caller import ScramIdentity
from sealwire.proxy.session.login.certificate_steps import CertificateSteps, NotLoggedIn, ScramSteps
from sealwire.proxy.session.login.scram import NONCE_BYTES, ScramHash, ScramSecret
from tests.proxy.session.world import encoded

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
