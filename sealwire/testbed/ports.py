"""TCP ports that are free on this machine, and stay so until the server that they are for has them."""

import os
import socket
import sys
from collections import deque
from typing import Final

LOOPBACK: Final = "127.0.0.1"

MAX_HELD: Final = 200
"""How many ports are held: the last ones that were given."""

_held: Final[deque[int]] = deque()


def free_port() -> int:
    """A port that nothing listens on now. Cost: a descriptor, of MAX_HELD at most.

    On Linux it is held for this process, by a socket that is bound and does not listen: the system gives it
    to nobody who asks for any port, a client is refused, and a server that sets SO_REUSEADDR, as servers do,
    can bind it, also a second time. Were it not held, two databases that start at once could choose one port,
    and whoever waits for the second would find the first. Elsewhere another process may take it: whoever
    starts a server on it has to notice that the server did not come up.
    """
    with socket.socket() as probe:
        is_held = sys.platform == "linux"
        if is_held:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        if is_held:
            _held.append(probe.detach())
    while len(_held) > MAX_HELD:
        os.close(_held.popleft())
    return port
