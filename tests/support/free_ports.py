"""Ranges of ports that nobody listens on, below those that the system gives out by itself."""

import random
import socket
from contextlib import ExitStack, suppress

_held: list[ExitStack] = []
"""Until this process ends."""

_draw = random.SystemRandom()


def free_ports(count: int) -> range:
    """`count` ports of this machine in a row, held as `free_port` holds one: another process draws others."""
    while True:
        first = _draw.randrange(15_000, 31_000)
        ports = range(first, first + count)
        with suppress(OSError), ExitStack() as bound:
            for port in ports:
                sock = bound.enter_context(socket.socket())
                sock.bind(("127.0.0.1", port))
                # only now: two that could be shared from the beginning would be bound by two processes
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _held.append(bound.pop_all())
            return ports
