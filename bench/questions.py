"""`python -m bench.questions`: what finding encrypted values by a part of them costs, against plaintext.

One server holds the same patients twice, in clear and behind Sealwire. Every case counts those whose surname
begins with a text, or reads the first page of them by surname, over both routes in turns. A collection
has so many distinct surnames, in a field with an index and in one without. A condition is new each time, or
always the same: Sealwire remembers what did not satisfy it. The table's processor time is Sealwire's own;
divided by the distinct names it is what one stored value costs. The targets hold for fields with an index and
5,000 names.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count, islice, product
from pathlib import Path
from typing import Final

from pymongo import MongoClient
from pymongo.collection import Collection
from rich.console import Console

from bench.dataset import ASKED, NAMES, Document, people
from bench.parts.real import database_of
from bench.recording import make_keyring
from bench.report.figures import Case, Metric, Results, Sample, Spread, take_slices
from bench.report.goals import Bound, Goal, verdicts
from bench.report.report import goal_table, part_table
from bench.routes.load import Meter, sample_of
from bench.routes.routes import DIRECT, SEALWIRE, Ground, Route, start_routes
from sealwire.keys.kek.kek import generate_encoded_kek
from sealwire.testbed.child import LOOPBACK, Started
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess

PART = "questions"
JUDGED: Final = 5_000
"""The distinct names of the fields that have targets."""
_LOADED_AT_ONCE = 1000
_PATTERNS = {10: "^S0000", 100: "^S000"}
"""By how many names satisfy it."""
_PAGE = 50
_NEW, _AGAIN = "a new one", "the same again"
_numbers = count()


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing that is asked of a field."""

    text: str
    ask: Callable[[Collection[Document], str], object]
    """Ask it of a field of a collection; what is found."""


def _counted(pattern: str, is_new: bool, people: Collection[Document], name: str) -> object:
    other = f"|^T{next(_numbers)}$" if is_new else "|^T$"  # nobody has such a name
    return people.count_documents({name: {"$regex": pattern + other}})


def _page(people: Collection[Document], name: str) -> object:
    return [each[name] for each in people.find({}, {name: 1, "_id": 0}).sort(name, 1).limit(_PAGE)]


QUESTIONS: Final = (
    *(
        Asked(f"{satisfying} satisfy it, {when}", partial(_counted, pattern, when == _NEW))
        for satisfying, pattern in _PATTERNS.items()
        for when in (_NEW, _AGAIN)
    ),
    Asked(f"a page of {_PAGE}", _page),
)


def case_of(documents: int, names: int, kind: str, text: str) -> Case:
    """One of QUESTIONS about a field with or without an index, `kind` of ASKED."""
    return Case(PART, f"{documents:,} documents, {names:,} names, {kind}: {text}")


def goals(documents: int) -> Iterator[Goal]:
    """The targets for a collection of so many documents."""
    for satisfying in _PATTERNS:
        for when, times, each in ((_NEW, 1.6, 5.0), (_AGAIN, 1.3, 0.5)):
            text = f"{satisfying} satisfy it, {when}"
            yield _by_plaintext(documents, text, times)
            yield Goal(
                f"value-{text}",
                f"{documents:,} documents, {text}: us of Sealwire's processor time for a distinct value",
                Bound.AT_MOST,
                each,
                partial(_own_time, case_of(documents, JUDGED, ASKED[0], text)),
            )
    yield _by_plaintext(documents, f"a page of {_PAGE}", 1.5)


def _by_plaintext(documents: int, text: str, times: float) -> Goal:
    case = case_of(documents, JUDGED, ASKED[0], text)
    what = f"{documents:,} documents, {text}: median latency by plaintext's"
    return Goal(
        text, what, Bound.AT_MOST, times, lambda results: results.ratio(case, Metric.P50, SEALWIRE, DIRECT)
    )


def _own_time(case: Case, results: Results) -> Spread | None:
    series = results.find(case, SEALWIRE)
    spread = None if series is None else series.spread(Metric.CPU)
    return None if spread is None else spread.by(JUDGED)


def measure(number: int, names: Sequence[int], kinds: Sequence[str], rounds: int, seconds: float) -> Results:
    """All cases with so many documents. Cost: 2 ms for each of these and of `names` to load them."""
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
        for each in names:
            found = {name: client[database_of(name)][f"people_{each}"] for name, client in held.items()}
            for collection in found.values():
                source = people(number, each)
                while some := list(islice(source, _LOADED_AT_ONCE)):
                    collection.insert_many(some)
                collection.create_index(ASKED[0])
            for kind, asked in product(kinds, QUESTIONS):
                expected = asked.ask(found[DIRECT], kind)
                runs = {
                    name: partial(_slice, route, partial(asked.ask, found[name], kind), expected)
                    for name, route in routes.items()
                }
                case = case_of(number, each, kind, asked.text)
                results.series += take_slices(case, runs, seconds, rounds)
            for collection in found.values():
                collection.drop()
    return results


def _client(route: Route) -> MongoClient[Document]:
    return MongoClient[Document](f"mongodb://{LOOPBACK}:{route.port}/?directConnection=true")


def _slice(route: Route, ask: Callable[[], object], expected: object, seconds: float) -> Sample:
    meter, latencies = Meter(route), list[float]()
    started, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds or not latencies:
        began = time.perf_counter()
        if ask() != expected:
            raise RuntimeError("another answer than expected")
        latencies.append(time.perf_counter() - began)
    taken = meter.stop(len(latencies), time.process_time() - used)
    return sample_of(latencies, time.perf_counter() - started, taken)


def main() -> None:
    """Measure and print a table for each number of documents."""
    parser = argparse.ArgumentParser(prog="python -m bench.questions", description=__doc__)
    parser.add_argument("--documents", type=int, nargs="+", default=[5_000, 50_000])
    parser.add_argument("--names", type=int, nargs="+", choices=NAMES, default=NAMES[:-1])
    parser.add_argument("--kinds", nargs="+", choices=ASKED, default=ASKED)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a slice; one question at least")
    arguments = parser.parse_args()
    console = Console(width=150)
    for documents in arguments.documents:
        names = [each for each in arguments.names if each <= documents]
        found = measure(documents, names, arguments.kinds, arguments.rounds, arguments.seconds)
        console.print(part_table(f"{PART}: {documents:,} documents", PART, found))
        console.print(goal_table(verdicts(found, tuple(goals(documents)))))


if __name__ == "__main__":
    main()
