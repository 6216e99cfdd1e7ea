"""Several producers, each in a thread of its own, and one consumer; what waits between them is bounded."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")
J = TypeVar("J")

_LOOK_AGAIN_S = 0.2


class _Ended:
    """A producer has nothing left; with the error that ended it, if one did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Stopped(Exception):
    """The consumer has gone."""


class _Work(Generic[J, T]):
    def __init__(self, jobs: Sequence[J], produce: Callable[[J], Iterator[T]], waiting: int) -> None:
        self._jobs = iter(jobs)
        self._next_job = threading.Lock()
        self._produce = produce
        self._made: queue.Queue[T | _Ended] = queue.Queue(waiting)
        self.stopped = threading.Event()

    def run(self) -> None:
        """What each thread does."""
        try:
            while (job := self._take()) is not None:
                for item in self._produce(job):
                    self._put(item)
        except _Stopped:
            return
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, who raises it
            self._report(_Ended(error))
        else:
            self._report(_Ended(None))

    def items(self, threads: int) -> Iterator[T]:
        """What the threads make; the first error of any of them is raised here."""
        running = threads
        while running:
            item = self._made.get()
            if not isinstance(item, _Ended):
                yield item
                continue
            if item.error is not None:
                raise item.error
            running -= 1

    def _take(self) -> J | None:
        with self._next_job:
            return None if self.stopped.is_set() else next(self._jobs, None)

    def _report(self, ended: _Ended) -> None:
        try:
            self._put(ended)
        except _Stopped:
            return

    def _put(self, item: T | _Ended) -> None:
        while True:
            if self.stopped.is_set():
                raise _Stopped
            try:
                self._made.put(item, timeout=_LOOK_AGAIN_S)
            except queue.Full:
                continue
            return


@contextmanager
def produced(
    jobs: Sequence[J], produce: Callable[[J], Iterator[T]], *, threads: int, waiting: int
) -> Iterator[Iterator[T]]:
    """What `produce` yields for every job, from `threads` threads; those of one job stay in their order.

    Shape:   at most `waiting` items wait, and each thread holds one more
    Raises:  what a producer raises, where the items are taken; then no further job is begun
    """
    work = _Work(jobs, produce, waiting)
    running = [threading.Thread(target=work.run, name=f"producer-{number}") for number in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield work.items(threads)
    finally:
        work.stopped.set()
        for thread in running:
            thread.join()
