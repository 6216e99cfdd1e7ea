"""The documents of one collection, from the driver or from mongodump, as bytes that nobody decodes."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure, PyMongoError

from sealwire.files.child_environment import child_environment
from sealwire.sidecars.backup.archive.contents import cut
from sealwire.sidecars.backup.archive.metadata import DECODED
from sealwire.sidecars.direct import Client, failure
from sealwire.sidecars.errors import BackupReason, Unavailable

BATCH_BYTES = 4 << 20
"""What one reply should hold; a server ends a reply at 16 MiB in any case."""

MONGODUMP = "mongodump"

_MOST_DOCUMENTS = 10_000
_GUESSED_DOCUMENT = 4096
_SNAPSHOT_TOO_OLD = 239
_VERSION_WITHIN_S = 20.0


# Several producers, each in a thread of its own, and one consumer; what waits between them is bounded.

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


class DriverReader:
    """Reads through the driver, at a session's snapshot where there is one."""

    name = "built-in"
    """What stands in the manifest as what read the server."""

    def __init__(self, client: Client, batch_bytes: int = BATCH_BYTES) -> None:
        self._client = client
        self._batch_bytes = batch_bytes

    def batches(self, database: str, collection: str, session: ClientSession | None) -> Iterator[bytes]:
        """All documents in the order in which the server keeps them.

        Raises:  Unavailable SNAPSHOT_OLD, SOURCE_LOST
        """
        source = self._client.get_database(database).get_collection(collection)
        try:
            average = int(
                statistics(self._client, database, collection).get("avgObjSize") or _GUESSED_DOCUMENT
            )
            batch_size = max(1, min(_MOST_DOCUMENTS, self._batch_bytes // max(1, average)))
            with source.find_raw_batches({}, batch_size=batch_size, session=session) as cursor:
                yield from cursor
        except PyMongoError as error:
            if isinstance(error, OperationFailure) and error.code == _SNAPSHOT_TOO_OLD:
                text = f"the server gave the snapshot up while {database}.{collection} was read"
                hint = "raise minSnapshotHistoryWindowInSeconds on the server, or take --consistency none"
                raise Unavailable(BackupReason.SNAPSHOT_OLD, text, hint) from None
            text = f"the server stopped answering while {database}.{collection} was read: {failure(error)}"
            hint = "nothing was kept of this backup; earlier ones are as they were; try again"
            raise Unavailable(BackupReason.SOURCE_LOST, text, hint) from None


class MongodumpReader:
    """Lets mongodump read: one process a collection, its documents through a pipe, nothing on a disk.

    The connection string reaches it in a configuration file that is a pipe: it stands neither in the
    arguments nor in the environment nor in a file. What mongodump does not pipe (the collections of admin,
    and time series) is read through the driver.
    """

    def __init__(self, program: str, uri: str, fallback: DriverReader) -> None:
        self._program = program
        self._uri = uri
        self._fallback = fallback
        self.name = f"mongodump {_version(program)}"

    def batches(self, database: str, collection: str, session: ClientSession | None) -> Iterator[bytes]:
        """The same. Raises Unavailable DUMPER, and as the driver's reader does."""
        if database == "admin" or collection.startswith("system."):
            yield from self._fallback.batches(database, collection, session)
            return
        with self._running(database, collection) as process:
            # stdout is a pipe by the arguments; the type cannot say so
            if process.stdout is not None:
                yield from cut(process.stdout, BATCH_BYTES)
        if process.returncode != 0:
            how = f"mongodump ended with exit code {process.returncode}"
            hint = "run mongodump by itself to see more, or take --reader built-in"
            raise Unavailable(BackupReason.DUMPER, f"{how} while it read {database}.{collection}", hint)

    @contextmanager
    def _running(self, database: str, collection: str) -> Iterator[subprocess.Popen[bytes]]:
        with _config_pipe(self._uri) as descriptor:
            command = [self._program, "--quiet", f"--config=/dev/fd/{descriptor}", f"--db={database}"]
            command += [f"--collection={collection}", "--out=-"]
            process = subprocess.Popen(  # noqa: S603 - no shell, and the names are single arguments
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                # what it says there can quote the connection string
                stderr=subprocess.DEVNULL,
                env=child_environment(),
                pass_fds=(descriptor,),
            )
        finished = False
        try:
            yield process
            finished = True
        finally:
            if process.stdout is not None:
                process.stdout.close()
            if not finished:
                process.kill()
            process.wait()


Reader = DriverReader | MongodumpReader


def statistics(client: Client, database: str, collection: str) -> dict[str, Any]:
    """What the server says of a collection's size; nothing where it may not be asked."""
    with suppress(OperationFailure):
        return client.get_database(database, DECODED).command("collStats", collection)
    return {}


@contextmanager
def _config_pipe(uri: str) -> Iterator[int]:
    """A descriptor from which mongodump's configuration can be read, once. Closed in this process after."""
    # JSON's quotes are YAML's
    text = f"uri: {json.dumps(uri, ensure_ascii=False)}\n"
    read_end, write_end = os.pipe()
    try:
        # shorter than the 64 KiB that a pipe holds, so that this does not wait for a reader
        os.write(write_end, text.encode())
        os.close(write_end)
        yield read_end
    finally:
        os.close(read_end)


def _version(program: str) -> str:
    """The first word that looks like a version. Raises Unavailable DUMPER"""
    try:
        done = subprocess.run(  # noqa: S603 - the program that was found on the path
            [program, "--version"],
            capture_output=True,
            timeout=_VERSION_WITHIN_S,
            check=True,
            text=True,
            env=child_environment(),
        )
        line = done.stdout.splitlines()[0]
        return line.split("version:")[1].strip()[:64]
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        text = "mongodump is on the path and does not tell its version"
        raise Unavailable(BackupReason.DUMPER, text, "mend it, or take --reader built-in") from None
