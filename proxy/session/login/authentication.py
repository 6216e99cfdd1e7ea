"""The one login that cannot pass through a proxy: MONGODB-X509.

It names the user by the certificate of the TLS connection, and the server's connection has the proxy's own:
sent on, every client would be logged in as the proxy. So it ends here: the proxy has verified the client's
certificate, and logs it in as whom the configuration says (`sides.certificate_login`), or refuses. All other
mechanisms carry their proof in messages, which pass as received.
Source: Authentication (driver specifications), MONGODB-X509 and speculative authentication.
"""

from collections.abc import Iterator
from typing import Final

from bson import encode

from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, find_element, string_bytes
from sealwire.wire.splice import Edit, splice

_MECHANISM: Final = b"MONGODB-X509"
_EXTERNAL: Final = b"$external"


class CertificateLogin(Exception):
    """A client wants to log in by certificate; the session logs it in, or answers AuthenticationFailed."""

    hint = "log in with SCRAM-SHA-256, or another mechanism whose proof travels in messages"


def check_login(message: bytes, body: int, name: bytes) -> None:
    """Raises CertificateLogin when the command `name` at `body` is a login by certificate. Cost: O(1) mostly.

    All of `authenticate` is one: no server since 4.0 knows another mechanism for it.
    """
    if name == b"authenticate" or (name == b"saslStart" and _names_certificate(message, body)):
        raise CertificateLogin("a login by certificate ends at the proxy")


def certificate_speculations(message: bytes, hello: int) -> Iterator[Element]:
    """The `speculativeAuthenticate` elements of a hello that would log in by certificate.

    A driver whose speculation is not answered sends the explicit command, and reads our error to that.
    """
    for element in elements(message, hello):
        if element.name == b"speculativeAuthenticate" and (
            element.kind != kinds.OBJECT or _is_certificate_login(message, element.value)
        ):
            yield element


def is_own_claim(message: bytes, document: int, database: bytes, names: tuple[str, ...]) -> bool:
    """Whether a login by certificate claims nothing but what the certificate says. Raises BsonError.

    `database` is the name of the element that says where the user is kept. The user may be left out; given,
    it is one of the spellings of the certificate's subject. Nobody is somebody else because he says so.
    """
    claimed: list[bytes] = []
    is_external = False
    for element in elements(message, document):
        text = string_bytes(message, element) if element.kind == kinds.STRING else None
        if element.name == b"mechanism" and text != _MECHANISM:
            return False
        if element.name == database:
            is_external = text == _EXTERNAL
        if element.name == b"user":
            claimed.append(b"?" if text is None else text)
        if element.name == b"payload":
            claimed.append(_payload(message, element))
    said = {claim for claim in claimed if claim}
    return is_external and said <= {name.encode() for name in names}


def _payload(message: bytes, element: Element) -> bytes:
    """The user in a `saslStart`: the bytes of a binary, after its length and subtype."""
    if element.kind == kinds.STRING:
        return string_bytes(message, element)
    return message[element.value + 5 : element.end] if element.kind == kinds.BIN_DATA else b"?"


def without_certificate_mechanism(message: bytes, hello: int) -> bytes:
    """A hello's reply whose `saslSupportedMechs` do not offer what would be refused. Raises BsonError."""
    offered = find_element(message, hello, b"saslSupportedMechs")
    if offered is None or offered.kind != kinds.ARRAY:
        return message
    items = (item for item in elements(message, offered.value) if item.kind == kinds.STRING)
    names = [string_bytes(message, item) for item in items]
    if _MECHANISM not in names:
        return message
    kept = [name.decode("utf-8", "replace") for name in names if name != _MECHANISM]
    array = encode({str(place): name for place, name in enumerate(kept)})
    return splice(message, [Edit(offered.value, offered.end, array, (0, hello))])


def answer_of(name: bytes, subject: str) -> dict[str, object]:
    """What a server answers to the command `name` that has logged the holder of a certificate in."""
    if name == b"saslStart":
        return {"conversationId": 1, "done": True, "payload": b"", "ok": 1.0}
    return {"dbname": _EXTERNAL.decode(), "user": subject, "ok": 1.0}


def with_speculation(message: bytes, hello: int, name: bytes, subject: str) -> bytes:
    """A hello's reply in which the login that began with the hello has ended well."""
    entry = encode({"speculativeAuthenticate": answer_of(name, subject)})[4:-1]
    end = hello + int.from_bytes(message[hello : hello + 4], "little") - 1
    return splice(message, [Edit(end, end, entry, (0, hello))])


def _is_certificate_login(message: bytes, document: int) -> bool:
    names = {element.name for element in elements(message, document)}
    return b"authenticate" in names or _names_certificate(message, document)


def _names_certificate(message: bytes, document: int) -> bool:
    """Whether any `mechanism` of a document is the certificate's: the server may take the first or last."""
    return any(
        element.name == b"mechanism" and _MECHANISM in message[element.value : element.end]
        for element in elements(message, document)
    )
