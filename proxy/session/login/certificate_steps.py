"""What the proxy asks the server, question by question, to log a client in that has shown a certificate.

Source: Authentication (driver specifications), MONGODB-X509 and SCRAM; RFC 5802.
"""

from typing import Final, final

from bson.binary import Binary

from sealwire.proxy.session import replies
from sealwire.proxy.session.login.caller import ScramIdentity
from sealwire.proxy.session.login.scram import ScramExchange, ScramFailed
from sealwire.wire import kinds
from sealwire.wire.raw_bson import find_element, int32_at

_MAX_PAYLOAD_BYTES: Final = 4096

Question = dict[str, object]


class NotLoggedIn(Exception):
    """The server does not log the client in. The text is a code or a fixed word, not the server's own."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@final
class CertificateSteps:
    """One question: the server has seen the certificate that the proxy shows for this client."""

    __slots__ = ()

    def first(self) -> Question:
        """The first question."""
        return {"authenticate": 1, "mechanism": "MONGODB-X509", "$db": "$external"}

    def after(self, message: bytes, body: int) -> Question | None:
        """The next question after this answer; None once it is done. Raises NotLoggedIn, BsonError."""
        _require_ok(message, body)
        return None


@final
class ScramSteps:
    """Two or three questions: the first message, the proof, and an empty one where the server waits."""

    __slots__ = ("_database", "_exchange", "_has_proved", "_is_verified", "_mechanism")

    def __init__(self, identity: ScramIdentity, nonce: bytes) -> None:
        self._exchange = ScramExchange(identity.user, identity.secret, nonce)
        self._mechanism = identity.secret.mechanism.value
        self._database = identity.database
        self._has_proved = False
        self._is_verified = False

    def first(self) -> Question:
        """The first question."""
        return {
            "saslStart": 1,
            "mechanism": self._mechanism,
            "payload": Binary(self._exchange.first()),
            "options": {"skipEmptyExchange": True},
            "$db": self._database,
        }

    def after(self, message: bytes, body: int) -> Question | None:
        """The next question after this answer; None once it is done. Raises NotLoggedIn, BsonError."""
        _require_ok(message, body)
        done = _is_done(message, body)
        if self._is_verified:
            if not done:
                raise NotLoggedIn("never done")
            return None
        payload = _payload(message, body)
        try:
            if self._has_proved:
                self._exchange.verify(payload)
                self._is_verified = True
                return None if done else self._go_on(message, body, b"")
            if done:
                # a server that lets somebody in without a proof is not the one that knows the password
                raise ScramFailed
            self._has_proved = True
            return self._go_on(message, body, self._exchange.proof(payload))
        except ScramFailed:
            raise NotLoggedIn("server not proved") from None

    def _go_on(self, message: bytes, body: int, payload: bytes) -> Question:
        number = find_element(message, body, b"conversationId")
        if number is None or number.kind != kinds.INT:
            raise NotLoggedIn("no conversation")
        return {
            "saslContinue": 1,
            "conversationId": int32_at(message, number.value),
            "payload": Binary(payload),
            "$db": self._database,
        }


LoginSteps = CertificateSteps | ScramSteps


def _require_ok(message: bytes, body: int) -> None:
    if not replies.is_ok(message, body):
        raise NotLoggedIn(replies.code_text(message, body))


def _is_done(message: bytes, body: int) -> bool:
    done = find_element(message, body, b"done")
    return done is not None and done.kind == kinds.BOOL and any(message[done.value : done.end])


def _payload(message: bytes, body: int) -> bytes:
    """The bytes of a binary, after its length and subtype; empty without one."""
    found = find_element(message, body, b"payload")
    if found is None or found.kind != kinds.BIN_DATA or found.end - found.value > _MAX_PAYLOAD_BYTES:
        return b""
    return message[found.value + 5 : found.end]
