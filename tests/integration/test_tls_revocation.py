"""`sealwire tls verify --revocation` asks an authority, and trusts neither its size nor where it points."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from sealwire.sidecars.tls_check.certificate import MAX_ANSWER_BYTES, http_fetch
from sealwire.testbed.child import free_port
from tests.integration.tls_verify_command import AUTHORITY, verify
from tests.sidecars.tls_check.certificates import Odd, make
from tests.support.tls_servers import STRONG, openssl_server

pytestmark = pytest.mark.integration


class Authority(BaseHTTPRequestHandler):
    """Serves a revocation list; `/moved` leads to it, `/endless` is larger than any list."""

    crl = b""

    def do_GET(self) -> None:
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Location", "/ca.crl")
        self.end_headers()
        content = bytes(MAX_ANSWER_BYTES + 1) if self.path == "/endless" else self.crl
        with suppress(ConnectionError):
            self.wfile.write(content if self.path != "/moved" else b"")

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output is kept clean."""


@pytest.fixture
def authority_address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Authority)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_authority_is_asked_about_revocation(tmp_path: Path, ca: Path, authority_address: str) -> None:
    made = make(Odd(crl=f"{authority_address}/ca.crl"), issuer=AUTHORITY)
    now = datetime.now(UTC)
    entry = x509.RevokedCertificateBuilder().serial_number(made.certificate.serial_number)
    builder = x509.CertificateRevocationListBuilder().issuer_name(AUTHORITY.certificate.subject)
    builder = builder.last_update(now - timedelta(hours=1)).next_update(now + timedelta(hours=1))
    good = builder.sign(AUTHORITY.key, hashes.SHA256())
    bad = builder.add_revoked_certificate(entry.revocation_date(now).build())
    with openssl_server(made.write(tmp_path, "server"), *STRONG) as port:
        target = (f"localhost:{port}", "--ca", ca, "--revocation")
        assert verify(*target).rules == {"revocation-unknown"}
        Authority.crl = good.public_bytes(serialization.Encoding.DER)
        assert verify(*target).endpoint()["presented"]["revocation"]["status"] == "good"
        Authority.crl = bad.sign(AUTHORITY.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        assert verify(*target).rules == {"revoked"}


def test_an_authoritys_answer_is_bounded_and_redirects_are_not_followed(authority_address: str) -> None:
    fetch = http_fetch(timeout_s=5)
    assert fetch(f"{authority_address}/ca.crl", None) == Authority.crl
    for url in (
        f"{authority_address}/moved",
        f"{authority_address}/endless",
        f"http://127.0.0.1:{free_port()}/",
        "file:///etc/hostname",
        "http://[broken/",
    ):
        with pytest.raises(OSError):  # noqa: PT011 - all that a Fetch may raise
            fetch(url, None)
