"""Copies of the log over real sockets: each line arrives, whoever is away or is killed in between."""

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sealwire.audit.files import LogPlace
from sealwire.audit.line import read_line
from sealwire.audit.log import LogPace
from sealwire.proxy.server.audit_writer.copies import Copies, LogCopy
from sealwire.proxy.server.audit_writer.destinations import CopyTarget, parse_copy
from sealwire.testbed.certificates import create_authority
from tests.proxy.server.audit_writer.rings import log_in

pytestmark = pytest.mark.integration


class Clock:
    """Seconds that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def append(folder: Path, *numbers: int, pace: LogPace | None = None) -> None:
    log = log_in(folder, pace)
    log.append([{"event": "numbered", "number": number} for number in numbers])
    log.close()


def copy_to(folder: Path, target: CopyTarget, clock: Clock | None = None) -> LogCopy:
    return LogCopy(LogPlace(folder / "audit.jsonl"), target, clock or Clock())


def all_of(copy: LogCopy) -> None:
    while copy.turn():
        pass


def numbers_of(messages: list[bytes]) -> list[object]:
    """Those of the lines in these messages of RFC 5424."""
    lines = [read_line(re.split(rb" audit - ", message)[1] + b"\n").fields for message in messages]
    return [line["number"] for line in lines if line["event"] == "numbered"]


def received(sock: socket.socket) -> list[bytes]:
    """The datagrams that have come."""
    found = []
    sock.settimeout(0)
    try:
        while True:
            found.append(sock.recv(65_536))
    except BlockingIOError:
        return found


def from_stream(sock: socket.socket) -> list[bytes]:
    """The messages of a stream, to its end."""
    data = b""
    sock.settimeout(10)
    while chunk := sock.recv(65_536):
        data += chunk
    messages = []
    while data:
        length, _, data = data.partition(b" ")
        messages.append(data[: int(length)])
        data = data[int(length) :]
    return messages


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def address_of(sock: socket.socket, kind: str) -> CopyTarget:
    return parse_copy(f"syslog:{kind}:127.0.0.1:{sock.getsockname()[1]}")


def test_each_line_arrives_once_and_another_process_goes_on(tmp_path: Path, receiver: socket.socket) -> None:
    target = address_of(receiver, "udp")
    append(tmp_path, 1, 2)
    first = copy_to(tmp_path, target)
    all_of(first)
    assert numbers_of(received(receiver)) == [1, 2]
    append(tmp_path, 3)
    all_of(first)
    assert not first.is_behind
    first.close()
    append(tmp_path, 4, pace=LogPace(file_bytes=400))
    append(tmp_path, 5, pace=LogPace(file_bytes=400))
    second = copy_to(tmp_path, target)
    all_of(second)
    assert numbers_of(received(receiver)) == [3, 4, 5]
    second.close()


def test_of_several_processes_one_copies(tmp_path: Path, receiver: socket.socket) -> None:
    append(tmp_path, 1)
    one, other = (copy_to(tmp_path, address_of(receiver, "udp")) for _ in range(2))
    all_of(one)
    assert not other.turn()
    assert not other.is_behind
    one.close()
    append(tmp_path, 2)
    all_of(other)
    assert numbers_of(received(receiver)) == [1, 2]
    other.close()


def test_a_server_that_is_away_holds_nothing_up_and_gets_everything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    copy = copy_to(tmp_path, parse_copy(f"syslog:unix:{path}"))
    append(tmp_path, 1)
    for _ in range(3):
        assert not copy.turn()
    assert copy.is_behind
    assert (copy.failures, copy.pause_s) == (3, 0.8)
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    assert b"numbered" in (tmp_path / "audit.jsonl").read_bytes()
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(str(path))
        all_of(copy)
        assert numbers_of(received(receiver)) == [1]
    assert not copy.is_behind
    copy.close()


def test_what_was_under_way_when_a_connection_broke_is_sent_once_more(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        copy = copy_to(tmp_path, address_of(server, "tcp"))
        append(tmp_path, 1)
        all_of(copy)
        append(tmp_path, 2)
        all_of(copy)
        broken, _ = server.accept()
        broken.close()
        append(tmp_path, 3)
        all_of(copy)
        assert copy.failures == 1
        all_of(copy)
        copy.close()
        again, _ = server.accept()
        with again:
            assert numbers_of(from_stream(again)) == [2, 3]


def test_over_tls_the_server_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = create_authority(tmp_path / "authority")
    issued = authority.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    append(tmp_path, 1)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        target = parse_copy(f"syslog:tls:localhost:{server.getsockname()[1]}")
        copy = copy_to(tmp_path, target)
        with Serving(server, context) as serving:
            assert not copy.turn()
            assert copy.is_behind
            monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate_file))
            all_of(copy)
            copy.close()
        assert numbers_of(serving.messages) == [1]


class Serving:
    """A syslog server with TLS, in a thread, until the first connection that shakes hands has ended."""

    def __init__(self, server: socket.socket, context: ssl.SSLContext) -> None:
        self.messages: list[bytes] = []
        self._server, self._context = server, context
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Serving":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        self._server.settimeout(10)
        while not self.messages:
            plain, _ = self._server.accept()
            try:
                with self._context.wrap_socket(plain, server_side=True) as sock:
                    self.messages = from_stream(sock)
            except (ssl.SSLError, ConnectionError):
                plain.close()


def test_a_send_that_does_not_end_is_noticed(tmp_path: Path, receiver: socket.socket) -> None:
    clock = Clock()
    copy = copy_to(tmp_path, address_of(receiver, "udp"), clock)
    copy._sending_s = 0.0
    assert not copy.is_behind
    clock.now_s = 11.0
    assert copy.is_behind


def test_threads_send_what_there_is_and_end(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    away = copy_to(tmp_path, parse_copy(f"syslog:unix:{tmp_path / 'nobody'}"))
    copies = Copies([copy_to(tmp_path, parse_copy("stdout")), away])
    append(tmp_path, *range(500))
    copies.finish(10)
    behind, failures = copies.told()
    assert behind == 0b10
    assert failures == away.failures > 0
    assert copies.told()[1] == 0
    assert capfd.readouterr().out.encode() == (tmp_path / "audit.jsonl").read_bytes()


def test_a_line_that_no_datagram_holds_is_told_of(
    tmp_path: Path, receiver: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    log = log_in(tmp_path)
    log.append([{"event": "long", "text": "x" * 65_400}, {"event": "numbered", "number": 1}])
    log.close()
    copy = copy_to(tmp_path, address_of(receiver, "udp"))
    all_of(copy)
    assert numbers_of(received(receiver)) == [1]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    copy.close()


def test_standard_output_gets_the_lines_as_they_are(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    append(tmp_path, 1)
    copy = copy_to(tmp_path, parse_copy("stdout"))
    all_of(copy)
    copy.close()
    assert capfd.readouterr().out.encode() == (tmp_path / "audit.jsonl").read_bytes()
    assert (tmp_path / "audit.jsonl.copy-stdout").stat().st_mode & 0o777 == 0o600
