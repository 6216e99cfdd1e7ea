"""Whose a document is: the values at the paths that say it."""

from typing import Any

import bson
import pytest
from bson import ObjectId
from bson.binary import Binary
from bson.int64 import Int64
from bson.regex import Regex

from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.keyring.keyring import OpenEnvelope
from sealwire.proxy.session.auditing.subjects import MAX_IDS, CommandAudit, SubjectPaths
from sealwire.proxy.session.choices import CommandScope
from sealwire.proxy.session.effects import CommandRecord, CommandResult, Done, ToServer
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings
from sealwire.wire import kinds
from tests.proxy.session import world
from tests.proxy.session.auditing.test_commands import batch, done, named, person
from tests.proxy.session.world import KEYRING, POLICY_TEXT, command, reply, sealed
from tests.support.policies import policy_of

PATHS = SubjectPaths(["id"], "d")


def pseudonym_of(path: str, kind: int, value: bytes) -> str:
    return f"{path}|{kind}|{value.hex()}"


def looked(document: dict[str, Any], open_envelope: OpenEnvelope | None) -> tuple[bool, list[str]]:
    found: dict[str, None] = {}
    return PATHS.look(bson.encode(document), 0, pseudonym_of, open_envelope, found), list(found)


def test_an_envelope_is_opened_for_its_pseudonym() -> None:
    assert looked({"id": sealed("nhs", "943")}, KEYRING.open_envelope) == (
        True,
        [pseudonym_of("d", kinds.STRING, b"\x04\0\0\0" + b"943\0")],
    )


def test_an_envelope_that_is_not_to_be_opened_says_nothing() -> None:
    assert looked({"id": sealed("nhs", "943")}, None) == (False, [])


def test_an_envelope_that_does_not_open_ends_what_a_document_says() -> None:
    other = bytes(sealed("nhs", "944"))
    damaged = Binary(other[:-1] + bytes([other[-1] ^ 1]), SUBTYPE)
    assert looked({"id": damaged}, KEYRING.open_envelope) == (False, [])
    expected = pseudonym_of("d", kinds.STRING, b"\x04\0\0\0" + b"943\0")
    both = {"id": [sealed("nhs", "943"), damaged]}
    assert looked(both, KEYRING.open_envelope) == (True, [expected])


def test_a_binary_that_is_no_envelope_says_whose_it_is_as_it_stands() -> None:
    content = bytes(range(16))
    expected = pseudonym_of("d", kinds.BIN_DATA, b"\x10\0\0\0\x04" + content)
    assert looked({"id": Binary(content, 4)}, KEYRING.open_envelope) == (True, [expected])
    assert looked({"id": Binary(content, 4)}, None) == (True, [expected])


POLICY = policy_of(
    POLICY_TEXT.replace(b"  ward.*:", b"  clinic.staff: {note: secret}\n  ward.*:")
    + b"""
subjects:
  class: nhs
  links:
    clinic.letters.patient: clinic.patients._id
"""
)
PATIENTS, LETTERS = "clinic.patients", "clinic.letters"
SET = {"$set": {"visits": 1}}


def session(scope: CommandScope = CommandScope.PROTECTED, *, is_naming: bool = True) -> Session:
    audit = CommandAudit(scope, named if is_naming else None)
    return world.session_of(SessionSettings(POLICY, login_required=False, audit=audit))


def played(
    asked: Session, body: dict[str, Any], answer: dict[str, Any], **sequences: Any
) -> tuple[CommandRecord, CommandResult] | None:
    sent = asked.client_data(command({**body, "$db": body.get("$db", "clinic")}, **sequences))
    question = next((each.data for each in sent if isinstance(each, ToServer)), b"")
    if b"listCollections" in question:
        listed = {"cursor": {"firstBatch": [], "id": 0, "ns": "clinic.$cmd.listCollections"}, "ok": 1.0}
        asked.server_data(reply(listed, response_to=int.from_bytes(question[4:8], "little")))
    effects = asked.server_data(reply({"ok": 1.0, **answer}))
    return done(effects) if any(isinstance(each, Done) for each in effects) else None


def recorded(body: dict[str, Any], **sequences: Any) -> CommandRecord:
    found = played(session(), body, {"n": 1}, **sequences)
    assert found is not None
    return found[0]


def ids(namespace: str, *values: object) -> tuple[str, ...]:
    return tuple(named(f"{namespace}._id", *world.value_bytes(each)) for each in values)


def update(query: dict[str, Any]) -> dict[str, Any]:
    return {"update": "patients", "updates": [{"q": query, "u": SET}]}


def delete(query: dict[str, Any]) -> dict[str, Any]:
    return {"delete": "patients", "deletes": [{"q": query, "limit": 1}]}


KEY = ObjectId(bytes(12))
BY_ID: list[tuple[dict[str, Any], list[Any], int]] = [
    (update({"_id": KEY}), [KEY], 0),
    (delete({"_id": "x", "ward": 3}), ["x"], 0),
    (update({"_id": {"$in": [1, 2]}}), [1, 2], 0),
    (update({"_id": {"$eq": 1, "$gt": 0}}), [1], 0),
    (update({"$and": [{"ward": 1}, {"_id": 7}]}), [7], 0),
    (update({"_id": {"a": 1}}), [{"a": 1}], 0),
    (update({"_id": {"$in": [1, None, Regex("x")]}}), [1], 1),
    (update({"_id": {"$gt": 1}}), [], 1),
    (update({"_id": None}), [], 1),
    (update({"$or": [{"_id": 1}, {"ward": 2}]}), [], 1),
    (update({}), [], 1),
    (delete({"ward": 3}), [], 1),
    (update({"nhs_number": "943"}), [], 0),
    (update({"nhs_number": {"$in": ["943", "944"]}}), [], 0),
    (update({"nhs_number": {"$ne": "943"}}), [], 1),
    (update({"nhs_number": {"$in": ["943", None]}}), [], 1),
    ({"findAndModify": "patients", "query": {"_id": 1}, "remove": True}, [1], 0),
    ({"findAndModify": "patients", "remove": True}, [], 1),
    ({"insert": "patients", "documents": [{"_id": 1, "ward": 1}, {"_id": 2, "ward": 1}]}, [1, 2], 0),
    ({"insert": "patients", "documents": [{"ward": 1}]}, [], 1),
    ({"insert": "patients", "documents": [{"_id": n, "nhs_number": "1"} for n in (1, 2)]}, [1], 0),
    ({"find": "patients", "filter": {"_id": 1}}, [1], 0),
    ({"find": "patients", "filter": {"ward": 1}}, [], 0),
    ({"aggregate": "patients", "pipeline": [{"$match": {"_id": 1}}, {"$count": "n"}], "cursor": {}}, [1], 0),
    ({"aggregate": "patients", "pipeline": [{"$sort": {"ward": 1}}], "cursor": {}}, [], 0),
    ({"aggregate": "patients", "pipeline": [], "cursor": {}}, [], 0),
]


@pytest.mark.parametrize(("body", "keys", "unnamed"), BY_ID)
def test_ids_that_a_command_names_and_statements_that_name_nobody(
    body: dict[str, Any], keys: list[Any], unnamed: int
) -> None:
    record = recorded(body)
    assert (record.ids, record.unnamed) == (ids(PATIENTS, *keys), unnamed)


def test_each_statement_of_a_sequence_counts_for_itself() -> None:
    queries: list[dict[str, Any]] = [{"_id": 1}, {"nhs_number": "943"}, {"ward": 1}, {"ward": 2}]
    statements = [{"q": each, "u": SET} for each in queries]
    record = recorded({"update": "patients"}, first={"updates": statements})
    assert (record.ids, record.subjects, record.unnamed) == (ids(PATIENTS, 1), (person("943"),), 2)


def test_ids_beyond_the_bound_name_nobody() -> None:
    statements = [{"q": {"_id": n}, "limit": 1} for n in range(MAX_IDS + 3)]
    record = recorded({"delete": "patients"}, first={"deletes": statements})
    assert (len(record.ids), record.unnamed) == (MAX_IDS, 3)


def test_a_pipeline_that_stores_elsewhere_names_nobody() -> None:
    pipeline = [{"$match": {"_id": 1}}, {"$merge": {"into": "patients"}}]
    record = recorded({"aggregate": "patients", "pipeline": pipeline, "cursor": {}})
    assert (record.ids, record.unnamed) == (ids(PATIENTS, 1), 1)


def test_a_collection_without_identifiers_or_a_link_names_nobody() -> None:
    record = recorded({"delete": "staff", "deletes": [{"q": {"_id": 1}, "limit": 1}]})
    assert (record.namespace, record.ids, record.unnamed) == ("clinic.staff", (), 1)


def test_a_collection_that_a_pattern_names_has_ids_of_its_own() -> None:
    record = recorded({"delete": "7", "deletes": [{"q": {"_id": 1}, "limit": 1}], "$db": "ward"})
    assert (record.ids, record.unnamed) == (ids("ward.7", 1), 0)


def bulk(*namespaces: str, ops: list[dict[str, Any]]) -> dict[str, Any]:
    return {"bulkWrite": 1, "nsInfo": [{"ns": each} for each in namespaces], "ops": ops, "$db": "admin"}


def test_operations_of_a_bulk_write_name_persons_each_in_its_collection() -> None:
    record = recorded(
        bulk(
            *("clinic.other", PATIENTS, LETTERS),
            ops=[
                {"delete": 0, "filter": {"_id": 1}},
                {"delete": 1, "filter": {"_id": 2}},
                {"update": 1, "filter": {"ward": 2}, "updateMods": SET},
                {"insert": 2, "document": {"patient": 3}},
                {"insert": 1, "document": {"ward": 3}},
            ],
        )
    )
    assert (record.namespace, record.ids, record.unnamed) == (PATIENTS, ids(PATIENTS, 2), 2)
    assert record.subjects == ids(PATIENTS, 3)


LINKED: list[tuple[dict[str, Any], list[Any], list[Any], int]] = [
    ({"find": "letters", "filter": {"patient": 7}}, [7], [], 0),
    ({"insert": "letters", "documents": [{"_id": 1, "patient": 7}]}, [7], [1], 0),
    ({"update": "letters", "updates": [{"q": {"_id": 1}, "u": SET}]}, [], [1], 0),
    ({"update": "letters", "updates": [{"q": {"patient": Int64(7)}, "u": SET}]}, [Int64(7)], [], 0),
    ({"delete": "letters", "deletes": [{"q": {}, "limit": 0}]}, [], [], 1),
    (bulk("clinic.other", LETTERS, ops=[{"delete": 1, "filter": {"patient": 7}}]), [7], [], 0),
    (bulk(LETTERS, ops=[{"delete": "x", "filter": {"patient": 7}}]), [], [], 1),
]


@pytest.mark.parametrize(("body", "links", "keys", "unnamed"), LINKED)
def test_linked_documents_without_covered_fields_are_on_record(
    body: dict[str, Any], links: list[Any], keys: list[Any], unnamed: int
) -> None:
    record = recorded(body)
    assert (record.namespace, record.ids, record.unnamed) == (LETTERS, ids(LETTERS, *keys), unnamed)
    assert record.subjects == ids(PATIENTS, *links)


REDUCED: dict[str, Any] = {"mapReduce": "wards", "map": "m", "reduce": "r"}


def stored(*stages: dict[str, Any], source: Any = "wards") -> dict[str, Any]:
    return {"aggregate": source, "pipeline": list(stages), "cursor": {}}


STORED: list[dict[str, Any]] = [
    stored({"$match": {"patient": 7}}, {"$out": "letters"}),
    stored({"$out": {"db": "clinic", "coll": "letters"}}) | {"$db": "other"},
    stored({"$merge": "letters"}),
    stored({"$merge": {"into": {"db": "clinic", "coll": "letters"}, "on": "_id"}}),
    stored({"$documents": []}, {"$merge": {"into": "letters"}}, source=1),
    {**REDUCED, "out": "letters"},
    {**REDUCED, "out": {"replace": "letters", "db": "clinic"}},
]


@pytest.mark.parametrize("scope", [CommandScope.PROTECTED, CommandScope.WRITES])
@pytest.mark.parametrize("body", STORED)
def test_results_that_are_stored_among_linked_documents_are_on_record(
    body: dict[str, Any], scope: CommandScope
) -> None:
    found = played(session(scope), body, {})
    assert found is not None
    assert (found[0].namespace, found[0].command) == (LETTERS, next(iter(body)))
    assert (found[0].unnamed, found[0].subjects, found[0].target) == (1, (), "")


NOT_STORED: list[dict[str, Any]] = [
    stored({"$out": "rooms"}),
    stored({"$out": "letters"}, {"$limit": 1}),
    stored({"$out": 5}),
    {**REDUCED, "out": {"inline": 1}},
]


@pytest.mark.parametrize("body", NOT_STORED)
def test_results_that_are_nobodys_have_no_line(body: dict[str, Any]) -> None:
    assert played(session(), body, {}) is None


def test_the_collection_that_a_pipeline_replaces_is_named() -> None:
    record = recorded(stored({"$project": {"ward": 1}}, {"$out": "letters"}, source="patients"))
    assert (record.namespace, record.target, record.unnamed) == (PATIENTS, LETTERS, 1)


def test_linked_documents_without_covered_fields_say_whose_they_are_each_time() -> None:
    asked = session()
    for _ in range(2):
        found = played(asked, {"find": "letters"}, batch({"patient": 7}, {"x": 1}, cursor=5))
        assert found is not None
        assert (found[1].documents, found[1].subjects, found[1].unknown) == (2, ids(PATIENTS, 7), 1)
    more = {"getMore": Int64(5), "collection": "letters"}
    found = played(asked, more, batch({"patient": 8}, name="nextBatch"))
    assert found is not None
    assert found[1].subjects == ids(PATIENTS, 8)


def test_inserts_of_linked_documents_are_on_record_each_time() -> None:
    asked = session()
    for n in range(3):
        found = played(asked, {"insert": "letters", "documents": [{"patient": n}]}, {"n": 1})
        assert found is not None
        assert found[0].subjects == ids(PATIENTS, n)


def test_other_commands_without_covered_fields_are_not_on_record() -> None:
    bodies: list[dict[str, Any]] = [
        {"find": "others", "filter": {"_id": 1}},
        bulk("clinic.others", ops=[{"delete": 0, "filter": {"_id": 1}}]),
        bulk(ops=[]),
    ]
    for body in bodies:
        assert played(session(), body, {}) is None
    assert played(session(is_naming=False), {"find": "letters"}, {}) is None
    assert played(session(CommandScope.WRITES), {"find": "letters"}, {}) is None
    assert played(session(CommandScope.WRITES), LINKED[4][0], {}) is not None


def test_without_a_key_nothing_is_noted_of_ids() -> None:
    found = played(session(is_naming=False), update({"_id": 1}), {"n": 1})
    assert found is not None
    assert (found[0].ids, found[0].unnamed) == ((), 0)
