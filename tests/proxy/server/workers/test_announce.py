"""What is said of certificates: whom they do not name, and when they end."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sealwire.proxy.server.config.settings import Address
from sealwire.proxy.server.tls import NO_TLS, TlsSide
from sealwire.proxy.server.workers.announce import certificate_findings
from tests.proxy.server.harness import make_config

END = datetime(2040, 1, 1, tzinfo=UTC)
CONFIG = make_config(1)


@pytest.mark.parametrize(
    ("host", "is_named"),
    [
        ("proxy.example", True),
        ("PROXY.example", True),
        ("a.clinic.example", True),
        ("a.b.clinic.example", False),
        ("other.example", False),
        ("127.0.0.1", True),
        ("127.0.0.2", False),
        ("x" * 300, False),
        ("a..b", False),
    ],
)
def test_the_certificate_names_every_advertised_host(host: str, is_named: bool) -> None:
    side = TlsSide(None, END, ("proxy.example", "*.clinic.example", "127.0.0.1"))
    member = replace(CONFIG.members[0], advertise=Address(host, 27018))
    known = replace(member, advertise=Address("proxy.example", 27018))
    config = replace(CONFIG, members=(known, member, member))
    found = certificate_findings(side, NO_TLS, config)
    assert [finding.fields.get("hosts") for finding in found] == ([] if is_named else [host])


def test_without_tls_nothing_is_said() -> None:
    assert certificate_findings(NO_TLS, NO_TLS, CONFIG) == []


def test_both_certificates_have_an_end() -> None:
    host = CONFIG.members[0].advertise.host
    old = TlsSide(None, END, (host,), "the certificate expires soon")
    found = certificate_findings(old, old, CONFIG)
    assert [finding.fields["side"] for finding in found] == ["listen", "upstream"]


def test_both_files_of_authorities_have_an_end() -> None:
    old = TlsSide(None, authority_warning="an authority has expired")
    found = certificate_findings(old, old, CONFIG)
    assert [finding.fields["side"] for finding in found] == ["listen", "upstream"]
    assert all(finding.hint for finding in found)
