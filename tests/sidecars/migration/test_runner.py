"""Jobs: what they move, what they leave, how they stop, and that they may die before any step."""

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, MinKey, Regex
from bson.binary import Binary

from sealwire.crypto.envelope import SUBTYPE, parse_context_header
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.sidecars.direct import identity_of
from sealwire.sidecars.errors import JobTaken
from sealwire.sidecars.migration.contexts import JobContexts, ValueSpot, fields_of
from sealwire.sidecars.migration.engine import Pace, Runner
from sealwire.sidecars.migration.forms import Form, Left, WrongType, new_form
from sealwire.sidecars.migration.job import Job, Standing, Stretch
from sealwire.sidecars.migration.ledger import Wish
from sealwire.sidecars.migration.moves import Direction, Move, tree_of
from sealwire.sidecars.migration.server import Patch, patch_of
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError
from tests.sidecars.migration.doubles import (
    MOVES,
    NAMESPACE,
    RANDOM,
    Death,
    Document,
    Fate,
    MemoryNotes,
    MemoryServer,
    job,
    keyring,
    opened,
    sealed,
    versions,
)
from tests.support.policies import policy_of

OLD, NEW = keyring(1), keyring(2)


def plain(number: int) -> Document:
    return {
        "_id": number,
        "notes": f"note {number}",
        "visits": [{"text": f"first {number}"}, {"ward": 3}, {"text": f"second {number}"}],
        "letters": [f"letter {number}", {"to": "ward"}],
        "open": number,
    }


def encrypted(number: int) -> Document:
    """The same as an older key left it; every third is in clear."""
    found = plain(number)
    if number % 3:
        found["notes"] = sealed(OLD, "notes", found["notes"])
        for visit in found["visits"]:
            if "text" in visit:
                visit["text"] = sealed(OLD, "notes", visit["text"])
        found["letters"] = sealed(OLD, "letters", found["letters"])
    return found


STARTS = {
    Direction.ENCRYPT: [plain(number) for number in range(7)],
    Direction.REENCRYPT: [encrypted(number) for number in range(7)],
    Direction.DECRYPT: [encrypted(number) for number in range(7)],
}


def runner(server: MemoryServer, notes: MemoryNotes, batch: int = 3) -> Runner:
    return Runner(notes.job, server, notes, NEW, Pace(most=batch))


def run(server: MemoryServer, first: Job, workers: int = 1) -> Job:
    return runner(server, MemoryNotes(first, server.fate)).run(workers)


def is_moved(direction: Direction, documents: list[Document]) -> bool:
    """Whether every value has the form that the direction leads to."""
    found = [each for document in documents for each in versions(document)]
    if direction is Direction.ENCRYPT:
        return set(found) == {2}
    if direction is Direction.REENCRYPT:
        return 1 not in found and 2 in found
    return not {1, 2} & set(found)


@pytest.mark.parametrize("direction", RANDOM)
@pytest.mark.parametrize("workers", [1, 3])
def test_every_value_is_moved_and_means_the_same(direction: Direction, workers: int) -> None:
    server = MemoryServer(STARTS[direction], Fate())
    bounds = [identity_of(server.raws[number]) for number in (2, 5)]
    stretches = (
        Stretch(NAMESPACE, b"", bounds[0]),
        Stretch(NAMESPACE, bounds[0], bounds[1]),
        Stretch(NAMESPACE, bounds[1], b""),
    )
    done = run(server, job(direction, stretches=stretches), workers)
    assert (done.standing, done.read, done.left) == (Standing.DONE, 7, {})
    assert is_moved(direction, server.documents)
    assert opened(NEW, server.documents) == [plain(number) for number in range(7)]
    assert done.values == {"encrypt": 28, "reencrypt": 16, "decrypt": 16}[direction.value]


def test_a_second_run_changes_nothing() -> None:
    server = MemoryServer(STARTS[Direction.ENCRYPT], Fate())
    run(server, job())
    before = dict(server.raws)
    assert run(server, job()).values == 0
    assert server.raws == before


@pytest.mark.parametrize("direction", RANDOM)
def test_a_death_before_any_step_loses_doubles_and_shows_nothing(direction: Direction) -> None:
    whole = Fate()
    run(MemoryServer(STARTS[direction], whole), job(direction))
    assert whole.steps >= 7
    for dies_at in range(whole.steps):
        server = MemoryServer(STARTS[direction], Fate(dies_at))
        notes = MemoryNotes(job(direction), server.fate)
        with pytest.raises(Death):
            runner(server, notes).run()
        assert opened(NEW, server.documents) == [plain(number) for number in range(7)]
        if direction is not Direction.DECRYPT:
            shown = sum(versions(document).count(0) for document in server.documents)
            assert shown <= sum(versions(document).count(0) for document in STARTS[direction])
        server.fate = notes.fate = Fate()
        assert runner(server, notes).run().standing is Standing.DONE
        assert opened(NEW, server.documents) == [plain(number) for number in range(7)]
        assert is_moved(direction, server.documents)


@pytest.mark.parametrize("direction", RANDOM)
@pytest.mark.parametrize("seed", range(20))
def test_what_the_application_writes_meanwhile_is_kept(direction: Direction, seed: int) -> None:
    """It changes, inserts and removes between the job's reads and writes, and the job dies now and then."""
    draw = random.Random(seed)
    server = MemoryServer(STARTS[direction], Fate(draw.randrange(25)))
    notes = MemoryNotes(job(direction), server.fate)
    expected = {number: plain(number) for number in range(7)}

    def write() -> None:
        number = draw.randrange(9)
        act = draw.randrange(4)
        if act == 0:
            expected.pop(number, None)
            server.raws.pop(number, None)
            return
        stored: Document = (
            bson.decode(server.raws[number]) if number in server.raws else {"_id": number, "visits": []}
        )
        meant: Document = expected.setdefault(number, {"_id": number, "visits": []})
        text = f"new {draw.random()}"
        kept: object = text if direction is Direction.DECRYPT else sealed(NEW, "notes", text)
        if act == 1:
            stored["notes"], meant["notes"] = kept, text
        elif act == 2:
            stored["visits"].insert(0, {"text": kept})
            meant["visits"].insert(0, {"text": text})
        elif stored["visits"]:
            del stored["visits"][0], meant["visits"][0]
        server.replace(stored)

    server.between = write
    for _ in range(3):
        try:
            runner(server, notes).run()
        except Death:
            server.fate = notes.fate = Fate(draw.randrange(25))
    server.between = lambda: None
    server.fate = notes.fate = Fate()
    if not notes.job.standing.is_over:
        runner(server, notes).run()
    assert notes.job.standing is Standing.DONE
    assert opened(NEW, server.documents) == [expected[number] for number in sorted(expected)]
    found = {each for document in server.documents for each in versions(document)}
    assert 1 not in found
    if not notes.job.left:
        assert found <= (
            {0, 2} if direction is Direction.REENCRYPT else {2} if direction is Direction.ENCRYPT else {0}
        )


def test_a_document_that_never_rests_is_reported_and_not_overwritten() -> None:
    server = MemoryServer([{"_id": 1, "notes": "x"}], Fate())

    def write() -> None:
        server.replace({"_id": 1, "notes": f"{bson.ObjectId()}"})

    server.between = write
    done = run(server, job())
    assert done.left == {(NAMESPACE, "", Left.CONTENDED): 1}
    assert (done.documents, done.races) == (0, 8)
    assert isinstance(server.documents[0]["notes"], str)


@pytest.mark.parametrize("value", [MinKey(), ["x", None], Binary(b"other", 6)])
def test_a_wrong_type_stops_the_job_before_its_batch(value: object) -> None:
    documents = [*STARTS[Direction.ENCRYPT], {"_id": 7, "notes": value}]
    server = MemoryServer(documents, Fate())
    notes = MemoryNotes(job(), server.fate)
    stopped = runner(server, notes, batch=4).run()
    assert stopped.standing is Standing.REFUSED
    assert [(each.path, each.document_id, each.why) for each in stopped.refusal] == [
        ("notes", "7", Left.WRONG_TYPE)
    ]
    assert set(versions(server.documents[3])) == {2}
    assert set(versions(server.documents[4])) == {0}
    server.replace({"_id": 7, "notes": "mended"})
    done = runner(server, notes, batch=4).run()
    assert (done.standing, done.left) == (Standing.DONE, {})


def test_wrong_types_are_skipped_and_counted_where_that_is_wished() -> None:
    server = MemoryServer([{"_id": 1, "notes": ["x", None], "letters": MinKey()}], Fate())
    done = run(server, job(wrong_type=WrongType.SKIP))
    assert (done.standing, sum(done.left.values()), done.values) == (Standing.DONE, 2, 0)


def test_wrong_types_are_encrypted_where_that_is_wished_and_can_be() -> None:
    server = MemoryServer([{"_id": 1, "notes": ["x", None], "letters": MinKey()}], Fate())
    done = run(server, job(wrong_type=WrongType.ENCRYPT))
    assert done.left == {(NAMESPACE, "letters", Left.WRONG_TYPE): 1}
    assert opened(NEW, server.documents[0]["notes"]) == ["x", None]
    assert isinstance(server.documents[0]["notes"], Binary)


def test_an_update_that_the_server_refuses_is_reported_with_its_code() -> None:
    server = MemoryServer(STARTS[Direction.ENCRYPT], Fate())
    server.codes = {3: 121}
    done = run(server, job())
    assert done.left == {(NAMESPACE, "", Left.SERVER): 1}
    assert [(each.document_id, each.code) for each in done.reported] == [("3", 121)]
    assert set(versions(server.documents[3])) == {0}
    assert set(versions(server.documents[4])) == {2}


@pytest.mark.parametrize(
    ("wish", "standing"), [(Wish.PAUSE, Standing.PAUSED), (Wish.ABORT, Standing.ABORTED)]
)
def test_a_wish_ends_the_job_after_its_batch(wish: Wish, standing: Standing) -> None:
    server = MemoryServer(STARTS[Direction.ENCRYPT], Fate())
    notes = MemoryNotes(job(), server.fate)
    notes.wish = wish
    assert runner(server, notes).run().standing is standing
    assert notes.job.standing is standing
    assert [set(versions(document)) for document in server.documents] == [{2}] * 3 + [{0}] * 4


def test_a_process_whose_job_another_one_took_ends() -> None:
    server = MemoryServer(STARTS[Direction.ENCRYPT], Fate())
    notes = MemoryNotes(job(), server.fate)
    first = runner(server, notes)
    notes.save(replace(notes.job, revision=1))
    with pytest.raises(JobTaken):
        first.run()
    assert runner(server, notes).run().standing is Standing.DONE
    assert is_moved(Direction.ENCRYPT, server.documents)


def test_it_tells_after_each_batch_and_rests_between_them() -> None:
    server = MemoryServer(STARTS[Direction.ENCRYPT], Fate())
    notes = MemoryNotes(job(), server.fate)
    rests: list[float] = []
    told: list[int] = []
    pace = Pace(lambda busy_s, _waited_s: rests.append(busy_s), lambda now: told.append(now.read), 3)
    Runner(notes.job, server, notes, NEW, pace).run()
    assert told == [3, 6, 7]
    assert len(rests) == 2
    assert min(rests) >= 0


def test_updates_that_do_not_fit_into_one_command_go_in_several() -> None:
    large = "x" * (4 << 20)
    server = MemoryServer([{"_id": number, "notes": large} for number in range(5)], Fate())
    commands: list[int] = []
    whole = server.update

    def update(namespace: str, updates: list[bytes]) -> object:
        commands.append(sum(map(len, updates)))
        return whole(namespace, updates)

    server.update = update  # type: ignore[method-assign, assignment]  # counts, and hands on
    assert run(server, job()).documents == 5
    assert len(commands) == 5
    assert max(commands) < 16 << 20


# --- a job where each sub-document says its context: elements keep their own, also while they change places


POLICY = policy_of("""
version: 1
classes:
  notes: {mode: random, key: {per: ./patient}}
collections:
  clinic.patients: {notes: notes, visits.notes: notes, desk.inner.notes: notes}
""")
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
            KEYS,
            contexts=self.contexts,
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


# The update of one document: exactly its old values, and nothing of it that has not to change.


TREE = tree_of(MOVES)


def shouted(kind: int, value: bytes, spot: ValueSpot) -> Form | None:
    """A form that shows what was asked."""
    text = f"{spot.class_name} {kind}"
    return None if kind == kinds.BOOL else (kinds.STRING, bson.encode({"v": text})[7:-1])


def patch(document: dict[str, object]) -> Patch:
    return patch_of(bson.encode(document), TREE, shouted)


def test_all_values_of_a_document_go_in_one_update() -> None:
    found = patch({"_id": {"a": 1}, "notes": "x", "visits": [{"text": 2}, {"text": True}], "letters": ["y"]})
    assert found.values == 3
    not_array = {"$not": {"$type": 4}}
    assert bson.decode(found.update) == {
        "q": {
            "_id": {"a": 1},
            "notes": {"$eq": "x", "$type": 2} | not_array,
            "visits.0.text": {"$eq": 2, "$type": 16} | not_array,
            "letters": {"$eq": ["y"]},
        },
        "u": {"$set": {"notes": "notes 2", "visits.0.text": "notes 16", "letters": "letters 4"}},
    }


def test_the_type_is_named_where_equality_does_not_tell_it() -> None:
    named = {
        type(value).__name__: bson.decode(patch({"_id": 1, "notes": value}).update)["q"]["notes"].get("$type")
        for value in (5, 5.0, Int64(5), Decimal128("5"), "5", b"5", {"a": 5}, MinKey())
    }
    assert named == {
        "int": 16,
        "float": 1,
        "Int64": 18,
        "Decimal128": 19,
        "str": 2,
        "bytes": None,
        "dict": None,
        "MinKey": None,
    }


def test_old_values_are_named_byte_for_byte() -> None:
    raw = bson.encode({"_id": 1, "notes": Regex("a", "i")})
    found = patch_of(raw, TREE, shouted)
    assert raw[raw.index(b"a\0i\0") :][:4] in found.update


def test_a_document_with_nothing_to_do_has_no_update() -> None:
    found = patch({"_id": 1, "notes": True})
    assert (found.update, found.values, found.problems) == (b"", 0, ())
    assert found.identity == b"\x10_id\0\1\0\0\0"


def test_what_is_left_does_not_hold_the_rest_up() -> None:
    choose = new_form(Direction.ENCRYPT, keyring(), WrongType.SKIP)
    found = patch_of(bson.encode({"_id": 1, "notes": MinKey(), "letters": "x"}), TREE, choose)
    assert [(each.path, each.why) for each in found.problems] == [("notes", Left.WRONG_TYPE)]
    assert list(bson.decode(found.update)["u"]["$set"]) == ["letters"]


def test_a_name_that_stands_twice_is_left() -> None:
    raw = bson.encode({"_id": 1, "notes": "x", "nates": "y"}).replace(b"nates", b"notes")
    found = patch_of(raw, TREE, shouted)
    assert found.update == b""
    assert [each.why for each in found.problems] == [Left.NOT_ADDRESSABLE] * 2


@pytest.mark.parametrize(
    "document",
    [{"_id": 1, "notes": "x" * (9 << 20)}, {"_id": 1, "notes": "x", "clear": "x" * ((16 << 20) - 60)}],
)
def test_what_the_server_would_not_take_is_left_as_it_is(document: dict[str, object]) -> None:
    choose = new_form(Direction.ENCRYPT, keyring(), WrongType.REFUSE)
    raw = bson.encode(document)
    assert len(raw) <= 16 << 20
    found = patch_of(raw, TREE, choose)
    assert found.update == b""
    assert [(each.path, each.why) for each in found.problems] == [("notes", Left.TOO_LARGE)]


def test_what_is_no_stored_document_is_an_error() -> None:
    with pytest.raises(ValueError, match="without _id"):
        identity_of(bson.encode({"notes": Binary(b"x")}))
    with pytest.raises(BsonError):
        patch_of(bson.encode({"_id": 1, "notes": "x"}).replace(b"x\0\0", b"x\0\1"), TREE, shouted)
