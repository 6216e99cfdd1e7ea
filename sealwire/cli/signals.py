"""Ends in order: a signal unwinds the stack, so that children are stopped and half-made things removed."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = [signal.signal(number, handler) for number in _ENDING]
    try:
        yield
    finally:
        for number, former in zip(_ENDING, before, strict=True):
            signal.signal(number, former)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """A signal, also that of a closed terminal, leaves the block as an exception would.

    Only the first counts: a second one would break off the stopping and leave things behind.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        for other in _ENDING:
            # Not SIG_IGN: Python complains of a signal that was already on its way when it became ignored.
            signal.signal(other, lambda *_: None)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    with _handled_by(leave):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A signal waits until the block is left: for what would be lost if it were done by half.

    Only what nobody has to wait long for belongs in here.
    """
    waiting: list[int] = []
    with _handled_by(lambda number, _: waiting.append(number)):
        yield
    if waiting:
        signal.raise_signal(waiting[0])
