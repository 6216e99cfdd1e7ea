"""The clinic's web service as on a server: nginx, uvicorn, Sealwire, a database; the page about it."""

import re
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest

from sealwire.testbed.certificates import create_authority
from sealwire.testbed.child import LOOPBACK, free_port, started
from sealwire.testbed.database import DatabaseProcess
from tests.build_context import ROOT
from tests.examples.fastapi_clinic.day import NUMBERS, PURPOSE, patient, spend
from tests.integration.vault_command import verify
from tests.support.debian import require_program
from tests.support.doc_commands import run_document
from tests.support.measuring import measuring
from tests.support.proxied import proxied
from tests.support.secantus import secantus

pytestmark = pytest.mark.integration

PAGE = ROOT / "examples" / "fastapi_clinic" / "README.md"
CONFIGURATION = ROOT / "deploy" / "nginx" / "clinic.conf"
HEADERS = {
    "strict-transport-security": "max-age=63072000; includeSubDomains",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class Site:
    """Where the clinic is reached, and what its parts have written."""

    https: int
    http: int
    ca: Path
    folder: Path
    database: DatabaseProcess

    def browser(self) -> httpx.AsyncClient:
        trust = ssl.create_default_context(cafile=self.ca)
        return httpx.AsyncClient(base_url=f"https://localhost:{self.https}", verify=trust)

    def plain(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://localhost:{self.http}", trust_env=False)

    def logs(self) -> str:
        """All that nginx, uvicorn and Sealwire have written."""
        logs = [path for path in self.folder.rglob("*.log") if "database" not in path.parts]
        return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in logs)


def configuration(folder: Path, https: int, http: int, service: int) -> str:
    """The shipped file with the names of this folder. Each name has to be there."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    for name, ours in (
        ("/etc/ssl/private/clinic.key", str(folder / "certificates" / "clinic.key")),
        ("/etc/ssl/clinic.crt", str(folder / "certificates" / "clinic.crt")),
        ("/var/log/nginx", str(folder)),
        ("clinic.example", "localhost"),
        ("listen 443", f"listen {LOOPBACK}:{https}"),
        ("listen 80", f"listen {LOOPBACK}:{http}"),
        ("server 127.0.0.1:8000", f"server {LOOPBACK}:{service}"),
    ):
        assert name in text
        text = text.replace(name, ours)
    return text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Cost: 6 s."""
    program = require_program("nginx", "nginx", "-v")
    folder = tmp_path_factory.mktemp("clinic")
    authority = create_authority(folder / "certificates")
    authority.issue("clinic")
    https, http, service = free_port(), free_port(), free_port()
    (folder / "clinic.conf").write_text(configuration(folder, https, http, service))
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit; events {{}}\n"
        f"http {{ include clinic.conf; client_body_temp_path {folder}; proxy_temp_path {folder};\n"
        f"fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder}; }}\n"
    )
    with secantus(folder) as database, ExitStack() as parts:
        policy = ROOT / "examples" / "policy.yaml"
        proxy = parts.enter_context(proxied(folder, policy, database.address))
        uvicorn = [sys.executable, "-m", "uvicorn", "--port", str(service), "--no-server-header"]
        application = "sealwire.examples.fastapi_clinic.app:app"
        environment = measuring() | {"MONGODB_URI": proxy.uri(database="clinic")}
        parts.enter_context(started([*uvicorn, application], service, folder / "service.log", environment))
        parts.enter_context(
            started([program, "-p", folder, "-c", folder / "nginx.conf"], https, folder / "nginx.log")
        )
        yield Site(https, http, authority.certificate_file, folder, database)


async def test_the_api_answers_over_https_and_the_database_holds_ciphertext(site: Site) -> None:
    async with site.browser() as client:
        day = await spend(client)
    assert {status for _, status, _ in day.answers} == {200, 201, 204, 404, 409, 422}
    with site.database.connect() as direct:
        kept = direct["clinic"]["patients"].find_one()
    assert kept is not None
    assert bytes(kept["nhs_number"][:2]) == bytes(kept["date_of_birth"][:2]) == b"SW"


async def test_every_answer_has_the_headers_of_an_api_for_https_only(site: Site) -> None:
    async with site.browser() as client:
        for path in ("/health/live", "/nowhere", "/health/live?a=1"):
            said = await client.get(path)
            assert {name: said.headers.get(name) for name in HEADERS} == HEADERS
            assert re.fullmatch("nginx", said.headers["server"])


def test_plain_http_serves_nothing_and_rewards_no_body(site: Site) -> None:
    with site.plain() as client:
        for path in ("/health/live", "/patients/" + "a" * 24):
            said = client.get(path)
            location = said.headers["location"]
            assert (said.status_code, location) == (HTTPStatus.MOVED_PERMANENTLY, f"https://localhost{path}")
        elsewhere = client.get("/health/live", headers={"Host": "elsewhere.example"})
        assert elsewhere.headers["location"] == "https://localhost/health/live"
        posted = client.post("/patients/find", json={"nhs_number": NUMBERS[0]}, headers=PURPOSE)
        assert posted.status_code == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused(site: Site, version: ssl.TLSVersion) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = version
    with socket.create_connection((LOOPBACK, site.https), timeout=10) as line, pytest.raises(ssl.SSLError):
        old.wrap_socket(line, server_hostname="localhost")


def test_tls_verify_finds_nothing_even_when_it_is_strict(site: Site) -> None:
    found = verify(
        f"https://localhost:{site.https}/health/live", "--ca", site.ca, "--http-port", site.http, "--strict"
    )
    assert (found.code, found.rules) == (0, set())
    assert found.endpoint()["plaintext"] == "redirected to https"
    assert {name for name, suites in found.accepted().items() if suites} == {"TLS 1.2", "TLS 1.3"}


async def test_no_log_on_the_way_has_an_identifier(site: Site) -> None:
    """Not from the service's own requests, nor where somebody writes one where none belongs."""
    number = NUMBERS[0]
    async with site.browser() as client:
        await client.post("/patients", json=patient(number, 1), headers=PURPOSE)
        await client.post("/patients/find", json={"nhs_number": number}, headers=PURPOSE)
        asked = [
            await client.get("/patients", params={"nhs_number": number}, headers=PURPOSE),
            await client.get(f"/patients/{number}", headers=PURPOSE),
            await client.get(
                "/health/live", headers={"User-Agent": number, "Referer": f"https://x/{number}"}
            ),
            await client.get(f"/{number}/..%2fpatients/find"),
            await client.request(f"GET{number}", "/health/live"),
        ]
        big = patient(number, 2) | {"notes": "x" * 70_000}
        asked.append(await client.post("/patients", json=big, headers=PURPOSE))
    with site.plain() as client_in_clear:
        client_in_clear.get(f"/patients/{number}", params={"nhs_number": number})
    assert [said.status_code for said in asked] == [400, 404, 200, 422, 400, 413]
    logs = site.logs()
    assert '"method":"POST","path":"/patients/find"' in logs
    assert "POST /patients/find HTTP/1.0" in logs or "POST /patients/find HTTP/1.1" in logs
    assert number not in logs


async def test_a_service_that_is_gone_is_no_reason_to_write_a_request_down(
    site: Site, tmp_path: Path
) -> None:
    """nginx has an error of its own to report then, and would put the request beside it."""
    program = require_program("nginx", "nginx", "-v")
    https, http, nobody = free_port(), free_port(), free_port()
    (tmp_path / "certificates").symlink_to(site.folder / "certificates")
    (tmp_path / "clinic.conf").write_text(configuration(tmp_path, https, http, nobody))
    (tmp_path / "nginx.conf").write_text((site.folder / "nginx.conf").read_text())
    text = (tmp_path / "nginx.conf").read_text().replace(str(site.folder), str(tmp_path))
    (tmp_path / "nginx.conf").write_text(text)
    command: list[str | Path] = [program, "-p", tmp_path, "-c", tmp_path / "nginx.conf"]
    id_ = "a" * 24
    with started(command, https, tmp_path / "nginx.log"):
        alone = Site(https, http, site.ca, tmp_path, site.database)
        async with alone.browser() as client:
            said = await client.post("/patients/find", json={"nhs_number": NUMBERS[0]}, headers=PURPOSE)
            await client.get(f"/patients/{id_}", headers=PURPOSE)
    assert said.status_code == HTTPStatus.BAD_GATEWAY
    assert (tmp_path / "clinic-error.log").read_text() == ""
    assert NUMBERS[0] not in alone.logs()


@pytest.mark.slow
def test_the_page_works_word_for_word(tmp_path: Path) -> None:
    nginx = require_program("nginx", "nginx", "-v")
    for program, probe in (("curl", "--version"), ("openssl", "version")):
        require_program(program, program, probe)
    ports = {name: str(free_port()) for name in ("SERVER", "PROXY", "ADMIN", "SERVICE", "HTTP", "HTTPS")}
    # of a package that was unpacked, not installed
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nginx").symlink_to(nginx)
    here = tmp_path / "here"
    here.mkdir()
    path = f"{Path(sys.executable).parent}:{tmp_path / 'bin'}:/usr/bin:/bin"
    said = run_document(PAGE, here, environ={**ports, "CLONE": str(ROOT), "PATH": path})
    assert said.count("Allergic to penicillin.") == 3
    assert "Binary(b'SW" in said
    assert "pass failures: 0" in said
