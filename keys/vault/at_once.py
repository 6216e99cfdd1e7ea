"""Several requests of one operation at once: a read of a hundred documents waits for a dozen round trips."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

THREADS = 8
"""Fewer than the connections that the transport keeps."""

T = TypeVar("T")
R = TypeVar("R")


def at_once(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """What `work` gives for each item, in their order. Raises the first error, and begins nothing after it.

    The threads are daemons: a server that never ends an answer does not keep the process from ending.
    """
    if len(items) < 2:
        return [work(item) for item in items]
    results: dict[int, R] = {}
    errors: list[BaseException] = []
    todo = iter(range(len(items)))
    lock = threading.Lock()

    def run() -> None:
        while not errors:
            with lock:
                index = next(todo, None)
            if index is None:
                return
            try:
                results[index] = work(items[index])
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                errors.append(error)

    threads = [
        threading.Thread(target=run, name="vault-part", daemon=True) for _ in range(min(THREADS, len(items)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(items))]
