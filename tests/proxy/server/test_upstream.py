"""Connections to a server that are given up while they are opened."""

import asyncio
import socket
import ssl

import pytest

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Limits
from sealwire.proxy.server.errors import StartReason
from sealwire.proxy.server.upstream import Upstream, UpstreamWay, UpstreamWays, explain
from tests.proxy.server.connections.hand_moved import turns
from tests.proxy.server.harness import LOOPBACK, until
from tests.support.rows import rows

pytestmark = pytest.mark.integration


class Told:
    """What a connection would be told of its server; the client may have gone before."""

    def __init__(self, *, is_gone: bool) -> None:
        self._is_gone = is_gone
        self.transport: asyncio.Transport | None = None
        self.lost = False

    def server_connected(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        if self._is_gone:
            transport.abort()

    def server_lost(self) -> None:
        self.lost = True

    def server_eof(self) -> None:
        raise AssertionError

    def server_data(self, _data: bytes) -> None:
        raise AssertionError

    server_full = server_writable = server_eof


@pytest.mark.parametrize("is_gone", [False, True])
async def test_who_was_told_of_a_connection_is_told_of_its_end(*, is_gone: bool) -> None:
    """In whichever turn of the loop it is given up."""
    dropped = 0
    with socket.create_server((LOOPBACK, 0)) as listening:
        upstream = Upstream(Address(*listening.getsockname()), UpstreamWays(Limits(), UpstreamWay(None)))
        for count in range(12):
            told, failed = Told(is_gone=is_gone), list[Exception]()
            opening = asyncio.get_running_loop().create_task(upstream.connect_for(told, failed.append))
            await turns(count)
            is_cancelled = opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            if told.transport is not None:
                dropped += is_cancelled
                told.transport.abort()
                await until(lambda told=told: told.lost)  # type: ignore[misc]
            assert not failed
    assert dropped


@pytest.mark.parametrize(("code", "hint"), [(9, "renew"), (10, "renew"), (19, "upstream.tls.ca")])
def test_a_certificate_out_of_its_time_is_not_blamed_on_the_authorities(code: int, hint: str) -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, "certificate has expired."
    found = explain(error, Address(LOOPBACK, 27017))
    assert found.reason is StartReason.UPSTREAM_TLS_VERIFY
    assert hint in found.hint


@rows(
    "error, reason",
    (socket.gaierror(), StartReason.UPSTREAM_UNRESOLVED),
    (TimeoutError(), StartReason.UPSTREAM_TIMEOUT),
    (ConnectionAbortedError(), StartReason.UPSTREAM_TIMEOUT),
    (ConnectionRefusedError(), StartReason.UPSTREAM_REFUSED),
    (ConnectionResetError(), StartReason.UPSTREAM_CLOSED),
    (OSError(), StartReason.UPSTREAM_UNREACHABLE),
)
def test_each_problem_with_a_server_has_its_reason_and_a_hint(error: OSError, reason: StartReason) -> None:
    found = explain(error, Address(LOOPBACK, 27017))
    assert found.reason is reason
    assert found.hint
