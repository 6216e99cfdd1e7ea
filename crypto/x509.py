"""What there is to know about a certificate: from when and until when it is valid, and whose it is."""

import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, NamedTuple, NewType

from cryptography import x509
from cryptography.x509.oid import NameOID

MAX_SUBJECT: Final = 4096
"""Characters. A longer subject names nobody, because its holder chooses it, and roles search it."""
MAX_LINE: Final = 256
_HASH_CHARACTERS: Final = 16

SubjectLine = NewType("SubjectLine", str)
"""A subject as lines of logs have it. It may be cut, so nothing is decided by it."""


class InvalidCertificate(Exception):
    """The bytes hold no certificate in the form that was asked for."""


class Validity(NamedTuple):
    """The two ends of a certificate's life, with time zone."""

    not_before: datetime
    not_after: datetime


_ALWAYS: Final = Validity(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
_BLOCK: Final = re.compile(
    rb"-----BEGIN (?:X509 )?CERTIFICATE-----.*?-----END (?:X509 )?CERTIFICATE-----", re.DOTALL
)


def bundle_validities(pem: bytes) -> tuple[Validity, ...]:
    """When each certificate in `pem` is valid, in the order of the file.

    A certificate that cannot be read counts as always valid: OpenSSL, which accepts more, judges it.
    """
    return tuple(_validity_or_always(block) for block in _BLOCK.findall(pem))


def _validity_or_always(pem: bytes) -> Validity:
    try:
        return certificate_validity(pem)
    except InvalidCertificate:
        return _ALWAYS


def certificate_validity(pem: bytes) -> Validity:
    """When the first certificate in `pem`, the holder's own, is valid. Raises InvalidCertificate."""
    try:
        first = x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        raise InvalidCertificate("no certificate in PEM form") from None
    return Validity(first.not_valid_before_utc, first.not_valid_after_utc)


def certificate_names(pem: bytes) -> tuple[str, ...]:
    """The hosts and addresses that the first certificate in `pem` is for; none where it says none.

    The common name is not among them: no client of today looks there (RFC 9525 section 2). Raises
    InvalidCertificate.
    """
    try:
        first = x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        raise InvalidCertificate("no certificate in PEM form") from None
    try:
        names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):  # ValueError: one that nobody can read names nobody
        return ()
    addresses = (str(address) for address in names.get_values_for_type(x509.IPAddress))
    return (*names.get_values_for_type(x509.DNSName), *addresses)


_SPELLINGS: Final = (
    None,
    # as OpenSSL, and with it servers, call what RFC 4514 has no name for
    {NameOID.EMAIL_ADDRESS: "emailAddress", NameOID.SERIAL_NUMBER: "serialNumber", NameOID.TITLE: "title"},
)
_KNOWN_NAMES: Final = {"emailAddress": NameOID.EMAIL_ADDRESS, "E": NameOID.EMAIL_ADDRESS} | {
    "serialNumber": NameOID.SERIAL_NUMBER,
    "title": NameOID.TITLE,
}


def subject_spellings(der: bytes) -> tuple[str, ...]:
    """Whose a certificate is, whole, in the spellings that may be meant; the first is RFC 4514's.

    Two certificates have the same first one only if they have the same subject. Raises InvalidCertificate,
    also for a subject of more than MAX_SUBJECT characters. Cost: some 60 us.
    """
    try:
        subject = x509.load_der_x509_certificate(der).subject
        found = tuple(dict.fromkeys(subject.rfc4514_string(names) for names in _SPELLINGS))
    except ValueError:
        raise InvalidCertificate("no certificate in DER form") from None
    if any(len(spelling) > MAX_SUBJECT for spelling in found):
        raise InvalidCertificate("a subject without end")
    return found


def issuer_of(der: bytes) -> str:
    """The issuer of a certificate, with its name as RFC 4514 writes it.

    Raises InvalidCertificate. Cost: some 60 us.
    """
    try:
        return x509.load_der_x509_certificate(der).issuer.rfc4514_string()
    except ValueError:
        raise InvalidCertificate("no certificate in DER form") from None


def subject_of_pem(pem: bytes) -> str:
    """Whose the first certificate in `pem` is, as `read_subject` writes it. Raises InvalidCertificate."""
    try:
        return x509.load_pem_x509_certificates(pem)[0].subject.rfc4514_string()
    except ValueError:
        raise InvalidCertificate("no certificate in PEM form") from None


_HEXADECIMAL: Final = re.compile(r"(?:\A|[,+])[^=,+]*=\s*#")
"""A value by its encoding. It is written in one way here and in another by OpenSSL, and read as a text."""


def read_subject(text: str) -> str:
    """A subject that somebody wrote, as `subject_spellings` has it first. Raises InvalidCertificate.

    A BIT STRING is no text, so no subject that has one can be written.
    """
    try:
        name = x509.Name.from_rfc4514_string(text, _KNOWN_NAMES)
    except ValueError:
        raise InvalidCertificate("no subject in the form of RFC 4514") from None
    if _HEXADECIMAL.search(text) or name.get_attributes_for_oid(NameOID.X500_UNIQUE_IDENTIFIER):
        raise InvalidCertificate("a value that is no text")
    if not name.rdns:
        raise InvalidCertificate("an empty subject")
    return name.rfc4514_string()


def subject_line(subject: str) -> SubjectLine:
    """A subject in one line of MAX_LINE printable characters at most.

    A subject that is cut, or has other characters, ends in a semicolon and a hash of the whole. RFC 4514
    escapes semicolons, so no other subject is that line.
    """
    shown = "".join(char if char.isprintable() else "?" for char in subject)
    if shown == subject and len(subject) <= MAX_LINE:
        return SubjectLine(subject)
    end = f"...;{sha256(subject.encode()).hexdigest()[:_HASH_CHARACTERS]}"
    return SubjectLine(shown[: MAX_LINE - len(end)] + end)
