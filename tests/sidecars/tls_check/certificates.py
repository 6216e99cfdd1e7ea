"""Certificates that the demo's authority would never make: weak, old, for somebody else."""

import ipaddress
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from sealwire.sidecars.tls_check.certificate import CertificateFacts, Revocation, describe
from sealwire.sidecars.tls_check.handshake import ClientCertificate, HttpAnswer, StreamFailed, Trouble
from sealwire.sidecars.tls_check.offers import ProtocolVersion, Support, VersionSupport
from sealwire.sidecars.tls_check.suites import SUITES
from sealwire.sidecars.tls_check.target import (
    Endpoint,
    EndpointFacts,
    Plaintext,
    Presented,
    Target,
    TargetFacts,
    TargetKind,
)
from tests.support.debian import require_program

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
LOCAL = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Odd:
    """How a certificate is to be made; the defaults make a sound one."""

    names: Sequence[str] = LOCAL
    common_name: str = "odd"
    digest: hashes.SHA256 | hashes.SHA384 = field(default_factory=hashes.SHA256)
    days_ago: float = 1
    days_left: float = 60
    ocsp: str = ""
    crl: str = ""
    must_staple: bool = False
    authority: bool = False
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True, slots=True)
class Made:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    def write(self, folder: Path, name: str, *more: "Made") -> Path:
        """One PEM file with the key, the certificate, and the certificates of `more` after it."""
        private = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain = b"".join(pem(made) for made in (self, *more))
        path = folder / f"{name}.pem"
        path.write_bytes(private + chain)
        return path


def pem(made: Made) -> bytes:
    return made.certificate.public_bytes(serialization.Encoding.PEM)


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def make(odd: Odd, key: Key | None = None, issuer: Made | None = None) -> Made:
    """Signed by `issuer`, or by itself."""
    key = key or p256()
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, odd.common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=odd.days_ago))
        .not_valid_after(now + timedelta(days=odd.days_left))
        .add_extension(x509.BasicConstraints(ca=odd.authority, path_length=None), critical=True)
    )
    if odd.names and not odd.authority:
        builder = builder.add_extension(x509.SubjectAlternativeName(_names(odd.names)), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([odd.usage]), critical=False)
    if odd.ocsp:
        place = x509.UniformResourceIdentifier(odd.ocsp)
        access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    if odd.crl:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(odd.crl)], None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    if odd.must_staple:
        builder = builder.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
    signer = issuer.key if issuer else key
    return Made(
        builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else odd.digest), key
    )


def write_sha1(folder: Path) -> Path:
    """Self-signed with SHA-1, which cryptography does not sign with any more: made by openssl."""
    path = folder / "sha1.pem"
    openssl = require_program("openssl", "openssl", "version")
    command: list[str | Path] = [
        openssl,
        "req",
        "-x509",
        "-sha1",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        path,
        "-out",
        path,
    ]
    command += ["-subj", "/CN=old", "-days", "60", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return path


def make_authority(name: str = "odd authority") -> Made:
    return make(Odd(common_name=name, authority=True, names=()))


def _names(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


# Facts of a sound MongoDB endpoint, for tests that change one thing about them.


NOW = datetime.now(UTC)
CERTIFICATE: CertificateFacts = describe(make(Odd(), issuer=make_authority()).certificate)


def version(number: ProtocolVersion, *codes: int) -> VersionSupport:
    suites = tuple(SUITES[code] for code in codes)
    return VersionSupport(number, Support.ACCEPTED if codes else Support.REFUSED, suites=suites)


VERSIONS = (
    version(ProtocolVersion.TLS10),
    version(ProtocolVersion.TLS11),
    version(ProtocolVersion.TLS12, 0xC02F, 0xC030),
    version(ProtocolVersion.TLS13, 0x1302),
)
PRESENTED = Presented(
    "TLSv1.3", "TLS_AES_256_GCM_SHA384", (CERTIFICATE,), True, "", ClientCertificate.NOT_ASKED, Revocation()
)
DATABASE = EndpointFacts(
    Endpoint(TargetKind.MONGODB, "db.example", 27017), VERSIONS, Plaintext.REFUSED, PRESENTED
)
WEB = EndpointFacts(
    Endpoint(TargetKind.HTTPS, "clinic.example", 443),
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


# A real TLS server (OpenSSL of the ssl module) without a socket: a Stream whose other end it is.


CHUNK = 1 << 16


def server_context(
    pem: Path,
    *,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    suites: str = "ECDHE+AESGCM",
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = minimum, maximum
    context.set_ciphers(suites)
    context.load_cert_chain(pem)
    return context


class MemoryServer:
    """Answers `reply` to the first application data; ends when the client is refused."""

    def __init__(self, context: ssl.SSLContext, reply: bytes = b"") -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._reply = reply
        self._established = False
        self._ended = False
        self.closed = False
        self.received = b""

    def send(self, content: bytes) -> None:
        self._incoming.write(content)
        try:
            if not self._established:
                self._tls.do_handshake()
                self._established = True
            self.received += self._tls.read(CHUNK)
            if self._reply:
                self._tls.write(self._reply)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError:
            self._ended = True

    def receive(self, max_bytes: int) -> bytes:
        content = self._outgoing.read(max_bytes)
        if not content and not self._ended:
            raise StreamFailed(Trouble.TIMEOUT)  # it waits for the client, and would forever
        return content

    def close(self) -> None:
        self.closed = True


class Scripted:
    """A stream whose server says `answer` in pieces of `size`, or fails with `trouble` when it is asked."""

    def __init__(self, answer: bytes = b"", trouble: Trouble | None = None, size: int = CHUNK) -> None:
        self.answer, self._trouble, self._size = answer, trouble, size
        self.sent = b""

    def send(self, content: bytes) -> None:
        self.sent += content

    def receive(self, max_bytes: int) -> bytes:
        if self._trouble is not None:
            raise StreamFailed(self._trouble)
        size = min(max_bytes, self._size)
        answer, self.answer = self.answer[:size], self.answer[size:]
        return answer

    def close(self) -> None:
        pass
