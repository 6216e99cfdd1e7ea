"""Facts of a sound MongoDB endpoint, for tests that change one thing about them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sealwire.sidecars.tls_check.certificate import CertificateFacts, Revocation, describe
from sealwire.sidecars.tls_check.handshake import ClientCertificate, HttpAnswer
from sealwire.sidecars.tls_check.offers import ProtocolVersion, Support, VersionSupport
from sealwire.sidecars.tls_check.suites import SUITES
from sealwire.sidecars.tls_check.target import (
    Endpoint,
    EndpointFacts,
    Kind,
    Plaintext,
    Presented,
    Target,
    TargetFacts,
)
from tests.sidecars.tls_check.certificates import Odd, make, make_authority

NOW = datetime.now(UTC)
CERTIFICATE: CertificateFacts = describe(make(Odd(), issuer=make_authority()).certificate)


def version(number: ProtocolVersion, *codes: int) -> VersionSupport:
    suites = tuple(SUITES[code] for code in codes)
    return VersionSupport(number, Support.ACCEPTED if codes else Support.REFUSED, suites)


VERSIONS = (
    version(ProtocolVersion.TLS10),
    version(ProtocolVersion.TLS11),
    version(ProtocolVersion.TLS12, 0xC02F, 0xC030),
    version(ProtocolVersion.TLS13, 0x1302),
)
PRESENTED = Presented(
    "TLSv1.3", "TLS_AES_256_GCM_SHA384", (CERTIFICATE,), True, "", ClientCertificate.NOT_ASKED, Revocation()
)
DATABASE = EndpointFacts(Endpoint(Kind.MONGODB, "db.example", 27017), VERSIONS, Plaintext.REFUSED, PRESENTED)
WEB = EndpointFacts(
    Endpoint(Kind.HTTPS, "clinic.example", 443),
    VERSIONS,
    Plaintext.REDIRECTED,
    PRESENTED,
    http=HttpAnswer(200, "", "max-age=31536000"),
)


def target_facts(*endpoints: EndpointFacts, **changes: Any) -> TargetFacts:
    """A target that asks for TLS; `changes` to it."""
    kind = endpoints[0].endpoint.kind
    label = f"{kind.value}://{endpoints[0].endpoint.label}/"
    target = Target(label, kind, tuple(facts.endpoint for facts in endpoints))
    return TargetFacts(replace(target, **changes), endpoints, NOW)


def certificate(**changes: Any) -> CertificateFacts:
    return replace(CERTIFICATE, **changes)


def days(number: float) -> datetime:
    return NOW + timedelta(days=number)
