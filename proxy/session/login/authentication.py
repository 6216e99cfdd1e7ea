"""The one login that cannot pass through a proxy: MONGODB-X509.

It names the user by the certificate of the TLS connection, and the server's connection has the proxy's own:
sent on, every client would be logged in as the proxy. All other mechanisms carry their proof in messages,
which pass as received.
Source: Authentication (driver specifications), MONGODB-X509 and speculative authentication.
"""

from collections.abc import Iterator
from typing import Final

from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

_MECHANISM: Final = b"MONGODB-X509"


class CertificateLogin(Exception):
    """A client wants to log in by certificate; the session answers with AuthenticationFailed."""

    hint = "log in with SCRAM-SHA-256, or another mechanism whose proof travels in messages"


def check_login(message: bytes, body: int, name: bytes) -> None:
    """Raises CertificateLogin when the command `name` at `body` is a login by certificate. Cost: O(1) mostly.

    All of `authenticate` is refused: no server since 4.0 knows another mechanism for it.
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


def _is_certificate_login(message: bytes, document: int) -> bool:
    names = {element.name for element in elements(message, document)}
    return b"authenticate" in names or _names_certificate(message, document)


def _names_certificate(message: bytes, document: int) -> bool:
    """Whether any `mechanism` of a document is the certificate's: the server may take the first or last."""
    return any(
        element.name == b"mechanism" and _MECHANISM in message[element.value : element.end]
        for element in elements(message, document)
    )
