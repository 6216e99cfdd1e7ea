"""Certificates: what one says, who may vouch for it, and whether it was revoked.

Revocation is told by the stapled OCSP response, and if asked by OCSP or CRL. An answer counts only if the
issuer signed it (or somebody the issuer named for this), it is about this certificate, and it is not out of
date. Asking sends the certificate's serial number to the authority.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from sealwire.sidecars.errors import TlsCheckReason, Unusable

E = TypeVar("E", bound=x509.ExtensionType)

MAX_TEXT = 200
"""Characters kept of a name that somebody else chose."""
MAX_NAMES = 100


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """One certificate. Times have a time zone; texts are printable and cut to MAX_TEXT."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    """DNS names and addresses it is good for; the subject's common name is none (RFC 9525)."""
    serial: str
    sha256: str
    key: str
    """Such as `RSA 2048`, `ECDSA secp256r1`, `Ed25519`."""
    key_strong: bool
    signature: str
    """Such as `sha256`, `ed25519`."""
    signature_strong: bool
    self_signed: bool
    not_before: datetime
    not_after: datetime
    ocsp: tuple[str, ...]
    crl: tuple[str, ...]
    must_staple: bool


def describe(certificate: x509.Certificate) -> CertificateFacts:
    """Never fails: what cannot be read is left out, or called `unreadable` and not strong."""
    key, key_strong = _key(certificate)
    signature, signature_strong = _signature(certificate)
    return CertificateFacts(
        subject=_name(certificate, "subject"),
        issuer=_name(certificate, "issuer"),
        names=_names(certificate),
        serial=f"{certificate.serial_number:x}",
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        key=key,
        key_strong=key_strong,
        signature=signature,
        signature_strong=signature_strong,
        self_signed=_self_signed(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        ocsp=_ocsp_urls(certificate),
        crl=_crl_urls(certificate),
        must_staple=_extension(certificate, x509.TLSFeature) is not None,
    )


def printable(text: str) -> str:
    """`text` without control characters and cut to MAX_TEXT, for names that others chose."""
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_TEXT])


def _name(certificate: x509.Certificate, which: str) -> str:
    try:
        name: x509.Name = getattr(certificate, which)
        return printable(name.rfc4514_string())
    except ValueError:
        return "unreadable"


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    extension = _extension(certificate, x509.SubjectAlternativeName)
    if extension is None:
        return ()
    found = [str(name) for name in extension.get_values_for_type(x509.DNSName)]
    found += [str(address) for address in extension.get_values_for_type(x509.IPAddress)]
    return tuple(printable(name) for name in found[:MAX_NAMES])


def _key(certificate: x509.Certificate) -> tuple[str, bool]:
    """Strong: RSA from 2048 bits, curves from 256 (NCSC, Mozilla intermediate); no DSA (FIPS 186-5)."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "unreadable", False
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}", key.key_size >= 2048
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {key.curve.name}", key.key_size >= 256
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519", True
    if isinstance(key, ed448.Ed448PublicKey):
        return "Ed448", True
    if isinstance(key, dsa.DSAPublicKey):
        return f"DSA {key.key_size}", False
    return type(key).__name__.removesuffix("PublicKey"), True


_WEAK_HASHES = (hashes.MD5, hashes.SHA1)
_WITHOUT_HASH = {x509.SignatureAlgorithmOID.ED25519: "ed25519", x509.SignatureAlgorithmOID.ED448: "ed448"}


def _signature(certificate: x509.Certificate) -> tuple[str, bool]:
    """RFC 9325 section 4.5: nothing below SHA-256."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return printable(certificate.signature_algorithm_oid.dotted_string), False
    if algorithm is None:
        # The algorithm hashes by itself: Ed25519, Ed448 and the post-quantum ones.
        oid = certificate.signature_algorithm_oid
        return _WITHOUT_HASH.get(oid, oid.dotted_string), True
    return algorithm.name, not isinstance(algorithm, _WEAK_HASHES)


def _self_signed(certificate: x509.Certificate) -> bool:
    try:
        return certificate.issuer == certificate.subject
    except ValueError:
        return False


def _ocsp_urls(certificate: x509.Certificate) -> tuple[str, ...]:
    entries = _extension(certificate, x509.AuthorityInformationAccess) or ()
    is_ocsp = AuthorityInformationAccessOID.OCSP
    return _urls([entry.access_location for entry in entries if entry.access_method == is_ocsp])


def _crl_urls(certificate: x509.Certificate) -> tuple[str, ...]:
    points = _extension(certificate, x509.CRLDistributionPoints) or ()
    return _urls([name for point in points for name in point.full_name or ()])


def _urls(names: list[x509.GeneralName]) -> tuple[str, ...]:
    urls = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    return tuple(printable(url) for url in urls[:MAX_NAMES])


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return None


MAX_PEM_BYTES = 4 << 20
"""A bundle of all public authorities has 0.2 MB."""


PrivateKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)


Trust = tuple[x509.Certificate, ...] | None
"""The authorities that may vouch; None: those of the system."""


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """A certificate for servers that demand one, and its private key."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: PrivateKey = field(repr=False)


def load_trust(file: Path | None) -> Trust:
    """The authorities in a PEM file; of the system without one. Raises Unusable AUTHORITIES."""
    if file is None:
        return None
    try:
        return tuple(x509.load_pem_x509_certificates(_read(file)))
    except (OSError, ValueError):
        text = f"{file}: no certificates of authorities in PEM form"
        hint = "name a readable file; look at it with `openssl x509 -in FILE -text`"
        raise Unusable(TlsCheckReason.AUTHORITIES, text, hint) from None


def load_identity(file: Path) -> ClientIdentity:
    """Certificate and key from one PEM file, as MongoDB's drivers read it. Raises Unusable."""
    try:
        pem = _read(file)
        key = load_pem_private_key(pem, password=None)
        first, *chain = x509.load_pem_x509_certificates(pem)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a passphrase
        raise _no_identity(file) from None
    if first.public_key() != key.public_key() or not isinstance(key, PrivateKey):
        raise _no_identity(file)
    return ClientIdentity(first, tuple(chain), key)


def _no_identity(file: Path) -> Unusable:
    text = f"{file}: no certificate with its private key in PEM form, without a passphrase"
    hint = "put both into one file, mode 0600, as tlsCertificateKeyFile of MongoDB's drivers"
    return Unusable(TlsCheckReason.CLIENT_CERTIFICATE, text, hint)


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        content = stream.read(MAX_PEM_BYTES + 1)
    if len(content) > MAX_PEM_BYTES:
        raise ValueError("too large")
    return content


MAX_ANSWER_BYTES = 16 << 20
"""The largest CRLs of public authorities have some megabytes."""
_CLOCK_TOLERANCE = timedelta(minutes=5)


class Status(Enum):
    """What is known of a certificate's revocation."""

    NOT_ASKED = "not asked"
    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    """Asked, and no answer that counts."""


class Via(Enum):
    """Where the answer came from."""

    NOTHING = "-"
    STAPLE = "stapled OCSP"
    OCSP = "OCSP"
    CRL = "CRL"


@dataclass(frozen=True, slots=True)
class Revocation:
    """The status, where it came from, and whether the server stapled something that does not count."""

    status: Status = Status.NOT_ASKED
    via: Via = Via.NOTHING
    stapled: bool = False
    staple_valid: bool = False


Fetch = Callable[[str, bytes | None], bytes]
"""GETs a URL, or POSTs a body to it. Raises OSError when there is no answer."""


def check_revocation(
    certificate: x509.Certificate, issuer: x509.Certificate | None, staple: bytes, fetch: Fetch | None
) -> Revocation:
    """The revocation of `certificate`.

    Shape:   `staple` DER or empty; `fetch` None: the authority is not asked
    Source:  RFC 6960 sections 3.2, 4.2.2.2; RFC 5280 section 6.3
    """
    status, via = _judge_ocsp(staple, certificate, issuer), Via.STAPLE
    valid = status is not Status.UNKNOWN
    if not valid:
        status, via = (Status.NOT_ASKED, Via.NOTHING) if fetch is None else _ask(certificate, issuer, fetch)
    return Revocation(status, via, bool(staple), valid)


def _ask(certificate: x509.Certificate, issuer: x509.Certificate | None, fetch: Fetch) -> tuple[Status, Via]:
    facts = describe(certificate)
    if issuer is not None:
        request = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1()).build()  # noqa: S303 - names the issuer, as responders expect
        body = request.public_bytes(serialization.Encoding.DER)
        ways = ((Via.OCSP, facts.ocsp, body, _judge_ocsp), (Via.CRL, facts.crl, None, _judge_crl))
        for via, urls, sent, judge in ways:
            for url in urls[:2]:
                with suppress(OSError):
                    status = judge(fetch(url, sent), certificate, issuer)
                    if status is not Status.UNKNOWN:
                        return status, via
    return Status.UNKNOWN, Via.NOTHING


def _judge_ocsp(der: bytes, certificate: x509.Certificate, issuer: x509.Certificate | None) -> Status:
    if issuer is None or not der:
        return Status.UNKNOWN
    try:
        response = ocsp.load_der_ocsp_response(der)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return Status.UNKNOWN
        counts = (
            _is_about(response, certificate, issuer)
            and _current(response.this_update_utc, response.next_update_utc)
            and _signed_for(response, issuer)
        )
    except (ValueError, UnsupportedAlgorithm):
        return Status.UNKNOWN
    said = {ocsp.OCSPCertStatus.GOOD: Status.GOOD, ocsp.OCSPCertStatus.REVOKED: Status.REVOKED}
    return said.get(response.certificate_status, Status.UNKNOWN) if counts else Status.UNKNOWN


def _is_about(response: ocsp.OCSPResponse, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """The response's certificate id is the one that a request would carry."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, response.hash_algorithm)
    wanted = builder.build()
    return (
        response.serial_number == wanted.serial_number
        and response.issuer_name_hash == wanted.issuer_name_hash
        and response.issuer_key_hash == wanted.issuer_key_hash
    )


def _signed_for(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> bool:
    """Signed by the issuer, or by a responder whose certificate the issuer made for this purpose."""
    for signer in (issuer, *_responders(response, issuer)):
        try:
            _verify(signer.public_key(), response)
        except (InvalidSignature, ValueError, UnsupportedAlgorithm, TypeError):
            continue
        return True
    return False


def _responders(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> Iterable[x509.Certificate]:
    for candidate in response.certificates[:4]:
        try:
            candidate.verify_directly_issued_by(issuer)
            usage = candidate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
            continue
        if ExtendedKeyUsageOID.OCSP_SIGNING in usage and _current(
            candidate.not_valid_before_utc, candidate.not_valid_after_utc
        ):
            yield candidate


def _verify(key: object, response: ocsp.OCSPResponse) -> None:
    algorithm = response.signature_hash_algorithm
    signature, signed = response.signature, response.tbs_response_bytes
    if isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
        key.verify(signature, signed, padding.PKCS1v15(), algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
        key.verify(signature, signed, ec.ECDSA(algorithm))
    elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        key.verify(signature, signed)
    else:
        raise InvalidSignature


def _judge_crl(content: bytes, certificate: x509.Certificate, issuer: x509.Certificate) -> Status:
    if not content:
        return Status.UNKNOWN
    try:
        load = x509.load_pem_x509_crl if content.startswith(b"-----") else x509.load_der_x509_crl
        crl = load(content)
        counts = (
            crl.issuer == issuer.subject
            and _current(crl.last_update_utc, crl.next_update_utc)
            and crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # others: TypeError
        )
        entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return Status.UNKNOWN
    known = Status.GOOD if entry is None else Status.REVOKED
    return known if counts else Status.UNKNOWN


def _current(this_update: datetime, next_update: datetime | None) -> bool:
    now = datetime.now(UTC)
    return this_update - _CLOCK_TOLERANCE <= now and (next_update is None or now <= next_update)


class _NoRedirects(HTTPRedirectHandler):
    """An authority's address is in the certificate; nobody else's is followed."""

    def redirect_request(self, *_: object) -> None:
        return None


def http_fetch(timeout_s: float) -> Fetch:
    """A Fetch over plain http, as RFC 6960 and 5280 have it (the answers are signed). No other scheme."""
    opener = build_opener(_NoRedirects)

    def fetch(url: str, body: bytes | None) -> bytes:
        headers = {"Content-Type": "application/ocsp-request"} if body is not None else {}
        try:
            if urlsplit(url).scheme not in ("http", "https"):
                raise OSError
            with opener.open(Request(url, body, headers), timeout=timeout_s) as answer:  # noqa: S310 - checked
                content: bytes = answer.read(MAX_ANSWER_BYTES + 1)
        except (URLError, HTTPException, ValueError):
            raise OSError from None
        if len(content) > MAX_ANSWER_BYTES:
            raise OSError
        return content

    return fetch
