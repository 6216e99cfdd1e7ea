"""Who may vouch for a server, and who the verifier is to servers that ask for a certificate."""

from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sealwire.sidecars.tls_check.errors import TlsCheckReason, UnusableFile

MAX_PEM_BYTES = 4 << 20
"""A bundle of all public authorities has 0.2 MB."""


PrivateKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)


@dataclass(frozen=True, slots=True)
class Trust:
    """The authorities that may vouch; None: those of the system."""

    authorities: tuple[x509.Certificate, ...] | None = None


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """A certificate for servers that demand one, and its private key."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: PrivateKey = field(repr=False)


def load_trust(file: Path | None) -> Trust:
    """The authorities in a PEM file; of the system without one. Raises UnusableFile AUTHORITIES."""
    if file is None:
        return Trust()
    try:
        return Trust(tuple(x509.load_pem_x509_certificates(_read(file))))
    except (OSError, ValueError):
        text = f"{file}: no certificates of authorities in PEM form"
        hint = "name a readable file; look at it with `openssl x509 -in FILE -text`"
        raise UnusableFile(TlsCheckReason.AUTHORITIES, text, hint) from None


def load_identity(file: Path) -> ClientIdentity:
    """Certificate and key from one PEM file, as MongoDB's drivers read it. Raises UnusableFile."""
    try:
        pem = _read(file)
        key = load_pem_private_key(pem, password=None)
        first, *chain = x509.load_pem_x509_certificates(pem)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a passphrase
        raise _no_identity(file) from None
    if first.public_key() != key.public_key() or not isinstance(key, PrivateKey):
        raise _no_identity(file)
    return ClientIdentity(first, tuple(chain), key)


def _no_identity(file: Path) -> UnusableFile:
    text = f"{file}: no certificate with its private key in PEM form, without a passphrase"
    hint = "put both into one file, mode 0600, as tlsCertificateKeyFile of MongoDB's drivers"
    return UnusableFile(TlsCheckReason.CLIENT_CERTIFICATE, text, hint)


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        content = stream.read(MAX_PEM_BYTES + 1)
    if len(content) > MAX_PEM_BYTES:
        raise ValueError("too large")
    return content
