"""Ports that one process takes, and ports that workers share."""

import socket
from contextlib import ExitStack

import pytest

from sealwire.proxy.server.config.settings import Address
from sealwire.proxy.server.errors import ListenProblem, StartReason
from sealwire.proxy.server.ports import PortRange, bind, bind_shared, reserve
from tests.proxy.server.harness import DEADLINE_S, LOOPBACK
from tests.support.skips import free_ports

pytestmark = pytest.mark.integration


def kept(stack: ExitStack, sockets: list[socket.socket]) -> Address:
    """The address of the one socket, which is closed with the test."""
    (sock,) = [stack.enter_context(sock) for sock in sockets]
    return Address(*sock.getsockname())


def test_workers_share_a_reserved_port_and_the_reservation_gets_no_client() -> None:
    with ExitStack() as stack:
        reservation = reserve(Address(LOOPBACK, 0))
        address = kept(stack, reservation)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, DEADLINE_S)
        workers = [bind(address, shared=True) for _ in range(2)]
        assert [kept(stack, sockets) for sockets in workers] == [address, address]
        for _ in range(20):
            stack.enter_context(socket.create_connection(address, DEADLINE_S))


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_that_somebody_listens_on_is_taken(shared: bool) -> None:
    with socket.create_server((LOOPBACK, 0), reuse_port=shared) as foreign:
        address = Address(*foreign.getsockname())
        for take in (reserve, bind):
            with pytest.raises(ListenProblem) as caught:
                take(address)
            assert caught.value.reason is StartReason.PORT_IN_USE


def test_nobody_else_can_listen_while_workers_do() -> None:
    with ExitStack() as stack:
        address = kept(stack, reserve(Address(LOOPBACK, 0)))
        kept(stack, bind(address, shared=True))
        for take in (reserve, bind):
            with pytest.raises(ListenProblem):
                take(address)


def test_a_range_is_tried_as_a_whole_and_each_port_again_before_it_is_used() -> None:
    ports = free_ports(3)
    held = PortRange(LOOPBACK, ports)
    assert held.addresses(ports[1]) == (Address(LOOPBACK, ports[1]),)
    held.require_free(ports[2])
    with ExitStack() as stack:
        kept(stack, bind_shared(held.addresses(ports[2])))
        with pytest.raises(ListenProblem):
            held.require_free(ports[2])
        with pytest.raises(ListenProblem):
            PortRange(LOOPBACK, ports)
        PortRange(LOOPBACK, ports[:2]).close()
    held.close()
