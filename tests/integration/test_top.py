"""`sealwire top` beside a running proxy: for programs, in lines, and on a terminal until somebody types q."""

import hashlib
import hmac
import json
import os
import pty
import select
import subprocess
import sys
import threading
import time
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from sealwire.keys.errors import KeysError
from sealwire.sidecars.detection.delivery import WebhookChannel, read_secret, signature
from sealwire.sidecars.detection.rules import WebhookSettings
from sealwire.sidecars.errors import DeliveryFailed, DetectionReason, Unusable
from sealwire.testbed.database import DatabaseProcess
from tests.integration.running_site import client_of, new_site
from tests.proxy.server.site import Running, serving
from tests.support.private import private
from tests.support.reasons import raising
from tests.support.runs import ran

pytestmark = pytest.mark.integration

NUMBER = "943 476 5919"
NAMESPACE = "clinic.patients"
LONG_S = 60.0


@dataclass
class Watched:
    """A proxy with its client, and what somebody needs to look at it."""

    proxy: Running
    client: Any
    command: list[str]
    environ: dict[str, str]

    def top(self, *options: str, **streams: Any) -> subprocess.Popen[str]:
        return subprocess.Popen([*self.command, *options], env=self.environ, text=True, **streams)

    def work(self) -> None:
        """A command that is sent, one that is refused, and one on another collection."""
        patients = self.client["clinic"]["patients"]
        assert patients.find_one({"nhs_number": NUMBER}) is None
        with pytest.raises(OperationFailure):
            patients.find_one({"nhs_number": {"$gt": NUMBER}})
        assert self.client["stats"]["wards"].find_one({}) is None


@pytest.fixture(scope="module")
def watched(database: DatabaseProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    site = new_site(database, tmp_path_factory.mktemp("top") / "site")
    with serving(site) as proxy, client_of(proxy) as client:
        # each refusal is a line of the log: the pipe must not fill
        Thread(target=deque, args=(proxy.said, 0), daemon=True).start()
        config = str(site.folder / "sealwire.yaml")
        command = [sys.executable, "-m", "sealwire", "top", "--config", config]
        environ = {**site.environ, "SEALWIRE_ADMIN_ADDRESS": proxy.admin, "COLUMNS": "100", "TERM": "xterm"}
        yield Watched(proxy, client, command, environ)


def test_programs_get_one_interval_without_a_value(watched: Watched) -> None:
    with watched.top("--json", "--interval", "3", stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            watched.work()
        said = process.stdout.read() if process.stdout else ""
    assert process.returncode == 0
    seen = json.loads(said)
    rows = {each["collection"]: each for each in seen["collections"]}
    assert rows[NAMESPACE]["sent"] > 0
    assert rows[NAMESPACE]["refused"] > 0
    assert rows["other"]["sent"] > 0
    assert set(rows) == {NAMESPACE, "other"}
    assert seen["refusals"]["range"] == pytest.approx(seen["refused"])
    assert (seen["is_ready"], seen["clients"] > 0) == (True, True)
    assert NUMBER not in said
    assert "wards" not in said


def test_lines_are_printed_where_there_is_no_terminal(watched: Watched) -> None:
    watched.work()
    done = ran(
        [*watched.command, "--once", "--interval", "0.2"],
        env=watched.environ,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert NAMESPACE in done.stdout
    assert "\x1b" not in done.stdout


def test_a_view_on_a_terminal_goes_on_until_q(watched: Watched) -> None:
    mine, terminal = pty.openpty()
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    with os.fdopen(mine, "r+b", buffering=0) as keyboard:
        process = watched.top("--interval", "0.2", **streams)
        os.close(terminal)
        shown = drawn_until(keyboard.fileno(), NAMESPACE.encode(), times=2)
        assert shown >= 2
        keyboard.write(b"q")
        assert process.wait(LONG_S) == 0


def drawn_until(number: int, what: bytes, times: int) -> int:
    """How often something was drawn, once it was as often as wanted, or too much time has passed."""
    seen, deadline = b"", time.monotonic() + LONG_S
    while seen.count(what) < times and time.monotonic() < deadline:
        if select.select([number], [], [], 1.0)[0]:
            seen += os.read(number, 65536)
    return seen.count(what)


def test_a_proxy_that_is_not_there_is_an_error(watched: Watched, tmp_path: Path) -> None:
    done = subprocess.run(
        [*watched.command, "--once"],
        env=watched.environ | {"SEALWIRE_ADMIN_ADDRESS": "127.0.0.1:1"},
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 69


# Alerts are posted, signed, and to nobody else; whoever does not answer is tried again.


KEY = bytes(range(32))
SECRET = "whsec_" + b64encode(KEY).decode()
ALERT = {"id": "a7", "rule": "bulk-read", "about": {"user": "ann@admin"}}


@dataclass
class Service:
    """A receiver of webhooks that answers as it shall."""

    status: int = 204
    hangs: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    port: int = 0


@pytest.fixture
def service() -> Iterator[Service]:
    said = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            said.requests.append(({key.lower(): value for key, value in self.headers.items()}, body))
            if said.hangs:
                said.over.wait()
                return
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    said.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield said
    said.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return private(tmp_path / "secret", SECRET + "\n")


def channel(port: int, secret: Path, timeout_s: int = 10) -> WebhookChannel:
    return WebhookChannel(WebhookSettings(f"http://127.0.0.1:{port}/hook", secret, None, timeout_s), "origin")


def test_a_receiver_can_check_who_sent_what_and_when(service: Service, secret: Path) -> None:
    channel(service.port, secret).tell(ALERT)
    ((headers, body),) = service.requests
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = b64encode(hmac.new(b64decode(SECRET[6:]), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-id"] == "origin.a7"
    assert json.loads(body)["data"] == ALERT


def test_the_signature_is_that_of_the_specification() -> None:
    key = b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("status", [302, 400, 404, 410, 500])
def test_what_is_not_taken_was_not_told(service: Service, secret: Path, status: int) -> None:
    service.status = status
    service.headers = {"location": f"http://127.0.0.1:{service.port}/elsewhere"}
    with raising(DeliveryFailed, DetectionReason.REJECTED):
        channel(service.port, secret).tell(ALERT)
    assert len(service.requests) == 1


def test_one_that_hangs_is_left_after_its_time(service: Service, secret: Path) -> None:
    service.hangs = True
    with raising(DeliveryFailed, DetectionReason.UNREACHABLE):
        channel(service.port, secret, timeout_s=1).tell(ALERT)


def test_one_that_is_not_there_and_a_proxy_of_the_environment_that_is_not_asked(
    service: Service, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{service.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with raising(DeliveryFailed, DetectionReason.UNREACHABLE):
        channel(1, secret).tell(ALERT)
    assert service.requests == []


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_AAAA", b64encode(KEY).decode(), "whsec_é", "whsec_!!"])
def test_what_is_no_secret(secret: Path, text: str) -> None:
    secret.write_text(text)
    with raising(Unusable, DetectionReason.SECRET) as caught:
        read_secret(secret)
    assert len(text) < 8 or text not in str(caught.value)


def test_a_secret_that_others_may_read_is_not_used(secret: Path) -> None:
    assert read_secret(secret) == KEY
    secret.chmod(0o644)
    with pytest.raises(KeysError):
        read_secret(secret)


def test_authorities_have_to_be_there_and_nothing_is_shown(secret: Path, tmp_path: Path) -> None:
    with pytest.raises(Unusable):
        WebhookChannel(WebhookSettings("https://example.org/", secret, tmp_path / "no.pem", 1), "origin")
    assert repr(channel(1, secret)) == "WebhookChannel()"
