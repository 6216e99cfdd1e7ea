"""Several producers, each in a thread of its own, and one consumer; what waits between them is bounded."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
J = TypeVar("J")


@contextmanager
def produced(
    jobs: Sequence[J], produce: Callable[[J], Iterator[T]], *, threads: int, waiting: int
) -> Iterator[Iterator[T]]:
    """What `produce` yields for every job, from `threads` threads; those of one job stay in their order.

    Shape:   at most `waiting` items wait, and each thread holds one more
    Raises:  what a producer raises, where the items are taken; then no further job is begun
    """
    made: SimpleQueue[T | Future[None]] = SimpleQueue()
    room = threading.Semaphore(waiting)
    stopped = threading.Event()

    def work(job: J) -> None:
        try:
            if not stopped.is_set():
                for item in produce(job):
                    room.acquire()
                    if stopped.is_set():
                        return
                    made.put(item)
        except BaseException:
            stopped.set()
            raise

    def items() -> Iterator[T]:
        running = len(jobs)
        while running:
            item = made.get()
            if isinstance(item, Future):
                item.result()
                running -= 1
            else:
                room.release()
                yield item

    with ThreadPoolExecutor(threads, "producer") as pool:
        try:
            for job in jobs:
                pool.submit(work, job).add_done_callback(made.put)
            yield items()
        finally:
            # the consumer has gone: whoever waits for room looks again, and ends
            stopped.set()
            room.release(threads)
