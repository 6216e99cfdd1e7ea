"""`sealwire tls verify` against real servers: strong ones are clean, and each weakness is found."""

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from pymongo import MongoClient

from sealwire.cli.groups import tls as command
from sealwire.sidecars.errors import CannotCreate, TlsCheckReason
from sealwire.sidecars.tls_check.certificate import MAX_ANSWER_BYTES, http_fetch
from sealwire.sidecars.tls_check.report import TlsMetrics
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.child import free_port
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess, ServerTls
from sealwire.testbed.errors import TestbedError, TestbedReason
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.build_context import ROOT
from tests.integration.conftest import Document, Stack
from tests.integration.outside.chosen import own_server
from tests.integration.running_site import NHS, RULES
from tests.integration.vault_command import AUTHORITY, verify
from tests.sidecars.tls_check.certificates import Made, Odd, make, make_authority, write_sha1
from tests.support import warm
from tests.support.debian import require_program
from tests.support.doc_commands import run_document
from tests.support.reasons import raising
from tests.support.rows import rows
from tests.support.secantus import CLINIC, secantus
from tests.support.tls_servers import STRONG, WEAK, SilentServer, nginx, openssl_server

pytestmark = pytest.mark.integration


def test_a_strong_server_is_clean(sound: Path, ca: Path) -> None:
    with openssl_server(sound, *STRONG) as port:
        found = verify(f"127.0.0.1:{port}", f"localhost:{port}", "--ca", ca, "--strict")
    assert (found.code, found.rules, found.report["verdict"]) == (0, set(), "pass")
    assert found.accepted()["TLS 1.0"] == found.accepted()["TLS 1.1"] == set()


def test_a_deliberately_weak_server_is_not(tmp_path: Path, ca: Path) -> None:
    pem = make(Odd(), rsa.generate_private_key(65537, 2048), AUTHORITY).write(tmp_path, "weak")
    with openssl_server(pem, *WEAK) as port:
        found = verify(f"localhost:{port}", "--ca", ca)
    assert found.code == 1
    assert found.rules == {
        "protocol-tls10",
        "protocol-tls11",
        "suite-insecure",
        "suite-no-forward-secrecy",
        "suite-legacy",
    }
    assert {"TLS_RSA_WITH_NULL_SHA", "TLS_DH_anon_WITH_AES_128_CBC_SHA"} <= found.accepted()["TLS 1.0"]


def test_exactly_the_suites_of_the_server_are_found(tmp_path: Path, ca: Path) -> None:
    pem = make(Odd(), rsa.generate_private_key(65537, 2048), AUTHORITY).write(tmp_path, "server")
    suites = ("-cipher", "ECDHE-RSA-AES128-GCM-SHA256:AES256-SHA:DHE-RSA-AES256-GCM-SHA384")
    with openssl_server(pem, *suites, "-ciphersuites", "TLS_AES_128_CCM_SHA256", "-no_tls1_1") as port:
        found = verify(f"localhost:{port}", "--ca", ca)
    assert found.accepted() == {
        "TLS 1.0": set(),
        "TLS 1.1": set(),
        "TLS 1.2": {
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_RSA_WITH_AES_256_CBC_SHA",
            "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384",
        },
        "TLS 1.3": {"TLS_AES_128_CCM_SHA256"},
    }


def test_a_server_of_tls_10_only_is_shown_with_its_certificate(sound: Path, ca: Path) -> None:
    with openssl_server(sound, "-tls1", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0") as port:
        found = verify(f"localhost:{port}", "--ca", ca)
    assert found.rules == {"protocol-tls10", "no-modern-protocol", "suite-legacy"}
    assert found.endpoint()["presented"]["trusted"] is True


def odd_certificate(folder: Path, what: str) -> Path:
    made: dict[str, Made] = {
        "expired": make(Odd(days_ago=9, days_left=-1), issuer=AUTHORITY),
        "future": make(Odd(days_ago=-1), issuer=AUTHORITY),
        "ending": make(Odd(days_left=3), issuer=AUTHORITY),
        "elsewhere": make(Odd(names=("elsewhere.example",)), issuer=AUTHORITY),
        "self-signed": make(Odd()),
        "stranger": make(Odd(), issuer=make_authority("stranger")),
        "client": make(Odd(usage=ExtendedKeyUsageOID.CLIENT_AUTH), issuer=AUTHORITY),
        "staple": make(Odd(must_staple=True), issuer=AUTHORITY),
    }
    return made[what].write(folder, what)


@rows(
    "what, rule",
    ("expired", "certificate-expired"),
    ("future", "certificate-not-yet-valid"),
    ("ending", "certificate-expires-now"),
    ("elsewhere", "name-mismatch"),
    ("self-signed", "chain-untrusted"),
    ("stranger", "chain-untrusted"),
    ("client", "chain-untrusted"),
    ("staple", "must-staple-missing"),
)
def test_what_is_wrong_with_a_certificate_is_found_alone(
    tmp_path: Path, ca: Path, what: str, rule: str
) -> None:
    with openssl_server(odd_certificate(tmp_path, what), *STRONG) as port:
        found = verify(f"localhost:{port}", "--ca", ca)
    assert (found.code, found.rules) == (1, {rule})


def test_a_self_signed_certificate_passes_where_it_is_named(tmp_path: Path) -> None:
    pem = make(Odd()).write(tmp_path, "self")
    with openssl_server(pem, *STRONG) as port:
        assert verify(f"localhost:{port}", "--ca", pem).code == 0


def test_a_weak_key_and_a_sha1_signature_are_found(tmp_path: Path, ca: Path) -> None:
    weak = ("-min_protocol", "TLSv1.2", "-cipher", "ECDHE+AESGCM:@SECLEVEL=0")
    key = make(Odd(), rsa.generate_private_key(65537, 1024), AUTHORITY)  # noqa: S505 - the point
    with openssl_server(key.write(tmp_path, "short"), *weak) as port:
        assert verify(f"localhost:{port}", "--ca", ca).rules == {"key-weak"}
    old = write_sha1(tmp_path)
    with openssl_server(old, *weak) as port:
        assert verify(f"localhost:{port}", "--ca", old).rules == {"signature-weak"}


def test_a_server_that_has_a_small_curve_only_is_not_said_to_be_without_tls(tmp_path: Path, ca: Path) -> None:
    small = make(Odd(), ec.generate_private_key(ec.SECP192R1()), AUTHORITY).write(tmp_path, "small")
    options = ("-min_protocol", "TLSv1.2", "-cipher", "ECDHE+AESGCM:@SECLEVEL=0", "-groups", "P-192:P-256")
    with openssl_server(small, *options) as port:
        assert verify(f"localhost:{port}", "--ca", ca).rules == {"group-weak", "handshake-failed", "no-tls13"}


def test_a_client_that_begins_handshakes_again_is_found(sound: Path, ca: Path) -> None:
    with openssl_server(sound, *STRONG, "-client_renegotiation", "-www") as port:
        assert verify(f"localhost:{port}", "--ca", ca).rules == {"renegotiation"}


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_demanded_client_certificate_is_seen_and_used(
    tmp_path: Path, sound: Path, ca: Path, version: str
) -> None:
    client = make(Odd(usage=ExtendedKeyUsageOID.CLIENT_AUTH), issuer=AUTHORITY).write(tmp_path, "client")
    demand = ("-Verify", "2", "-verify_return_error", "-CAfile", str(ca), "-cipher", "ECDHE+AESGCM", "-www")
    with openssl_server(sound, version, *demand) as port:
        url = f"https://localhost:{port}/"
        outside = verify(url, "--ca", ca, "--http-port", "0")
        inside = verify(url, "--ca", ca, "--http-port", "0", "--client-certificate", client)
    assert "client-certificate-needed" in outside.rules
    assert inside.rules - {"no-tls13"} == {"hsts-missing"}
    for found in (outside, inside):
        assert found.endpoint()["presented"]["client_certificate"] == "demanded"


def test_a_stapled_response_is_read(tmp_path: Path, ca: Path) -> None:
    made = make(Odd(must_staple=True), issuer=AUTHORITY)
    now = datetime.now(UTC)
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=made.certificate,
        issuer=AUTHORITY.certificate,
        algorithm=hashes.SHA1(),  # noqa: S303 - as authorities do
        cert_status=ocsp.OCSPCertStatus.REVOKED,
        this_update=now - timedelta(hours=1),
        next_update=now + timedelta(hours=1),
        revocation_time=now - timedelta(hours=2),
        revocation_reason=None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, AUTHORITY.certificate)
    response = tmp_path / "response.der"
    signed = builder.sign(AUTHORITY.key, hashes.SHA256())
    response.write_bytes(signed.public_bytes(serialization.Encoding.DER))
    with openssl_server(made.write(tmp_path, "server"), *STRONG, "-status_file", str(response)) as port:
        found = verify(f"localhost:{port}", "--ca", ca)
    assert found.rules == {"revoked"}


def test_the_demo_proxy_is_clean_and_no_password_is_shown(stack: Stack, tmp_path: Path) -> None:
    uri = stack.proxy.uri(CLINIC, "clinic")
    page, metrics = tmp_path / "report.html", tmp_path / "tls.prom"
    arguments = [uri, "--html", page, "--metrics-file", metrics, "--strict"]
    done = warm.sealwire("tls", "verify", *arguments, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert stack.proxy.address in done.stdout
    shown = done.stdout + page.read_text() + metrics.read_text() + verify(uri).text
    for secret in (CLINIC.password, CLINIC.password.replace("/", "%2F").replace("@", "%40")):
        assert secret not in shown


def test_the_demo_database_speaks_hello_inside_tls_and_names_its_members(stack: Stack) -> None:
    _, _, port = stack.database.address.rpartition(":")
    uri = stack.database.uri().replace("127.0.0.1", "localhost")
    found = verify(uri)
    places = [endpoint["endpoint"] for endpoint in found.report["targets"][0]["endpoints"]]
    assert places == [f"localhost:{port}", f"127.0.0.1:{port}"]
    assert found.endpoint(0, 1)["discovered"] is True
    assert found.rules <= {"suite-legacy", "suite-no-forward-secrecy"}
    assert {"plaintext-accepted", "mongodb-hello", "chain-untrusted"}.isdisjoint(found.rules)


def test_a_database_that_demands_client_certificates(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "certificates")
    client = authority.issue("client", client=True).combined
    with secantus(tmp_path, authority=authority, mutual_tls=True) as database:
        base = f"mongodb://{database.address}/?tls=true&tlsCAFile={authority.certificate_file}"
        outside = verify(base)
        inside = verify(f"{base}&tlsCertificateKeyFile={client}")
    assert "client-certificate-needed" in outside.rules
    assert "client-certificate-needed" not in inside.rules
    assert "mongodb-hello" not in inside.rules


@pytest.fixture(scope="module")
def plaintext_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with secantus(tmp_path_factory.mktemp("plaintext")) as database:
        yield database.address


@rows(
    "target, rules",
    ("{}", {"no-tls", "plaintext-accepted"}),
    ("mongodb://{}/?tls=true", {"no-tls", "plaintext-accepted"}),
    ("mongodb://{}/", {"no-tls", "plaintext-accepted", "uri-without-tls"}),
)
def test_a_database_that_answers_without_tls_fails(
    plaintext_database: str, target: str, rules: set[str]
) -> None:
    # the server answers no ClientHello, and closes nothing: the time limit is what each attempt takes
    found = verify(target.format(plaintext_database), "--timeout", "1")
    assert (found.code, found.rules) == (1, rules)


def test_one_bad_target_does_not_keep_the_others_from_being_looked_at(sound: Path, ca: Path) -> None:
    with openssl_server(sound, *STRONG) as port:
        good = f"localhost:{port}"
        found = verify(good, f"127.0.0.1:{free_port()}", "no-such-host.invalid:1", good, "--ca", ca)
    assert found.code == 1
    rules = [{finding["rule"] for finding in target["findings"]} for target in found.report["targets"]]
    assert rules == [set(), {"unreachable"}, {"unreachable"}, set()]


def test_a_silent_port_is_given_up_after_three_connections() -> None:
    server = SilentServer()
    try:
        found = verify(f"127.0.0.1:{server.port}", "--timeout", "0.3")
        assert (found.code, found.rules) == (1, {"unreachable"})
        assert server.connections() == 3  # two ClientHellos, one hello without TLS
    finally:
        server.close()


def test_rules_decide_the_exit_code(tmp_path: Path, sound: Path, ca: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n  no-tls13: fail\n")
    with openssl_server(sound, *STRONG, "-max_protocol", "TLSv1.2") as port:
        target = (f"localhost:{port}", "--ca", ca)
        assert verify(*target).code == 0
        assert verify(*target, "--strict").code == 1
        assert verify(*target, "--rules", rules).code == 1
        assert verify(*target, "--rules", rules, "--rule", "no-tls13=off", "--strict").code == 0


def test_nothing_is_printed_for_cron_when_nothing_is_wrong(sound: Path, ca: Path) -> None:
    with openssl_server(sound, *STRONG) as port:
        arguments = ["verify", f"localhost:{port}", "--ca", str(ca), "--quiet"]
        assert CliRunner().invoke(command, arguments).output == ""


def test_an_address_for_metrics_that_is_taken_is_an_error() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        raising(CannotCreate, TlsCheckReason.METRICS_ADDRESS),
    ):
        TlsMetrics().listen("127.0.0.1", taken.getsockname()[1])


def test_watching_serves_metrics_until_it_is_told_to_end(sound: Path, ca: Path) -> None:
    listen = free_port()
    with openssl_server(sound, *STRONG) as port:
        arguments = [f"localhost:{port}", "--ca", str(ca), "--watch", "1s"]
        arguments += ["--metrics-listen", f"127.0.0.1:{listen}", "--quiet"]
        command_line = [sys.executable, "-m", "sealwire", "tls", "verify", *arguments]
        watching = warm.WarmProcess(command_line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            first = _last_run(listen, after=0)
            _last_run(listen, after=first)
            watching.send_signal(signal.SIGTERM)
            assert watching.wait(30) == 0
            assert watching.stdout is not None
            assert watching.stdout.read() == b""
        finally:
            watching.kill()
            watching.communicate()


def _last_run(port: int, after: float) -> float:
    """When the last run ended, once that is later than `after`."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
            found = [line for line in lines if line.startswith("sealwire_tls_last_run_timestamp_seconds ")]
            if found and float(found[0].split()[1]) > after:
                return float(found[0].split()[1])
        except OSError:
            pass  # it has not begun to listen
        finally:
            connection.close()
        time.sleep(0.05)
    raise AssertionError("no run ended in time")


def test_the_shipped_client_and_the_check_agree_on_trust(stack: Stack) -> None:
    """The same authority file and host satisfy Python's own verification, as drivers use it."""
    context = ssl.create_default_context(cafile=str(stack.proxy.options.authority))
    host, _, port = stack.proxy.address.rpartition(":")
    certificate = ssl.get_server_certificate((host, int(port)), ca_certs=str(stack.proxy.options.authority))
    assert certificate.startswith("-----BEGIN CERTIFICATE-----")
    assert context.check_hostname
    assert verify(stack.proxy.uri(CLINIC)).endpoint()["presented"]["trusted"] is True


# What docs/operations/tls.md lets operators try works as it stands there.


def test_a_sound_server_passes_and_a_weak_one_does_not(tmp_path: Path) -> None:
    openssl = require_program("openssl", "openssl", "version")
    path = f"{Path(sys.executable).parent}:{openssl.parent}:{os.environ['PATH']}"
    environ = {"PORT": str(free_port()), "PATH": path}
    said = run_document(ROOT / "docs" / "operations" / "tls.md", tmp_path, "try", environ)
    sound, _, weak = said.partition("pass failures: 0")
    assert "fail" not in sound
    assert "suite-no-forward-secrecy" in weak
    assert "exit code 1" in weak
    assert (tmp_path / "try.html").read_text().startswith("<!doctype html>")


# `sealwire tls verify` against real web servers: what it demands of them besides their TLS.


GOOD_WEB = "ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;"

HSTS = 'add_header Strict-Transport-Security "max-age=31536000";'


def test_a_sound_web_server_is_clean(tmp_path: Path, sound: Path, ca: Path) -> None:
    redirect = "return 301 https://$host$request_uri;"
    with nginx(tmp_path, sound, tls=GOOD_WEB, https=HSTS, http=redirect) as (https, plain):
        found = verify(f"https://localhost:{https}/", "--ca", ca, "--http-port", plain, "--strict")
    assert (found.code, found.rules) == (0, set())
    assert found.endpoint()["plaintext"] == "redirected to https"


def test_a_web_server_without_redirect_and_hsts_is_not(tmp_path: Path, sound: Path, ca: Path) -> None:
    tls = "ssl_protocols TLSv1 TLSv1.1 TLSv1.2; ssl_ciphers ECDHE+AES:@SECLEVEL=0;"
    with nginx(tmp_path, sound, tls=tls) as (https, plain):
        found = verify(f"https://localhost:{https}/", "--ca", ca, "--http-port", plain)
    assert found.rules == {
        "http-not-redirected",
        "hsts-missing",
        "no-tls13",
        "protocol-tls10",
        "protocol-tls11",
        "suite-legacy",
    }


def test_a_redirect_to_another_host_does_not_count(tmp_path: Path, sound: Path, ca: Path) -> None:
    redirect = "return 301 https://elsewhere.example/;"
    with nginx(tmp_path, sound, tls=GOOD_WEB, https=HSTS, http=redirect) as (https, plain):
        found = verify(f"https://localhost:{https}/", "--ca", ca, "--http-port", plain)
    assert found.rules == {"http-not-redirected"}


# TLS is taken off the server and Sealwire, and put back: what is stored stays, and no half of it serves.


NUMBER = "943 476 5919"


@contextmanager
def started(options: DatabaseOptions) -> Iterator[DatabaseProcess]:
    database = DatabaseProcess(options)
    database.start()
    try:
        yield database
    finally:
        database.stop()


def stored_number(options: ProxyOptions, database: DatabaseProcess) -> object:
    """What an application finds through a Sealwire with these settings before this server."""
    with (
        ProxyProcess(replace(options, upstream=database.address)) as proxy,
        MongoClient[Document](proxy.uri(), serverSelectionTimeoutMS=5000) as client,
    ):
        client["clinic"]["patients"].update_one({"_id": 1}, {"$set": {NHS: NUMBER}}, upsert=True)
        (found,) = client["clinic"]["patients"].find({NHS: NUMBER})
        return found[NHS]


@own_server("it is started anew")
def test_tls_is_taken_off_and_put_back_and_the_data_stays(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "authority")
    issued = authority.issue("database")
    plain = DatabaseOptions(tmp_path / "database")
    tls = replace(plain, tls=ServerTls(issued.certificate, issued.key, authority.certificate_file))
    (tmp_path / "policy.yaml").write_text(RULES)
    back = ProxyOptions(tmp_path / "proxy", tmp_path / "policy.yaml", "", access_control=False)
    forth = replace(back, certificate=authority.issue("sealwire"), authority=authority.certificate_file)
    with started(tls) as database:
        assert stored_number(forth, database) == NUMBER
    with started(plain) as database:
        with raising(TestbedError, TestbedReason.DIED):
            stored_number(forth, database)  # a server without TLS is not used until the configuration says so
        assert stored_number(back, database) == NUMBER
        with database.connect() as raw:
            assert raw["clinic"]["patients"].count_documents({NHS: NUMBER}) == 0
    with started(tls) as database:
        assert stored_number(forth, database) == NUMBER


# `sealwire tls verify --revocation` asks an authority, and trusts neither its size nor where it points.


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
