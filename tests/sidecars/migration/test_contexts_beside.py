"""A job where each sub-document says its context: elements keep their own, also while they change places."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Int64
from bson.binary import Binary

from sealwire.crypto.envelope import SUBTYPE, parse_context_header
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.policies.file.loader import load_policy
from sealwire.sidecars.migration.contexts import JobContexts, fields_of
from sealwire.sidecars.migration.engine import Pace
from sealwire.sidecars.migration.forms import Left, WrongType, new_form
from sealwire.sidecars.migration.job import Job, Standing
from sealwire.sidecars.migration.moves import Direction, Move
from sealwire.sidecars.migration.runner import Runner, within_contexts
from tests.sidecars.migration.doubles import (
    NAMESPACE,
    Document,
    Fate,
    MemoryNotes,
    MemoryServer,
    job,
    keyring,
    sealed,
)

POLICY = load_policy(
    b"""
version: 1
classes:
  notes: {mode: random, key: {per: ./patient}}
collections:
  clinic.patients: {notes: notes, visits.notes: notes, desk.inner.notes: notes}
""",
    "policy.yaml",
)
KEYS = keyring(1)
PATHS = ("notes", "visits.notes", "desk.inner.notes")


class World:
    def __init__(self, store: SqliteContextStore) -> None:
        self.contexts = JobContexts(store, KEYS, POLICY)

    def run(self, server: MemoryServer, direction: Direction = Direction.ENCRYPT) -> Job:
        name = "" if direction is Direction.DECRYPT else "notes"
        moves = tuple(Move(NAMESPACE, path, name) for path in PATHS)
        first = job(direction, WrongType.SKIP, moves)
        runner = Runner(
            first,
            server,
            MemoryNotes(first, server.fate),
            new_form(direction, KEYS, WrongType.SKIP),
            Pace(),
            within=within_contexts(self.contexts, direction, KEYS, WrongType.SKIP),
            fields=fields_of(POLICY),
        )
        return runner.run()

    def patients_of(self, document: Any) -> Iterator[tuple[object, bytes]]:
        """The patient that each sub-document says, and the id of the key of its value."""
        if isinstance(document, list):
            for each in document:
                yield from self.patients_of(each)
        elif isinstance(document, dict):
            if isinstance(document.get("notes"), Binary):
                yield document.get("patient"), parse_context_header(bytes(document["notes"]))[1]
            for each in document.values():
                yield from self.patients_of(each)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as store:
        yield World(store)


def visit(patient: object, notes: object = "x") -> Document:
    return {"patient": patient, "notes": notes}


def wards() -> list[Document]:
    return [
        {
            "_id": 1,
            "patient": 1,
            "notes": "top",
            "visits": [visit(1), visit(2), visit(Int64(1)), {"other": 1}],
        },
        {"_id": 2, "visits": [[visit(2)], visit(1, [1, 2])], "desk": {"inner": visit(2)}},
        {"_id": 3, "patient": 1, "visits": visit(2), "desk": [{"patient": 1, "inner": visit(2)}]},
        {"_id": 4, "patient": 1, "visits": {"0": visit(2)}},
    ]


def test_each_value_gets_the_key_of_its_own_sub_document_and_comes_back(world: World) -> None:
    server = MemoryServer(wards(), Fate())
    done = world.run(server)
    assert (done.standing, done.values, done.left) == (Standing.DONE, 10, {})
    found = list(world.patients_of(server.documents))
    assert len(found) == 10
    keys = {patient: {key for each, key in found if each == patient} for patient in (1, 2)}
    assert {len(each) for each in keys.values()} == {1}
    assert keys[1] != keys[2]
    assert world.run(server).values == 0
    assert world.run(server, Direction.REENCRYPT).values == 0
    assert world.run(server, Direction.DECRYPT).values == 10
    assert server.documents == wards()


@pytest.mark.parametrize("patient", [None, 1.0, [1], {"id": 1}], ids=repr)
def test_a_value_whose_sub_document_says_no_context_is_told_of_by_path(world: World, patient: Any) -> None:
    visits = [visit(patient), visit(1), {"notes": "x"}]
    server = MemoryServer([{"_id": 1, "patient": 9, "visits": visits}], Fate())
    done = world.run(server)
    assert (done.values, done.left) == (1, {(NAMESPACE, "visits.notes", Left.NO_CONTEXT): 2})
    assert {(each.path, each.document_id) for each in done.reported} == {("visits.notes", "1")}
    assert [each["notes"] for each in server.documents[0]["visits"]][::2] == ["x", "x"]


def test_what_the_class_s_own_key_encrypted_moves_to_that_of_its_element(world: World) -> None:
    visits = [visit(1, sealed(KEYS, "notes", "a")), visit(2, sealed(KEYS, "notes", "b")), visit(2)]
    server = MemoryServer([{"_id": 1, "visits": visits}], Fate())
    assert world.run(server, Direction.REENCRYPT).values == 2
    assert len(dict(world.patients_of(server.documents))) == 2
    assert server.documents[0]["visits"][2] == visit(2)


def turned(server: MemoryServer) -> None:
    found = server.documents[0]
    found["visits"].reverse()
    server.replace(found)


def shifted(server: MemoryServer) -> None:
    found = server.documents[0]
    found["visits"].insert(0, found["visits"].pop())
    server.replace(found)


def owned_by_another(server: MemoryServer) -> None:
    """As `$pull` and `$push` leave it."""
    found = server.documents[0]
    found["visits"][0] = {"patient": 2, "notes": "x"}
    server.replace(found)


@pytest.mark.parametrize("change", [turned, shifted, owned_by_another])
def test_elements_that_change_places_meanwhile_keep_to_their_patients(
    world: World, change: Callable[[MemoryServer], None]
) -> None:
    """All hold the same value: its place and itself would tell nobody whose it is."""
    server = MemoryServer([{"_id": 1, "visits": [visit(1), visit(2), visit(3)]}], Fate())
    changes = iter([change])

    def between() -> None:
        for each in changes:
            each(server)
            return

    server.between = between
    done = world.run(server)
    assert (done.standing, done.left) == (Standing.DONE, {})
    assert done.races > 0
    keys = dict(world.patients_of(server.documents))
    server.between = lambda: None
    server.replace({"_id": 2, "visits": [visit(1), visit(2), visit(3)]})
    world.run(server)
    assert keys.items() <= dict(world.patients_of(server.documents[1])).items()
    assert all(Binary(each["notes"], SUBTYPE) == each["notes"] for each in server.documents[0]["visits"])


def test_an_array_around_such_values_is_named_once_and_as_a_whole(world: World) -> None:
    server = MemoryServer([{"_id": 1, "visits": [visit(1), visit(2)], "desk": {"inner": visit(3)}}], Fate())
    sent: list[Document] = []
    update = server.update

    def kept(namespace: str, updates: Any) -> Any:
        sent.extend(bson.decode(each) for each in updates)
        return update(namespace, updates)

    server.update = kept  # type: ignore[method-assign, assignment]  # looks, and hands on
    world.run(server)
    elements = ["visits", "visits.0.notes", "visits.1.notes"]
    assert list(sent[0]["q"]) == ["_id", *elements, "desk.inner.patient", "desk.inner.notes"]
    assert sent[0]["q"]["visits"] == {"$eq": [visit(1), visit(2)]}
    assert sent[0]["q"]["desk.inner.patient"]["$eq"] == 3
