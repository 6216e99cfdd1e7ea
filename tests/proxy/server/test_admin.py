"""The admin address with the page: over TLS, by token, by certificate, and with clients that mean no good."""

import http.client
import json
import logging
import signal
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest

from sealwire.proxy.server import admin
from sealwire.proxy.server.admin import (
    MAX_CONNECTIONS,
    MAX_FROM_ONE,
    MAX_HEAD_BYTES,
    MAX_THREADS,
    AdminServer,
    ConnectionPlaces,
)
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import ListenTls, TlsMode
from sealwire.proxy.server.health import Health
from sealwire.proxy.server.page.door import LOGIN, PAGE, known_hosts
from sealwire.proxy.server.tls import NO_TLS, TlsSide, listen_side
from sealwire.testbed.certificates import Authority, Issued, create_authority
from tests.proxy.server.page.pages import TOKEN, FixedFeed, a_config, a_door, a_health, a_token
from tests.proxy.server.site import Running, Site, hello_thread, make_site
from tests.proxy.server.site import serving as site_serving
from tests.support import warm
from tests.support.rows import rows

FORM = urlencode({"token": TOKEN})
FORM_HEADERS = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}


@contextmanager
def serving(
    folder: Path, tls: TlsSide = NO_TLS, *, token: bool = True, page: bool = True
) -> Iterator[AdminServer]:
    """An admin address whose page knows TOKEN."""
    door = a_door(folder, tls=tls is not NO_TLS, token=token) if page else None
    server = AdminServer(Address("127.0.0.1", 0), a_health(), FixedFeed(a_config(folder)), tls, door)
    server.start()
    try:
        yield server
    finally:
        server.close()


def ask(
    server: AdminServer,
    path: str,
    method: str = "GET",
    body: str | None = None,
    context: ssl.SSLContext | None = None,
    **headers: str,
) -> tuple[int, dict[str, str], str]:
    """Status, headers by small letters, and body."""
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection(*server.address, timeout=10)
    else:
        connection = http.client.HTTPSConnection(*server.address, timeout=10, context=context)
    try:
        connection.request(
            method, path, body, {name.replace("_", "-"): text for name, text in headers.items()}
        )
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return response.status, found, response.read().decode()
    finally:
        connection.close()


def side(issued: Issued, authority: Authority | None = None) -> TlsSide:
    ca = None if authority is None else authority.certificate_file
    return listen_side(ListenTls(TlsMode.TLS, issued.certificate, issued.key, ca))


def trusting(authority: Authority, own: Issued | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.certificate_file))
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


def test_the_token_leads_to_the_page(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert ask(server, "/")[1]["location"] == PAGE
        assert ask(server, PAGE)[1]["location"] == LOGIN
        assert 'type="password"' in ask(server, LOGIN)[2]
        status, headers, _ = ask(server, LOGIN, "POST", FORM, None, **FORM_HEADERS)
        assert (status, headers["location"]) == (303, PAGE)
        status, headers, body = ask(server, PAGE, Cookie=headers["set-cookie"].partition(";")[0])
        assert (status, headers["cache-control"]) == (200, "no-store")
        assert "clinic.patients" in body


def test_the_other_paths_are_as_they_were(tmp_path: Path) -> None:
    for page in (True, False):
        with serving(tmp_path, page=page) as server:
            assert ask(server, "/healthz")[::2] == (200, '{"status": "ok"}\n')
            assert ask(server, "/readyz", Host="evil.example")[0] == 200
            assert "sealwire_commands_total" in ask(server, "/metrics")[2]
            status, _, body = ask(server, "/nothing")
            assert (status, "/page" in body) == (404, page)


def test_without_the_page_nothing_of_it_is_there(tmp_path: Path) -> None:
    with serving(tmp_path, page=False) as server:
        for path in ("/", PAGE, LOGIN):
            assert ask(server, path)[0] == 404
        assert ask(server, LOGIN, "POST", FORM)[0] == 501


def test_over_tls_the_cookie_is_for_tls_alone(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "authority")
    with serving(tmp_path, side(authority.issue("admin"))) as server:
        context = trusting(authority)
        _, headers, _ = ask(server, LOGIN, "POST", FORM, context, **FORM_HEADERS)
        assert headers["set-cookie"].startswith("__Host-sealwire=")
        assert "Secure" in headers["set-cookie"]
        assert ask(server, "/healthz", context=context)[0] == 200


def test_a_certificate_of_the_authority_is_enough_and_another_is_nothing(tmp_path: Path) -> None:
    authority, other = create_authority(tmp_path / "authority"), create_authority(tmp_path / "other")
    with serving(tmp_path, side(authority.issue("admin"), authority), token=False) as server:
        ann = trusting(authority, authority.issue("ann", client=True))
        assert ask(server, PAGE, context=ann)[0] == 200
        assert ask(server, PAGE, context=trusting(authority))[0] == 403
        assert ask(server, "/readyz", context=trusting(authority))[0] == 200
        mallory = trusting(authority, other.issue("mallory", client=True))
        with pytest.raises(OSError, match=r"^"):
            ask(server, PAGE, context=mallory)


def test_a_renewed_certificate_counts_for_new_connections(tmp_path: Path) -> None:
    old, new = create_authority(tmp_path / "old"), create_authority(tmp_path / "new")
    with serving(tmp_path, side(old.issue("admin"))) as server:
        assert ask(server, "/healthz", context=trusting(old))[0] == 200
        server.use_tls(side(new.issue("admin")))
        assert ask(server, "/healthz", context=trusting(new))[0] == 200


def raw(server: AdminServer, request: bytes) -> bytes:
    with socket.create_connection(server.address, timeout=10) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


@rows(
    "request_bytes, answer",
    (b"GET /healthz HTTP/1.0\r\n" + b"X: y\r\n" * 20000 + b"\r\n", b" 431 "),
    (b"GET /healthz HTTP/1.0\r\nX: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n", b" 431 "),
    (b"GET /" + b"y" * 2 * MAX_HEAD_BYTES + b" HTTP/1.0\r\n\r\n", b""),
    (b"POST /page/login HTTP/1.0\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n", b" 413 "),
    (b"POST /page/login HTTP/1.0\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", b" 413 "),
    (b"POST /page/login HTTP/1.0\r\nHost: localhost\r\nContent-Length: 1e9\r\n\r\n", b" 413 "),
    (b"POST /page/login HTTP/1.0\r\nHost: localhost\r\n\r\n", b" 413 "),
    (b"POST /metrics HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", b" 404 "),
    (b"POST /page/login HTTP/1.0\r\nHost: localhost\r\nContent-Length: 50\r\n\r\ntoken=x", b" 403 "),
    (b"PUT /page HTTP/1.0\r\nHost: localhost\r\n\r\n", b" 501 "),
    (b"GET /page HTTP/1.0\r\n\r\n", b" 421 "),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b""),
    ids=lambda value: repr(value[:40]),
)
def test_a_request_that_is_too_much_or_none_is_turned_away(
    tmp_path: Path, request_bytes: bytes, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(tmp_path) as server:
        try:
            head = raw(server, request_bytes).partition(b"\r\n")[0]
        except OSError:  # a reset, or a connection that is gone when its end is to be sent
            head = b" 431 "  # the rest of what was sent was not read
        assert answer in head
        assert ask(server, "/healthz")[0] == 200
    assert not [record for record in caplog.records if record.levelname == "CRITICAL"]


def test_a_slow_client_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "REQUEST_S", 0.2)
    authority = create_authority(tmp_path / "authority")
    for tls in (NO_TLS, side(authority.issue("admin"))):
        with serving(tmp_path, tls) as server, socket.create_connection(server.address, timeout=10) as client:
            client.sendall(b"G" if tls is NO_TLS else b"\x16")
            assert client.recv(1) == b""


def test_idle_connections_do_not_keep_a_probe_of_the_same_address_from_its_answer(tmp_path: Path) -> None:
    with serving(tmp_path) as server, ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection(server.address, timeout=10))
            for _ in range(MAX_FROM_ONE)
        ]
        assert ask(server, "/healthz")[0] == 200
        assert idle[0].recv(1) == b""
        idle[-1].sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert idle[-1].recv(15) == b"HTTP/1.0 200 OK"


class Cut(socket.socket):
    """Notes that it was shut down."""

    def __init__(self, cut: list["Cut"]) -> None:
        super().__init__()
        self.list = cut

    def shutdown(self, how: int) -> None:
        del how
        self.list.append(self)


def test_a_connection_beyond_the_bounds_ends_the_oldest_of_the_address_that_has_most() -> None:
    places, cut = ConnectionPlaces(), list[Cut]()
    with ExitStack() as stack:

        def take(host: str) -> Cut | None:
            connection = stack.enter_context(Cut(cut))
            return connection if places.take(host, connection) else None

        greedy = [take("10.0.0.1") for _ in range(MAX_FROM_ONE + 1)]
        assert cut == greedy[:1]
        others = [take(f"10.0.1.{number}") for number in range(MAX_CONNECTIONS - MAX_FROM_ONE + 1)]
        assert cut == greedy[:2]
        assert None not in (*greedy, *others)
        more = [take("10.0.2.1") for _ in range(MAX_THREADS - len(greedy) - len(others))]
        assert (None in more, take("10.0.3.1")) == (False, None)
        for connection in (*greedy, *others, *more):
            assert connection is not None
            places.give_back(connection)
        assert not places._taken
        assert take("10.0.3.1") is not None


@rows(
    "host, expected",
    ("127.0.0.1:1", True),
    ("[::1]", True),
    ("localhost", True),
    ("evil.example", False),
    ("", False),
)
def test_details_of_readiness_are_told_under_a_known_name_only(
    tmp_path: Path, host: str, *, expected: bool
) -> None:
    config = a_config(tmp_path)
    hosts = known_hosts(config)
    health = replace(a_health(), provider="vault")
    server = AdminServer(Address("127.0.0.1", 0), health, FixedFeed(config), hosts=hosts)
    server.start()
    try:
        status, _, body = ask(server, "/readyz", Host=host)
    finally:
        server.close()
    assert (status, "keyring" in json.loads(body)) == (200, expected)
    assert json.loads(body).get("provider") == ("vault" if expected else None)
    assert json.loads(body)["status"] == "ready"


# ----------------------------------------------------------------------------------------------------
# A whole proxy whose admin address speaks TLS: probes, people with certificates, renewed files.


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


@pytest.mark.integration
@pytest.mark.parametrize("workers", [1, 2])
def test_probes_people_and_a_renewed_certificate(site: Site, workers: int) -> None:
    site.config["workers"] = workers
    ann = site.authority.issue("ann", client=True)
    with site_serving(site) as proxy:
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


@pytest.mark.integration
def test_a_health_check_does_not_believe_another_certificate(site: Site) -> None:
    with site_serving(site) as proxy:
        other = site.authority.issue("other")
        site.config["admin"]["tls"] |= {"certificate": str(other.certificate), "key": str(other.key)}
        site.write()
        assert not is_healthy(site, proxy)


@pytest.mark.integration
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


# ----------------------------------------------------------------------------------------------------
# Clients of the admin address that go away: a line in the log, and no traceback between the lines.

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Lines(logging.Handler):
    """Keeps what is logged and tells that something was."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.events: list[str] = []
        self.written = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.events.append(record.getMessage())
        self.written.set()


def test_a_reset_in_the_middle_of_a_request(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    log, lines = logging.getLogger("sealwire.server"), Lines()
    before = log.level
    log.addHandler(lines)
    log.setLevel(logging.DEBUG)
    request.addfinalizer(lambda: log.removeHandler(lines))
    request.addfinalizer(lambda: log.setLevel(before))
    admin = AdminServer(Address("127.0.0.1", 0), Health(), FixedFeed(a_config(tmp_path)))
    request.addfinalizer(admin.close)
    admin.start()
    with socket.create_connection(admin.address) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        client.sendall(b"GET /heal")
    assert lines.written.wait(10)
    assert lines.events == ["admin client went away"]
    assert "Traceback" not in capfd.readouterr().err
