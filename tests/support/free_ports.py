"""Ranges of ports that nobody listens on, below those that the system gives out by itself."""

import os
import random
import socket
from contextlib import ExitStack


def free_ports(count: int) -> range:
    """`count` ports of this machine in a row, free a moment ago; another process draws others."""
    draw = random.Random(os.getpid() ^ random.getrandbits(32))
    while True:
        first = draw.randrange(15_000, 31_000)
        try:
            with ExitStack() as bound:
                for port in range(first, first + count):
                    sock = bound.enter_context(socket.socket())
                    sock.bind(("127.0.0.1", port))
        except OSError:
            continue
        return range(first, first + count)
