"""What an application does with pymongo, with or without client-side encryption, by the workload's name."""

import os
import random
import sys
import time
from array import array
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, cycle, islice
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.encryption import ClientEncryption
from pymongo.encryption_options import AutoEncryptionOpts

from bench.dataset import COVERED, GROUP, WARDS, Document, documents
from bench.parts.core import ALGORITHM
from bench.routes.processes import pack, serve
from bench.workloads import (
    BATCH,
    FIND_100,
    FIND_ONE,
    GROUPING,
    INSERT_MANY,
    INSERT_ONE,
    MIX_A,
    MIX_B,
    MIX_C,
    PING,
    UNPROTECTED,
    UPDATE_ONE,
    group_by_postcode,
)

_SHARE_OF_READS = {MIX_A: 0.50, MIX_B: 0.95, MIX_C: 1.0}
_LOADED_AT_ONCE = 500
SEED = 11
"""The seed of the patients that are stored."""
SKEW = 0.99
"""YCSB's constant."""
THREADS = 4
Operation = Callable[[], object]
Seal = Callable[[Document], Document]
"""Encrypts the covered values of a document or filter, where the application has to."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A client, and how it encrypts."""

    client: MongoClient[Document]
    seal: Seal


def connect(uri: str, authority: str | None) -> Connected:
    """A client that knows nothing of encryption."""
    return Connected(MongoClient[Document](uri, **_tls(authority)), lambda document: document)


def connect_encrypting(uri: str, authority: str | None) -> Connected:
    """A client of client-side encryption: values encrypted explicitly, replies decrypted automatically."""
    kms = {"local": {"key": os.urandom(96)}}
    vault = "encryption.__keyVault"
    plain = MongoClient[Document](uri, **_tls(authority))
    explicit: ClientEncryption[Document] = ClientEncryption(kms, vault, plain, plain.codec_options)
    key = explicit.create_data_key("local")
    options = AutoEncryptionOpts(kms, vault, key_vault_client=plain, bypass_auto_encryption=True)
    client = MongoClient[Document](uri, auto_encryption_opts=options, **_tls(authority))

    def seal(document: Document) -> Document:
        covered = [name for name in COVERED if name in document]
        return document | {name: explicit.encrypt(document[name], ALGORITHM, key) for name in covered}

    return Connected(client, seal)


def load(connected: Connected, database: str, count: int) -> None:
    """Fill the collections that are read. Cost: 1 ms a document."""
    patients = connected.client[database]["patients"]
    patients.create_index("nhs_number", unique=True)
    patients.create_index("group")
    connected.client[database]["arrivals"].create_index("nhs_number")
    known = islice(documents(SEED), count)
    while some := [connected.seal(each) for each in islice(known, _LOADED_AT_ONCE)]:
        patients.insert_many(some)
    wards = [{"_id": number, "beds": number * 3} for number in range(WARDS)]
    connected.client[database]["wards"].insert_many(wards)


def operations(
    connected: Connected, database: str, count: int, seed: int, turn: int
) -> Mapping[str, Operation]:
    """Every operation over what `load` has stored; `seed` sets drivers apart and `turn` their threads."""
    patients, arrivals, wards = (
        connected.client[database][name] for name in ("patients", "arrivals", "wards")
    )
    numbers = [each["nhs_number"] for each in islice(documents(SEED), count)]
    key = zipfian(count, turn)
    newcomers = documents(1000 + 100 * seed + turn)
    moves = documents(3000 + turn)
    group = cycle(range(count // GROUP))
    ward = cycle(range(WARDS))
    seal = connected.seal

    def read(number: str) -> None:
        if patients.find_one(seal({"nhs_number": number})) is None:
            raise RuntimeError("a document that was inserted is not found")

    def update(number: str) -> None:
        change = {"$set": seal({"postcode": next(moves)["postcode"]})}
        if patients.update_one(seal({"nhs_number": number}), change).matched_count != 1:
            raise RuntimeError("a document that was inserted is not found")

    return {
        PING: lambda: connected.client.admin.command("ping"),
        UNPROTECTED: lambda: wards.find_one({"_id": next(ward)}),
        FIND_ONE: _over(read, cycle(numbers[turn * 7 % count :: 7])),
        INSERT_ONE: lambda: arrivals.insert_one(seal(next(newcomers))),
        INSERT_MANY: lambda: arrivals.insert_many([seal(each) for each in islice(newcomers, BATCH)]),
        UPDATE_ONE: _over(update, cycle(numbers[turn * 5 % count :: 5])),
        FIND_100: lambda: _find_group(patients, next(group)),
        GROUPING: lambda: _group_by_postcode(patients, next(group)),
    } | {name: _mix(share, key, numbers, read, update, turn) for name, share in _SHARE_OF_READS.items()}


def _over(act: Callable[[str], None], turns: Iterator[str]) -> Operation:
    return lambda: act(next(turns))


def _mix(
    share: float,
    key: Iterator[int],
    numbers: list[str],
    read: Callable[[str], None],
    update: Callable[[str], None],
    turn: int,
) -> Operation:
    source = random.Random(turn)  # noqa: S311 - a coin to measure with

    def step() -> None:
        number = numbers[next(key)]
        if source.random() < share:
            read(number)
        else:
            update(number)

    return step


def _find_group(patients: Collection[Document], group: int) -> None:
    found = patients.find({"group": group}, batch_size=GROUP + 1).to_list()
    if len(found) != GROUP:
        raise RuntimeError(f"{len(found)} documents where {GROUP} were expected")


def _group_by_postcode(patients: Collection[Document], group: int) -> None:
    counted = patients.aggregate(group_by_postcode(group)["pipeline"])
    if sum(each["patients"] for each in counted) != GROUP:
        raise RuntimeError("not every document was counted")


def _tls(authority: str | None) -> dict[str, Any]:
    return {} if authority is None else {"tls": True, "tlsCAFile": str(Path(authority))}


def zipfian(count: int, seed: int) -> Iterator[int]:
    """Numbers below `count` without end; the n-th most frequent comes 1/n**0.99 as often as the first.

    The frequencies are shuffled among the numbers, so that neighbours are not alike.
    """
    source = random.Random(seed)  # noqa: S311 - keys to measure with, not secrets
    ranks = list(range(count))
    source.shuffle(ranks)
    sums = list(accumulate(1 / (rank + 1) ** SKEW for rank in range(count)))
    while True:
        yield ranks[min(count - 1, bisect(sums, source.random() * sums[-1]))]


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
