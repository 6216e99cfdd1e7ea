"""Listening sockets: bound for one process, or reserved once and shared by several.

Theory of operation. With SO_REUSEPORT any process of the same user may join a port, and a second proxy would
silently take half of the first one's clients. So whoever starts workers takes each address without that
option first, which fails as it should when somebody else has it, and only then turns it on for the socket
that it keeps. That socket never listens: it holds the number (also one that the system chose for port 0)
while workers come and go, and gets no clients.
"""

import errno
import os
import socket
from collections.abc import Iterable

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.errors import ListenProblem, StartReason

BACKLOG = 1024


def bind(address: Address, *, shared: bool = False) -> list[socket.socket]:
    """Listening sockets for every IP address that `address` stands for; `shared`: beside other workers'.

    Raises ListenProblem.
    """
    bound = _bind(address, shared=shared)
    try:
        for sock in bound:
            sock.listen(BACKLOG)
    except OSError as error:
        _close(bound)
        raise _listen_problem(error, address) from None
    return bound


def reserve(address: Address) -> list[socket.socket]:
    """Sockets that keep the address for workers and accept nothing. Raises ListenProblem when it is taken."""
    bound = _bind(address, shared=False)
    for sock in bound:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return bound


class PortRange:
    """All ports of a range on one host, tried at once, and kept for members that come later.

    Linux lets others bind a port that is bound and not listened on: `require_free` is asked before a member
    gets one.
    """

    def __init__(self, host: str, ports: range) -> None:
        """Raises ListenProblem when one of them is taken; none is kept then."""
        self._reserved: dict[int, list[socket.socket]] = {}
        try:
            for port in ports:
                self._reserved[port] = reserve(Address(host, port))
        except ListenProblem:
            self.close()
            raise

    def addresses(self, port: int) -> tuple[Address, ...]:
        """The numeric addresses of a port of the range."""
        return tuple(Address(*sock.getsockname()[:2]) for sock in self._reserved[port])

    def require_free(self, port: int) -> None:
        """Nobody listens on a port of the range. Raises ListenProblem where somebody does."""
        for address in self.addresses(port):
            _close(_bind(address, shared=False))

    def close(self) -> None:
        """Give all of them back."""
        for sockets in self._reserved.values():
            _close(sockets)


def bind_shared(addresses: Iterable[Address]) -> list[socket.socket]:
    """Listening sockets beside other workers', on addresses that are reserved. Raises ListenProblem."""
    return [sock for address in addresses for sock in bind(address, shared=True)]


def _bind(address: Address, *, shared: bool) -> list[socket.socket]:
    bound: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, where in found:
            sock = socket.socket(family, kind, protocol)
            bound.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setblocking(False)
            sock.bind(where)
    except OSError as error:
        _close(bound)
        raise _listen_problem(error, address) from None
    return bound


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _listen_problem(error: OSError, address: Address) -> ListenProblem:
    if error.errno == errno.EADDRINUSE:
        return ListenProblem(
            StartReason.PORT_IN_USE,
            f"{address}: the port is in use",
            f"`ss -ltnp sport = :{address.port}` shows by whom; stop it or change the address",
        )
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else "the name is not known"
    hint = (
        "ports below 1024 need CAP_NET_BIND_SERVICE" if error.errno == errno.EACCES else "correct the address"
    )
    return ListenProblem(StartReason.ADDRESS_UNUSABLE, f"{address}: cannot listen: {why}", hint)
