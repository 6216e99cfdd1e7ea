"""Whether covered paths are in a shard key, as a mongos says it; no other server is asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure

from sealwire.policies.file.schema import leaves
from sealwire.sidecars.direct import Client
from sealwire.sidecars.errors import MigrationReason, Unavailable, Unsound, Unusable
from sealwire.sidecars.migration.forms import Left, WrongType
from sealwire.sidecars.migration.job import (
    MAX_REPORTED,
    Job,
    LeftValue,
    Standing,
    Stretch,
    Tally,
    new_job,
    parse,
    serialize,
)
from sealwire.sidecars.migration.moves import Direction, Move, check_moves, class_at, moves_of, tree_of
from sealwire.sidecars.migration.planning import foreseen_split, move_back, split_by
from sealwire.sidecars.migration.server import BATCH_BYTES, MongoDocuments, Written, lag_s
from sealwire.sidecars.migration.windows.frontiers import refuse_class_obstacles
from sealwire.sidecars.migration.windows.order import class_paths
from tests.keys.samples import NOW
from tests.policies.support import POLICY
from tests.sidecars.migration.doubles import NAMESPACE, job
from tests.support.played_set import Document, PlayedServer, play_mongos
from tests.support.policies import policy_of
from tests.support.reasons import raising


@contextmanager
def before(server: PlayedServer, *found: Document, code: int = 0) -> Iterator[MongoClient[RawBSONDocument]]:
    """A client of a server whose collections of collections hold `found`, or that answers with an error."""

    def play(name: str, command: Document) -> Document | None:
        if name == "listCollections":
            listed = [{"name": "patients", "type": "collection", "options": {}}]
            return {"ok": 1.0, "cursor": {"id": 0, "ns": "clinic.$cmd", "firstBatch": listed}}
        if name == "find" and code:
            return {"ok": 0.0, "code": code, "errmsg": "denied"}
        if name == "find":
            named = [each for each in found if each["_id"] == command["filter"]["_id"]]
            return {"ok": 1.0, "cursor": {"id": 0, "ns": "config.collections", "firstBatch": named}}
        return None

    server.play = play
    host, port = server.name.split(":")
    try:
        with MongoClient[Any](host, int(port), document_class=RawBSONDocument) as client:
            yield client
    finally:
        server.stop()


def keyed(**key: Any) -> Document:
    return {"_id": NAMESPACE, "key": key}


@pytest.mark.parametrize("path", ["nhs_number", "address", "address.postcode.outward"])
def test_a_path_of_the_shard_key_or_above_or_below_it_stands_in_the_way(path: str) -> None:
    key = {"_id": NAMESPACE, "key": {"ward": 1, "nhs_number": "hashed", "address.postcode": 1}}
    with before(play_mongos(), key) as client:
        assert path in split_by(client, NAMESPACE, ["notes", path])


def test_other_paths_and_other_collections_do_not() -> None:
    with before(play_mongos(), keyed(nhs_number=1)) as client:
        assert split_by(client, NAMESPACE, ["nhs", "notes", "x.nhs_number"]) == ""
        assert split_by(client, "clinic.visits", ["nhs_number"]) == ""
    with before(play_mongos(), {**keyed(nhs_number=1), "dropped": True}) as client:
        assert split_by(client, NAMESPACE, ["nhs_number"]) == ""


def test_a_server_that_is_no_mongos_is_asked_no_further() -> None:
    server = PlayedServer()
    with before(server, keyed(nhs_number=1)) as client:
        assert split_by(client, NAMESPACE, ["nhs_number"]) == ""
        assert "find" not in server.asked


def test_a_mongos_that_does_not_tell_is_no_leave() -> None:
    with before(play_mongos(), code=13) as client, pytest.raises(OperationFailure):
        split_by(client, NAMESPACE, ["nhs_number"])


def test_a_plan_says_what_it_may_not_ask_and_fails_for_any_other_error() -> None:
    with before(play_mongos(), keyed(nhs_number=1)) as client:
        assert foreseen_split(client, NAMESPACE, ["nhs_number"]) == split_by(
            client, NAMESPACE, ["nhs_number"]
        )
    with before(play_mongos(), code=13) as client:
        assert "config.collections" in foreseen_split(client, NAMESPACE, ["nhs_number"])
    with before(play_mongos(), code=50) as client, pytest.raises(OperationFailure):
        foreseen_split(client, NAMESPACE, ["nhs_number"])


def test_a_class_in_a_shard_key_is_not_rotated() -> None:
    places = class_paths(POLICY, [NAMESPACE], "nhs")
    field_class = POLICY.classes["nhs"]
    with before(play_mongos(), keyed(nhs_number=1)) as client, raising(Unusable, MigrationReason.OBSTACLE):
        refuse_class_obstacles(client, places, Direction.REENCRYPT, field_class)
    with before(play_mongos(), keyed(ward=1)) as client:
        refuse_class_obstacles(client, places, Direction.REENCRYPT, field_class)


# Which paths are moved, by a policy; and that a job still fits it.


MOVES_POLICY = policy_of("""version: 1
classes:
  nhs: {mode: deterministic, type: string}
  notes: {mode: random}
  staff: {mode: random}
collections:
  clinic.patients: {nhs: nhs, notes: notes, visits.by.name: staff, visits.text: notes}
  clinic.wards: {nurse: staff}
""")
PATIENTS, WARDS = "clinic.patients", "clinic.wards"
NOTES = Move(PATIENTS, "notes", "notes")


def test_paths_of_random_classes_are_moved_and_others_named() -> None:
    movable, refused = moves_of(MOVES_POLICY, [PATIENTS, WARDS, "clinic.others"])
    assert [move.path for move in movable] == ["notes", "visits.by.name", "visits.text", "nurse"]
    assert refused == [Move(PATIENTS, "nhs", "nhs")]
    assert moves_of(MOVES_POLICY, [PATIENTS], "visits.text") == ([Move(PATIENTS, "visits.text", "notes")], [])
    movable, _ = moves_of(MOVES_POLICY, [PATIENTS, WARDS], class_name="staff")
    assert [(move.namespace, move.path) for move in movable] == [
        (PATIENTS, "visits.by.name"),
        (WARDS, "nurse"),
    ]


@pytest.mark.parametrize(
    ("direction", "move"),
    [
        (Direction.ENCRYPT, Move(PATIENTS, "notes", "staff")),
        (Direction.REENCRYPT, Move(PATIENTS, "other", "notes")),
        (Direction.ENCRYPT, Move(PATIENTS, "nhs", "nhs")),
        (Direction.DECRYPT, Move(PATIENTS, "notes", "")),
    ],
)
def test_a_job_that_the_policy_contradicts_is_refused(direction: Direction, move: Move) -> None:
    with raising(Unusable, MigrationReason.POLICY_CHANGED):
        check_moves(MOVES_POLICY, direction, [NOTES, move] if direction is not Direction.DECRYPT else [move])
    check_moves(MOVES_POLICY, Direction.ENCRYPT, [NOTES])
    check_moves(MOVES_POLICY, Direction.DECRYPT, [Move(PATIENTS, "other", "")])


@pytest.mark.parametrize(
    ("path", "covered"),
    [("notes", True), ("notes.deeper", True), ("visits", True), ("visits.by", True), ("other", False)],
)
def test_a_path_is_covered_also_by_one_above_or_below_it(path: str, covered: bool) -> None:
    assert (class_at(MOVES_POLICY, PATIENTS, path) is not None) is covered
    assert class_at(MOVES_POLICY, "clinic.others", path) is None


@pytest.mark.parametrize("path", ["visits.0.other", "a..b", "", "$x"])
def test_what_is_no_path_of_a_policy_is_not_decrypted(path: str) -> None:
    with pytest.raises(Unusable):
        move_back(MOVES_POLICY, PATIENTS, path)
    assert move_back(MOVES_POLICY, PATIENTS, "other.name") == Move(PATIENTS, "other.name", "")


def test_a_tree_has_the_paths_of_its_moves() -> None:
    movable, _ = moves_of(MOVES_POLICY, [PATIENTS])
    tree = tree_of(movable)
    found = {node.path: node.leaf.name for node in leaves(tree) if node.leaf is not None}
    assert found == {move.path: move.class_name for move in movable}


# Reading and writing on a server, without one: what it is asked, and what its failures become.


SERVER_NOW = datetime(2026, 7, 1, tzinfo=UTC)
ONE = b"\x10_id\0\1\0\0\0"


class Cursor(list[RawBSONDocument]):
    def __enter__(self) -> "Cursor":
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


class Answers:
    """A client, database and collection in one, which answers what it was given."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    def get_database(self, *_: Any, **__: Any) -> "Answers":
        return self

    get_collection = get_database

    def command(self, command: Any, **_: Any) -> Any:
        self.asked.append(command)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cursor_command = command
    find = command


def documents(answers: Answers, waits: list[float] | None = None) -> MongoDocuments:
    return MongoDocuments(cast(Client, answers), (waits if waits is not None else []).append)


def raws(*sizes: int) -> Cursor:
    return Cursor(RawBSONDocument(bson.encode({"_id": 1, "x": "x" * size})) for size in sizes)


def test_a_batch_ends_by_its_number_its_bytes_or_the_collection() -> None:
    large = BATCH_BYTES // 2
    server = documents(Answers(raws(1, 1), raws(1, 1, 1), raws(large, large, 1), raws(BATCH_BYTES, 1, 1)))
    found = [server.read("a.b", b"", b"", 3) for _ in range(4)]
    assert [(len(raws), ended) for raws, ended in found] == [(2, True), (3, False), (2, False), (2, False)]


def test_bounds_are_bounds_of_the_index() -> None:
    answers = Answers(raws(1), raws(1))
    server = documents(answers)
    server.read("a.b.c", b"", b"", 5)
    server.read("a.b.c", ONE, ONE, 5)
    whole, bounded = answers.asked
    assert whole == {"find": "b.c", "hint": {"_id": 1}, "limit": 5, "batchSize": 5, "sort": {"_id": 1}}
    assert (bounded["min"]["_id"], bounded["max"]["_id"], "sort" in bounded) == (1, 1, False)


def test_documents_are_asked_for_again_by_any_id() -> None:
    answers = Answers(raws(1))
    assert len(documents(answers).again("a.b", [ONE, b"\x02_id\0\2\0\0\0x\0"])) == 1
    assert bson.decode(answers.asked[0].raw) == {"_id": {"$in": [1, "x"]}}


def test_refused_updates_are_told_by_index_and_code() -> None:
    answers = Answers({"n": 1, "writeErrors": [{"index": 1, "code": 121, "errmsg": "x"}]})
    assert documents(answers).update("a.b", [bson.encode({"q": {}})] * 2) == Written(1, ((1, 121),))
    assert answers.asked[0]["writeConcern"] == {"w": "majority"}
    assert answers.asked[0]["ordered"] is False


def test_what_may_be_rolled_back_is_not_noted() -> None:
    with pytest.raises(Unavailable):
        documents(Answers({"n": 1, "writeConcernError": {"code": 64}})).update("a.b", [])


def test_a_server_that_does_not_answer_is_asked_again_and_not_for_ever() -> None:
    waits: list[float] = []
    lost = AutoReconnect("lost")
    assert documents(Answers(lost, lost, {"n": 0}), waits).update("a.b", []) == Written(0)
    assert len(waits) == 2
    with pytest.raises(AutoReconnect):
        documents(Answers(*[lost] * 5), waits).update("a.b", [])


def member(state: int, behind_s: float) -> dict[str, Any]:
    return {"state": state, "optimeDate": SERVER_NOW - timedelta(seconds=behind_s)}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"members": [member(1, 0), member(2, 3), member(2, 7), member(7, 0)]}, 7.0),
        ({"members": [member(1, 2), member(2, 0)]}, 0.0),
        ({"members": [member(1, 0)]}, None),
        (OperationFailure("not running with --replSet", 76), None),
    ],
)
def test_the_lag_is_that_of_the_slowest_member(answer: Any, expected: float | None) -> None:
    assert lag_s(cast(Client, Answers(answer))) == expected


# A job as it is written down, and as it goes on.


LATER = NOW + timedelta(seconds=5)
IDENTITY = b"\x10_id\0\7\0\0\0"
LEFT = LeftValue(NAMESPACE, "notes", IDENTITY, Left.SERVER, 121)


def after(job: Job, index: int, read: int, tally: Tally, *left: LeftValue, done: bool = False) -> Job:
    """The job after a batch that ended at IDENTITY, and left these values."""
    for each in left:
        tally.leave(each)
    return job.after(index, replace(job.stretches[index], at=IDENTITY, done=done), tally, read, LATER)


def test_it_is_written_and_read_without_loss() -> None:
    whole = replace(
        job(stretches=(Stretch(NAMESPACE, b"", IDENTITY, IDENTITY, True), Stretch(NAMESPACE, IDENTITY))),
        expected=9,
        refusal=(LEFT,),
    )
    whole = after(whole, 1, 3, Tally(2, 4, 1), LEFT, LEFT)
    assert parse(serialize(whole)) == whole


@pytest.mark.parametrize("data", [b"", b"\5\0\0\0\0", bson.encode({"name": 1}), serialize(job())[:-1]])
def test_what_is_no_job_is_an_error(data: bytes) -> None:
    with pytest.raises(Unsound):
        parse(data)


def test_batches_add_up_and_the_last_one_ends_it() -> None:
    first = job(stretches=(Stretch(NAMESPACE, b"", IDENTITY), Stretch(NAMESPACE, IDENTITY)))
    second = after(first, 0, 3, Tally(2, 4, 1), LEFT)
    assert (second.revision, second.updated, second.standing) == (1, LATER, Standing.RUNNING)
    assert second.stretches[0].at == IDENTITY
    third = after(after(second, 1, 0, Tally(), done=True), 0, 1, Tally(1, 1), LEFT, done=True)
    assert (third.read, third.documents, third.values, third.races) == (4, 3, 5, 1)
    assert third.left == {(NAMESPACE, "notes", Left.SERVER): 2}
    assert third.standing is Standing.DONE
    assert third.stretches[0].at == IDENTITY
    assert (first.read, first.left) == (0, {})


def test_its_document_stays_small_whatever_it_meets() -> None:
    whole = job()
    long = replace(LEFT, identity=b"\x02_id\0" + b"x" * 5000)
    for _ in range(4):
        whole = after(whole, 0, 500, Tally(), *(LEFT, long) * 30)
    assert whole.left == {(NAMESPACE, "notes", Left.SERVER): 240}
    assert len(whole.reported) == MAX_REPORTED
    assert len(serialize(whole)) < 20_000
    assert [each.document_id for each in whole.reported[:2]] == ["7", ""]
    stopped = whole.stopped(Standing.REFUSED, LATER, [LEFT] * 300)
    assert len(stopped.refusal) == MAX_REPORTED


def test_a_job_is_over_or_can_be_resumed() -> None:
    assert [each for each in Standing if each.is_over] == [Standing.DONE, Standing.ABORTED]
    stopped = job().stopped(Standing.REFUSED, LATER, [LEFT])
    again = stopped.stopped(Standing.RUNNING, LATER)
    assert (stopped.refusal, again.refusal, again.revision) == ((LEFT,), (), 2)


def test_a_name_says_what_a_job_does_and_is_short_enough_to_copy() -> None:
    names = {new_job(direction, WrongType.SKIP, ()).name for direction in Direction for _ in range(3)}
    assert len(names) == 3 * len(Direction)
    assert max(map(len, names)) <= 16
