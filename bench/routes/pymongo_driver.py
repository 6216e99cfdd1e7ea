"""pymongo in a process of its own, over one route: python -m bench.routes.pymongo_driver

It reads and answers lines (`bench.routes.talker`); each thread has operations of its own and
shares the client.
"""

import sys
import time
from array import array
from collections.abc import Mapping
from threading import Barrier, Thread
from typing import Any

from bench.pymongo_operations import Connected, Operation, connect, connect_encrypting, load, operations
from bench.routes.talker import pack, serve

THREADS = 4


class Driver:
    """One client and its threads' operations."""

    def __init__(self) -> None:
        self._threads: list[Mapping[str, Operation]] = []

    def start(  # noqa: PLR0913 - the fields of one message
        self,
        *,
        uri: str,
        authority: str | None,
        database: str,
        documents: int,
        seed: int,
        encrypting: bool,
        loading: bool,
    ) -> dict[str, Any]:
        """Connect, and load where this is the first over this database."""
        connected: Connected = (connect_encrypting if encrypting else connect)(uri, authority)
        if loading:
            load(connected, database, documents)
        self._threads = [operations(connected, database, documents, seed, turn) for turn in range(THREADS)]
        return {}

    def run(self, operation: str, threads: int, seconds: float) -> dict[str, Any]:
        """Do one operation again and again for `seconds`, each thread at least once."""
        chosen = [each[operation] for each in self._threads[:threads]]
        latencies: list[list[float]] = [[] for _ in chosen]
        failed: list[BaseException] = []
        barrier = Barrier(threads)

        def work(act: Operation, taken: list[float]) -> None:
            clock = time.perf_counter
            try:
                barrier.wait(10)
                now = started = clock()
                while now - started < seconds:
                    began = now
                    act()
                    now = clock()
                    taken.append(now - began)
            except BaseException as error:  # noqa: BLE001 - told to the other side below
                failed.append(error)

        began, used = time.perf_counter(), time.process_time()
        workers = [Thread(target=work, args=each) for each in zip(chosen, latencies, strict=True)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if failed:
            raise failed[0]
        every = array("f", (value for taken in latencies for value in taken))
        return {
            "latencies": pack(every),
            "seconds": time.perf_counter() - began,
            "cpu_s": time.process_time() - used,
        }


def main() -> None:
    """Serve lines until the input ends."""
    driver = Driver()
    serve(sys.stdin, sys.stdout, {"start": driver.start, "run": driver.run})


if __name__ == "__main__":
    main()
