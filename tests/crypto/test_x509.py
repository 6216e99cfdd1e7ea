"""The validity of a certificate file's first certificate."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealwire.crypto.x509 import InvalidCertificate, Validity, certificate_validity
from sealwire.testbed.certificates import create_authority

STARTS = datetime(2024, 1, 2, tzinfo=UTC)
ENDS = datetime(2031, 3, 4, tzinfo=UTC)


def test_the_first_certificate_counts(tmp_path: Path) -> None:
    authority = create_authority(tmp_path)
    issued = authority.issue("proxy", valid_from=STARTS, valid_until=ENDS)
    chain = issued.certificate.read_bytes() + authority.certificate_file.read_bytes()
    assert certificate_validity(chain) == Validity(STARTS, ENDS)


@pytest.mark.parametrize(
    "pem", [b"", b"text", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff\xfe"]
)
def test_what_holds_no_certificate_is_refused(pem: bytes) -> None:
    with pytest.raises(InvalidCertificate):
        certificate_validity(pem)
