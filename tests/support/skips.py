"""When a test is left out: it lacks something, which fails where CI=true, or takes longer than CI has."""

import os
import random
import socket
from contextlib import ExitStack, suppress
from typing import NoReturn

import pytest


def skip_or_fail(reason: str) -> NoReturn:
    """For what the project can see to by itself, or what a machine of the CI has to have.

    What neither can change (no root, no such device) is a plain skip.
    """
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def takes_samples() -> bool:
    """Whether less than all is tried: `.ci/run` sets SEALWIRE_SAMPLES=1, to end within 35 minutes."""
    return os.environ.get("SEALWIRE_SAMPLES") == "1"


def skip_in_samples(what: str) -> None:
    """For what takes many minutes by itself."""
    if takes_samples():
        pytest.skip(f"{what} takes long: make test-slow without SEALWIRE_SAMPLES")


# Ranges of ports that nobody listens on, below those that the system gives out by itself.


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
