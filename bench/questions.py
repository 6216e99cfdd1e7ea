"""`python -m bench.questions`: what finding encrypted values by a part of them costs, against plaintext.

One server holds the same people twice, in clear and behind Sealwire. Every case counts the people whose name
begins with a text, over both routes in turns. The fields of a case have so many distinct names, with an index
or without one. The table's processor time is Sealwire's own; divided by the distinct names it is what one
stored value costs.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path

from pymongo import MongoClient
from pymongo.collection import Collection
from rich.console import Console

from bench.dataset import ASKED, NAMES, Document
from bench.parts.real import database_of
from bench.recording import make_keyring
from bench.report.figures import Case, Results, Sample, take_slices
from bench.report.report import part_table
from bench.routes.load import Meter, sample_of
from bench.routes.routes import DIRECT, SEALWIRE, Ground, Route, start_routes
from sealwire.keys.kek.kek import generate_encoded_kek
from sealwire.testbed.child import LOOPBACK, Started
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess

PART = "questions"
_LOADED_AT_ONCE = 1000
_PATTERNS = {10: "^S0000", 100: "^S000"}
"""By how many names satisfy it."""


def people(count: int, names: Sequence[int]) -> Iterator[Document]:
    """People, each with a name of each field; the names of a field come equally often."""
    for number in range(count):
        # so that neighbours are not alike
        yield {f"{kind}_{each}": f"S{number * 7919 % each:05}son" for each in names for kind in ASKED}


def measure(documents: int, names: Sequence[int], rounds: int, seconds: float) -> Results:
    """All cases with so many documents. Cost: 3 ms for each of these to load them."""
    results = Results()
    with tempfile.TemporaryDirectory(prefix="sealwire-questions-") as folder, ExitStack() as stack:
        kek = generate_encoded_kek()
        make_keyring(Path(folder), kek)
        options = DatabaseOptions(Path(folder) / "database", replica_set=False, cache="4G")
        database = stack.enter_context(DatabaseProcess(options))
        server = Started(database.port, database.pid)
        ground = Ground(Path(folder), server, server, Path(folder) / "keyring.json", kek)
        routes, _ = start_routes(stack, ground, (DIRECT, SEALWIRE))
        held = {name: stack.enter_context(_client(route)) for name, route in routes.items()}
        found = {name: client[database_of(name)]["people"] for name, client in held.items()}
        for collection in found.values():
            source = people(documents, names)
            while some := list(islice(source, _LOADED_AT_ONCE)):
                collection.insert_many(some)
            for each in names:
                collection.create_index(f"{ASKED[0]}_{each}")
        for kind, each, satisfying in _cases(names):
            case = Case(PART, f"{documents:,} documents, {each:,} names, {kind}: {satisfying} satisfy it")
            query = {f"{kind}_{each}": {"$regex": _PATTERNS[satisfying]}}
            expected = found[DIRECT].count_documents(query)
            runs = {
                name: partial(_slice, route, found[name], query, expected) for name, route in routes.items()
            }
            results.series += take_slices(case, runs, seconds, rounds)
    return results


def _cases(names: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    return ((kind, each, satisfying) for each in names for kind in ASKED for satisfying in _PATTERNS)


def _client(route: Route) -> MongoClient[Document]:
    return MongoClient[Document](f"mongodb://{LOOPBACK}:{route.port}/?directConnection=true")


def _slice(
    route: Route, collection: Collection[Document], query: Document, expected: int, seconds: float
) -> Sample:
    meter, latencies = Meter(route), list[float]()
    started, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds or not latencies:
        began = time.perf_counter()
        if collection.count_documents(query) != expected:
            raise RuntimeError("another answer than expected")
        latencies.append(time.perf_counter() - began)
    taken = meter.stop(len(latencies), time.process_time() - used)
    return sample_of(latencies, time.perf_counter() - started, taken)


def main() -> None:
    """Measure and print a table for each number of documents."""
    parser = argparse.ArgumentParser(prog="python -m bench.questions", description=__doc__)
    parser.add_argument("--documents", type=int, nargs="+", default=[5_000, 50_000])
    parser.add_argument("--names", type=int, nargs="+", choices=NAMES, default=NAMES[:-1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a slice; one question at least")
    arguments = parser.parse_args()
    console = Console(width=150)
    for documents in arguments.documents:
        names = [each for each in arguments.names if each <= documents]
        found = measure(documents, names, arguments.rounds, arguments.seconds)
        console.print(part_table(f"{PART}: counts over {documents:,} documents", PART, found))


if __name__ == "__main__":
    main()
