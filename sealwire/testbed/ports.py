"""TCP ports that are free on this machine."""

import socket

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port that nothing listens on now.

    Between this call and the bind of the one who uses it another process may take the port; whoever starts a
    server on it has to notice that the server did not come up.
    """
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
