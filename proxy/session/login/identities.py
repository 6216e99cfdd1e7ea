"""As whom the proxy logs a client in that has shown a certificate: by subject, as the configuration says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sealwire.proxy.session.login.scram import ScramSecret


@dataclass(frozen=True, slots=True)
class ScramIdentity:
    """A user with a password, which the proxy knows and the client does not."""

    user: str
    database: str
    """Where the server keeps the user."""
    secret: ScramSecret = field(repr=False)


@dataclass(frozen=True, slots=True)
class CertificateIdentity:
    """Whoever the server takes the holder of a certificate for, which the proxy shows it."""

    subject: str
    """The subject of that certificate."""


UpstreamIdentity = ScramIdentity | CertificateIdentity

Identities = Mapping[str, UpstreamIdentity]
"""By the exact subject of the client's certificate."""

NO_IDENTITIES: Final[Identities] = {}


@dataclass(frozen=True, slots=True)
class Certified:
    """What a client has proved by its certificate, in the handshake before everything else."""

    names: tuple[str, ...]
    """The subject, exact, in the spellings that drivers and servers have for it; the first is what
    `Identities` has."""
    presented: UpstreamIdentity | None = None
    """As whom the connection to the server was opened; with a CertificateIdentity, by its certificate."""

    def identity(self, identities: Identities) -> UpstreamIdentity | None:
        """As whom a login counts now; None without one, or where the connection shows another certificate."""
        found = identities.get(self.names[0]) if self.names else None
        if isinstance(found, CertificateIdentity) and found != self.presented:
            return None
        return found


NOT_CERTIFIED: Final = Certified(())
