"""What was seen at an endpoint, before anything judges it. No secret can be in here."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from sealwire.sidecars.tls_check.certificate.certificate import CertificateFacts
from sealwire.sidecars.tls_check.certificate.revocation import Revocation
from sealwire.sidecars.tls_check.connection.handshake import ClientCertificate
from sealwire.sidecars.tls_check.connection.http import HttpAnswer
from sealwire.sidecars.tls_check.connection.offers import VersionSupport
from sealwire.sidecars.tls_check.connection.stream import Trouble
from sealwire.sidecars.tls_check.target import Endpoint, Target


class Plaintext(Enum):
    """What the endpoint does with a request without TLS."""

    REFUSED = "refused"
    ACCEPTED = "accepted"
    REDIRECTED = "redirected to https"
    CLOSED = "no such port"
    """Nothing listens on the port of plain http (HTTPS only)."""


@dataclass(frozen=True, slots=True)
class Presented:
    """What the server showed in a real handshake."""

    version: str
    suite: str
    chain: tuple[CertificateFacts, ...]
    """The server's own certificate first; never empty."""
    names_host: bool
    distrust: str
    """Why no trusted authority vouches for it; empty when one does."""
    client_certificate: ClientCertificate
    revocation: Revocation
    renegotiates: bool = False
    """Whether a client may begin handshake after handshake on one connection (TLS 1.2 and older)."""


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """Everything that was seen at one endpoint; what could not be seen is None or empty."""

    endpoint: Endpoint
    versions: tuple[VersionSupport, ...] = ()
    plaintext: Plaintext | None = None
    presented: Presented | None = None
    trouble: Trouble | None = None
    """Why there was no connection at all, or no handshake."""
    application_trouble: Trouble | None = None
    """Why MongoDB or HTTP did not answer inside TLS."""
    http: HttpAnswer | None = None
    discovered: bool = False
    """A member that another one named, not the operator."""

    @property
    def accepted(self) -> tuple[VersionSupport, ...]:
        """The versions that the server takes."""
        return tuple(found for found in self.versions if found.suites)


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """One target, all its endpoints, and when it was looked at."""

    target: Target
    endpoints: tuple[EndpointFacts, ...]
    seen: datetime
