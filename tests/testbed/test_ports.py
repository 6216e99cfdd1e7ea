"""A port that was given is nobody else's until its server has it, and is that server's again after a stop."""

import socket

import pytest

from sealwire.testbed import ports
from sealwire.testbed.ports import LOOPBACK, MAX_HELD, free_port


def test_nobody_else_gets_it_and_a_client_is_refused() -> None:
    port = free_port()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, port))
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((LOOPBACK, port))


def test_a_server_has_it_and_has_it_again() -> None:
    port = free_port()
    for _ in range(2):
        with socket.create_server((LOOPBACK, port)), socket.create_connection((LOOPBACK, port)) as client:
            assert client.getpeername() == (LOOPBACK, port)


def test_two_processes_of_one_server_can_share_it() -> None:
    port = free_port()
    with (
        socket.create_server((LOOPBACK, port), reuse_port=True),
        socket.create_server((LOOPBACK, port), reuse_port=True),
    ):
        pass


def test_so_many_are_held_and_no_more() -> None:
    given = [free_port() for _ in range(MAX_HELD + 10)]
    assert len(set(given[-MAX_HELD:])) == MAX_HELD
    assert len(ports._held) == MAX_HELD
