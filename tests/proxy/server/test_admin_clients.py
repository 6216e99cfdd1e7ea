"""Clients of the admin address that go away: a line in the log, and no traceback between the lines."""

import logging
import socket
import struct
import threading

import pytest

from sealwire.proxy.server.admin import AdminServer
from sealwire.proxy.server.config.settings import Address
from sealwire.proxy.server.health import Health
from sealwire.proxy.server.observability.metrics import Metrics

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
    capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    log, lines = logging.getLogger("sealwire.server"), Lines()
    before = log.level
    log.addHandler(lines)
    log.setLevel(logging.DEBUG)
    request.addfinalizer(lambda: log.removeHandler(lines))
    request.addfinalizer(lambda: log.setLevel(before))
    admin = AdminServer(Address("127.0.0.1", 0), Health(), Metrics())
    request.addfinalizer(admin.close)
    admin.start()
    with socket.create_connection(admin.address) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        client.sendall(b"GET /heal")
    assert lines.written.wait(10)
    assert lines.events == ["admin client went away"]
    assert "Traceback" not in capfd.readouterr().err
