"""A certificate authority for one run, and what it signs: ECDSA P-256, PEM files, keys with mode 0600."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sealwire.crypto.host_names import as_address
from sealwire.keys.private_file import replace_private

LOCAL_NAMES = ("127.0.0.1", "::1", "localhost")
_CLOCK_TOLERANCE = timedelta(minutes=5)
_LIFETIME = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Issued:
    """Where one certificate lies: alone, its key, and both in one file as MongoDB drivers read them."""

    certificate: Path
    key: Path
    combined: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A self-signed authority. `certificate_file` is what clients are told to trust."""

    folder: Path
    certificate_file: Path
    _certificate: x509.Certificate = field(repr=False)
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    def issue(
        self,
        name: str,
        hosts: Sequence[str] = LOCAL_NAMES,
        *,
        client: bool = False,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
    ) -> Issued:
        """Sign a certificate for `hosts` (names or addresses), or for a client called `name`.

        Shape:   files `name.crt`, `name.key`, `name.pem` in the authority's folder, replaced if they exist
        Units:   times with a time zone; without them from five minutes ago for 30 days
        """
        now = datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            _builder(name, self._certificate.subject, key)
            .not_valid_before(valid_from or now - _CLOCK_TOLERANCE)
            .not_valid_after(valid_until or now + _LIFETIME)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(issuer, critical=False)
        )
        if hosts and not client:
            builder = builder.add_extension(x509.SubjectAlternativeName(_alternatives(hosts)), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return _store(self.folder, name, certificate, key)


def create_authority(folder: Path, name: str = "Sealwire demo authority") -> Authority:
    """Make an authority in `folder` (created if missing). Its own key is never written."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(name, _name(name), key)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_signing_only(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "authority.crt"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(folder, file, certificate, key)


def _builder(subject: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    number = x509.random_serial_number()
    return x509.CertificateBuilder(issuer, _name(subject), key.public_key(), number)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternatives(hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in hosts:
        address = as_address(host)
        names.append(x509.DNSName(host) if address is None else x509.IPAddress(address))
    return names


def _signing_only() -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    others = dict.fromkeys((*names, "key_agreement", "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(key_cert_sign=True, crl_sign=True, **others)


def _store(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    issued = Issued(folder / f"{name}.crt", folder / f"{name}.key", folder / f"{name}.pem")
    public = certificate.public_bytes(serialization.Encoding.PEM)
    issued.certificate.write_bytes(public)
    replace_private(issued.key, private)
    replace_private(issued.combined, public + private)
    return issued
