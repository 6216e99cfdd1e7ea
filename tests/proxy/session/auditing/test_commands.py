"""Commands on record: which have a line, what it counts, and whose documents were shown."""

import gc
import tracemalloc
from collections.abc import Mapping
from typing import Any

import bson
import pytest
from bson.int64 import Int64
from hypothesis import given
from hypothesis import strategies as st

from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.session.auditing.commands import MAX_CURSORS
from sealwire.proxy.session.auditing.subjects import CommandAudit, SubjectPolicy
from sealwire.proxy.session.choices import CommandScope, Reveal
from sealwire.proxy.session.effects import (
    Audit,
    Begun,
    CommandOutcome,
    CommandRecord,
    CommandResult,
    Count,
    Counter,
    Done,
    Effect,
    LongToServer,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings
from tests.proxy.session import world
from tests.proxy.session.world import (
    KEYRING,
    POLICY_TEXT,
    command,
    data_key,
    reply,
    sealed,
    sealed_randomly,
    served_in_parts,
)
from tests.support.policies import policy_of
from tests.support.rows import rows

POLICY = policy_of(
    POLICY_TEXT.replace(b"  ward.*:", b"  clinic.visits: {report: secret}\n  ward.*:")
    + b"""
subjects:
  class: nhs
  links:
    clinic.visits.patient.id: clinic.patients._id
"""
)
FIND = {"find": "patients", "filter": {"nhs_number": "943"}, "$db": "clinic"}


def named(path: str, kind: int, value: bytes) -> str:
    """Stands in for a pseudonym and can be read, so that a test sees of what it was made."""
    return f"{path}|{kind}|{value.hex()}"


def person(text: str) -> str:
    return named("", *world.value_bytes(text))


def session(
    scope: CommandScope = CommandScope.PROTECTED, keyring: Keyring = KEYRING, **settings: Any
) -> Session:
    audit = CommandAudit(scope, named)
    return world.session_of(SessionSettings(POLICY, login_required=False, audit=audit, **settings), keyring)


def done(effects: list[Effect]) -> tuple[CommandRecord, CommandResult]:
    (found,) = (each for each in effects if isinstance(each, Done))
    return found.record, found.result


def asked(
    played: Session, body: Mapping[str, Any], answer: Mapping[str, Any], **sequences: Any
) -> tuple[CommandRecord, CommandResult]:
    """Send a command and answer it. The record begins before it is sent, and ends before the client sees."""
    sent = played.client_data(command(dict(body), **sequences))
    kinds = [type(each) for each in sent if not isinstance(each, Count)]
    assert kinds in ([Begun, ToServer], [Begun, LongToServer])
    effects = played.server_data(reply(dict(answer)))
    assert [type(each) for each in effects if not isinstance(each, Count)] == [Done, ToClient]
    return done(effects)


def batch(*documents: Any, cursor: int = 0, name: str = "firstBatch") -> dict[str, Any]:
    return {"cursor": {name: list(documents), "id": bson.Int64(cursor), "ns": "clinic.patients"}, "ok": 1.0}


def test_a_find_counts_what_it_compares_and_what_is_opened_for_it() -> None:
    shown = {"_id": 1, "nhs_number": sealed("nhs", "943"), "notes": sealed_randomly("secret", "n")}
    record, result = asked(session(), {**FIND, "comment": "purpose=direct-care"}, batch(shown, shown))
    assert (record.namespace, record.command, record.purpose) == ("clinic.patients", "find", "direct-care")
    assert (record.filtered, record.written) == ({"nhs": 1}, {})
    assert record.subjects == (person("943"),)
    assert result == CommandResult(CommandOutcome.OK, "", {"nhs": 2, "secret": 2}, 2, (person("943"),), 0)


GROUP = {"aggregate": "patients", "cursor": {}, "$db": "clinic"}


def test_documents_that_are_put_together_say_what_they_show_of_others() -> None:
    stages = [{"$group": {"_id": "$nhs_number", "who": {"$push": "$ward"}}}]
    ann, bob = sealed("nhs", "1"), sealed("nhs", "2")
    shown = [{"_id": each, "who": [{"name": "x"}] * 500, "again": [ann]} for each in (ann, bob)]
    _, result = asked(session(), {**GROUP, "pipeline": stages}, batch(*shown))
    assert (result.read, result.opened, result.gathered) == ({"nhs": 4}, {"nhs": 2}, 1002)
    assert (result.documents, result.unknown) == (2, 2)


def test_further_batches_and_distinct_say_it_too() -> None:
    played, shown = session(), {"_id": sealed("nhs", "1"), "who": [1, 2, 3]}
    stages = [{"$group": {"_id": "$nhs_number", "who": {"$push": "$ward"}}}]
    asked(played, {**GROUP, "pipeline": stages}, batch(cursor=7))
    more = {"getMore": Int64(7), "collection": "patients", "$db": "clinic"}
    _, result = asked(played, more, batch(shown, name="nextBatch"))
    assert (result.opened, result.gathered) == ({"nhs": 1}, 3)
    distinct = {"distinct": "patients", "key": "nhs_number", "$db": "clinic"}
    _, result = asked(session(), distinct, {"values": [sealed("nhs", each) for each in "123"], "ok": 1})
    assert (result.opened, result.gathered) == ({"nhs": 3}, 0)


def test_a_long_reply_that_is_put_together_counts_the_same() -> None:
    ann = sealed("nhs", "1")
    shown = {"_id": ann, "who": [{"name": "x" * 1000}] * 900, "again": [ann] * 20_000}
    stages = [{"$group": {"_id": "$nhs_number", "who": {"$push": "$ward"}}}]
    played = session()
    played.client_data(command({**GROUP, "pipeline": stages}))
    _, result = done(played.server_data(reply(batch(shown))))
    assert (result.opened, result.gathered) == ({"nhs": 1}, 20_900)


def test_documents_as_the_collection_has_them_are_not_looked_at_twice() -> None:
    shown = {"_id": 1, "nhs_number": sealed("nhs", "943"), "sizes": [1, 2, 3]}
    for body in (FIND, {**GROUP, "pipeline": [{"$match": {"ward": 1}}]}):
        _, result = asked(session(), body, batch(shown, shown))
        assert (result.read, result.opened, result.gathered) == ({"nhs": 2}, None, 0)


def test_a_stated_purpose_is_screened_in_every_line() -> None:
    comment = "purpose=Ann Smith 943 476 5919; breakGlass=ann@nhs.example fell"
    record, _ = asked(session(), {**FIND, "comment": comment}, batch())
    assert (record.purpose, record.glass) == ("[masked] [masked] [masked]", "[masked] fell")
    refused = {**FIND, "filter": {"nhs_number": {"$regex": "9"}}, "comment": comment}
    (audit,) = (each for each in session().client_data(command(refused)) if isinstance(each, Audit))
    assert (audit.purpose, audit.glass) == (record.purpose, record.glass)


def test_whom_an_act_is_about_is_screened() -> None:
    record, _ = asked(session(), {"dropUser": "Ann 943 476 5919", "$db": "clinic"}, {"ok": 1})
    assert record.target == "[masked] [masked]"


def test_an_insert_counts_what_it_stores_and_names_whose_it_is() -> None:
    documents = [{"nhs_number": "1", "visits": 3}, {"nhs_number": "2", "tags": ["1"]}]
    insert = {"insert": "patients", "documents": documents, "$db": "clinic"}
    record, result = asked(session(), insert, {"n": 2, "ok": 1})
    assert record.written == {"nhs": 3, "visits": 1}
    assert record.subjects == (person("1"), person("2"))
    assert result == CommandResult(CommandOutcome.OK, affected=2)


MANY = {"q": {}, "u": {"$set": {"visits": 2}}, "multi": True}
BULK = {"bulkWrite": 1, "nsInfo": [{"ns": "clinic.patients"}], "ops": [{"delete": 0, "filter": {}}]}
REMOVAL = {"findAndModify": "patients", "query": {}, "remove": True}
WRITES: list[tuple[dict[str, Any], dict[str, Any], int, int]] = [
    ({"update": "patients", "updates": [MANY]}, {"n": 2004, "nModified": 2001}, 2004, 2001),
    ({"update": "patients", "updates": [MANY]}, {"n": Int64(2004), "nModified": Int64(7)}, 2004, 7),
    ({"delete": "patients", "deletes": [{"q": {}, "limit": 0}]}, {"n": 2004}, 2004, 0),
    ({"insert": "patients", "documents": [{"visits": 1}]}, {"n": 1}, 1, 0),
    (REMOVAL, {"lastErrorObject": {"n": 1}, "value": {"_id": 3}}, 1, 0),
    (REMOVAL, {"lastErrorObject": {"n": 0, "updatedExisting": False}, "value": None}, 0, 0),
    (
        {**BULK, "$db": "admin"},
        {"nInserted": 1, "nMatched": 5, "nModified": 4, "nUpserted": 2, "nDeleted": 30, "nErrors": 0},
        *(38, 4),
    ),
    ({"update": "patients", "updates": [MANY]}, {"n": Int64(2**63 - 1), "nModified": 1.0}, 1 << 48, 0),
    (
        {**BULK, "$db": "admin"},
        {"nInserted": Int64(2**62), "nMatched": Int64(2**62), "nModified": Int64(2**62)},
        *(1 << 48, 1 << 48),
    ),
    ({"count": "patients", "query": {}}, {"n": 2004}, 0, 0),
    ({"delete": "patients", "deletes": [{"q": {}, "limit": 0}]}, {"n": -3}, 0, 0),
]


@pytest.mark.parametrize(("body", "answer", "affected", "modified"), WRITES)
def test_a_write_says_how_many_documents_it_was_about(
    body: dict[str, Any], answer: dict[str, Any], affected: int, modified: int
) -> None:
    _, result = asked(session(), {**body, "$db": body.get("$db", "clinic")}, {**answer, "ok": 1.0})
    assert (result.affected, result.modified) == (affected, modified)
    assert result.deleted == answer.get("nDeleted", 0)


def test_an_upsert_compares_by_its_filter_and_stores_by_its_update() -> None:
    update = {
        "update": "patients",
        "updates": [{"q": {"nhs_number": "1"}, "u": {"$set": {"visits": 2}}, "upsert": True}],
        "$db": "clinic",
    }
    record, _ = asked(session(), update, {"n": 1, "ok": 1})
    assert (record.written, record.filtered) == ({"visits": 1}, {"nhs": 1})


def test_a_bulk_write_counts_over_its_collections_and_shows_no_document() -> None:
    body = {
        "bulkWrite": 1,
        "nsInfo": [{"ns": "clinic.patients"}, {"ns": "clinic.visits"}],
        "ops": [
            {"insert": 0, "document": {"nhs_number": "1"}},
            {"insert": 1, "document": {"report": "x"}},
            {"update": 0, "filter": {"nhs_number": "2"}, "updateMods": {"$set": {"visits": 1}}},
        ],
        "$db": "admin",
    }
    statements = [{"ok": 1.0, "idx": 0, "n": 1}, {"ok": 0.0, "idx": 1, "code": 11000, "n": 0}]
    cursor = {"id": bson.Int64(0), "firstBatch": statements, "ns": "admin.$cmd.bulkWrite"}
    record, result = asked(session(), body, {"cursor": cursor, "nErrors": 1, "nInserted": 1, "ok": 1.0})
    assert (record.command, record.written) == ("bulkWrite", {"nhs": 1, "secret": 1, "visits": 1})
    assert (record.filtered, record.subjects) == ({"nhs": 1}, (person("1"), person("2")))
    assert (result.outcome, result.reason) == (CommandOutcome.FAILED, "statements")
    assert (result.documents, result.unknown) == (0, 0)


def test_each_command_of_a_transaction_has_a_line_and_its_end_with_all() -> None:
    transaction = {"lsid": {"id": bson.Binary(bytes(16), 4)}, "txnNumber": bson.Int64(1), "autocommit": False}
    insert = {"insert": "patients", "documents": [{"visits": 1}], "startTransaction": True}
    commit = {"commitTransaction": 1, "$db": "admin", **transaction}
    for scope, lines in ((CommandScope.PROTECTED, 0), (CommandScope.ALL, 1)):
        played = session(scope)
        record, _ = asked(played, {**insert, **transaction, "$db": "clinic"}, {"n": 1, "ok": 1})
        assert record.written == {"visits": 1}
        played.client_data(command(commit))
        effects = played.server_data(reply({"ok": 1}))
        assert sum(isinstance(each, Done) for each in effects) == lines


def test_a_long_insert_counts_documents_that_were_written_on_the_way() -> None:
    documents = [{"nhs_number": f"{n}", "filling": "x" * 9000} for n in range(300)]
    insert = {"insert": "patients", "$db": "clinic"}
    record, _ = asked(session(), insert, {"n": 300, "ok": 1}, after={"documents": documents})
    assert record.written == {"nhs": 300}
    assert len(record.subjects) == 300


@rows(
    "answer, outcome, reason",
    ({"ok": 0, "code": 11000, "errmsg": "dup key: 943"}, CommandOutcome.FAILED, "code 11000"),
    ({"ok": 0}, CommandOutcome.FAILED, "reply"),
    ({"n": 0, "ok": 1, "writeErrors": [{"index": 0, "code": 121}]}, CommandOutcome.FAILED, "code 121"),
    ({"nErrors": 1, "ok": 1}, CommandOutcome.FAILED, "statements"),
    ({"nErrors": 0, "ok": 1, "writeErrors": []}, CommandOutcome.OK, ""),
)
def test_what_the_server_rejects_has_failed(
    answer: dict[str, Any], outcome: CommandOutcome, reason: str
) -> None:
    insert = {"insert": "patients", "documents": [{"nhs_number": "943"}], "$db": "clinic"}
    _, result = asked(session(), insert, answer)
    assert (result.outcome, result.reason) == (outcome, reason)


def test_a_statement_that_was_left_out_is_no_failure_of_the_others() -> None:
    played = session()
    documents = [{"nhs_number": "1"}, {"nhs_number": {"$bad": bson.MinKey()}}]
    insert = {"insert": "patients", "documents": documents, "ordered": False, "$db": "clinic"}
    sent = played.client_data(command(insert))
    assert any(isinstance(each, Begun) for each in sent)
    record, result = done(played.server_data(reply({"n": 1, "ok": 1})))
    assert record.written == {"nhs": 1}
    assert (result.outcome, result.reason) == (CommandOutcome.OK, "")


def test_a_write_without_acknowledgement_is_on_record_when_it_is_sent() -> None:
    insert = {"insert": "patients", "documents": [{"visits": 1}], "$db": "clinic", "writeConcern": {"w": 0}}
    effects = session().client_data(command(insert, flags=2))
    assert [type(each) for each in effects if not isinstance(each, Count)] == [Begun, Done, ToServer]
    assert done(effects)[1].outcome is CommandOutcome.UNANSWERED


def test_a_reply_that_cannot_be_opened_is_withheld() -> None:
    played = session()
    played.client_data(command(FIND))
    broken = bytearray(sealed("nhs", "943"))
    broken[-1] ^= 1
    shown = {"nhs_number": bson.Binary(bytes(broken), 0x80)}
    _, result = done(played.server_data(reply(batch(shown))))
    assert (result.outcome, result.reason, result.read) == (CommandOutcome.WITHHELD, "DecryptionFailed", {})


def test_a_cursor_goes_on_with_what_its_command_said() -> None:
    played = session()
    find = {"find": "patients", "comment": "purpose=research", "$db": "clinic"}
    shown = {"nhs_number": sealed("nhs", "1")}
    asked(played, find, batch(shown, cursor=77))
    more = {"getMore": bson.Int64(77), "collection": "patients", "$db": "clinic"}
    record, result = asked(played, more, batch(shown, {"_id": 2}, cursor=77, name="nextBatch"))
    assert (record.command, record.purpose) == ("getMore", "research")
    assert (result.documents, result.subjects, result.unknown) == (2, (person("1"),), 1)
    _, result = asked(played, more, batch(shown, name="nextBatch"))
    assert result.unknown == 0
    _, result = asked(played, more, batch(shown, name="nextBatch"))
    assert (result.subjects, result.unknown) == ((), 1)  # of a cursor that is gone nothing is known


def test_of_a_name_that_no_server_has_nothing_is_kept_in_memory() -> None:
    subjects = SubjectPolicy(load_policy(POLICY_TEXT + b"subjects: {class: nhs}\n", "policy.yaml"))
    assert subjects.paths_of(f"ward.{'w' * 1000}") is not None
    assert not subjects._known


def test_of_a_cursor_that_is_left_open_no_person_is_kept_in_memory() -> None:
    played = session()
    find = {"find": "patients", "filter": {"nhs_number": {"$in": [f"{n}" for n in range(20_000)]}}}
    asked(played, FIND, batch(cursor=3))
    tracemalloc.start()
    try:
        asked(played, {**find, "$db": "clinic"}, batch(cursor=4))
        gc.collect()
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 100_000


def test_a_getmore_that_fails_takes_nothing_from_the_record_of_its_cursor() -> None:
    played = session()
    shown = {"nhs_number": sealed("nhs", "1")}
    asked(played, {"find": "patients", "comment": "purpose=care", "$db": "clinic"}, batch(shown, cursor=9))
    more = {"getMore": bson.Int64(9), "collection": "patients", "$db": "clinic"}
    for wrong in ({"collection": "visits"}, {"maxTimeMS": 1}, {"batchSize": -1}):
        _, result = asked(played, more | wrong, {"ok": 0, "code": 2})
        assert result.outcome is CommandOutcome.FAILED
    record, result = asked(played, more, batch(shown, name="nextBatch"))
    assert record.purpose == "care"
    assert (result.subjects, result.unknown) == ((person("1"),), 0)


def test_a_getmore_names_its_collection() -> None:
    played = session()
    asked(played, {"find": "patients", "$db": "clinic"}, batch(cursor=9))
    shown = {"nhs_number": sealed("nhs", "1")}
    more = {"getMore": bson.Int64(9), "collection": "patients", "$db": "clinic"}
    record, _ = asked(played, more, batch(shown, name="nextBatch"))
    assert record.namespace == "clinic.patients"


def test_a_getmore_that_shows_nothing_has_no_line() -> None:
    played = session()
    more = {"getMore": bson.Int64(5), "collection": "patients", "$db": "clinic"}
    played.client_data(command(more))
    effects = played.server_data(reply(batch(name="nextBatch", cursor=5)))
    assert not any(isinstance(each, Done) for each in effects)
    _, result = asked(played, more, {"ok": 0, "code": 43})
    assert result.reason == "code 43"


def test_documents_that_come_in_another_shape_are_nobodys() -> None:
    pipeline = [{"$project": {"other": "$nhs_number"}}]
    aggregate = {"aggregate": "patients", "pipeline": pipeline, "cursor": {}, "$db": "clinic"}
    _, result = asked(session(), aggregate, batch({"other": sealed("nhs", "1")}))
    assert (result.read, result.documents, result.subjects, result.unknown) == ({"nhs": 1}, 1, (), 1)


CLEAR = Keyring(data_key(name, is_plaintext=name in ("nhs", "visits")) for name in POLICY.class_names)


@pytest.mark.parametrize("length", [1, 3000])
def test_values_of_classes_that_are_in_clear_count_as_read(length: int) -> None:
    played = session(keyring=CLEAR)
    played.client_data(command({"find": "patients", "$db": "clinic"}))
    shown = {
        "nhs_number": "1",
        "tags": ["2", None],
        "visits": 3,
        "notes": sealed_randomly("secret", "x"),
        "weight": 1.5,
    }
    message = reply(batch(*[{**shown, "filling": "x" * 700}] * length))
    effects = served_in_parts(played, message, 60_000)
    _, result = done(effects)
    assert result.read == {"secret": length, "nhs": 2 * length, "visits": length}
    assert result.subjects == (person("1"), person("2"))


def test_values_in_clear_that_come_in_another_shape_are_not_told() -> None:
    pipeline = [{"$project": {"other": "$nhs_number"}}]
    aggregate = {"aggregate": "patients", "pipeline": pipeline, "cursor": {}, "$db": "clinic"}
    _, result = asked(session(keyring=CLEAR), aggregate, batch({"nhs_number": "1"}))
    assert (result.read, result.unknown) == ({}, 1)


LINKED = "clinic.patients._id"


@rows(
    "body, persons",
    ({"find": "visits", "filter": {"patient.id": 7}}, [7]),
    ({"find": "visits", "filter": {"patient.id": {"$in": [7, 8, None]}, "x": 1}}, [7, 8]),
    ({"find": "visits", "filter": {"patient.id": {"$eq": 7, "$gt": 6}}}, [7]),
    ({"find": "visits", "filter": {"patient.id": {"$gt": 7}}}, []),
    ({"count": "visits", "query": {"patient.id": "a"}}, ["a"]),
    ({"delete": "visits", "deletes": [{"q": {"patient.id": 7}, "limit": 1}]}, [7]),
    ({"update": "visits", "updates": [{"q": {"patient.id": 7}, "u": {"$set": {"x": 1}}}]}, [7]),
    ({"insert": "visits", "documents": [{"patient": {"id": 7}}, {"patient": {"id": 8}}, {}]}, [7, 8]),
)
def test_a_command_on_linked_documents_names_persons(body: dict[str, Any], persons: list[Any]) -> None:
    record, _ = asked(session(), {**body, "$db": "clinic"}, {"n": 1, "ok": 1})
    assert record.subjects == tuple(named(LINKED, *world.value_bytes(each)) for each in persons)


def test_linked_documents_in_a_sequence_name_persons() -> None:
    documents = [{"patient": {"id": n}} for n in range(3)]
    insert = {"insert": "visits", "$db": "clinic"}
    record, _ = asked(session(), insert, {"n": 3, "ok": 1}, first={"documents": documents})
    assert record.subjects == tuple(named(LINKED, *world.value_bytes(each)) for each in range(3))


def test_distinct_values_are_nobodys() -> None:
    body = {"distinct": "patients", "key": "nhs_number", "$db": "clinic"}
    values = [sealed("nhs", "1"), sealed("nhs", "2")]
    _, result = asked(session(), body, {"values": values, "ok": 1})
    assert (result.read, result.documents, result.unknown) == ({"nhs": 2}, 2, 2)
    played = session()
    played.client_data(command(body))
    values = [sealed("nhs", f"{n}" + "x" * 900) for n in range(2000)]
    _, result = done(played.server_data(reply({"values": values, "ok": 1})))
    assert (result.read, result.documents, result.unknown) == ({"nhs": 2000}, 2000, 2000)


def test_events_of_a_change_stream_are_nobodys() -> None:
    played = session()
    pipeline = [{"$changeStream": {"fullDocument": "updateLookup"}}]
    aggregate = {"aggregate": "patients", "pipeline": pipeline, "cursor": {}, "$db": "clinic"}
    asked(played, aggregate, batch(cursor=7))
    event = {"operationType": "insert", "fullDocument": {"nhs_number": sealed("nhs", "1")}}
    more = {"getMore": bson.Int64(7), "collection": "patients", "$db": "clinic"}
    _, result = asked(played, more, batch(event, cursor=7, name="nextBatch"))
    assert (result.read, result.documents, result.subjects, result.unknown) == ({"nhs": 1}, 1, (), 1)


def test_each_reply_of_an_exhaust_stream_has_a_line() -> None:
    played = session()
    asked(played, {"find": "patients", "$db": "clinic"}, batch(cursor=7))
    more = {"getMore": bson.Int64(7), "collection": "patients", "$db": "clinic"}
    played.client_data(command(more, request_id=2, flags=1 << 16))
    shown = {"nhs_number": sealed("nhs", "1")}
    first = reply(batch(shown, cursor=7, name="nextBatch"), 2, 100, flags=2)
    last = reply(batch(shown, shown, name="nextBatch"), 100, 101)
    results = [done(played.server_data(each))[1] for each in (first, last)]
    assert [(each.documents, each.subjects) for each in results] == [(1, (person("1"),)), (2, (person("1"),))]


def test_linked_documents_are_told_by_what_they_link_to() -> None:
    shown = ({"patient": [{"id": 7}, {"id": 8}]}, {"patient": {"id": 7}}, {"patient": 7})
    _, result = asked(session(), {"find": "visits", "$db": "clinic"}, batch(*shown))
    linked = [named("clinic.patients._id", *world.value_bytes(each)) for each in (7, 8)]
    assert (result.documents, result.subjects, result.unknown) == (3, tuple(linked), 1)


def test_with_replies_opened_everywhere_what_they_show_is_on_record() -> None:
    find = {"find": "copies", "$db": "other"}
    played = session(reveal=Reveal.EVERYWHERE)
    asked(played, FIND, batch())
    for _ in range(2):
        played.client_data(command(find))
        _, result = done(played.server_data(reply(batch({"x": sealed("nhs", "1")}))))
        assert (result.read, result.unknown) == ({"nhs": 1}, 1)
    played.client_data(command(find))
    assert not any(isinstance(each, Done) for each in played.server_data(reply({"cursor": {}, "ok": 1})))


def test_what_a_findandmodify_shows_is_a_document() -> None:
    body = {"findAndModify": "patients", "query": {"visits": 1}, "remove": True, "$db": "clinic"}
    value = {"nhs_number": sealed("nhs", "1")}
    record, result = asked(session(), body, {"value": value, "ok": 1})
    assert (record.filtered, result.documents, result.subjects) == ({"visits": 1}, 1, (person("1"),))


def test_a_long_reply_is_read_as_it_is_opened() -> None:
    played = session()
    played.client_data(command({"find": "patients", "$db": "clinic"}))
    documents = [{"nhs_number": sealed("nhs", f"{n % 50}"), "filling": "x" * 900} for n in range(2000)]
    documents.insert(3, {"nhs_number": sealed("nhs", "far"), "filling": ["x" * 9000] * 40})
    message = reply(batch(*documents, cursor=4))
    effects = served_in_parts(played, message, 50_000)
    _, result = done(effects)
    assert result.outcome is CommandOutcome.OK
    assert (result.read, result.documents) == ({"nhs": 2001}, 2001)
    assert (len(result.subjects), result.unknown) == (50, 1)
    more = {"getMore": bson.Int64(4), "collection": "patients", "$db": "clinic"}
    _, result = asked(played, more, batch({"nhs_number": sealed("nhs", "1")}, name="nextBatch"))
    assert result.subjects == (person("1"),)


def test_which_commands_have_a_line_is_a_setting() -> None:
    other = {"ping": 1, "$db": "admin"}
    write = {"insert": "patients", "documents": [{"visits": 1}], "$db": "clinic"}

    def lines(scope: CommandScope, body: dict[str, Any]) -> int:
        played = session(scope)
        played.client_data(command(body))
        return sum(isinstance(each, Done) for each in played.server_data(reply({"ok": 1})))

    found = {scope: [lines(scope, body) for body in (other, FIND, write)] for scope in list(CommandScope)[:3]}
    assert found == {
        CommandScope.ALL: [1, 1, 1],
        CommandScope.PROTECTED: [0, 1, 1],
        CommandScope.WRITES: [0, 0, 1],
    }


ACT_CASES: list[tuple[dict[str, Any], str, str, str, str]] = [
    ({"dropDatabase": 1, "$db": "clinic"}, "destruction", "", "clinic", ""),
    ({"drop": "wards", "$db": "other"}, "destruction", "other.wards", "", ""),
    ({"drop": "patients", "$db": "clinic"}, "destruction", "clinic.patients", "", ""),
    ({"convertToCapped": "wards", "size": 9, "$db": "other"}, "destruction", "other.wards", "", ""),
    (
        {"renameCollection": "other.wards", "to": "other.rooms", "dropTarget": True, "$db": "admin"},
        *("destruction", "other.wards", "", "other.rooms"),
    ),
    ({"collMod": "wards", "validator": {}, "$db": "other"}, "administration", "other.wards", "", ""),
    ({"dropIndexes": "wards", "index": "*", "$db": "other"}, "administration", "other.wards", "", ""),
    (
        {"createUser": "eve", "pwd": "hunter2", "roles": ["root"], "$db": "admin"},
        *("administration", "", "admin", "eve"),
    ),
    ({"updateUser": "eve", "pwd": "hunter2", "$db": "clinic"}, "administration", "", "clinic", "eve"),
    ({"grantRolesToUser": "eve", "roles": ["root"], "$db": "clinic"}, "administration", "", "clinic", "eve"),
    ({"revokeRolesFromUser": "bob", "roles": ["read"], "$db": "a"}, "administration", "", "a", "bob"),
    ({"dropUser": "bob", "$db": "a"}, "administration", "", "a", "bob"),
    ({"createRole": "all", "privileges": [], "roles": [], "$db": "a"}, "administration", "", "a", "all"),
    ({"profile": 2, "$db": "clinic"}, "administration", "", "clinic", ""),
    ({"setParameter": 1, "logLevel": 5, "$db": "admin"}, "administration", "", "admin", ""),
]


@pytest.mark.parametrize("scope", list(CommandScope))
@pytest.mark.parametrize(("body", "act", "namespace", "database", "target"), ACT_CASES)
def test_destruction_and_administration_are_always_on_record(
    body: dict[str, Any], act: str, namespace: str, database: str, target: str, scope: CommandScope
) -> None:
    record, result = asked(session(scope), body, {"ok": 1.0})
    assert (record.act, record.command) == (act, next(iter(body)))
    assert (record.namespace, record.database, record.target) == (namespace, database, target)
    assert result == CommandResult(CommandOutcome.OK)
    told = {name: getattr(record, name) for name in dir(record) if not name.startswith("_")}
    assert told.keys() >= {"act", "command", "database", "target", "users"}
    assert "hunter2" not in repr(told)


def test_an_act_that_fails_or_is_never_answered_is_on_record_too() -> None:
    drop = {"dropDatabase": 1, "$db": "clinic"}
    _, result = asked(session(), drop, {"ok": 0.0, "code": 13, "errmsg": "no"})
    assert (result.outcome, result.reason) == (CommandOutcome.FAILED, "code 13")
    played = session(CommandScope.REFUSED)
    played.client_data(command({"shutdown": 1, "$db": "admin"}))
    assert [(each.command, each.act) for each in played.unanswered()] == [("shutdown", "administration")]


def test_acts_are_on_record_where_the_policy_protects_nothing() -> None:
    audit = CommandAudit(CommandScope.PROTECTED)
    bare = SessionSettings(PolicySet({}, {}), login_required=False, audit=audit)
    for body, namespace, database in (
        ({"dropDatabase": 1, "$db": "clinic"}, "", "clinic"),
        ({"drop": "wards", "$db": "clinic"}, "clinic.wards", ""),
        ({"renameCollection": "clinic.wards", "to": "clinic.rooms", "$db": "admin"}, "clinic.wards", ""),
    ):
        record, _ = asked(world.session_of(bare, KEYRING), body, {"ok": 1})
        assert (record.act, record.namespace, record.database) == ("destruction", namespace, database)


def test_what_is_no_act_has_no_line_where_only_refusals_have() -> None:
    for body in (FIND, {"ping": 1, "$db": "admin"}, {"usersInfo": 1, "$db": "admin"}):
        played = session(CommandScope.REFUSED)
        sent = played.client_data(command(body)) + played.server_data(reply({"ok": 1}))
        assert not any(isinstance(each, Begun | Done) for each in sent)


def test_a_command_whose_reply_names_members_has_a_line_where_all_have() -> None:
    body = {"replSetGetStatus": 1, "$db": "admin"}
    record, result = asked(session(CommandScope.ALL), body, {"members": [{"name": "db-1:27017"}], "ok": 1})
    assert (record.command, result) == ("replSetGetStatus", CommandResult(CommandOutcome.OK))
    played = session(CommandScope.ALL)
    played.client_data(command(body))
    assert [each.command for each in played.unanswered()] == ["replSetGetStatus"]


def test_without_the_setting_nothing_is_on_record() -> None:
    played = world.session()
    sent = played.client_data(command(FIND))
    back = played.server_data(reply(batch({"nhs_number": sealed("nhs", "1")})))
    assert not any(isinstance(each, Begun | Done) for each in sent + back)
    assert played.unanswered() == []


def test_commands_that_await_their_reply_are_known_at_the_end() -> None:
    played = session()
    played.client_data(command(FIND))
    (record,) = played.unanswered()
    assert record.command == "find"
    played.server_data(reply(batch()))
    assert played.unanswered() == []


CLASSES = st.sampled_from(["nhs", "visits", "secret"])


@given(st.lists(st.lists(CLASSES, max_size=4), max_size=6), st.booleans())
def test_what_is_read_is_what_the_metric_counts(documents: list[list[str]], is_later: bool) -> None:
    values = {
        "nhs": sealed("nhs", "1"),
        "visits": sealed("visits", 5),
        "secret": sealed_randomly("secret", 1),
    }
    shown = [{f"f{place}": values[name] for place, name in enumerate(each)} for each in documents]
    played = session()
    body = {"getMore": bson.Int64(7), "collection": "patients", "$db": "clinic"} if is_later else FIND
    played.client_data(command(body))
    effects = played.server_data(reply(batch(*shown, name="nextBatch" if is_later else "firstBatch")))
    counted = sum(
        each.amount
        for each in effects
        if isinstance(each, Count) and each.counter is Counter.VALUES_DECRYPTED
    )
    read = [each.result.read for each in effects if isinstance(each, Done)]
    assert sum(sum(each.values()) for each in read) == counted == sum(map(len, documents))


def test_cursors_are_not_remembered_without_end() -> None:
    talk = session()
    for number in range(1, MAX_CURSORS + 2):
        talk.client_data(command(FIND, number))
        opened = {"cursor": {"firstBatch": [], "id": Int64(number), "ns": "clinic.patients"}, "ok": 1.0}
        talk.server_data(reply(opened, number))
    assert MAX_CURSORS == 4096
    assert len(talk.shared.auditor._cursors) == MAX_CURSORS
