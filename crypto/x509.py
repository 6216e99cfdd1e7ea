"""What the operator must know about a certificate: from when and until when it is valid."""

from datetime import datetime
from typing import NamedTuple

from cryptography import x509


class InvalidCertificate(Exception):
    """The bytes hold no certificate in PEM form."""


class Validity(NamedTuple):
    """The two ends of a certificate's life, with time zone."""

    not_before: datetime
    not_after: datetime


def certificate_validity(pem: bytes) -> Validity:
    """When the first certificate in `pem`, the holder's own, is valid. Raises InvalidCertificate."""
    try:
        first = x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        raise InvalidCertificate("no certificate in PEM form") from None
    return Validity(first.not_valid_before_utc, first.not_valid_after_utc)
