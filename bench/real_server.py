"""Backend 1: the real server, asked with pymongo as an application asks it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from pymongo import MongoClient
from pymongo.collection import Collection

from bench.dataset import DOCUMENTS, GROUP, Document, documents
from bench.measure import Figure, Operation, measure_operation
from bench.routes import DIRECT, FORWARDER, SEALWIRE, Certificates, start_forwarder, start_sealwire
from sealwire.demo.certificates import create_authority
from sealwire.demo.database import DatabaseOptions, DatabaseProcess, ServerTls, connection_string
from sealwire.demo.ports import LOOPBACK
from sealwire.keys.environment import generate_encoded_kek

# The policy protects `bench`; the other routes have databases of their own in the same server.
DATABASES = {DIRECT: "plain_direct", FORWARDER: "plain_forwarder", SEALWIRE: "bench"}
# Operation: calls a round. One round of one route takes 0.1 to 0.4 s.
CALLS = {"find one": 300, "insert one": 200, "find 100": 12, "unprotected find": 300}
_WARDS = 20


@dataclass(frozen=True, slots=True)
class Ready:
    """A loaded database behind one route, and the data that is asked for."""

    client: MongoClient[Document]
    database: str
    numbers: Iterator[str]
    arrivals: Iterator[Document]
    groups: Iterator[int]

    def collection(self, name: str) -> Collection[Document]:
        """A collection of this route's own database."""
        return self.client[self.database][name]


def measure_real_server(folder: Path, *, rounds: int, tls: bool) -> list[Figure]:
    """All operations over all routes. Cost: about 25 s at 8 rounds."""
    with ExitStack() as stack:
        ports, authority = _start(stack, folder, tls=tls)
        routes: dict[str, Ready] = {}
        for seed, (route, port) in enumerate(ports.items()):
            uri = connection_string(f"{LOOPBACK}:{port}", None, "", authority=authority)
            client = stack.enter_context(MongoClient[Document](uri))
            routes[route] = _load(client, DATABASES[route], seed)
        figures: list[Figure] = []
        for name, calls in CALLS.items():
            operations = {route: _operation(name, ready) for route, ready in routes.items()}
            figures += measure_operation(
                name, operations, rounds=rounds, calls=calls, warm_up=max(10, calls // 3)
            )
        return figures


def _start(stack: ExitStack, folder: Path, *, tls: bool) -> tuple[Mapping[str, int], Path | None]:
    server_tls, certificates = None, None
    if tls:
        authority = create_authority(folder / "tls")
        database = authority.issue("database")
        server_tls = ServerTls(database.certificate, database.key, authority.certificate_file)
        certificates = Certificates(
            authority.issue("forwarder"), authority.issue("sealwire"), authority.certificate_file
        )
    options = DatabaseOptions(folder / "database", tls=server_tls, replica_set=False, cache="4G")
    database_process = stack.enter_context(DatabaseProcess(options))
    port = database_process.port
    forwarder = stack.enter_context(start_forwarder(folder, port, certificates))
    proxy = stack.enter_context(
        start_sealwire(folder / "sealwire", port, generate_encoded_kek(), certificates)
    )
    ports = {DIRECT: port, FORWARDER: forwarder, SEALWIRE: proxy.port}
    return ports, None if certificates is None else certificates.authority


def _load(client: MongoClient[Document], database: str, seed: int) -> Ready:
    known = list(islice(documents(seed), DOCUMENTS))
    patients = client[database]["patients"]
    patients.create_index("nhs_number", unique=True)
    patients.create_index("group")
    client[database]["arrivals"].create_index("nhs_number", unique=True)
    for start in range(0, DOCUMENTS, 500):
        patients.insert_many(known[start : start + 500])
    client[database]["wards"].insert_many([{"_id": number, "beds": number * 3} for number in range(_WARDS)])
    numbers = cycle([document["nhs_number"] for document in known[::7]])
    return Ready(client, database, numbers, documents(seed + 100), cycle(range(DOCUMENTS // GROUP)))


def _operation(name: str, ready: Ready) -> Operation:
    patients, arrivals, wards = (ready.collection(each) for each in ("patients", "arrivals", "wards"))
    wards_in_turn = cycle(range(_WARDS))

    def find_100() -> None:
        found = patients.find({"group": next(ready.groups)}, batch_size=GROUP + 1).to_list()
        if len(found) != GROUP:
            raise RuntimeError(f"{len(found)} documents where {GROUP} were expected")

    operations: dict[str, Operation] = {
        "find one": lambda: _one(patients, {"nhs_number": next(ready.numbers)}),
        "insert one": lambda: arrivals.insert_one(next(ready.arrivals)),
        "find 100": find_100,
        "unprotected find": lambda: _one(wards, {"_id": next(wards_in_turn)}),
    }
    return operations[name]


def _one(collection: Collection[Document], where: Document) -> None:
    if collection.find_one(where) is None:
        raise RuntimeError("a document that was inserted is not found")
