"""A whole proxy whose admin address speaks TLS: probes, people with certificates, renewed files."""

import http.client
import signal
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwire.testbed.certificates import Authority, Issued
from tests.proxy.server.page.pages import TOKEN, a_token
from tests.proxy.server.site import Running, Site, hello_thread, make_site, serving
from tests.support import warm

pytestmark = pytest.mark.integration


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A proxy's folder with a certificate for the admin address."""
    with hello_thread() as port:
        made = make_site(tmp_path, port)
        issued = made.authority.issue("admin")
        made.config["admin"] |= {
            "tls": {
                "certificate": str(issued.certificate),
                "key": str(issued.key),
                "client_ca": str(made.authority.certificate_file),
            }
        }
        yield made


def asked(
    proxy: Running, path: str, authority: Authority, own: Issued | None = None
) -> tuple[int, bytes, bytes]:
    """Status, body, and the certificate that was shown."""
    context = ssl.create_default_context(cafile=str(authority.certificate_file))
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    host, _, port = proxy.admin.rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), timeout=10, context=context)
    try:
        connection.request("GET", path)
        assert isinstance(connection.sock, ssl.SSLSocket)
        shown = connection.sock.getpeercert(binary_form=True) or b""
        response = connection.getresponse()
        return response.status, response.read(), shown
    finally:
        connection.close()


def is_healthy(site: Site, proxy: Running) -> bool:
    check = [sys.executable, "-m", "sealwire", "healthcheck", "--config", str(site.folder / "sealwire.yaml")]
    environ = site.environ | {"SEALWIRE_ADMIN_ADDRESS": proxy.admin}
    return warm.run(check, env=environ, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_probes_people_and_a_renewed_certificate(site: Site, workers: int) -> None:
    site.config["workers"] = workers
    ann = site.authority.issue("ann", client=True)
    with serving(site) as proxy:
        assert is_healthy(site, proxy)
        assert asked(proxy, "/readyz", site.authority)[0] == 200
        assert asked(proxy, "/page", site.authority)[0] == 403
        status, page, before = asked(proxy, "/page", site.authority, ann)
        assert (status, b"clinic.patients" in page, b"nhs_number" in page) == (200, True, True)
        site.authority.issue("admin")  # in place of the old one
        proxy.process.send_signal(signal.SIGHUP)
        assert next(line for line in proxy.said if line["event"] == "certificates loaded")
        assert asked(proxy, "/readyz", site.authority)[2] != before
        assert is_healthy(site, proxy)


def test_a_health_check_does_not_believe_another_certificate(site: Site) -> None:
    with serving(site) as proxy:
        other = site.authority.issue("other")
        site.config["admin"]["tls"] |= {"certificate": str(other.certificate), "key": str(other.key)}
        site.write()
        assert not is_healthy(site, proxy)


def test_a_token_that_others_may_read_keeps_the_proxy_from_starting(site: Site, tmp_path: Path) -> None:
    a_token(tmp_path)
    (tmp_path / "token").chmod(0o644)
    site.config["admin"]["page"] = {"token_file": "token"}
    for more in ((), ("--check",)):
        done = site.serve(*more)
        assert done.returncode == 77
        assert TOKEN not in done.stderr
    site.config["workers"] = 2
    assert site.serve().returncode == 77
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "token").write_text("short")
    assert site.serve().returncode == 78
