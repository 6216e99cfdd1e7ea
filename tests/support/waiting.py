"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable


def until(holds: Callable[[], bool], within_s: float = 30.0) -> None:
    """Look until it holds, and fail after so many seconds."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, "the deadline has passed"
        time.sleep(0.02)
