"""As whom the proxy logs a client in that has shown a certificate: by subject, as the configuration says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

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


class Holder(NamedTuple):
    """Whose certificate a client shows, as the configuration names it."""

    subject: str
    issuer: str = ""
    """Who has signed it; empty: any authority that is verified."""


Identities = Mapping[Holder, UpstreamIdentity]
"""By the exact names in the client's certificate."""

T = TypeVar("T")


def entry_of(entries: Mapping[Holder, T], names: tuple[str, ...], issuer: str) -> T | None:
    """The entry for a certificate: the one that names its subject and its issuer, else its subject alone.

    `names` has the subject in its spellings. The first counts; without any there is no entry.
    """
    if not names:
        return None
    found = entries.get(Holder(names[0], issuer))
    return entries.get(Holder(names[0])) if found is None else found


NO_IDENTITIES: Final[Identities] = {}


@dataclass(frozen=True, slots=True)
class Certified:
    """What a client has proved by its certificate, in the handshake before everything else."""

    names: tuple[str, ...]
    """The subject, exact, in the spellings that drivers and servers have for it; the first is what
    `Identities` has."""
    presented: UpstreamIdentity | None = None
    """As whom the connection to the server was opened; with a CertificateIdentity, by its certificate."""
    issuer: str = ""
    """Who has signed it, in the first of these spellings."""

    def identity(self, identities: Identities) -> UpstreamIdentity | None:
        """As whom a login counts now; None without one, or where the connection shows another certificate."""
        found = entry_of(identities, self.names, self.issuer)
        if isinstance(found, CertificateIdentity) and found != self.presented:
            return None
        return found


NOT_CERTIFIED: Final = Certified(())
