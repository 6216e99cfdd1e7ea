"""What matters of one certificate, in plain types."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID

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
