"""What is asked: the requests of each workload as drivers send them, and what has to be stored before."""

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice

from bson import ObjectId, encode

from bench.dataset import (
    DATABASE,
    GROUP,
    WARDS,
    Document,
    documents,
)
from sealwire.wire.op_msg import build_op_msg

BATCH = 1_000
REQUEST_ID = 7
BODY = 21
"""Where the document of a message with one section begins."""
PING, UNPROTECTED, FIND_ONE, INSERT_ONE, UPDATE_ONE = (
    "ping",
    "unprotected-find",
    "find-one",
    "insert-one",
    "update-one",
)
INSERT_MANY, FIND_100, GROUPING = "insert-1000", "find-100", "aggregate-group"
MIXES = MIX_A, MIX_B, MIX_C = "mix-a", "mix-b", "mix-c"
"""YCSB's mixes: half reads and half updates; 95 % reads; only reads. Only drivers do them."""
CORE_WORKLOADS = (PING, UNPROTECTED, FIND_ONE, INSERT_ONE, INSERT_MANY, UPDATE_ONE, FIND_100, GROUPING)


@dataclass(frozen=True, slots=True)
class Pool:
    """How many different requests and replies there are of each kind before they repeat."""

    singles: int
    groups: int
    batches: int


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of operation."""

    name: str
    requests: tuple[bytes, ...]
    answers: int
    """How many of the requests are asked for the recording; their replies are played in turns."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a collection holds before anything is asked, and the field that it is looked up by."""

    collection: str
    contents: list[Document]
    indexed: str


def stored(pool: Pool) -> Iterator[Stored]:
    """Everything that the workloads read."""
    yield Stored("patients", list(islice(documents(1), pool.singles)), "nhs_number")
    yield Stored("cohorts", list(islice(documents(2), pool.groups * GROUP)), "group")
    yield Stored("wards", [{"_id": number, "beds": number * 3} for number in range(WARDS)], "_id")


def workloads(pool: Pool) -> Mapping[str, Workload]:
    """Every workload by its name. Cost: 0.5 s for 4,096 singles."""
    patients = list(islice(documents(1), pool.singles))
    arrivals = documents(5)
    made = [
        Workload(PING, (command({"ping": 1}),), 1),
        _reading(UNPROTECTED, "wards", ({"_id": number} for number in range(WARDS))),
        _reading(FIND_ONE, "patients", ({"nhs_number": each["nhs_number"]} for each in patients)),
        Workload(INSERT_ONE, tuple(insert_request(islice(arrivals, 1)) for _ in range(pool.singles)), 1),
        Workload(UPDATE_ONE, tuple(_updates(patients)), 1),
        Workload(INSERT_MANY, tuple(insert_request(islice(arrivals, BATCH)) for _ in range(pool.batches)), 1),
        Workload(FIND_100, tuple(_of_groups(pool.groups, partial(find_group, "cohorts"))), pool.groups),
        Workload(GROUPING, tuple(_of_groups(pool.groups, group_by_postcode)), pool.groups),
    ]
    return {workload.name: workload for workload in made}


def insert_request(contents: Iterable[Document], collection: str = "arrivals") -> bytes:
    """One insert command with its documents as a document sequence, as drivers send it."""
    body = {"insert": collection, "ordered": True, "$db": DATABASE}
    sequence = b"documents\0" + b"".join(encode({"_id": ObjectId()} | document) for document in contents)
    section = b"\1" + (len(sequence) + 4).to_bytes(4, "little") + sequence
    whole = message(body) + section
    return len(whole).to_bytes(4, "little") + whole[4:]


def command(body: Document) -> bytes:
    """A command on the bench's database, as drivers send it."""
    return message(body | {"$db": DATABASE})


def find_one(collection: str, where: Document) -> Document:
    """The command that drivers make of `find_one`."""
    return {"find": collection, "filter": where, "limit": 1, "singleBatch": True}


def find_group(collection: str, group: int) -> Document:
    """The command that drivers make of a `find` for a group of documents, in one reply."""
    return {"find": collection, "filter": {"group": group}, "batchSize": GROUP + 1}


def update_one(patient: Document, postcode: str) -> Document:
    """The command that drivers make of `update_one` by a covered field."""
    change = {"q": {"nhs_number": patient["nhs_number"]}, "u": {"$set": {"postcode": postcode}}}
    return {"update": "patients", "updates": [change], "ordered": True}


def _reading(name: str, collection: str, filters: Iterable[Document]) -> Workload:
    requests = tuple(command(find_one(collection, each)) for each in filters)
    return Workload(name, requests, len(requests))


def _updates(patients: list[Document]) -> Iterator[bytes]:
    for patient, other in zip(patients, documents(6), strict=False):
        yield command(update_one(patient, other["postcode"]))


def _of_groups(groups: int, make: Callable[[int], Document]) -> Iterator[bytes]:
    return (command(make(number)) for number in range(groups))


def group_by_postcode(number: int) -> Document:
    """How many patients of a group have which postcode."""
    stages: list[Document] = [
        {"$match": {"group": number}},
        {"$group": {"_id": "$postcode", "patients": {"$sum": 1}}},
    ]
    return {"aggregate": "cohorts", "pipeline": stages, "cursor": {}}


def message(body: Mapping[str, object], response_to: int = 0) -> bytes:
    """A command, or a reply, as one message."""
    return build_op_msg(REQUEST_ID, response_to, encode(body))


def ask(connection: socket.socket, request: bytes) -> bytes:
    """Send, and read the one answer. Raises EOFError when the other side closes."""
    connection.sendall(request)
    return read_message(connection)


def read_message(connection: socket.socket) -> bytes:
    """One whole message, where no other can follow. Raises EOFError when the other side closes."""
    held = bytearray()
    while len(held) < 4 or len(held) < int.from_bytes(held[:4], "little"):
        data = connection.recv(1 << 18)
        if not data:
            raise EOFError("the server closed the connection")
        held += data
    return bytes(held)


def split_messages(data: bytes) -> Iterator[bytes]:
    """The messages that lie one after another."""
    position = 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "little")
        yield data[position : position + length]
        position += length
