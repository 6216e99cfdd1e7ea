"""Whole conversations, one script for each family of commands."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Int64

from sealwire.policies.roles.role import CLEAR, NO_ACCESS, ClassAccess, NamedUser, Role, Roles, Wildcards
from sealwire.proxy.session.choices import Reveal
from sealwire.proxy.session.conversation import MAX_REMEMBERED, ClientLogin
from sealwire.proxy.session.effects import CloseReason, Counter
from sealwire.proxy.session.login.caller import NOTHING_STATED, Stated
from sealwire.proxy.session.login.identities import NOT_CERTIFIED, Certified
from tests.proxy.session.playbook import (
    Playbook,
    audit,
    client,
    close,
    error,
    server,
    to_client,
    to_server,
    to_server_opened,
)
from tests.proxy.session.world import command, envelope, reply, sealed, sealed_randomly, session
from tests.support.rows import rows

NHS = "943 476 5919"
SEALED = sealed("nhs", NHS)
_REFUSED = (238, "NotImplemented")
MORE_TO_COME = 2
EXHAUST_ALLOWED = 1 << 16
CHECKSUM = 1
TRANSACTION = {
    "lsid": {"id": b"0123456789abcdef"},
    "txnNumber": Int64(7),
    "startTransaction": True,
    "autocommit": False,
    "$clusterTime": {"clusterTime": datetime(2026, 1, 1, tzinfo=UTC)},
}


def on_patients(name: str, **arguments: Any) -> dict[str, Any]:
    return {name: "patients", **arguments, "$db": "clinic"}


def cursor(batch: str, *documents: dict[str, Any], cursor_id: int = 0) -> dict[str, Any]:
    return {"cursor": {batch: list(documents), "id": Int64(cursor_id), "ns": "clinic.patients"}, "ok": 1.0}


def test_find_and_get_more_come_back_decrypted(play: Playbook) -> None:
    play >> client(command(on_patients("find", filter={"nhs_number": NHS}), 1))
    play << to_server(command(on_patients("find", filter={"nhs_number": SEALED}), 1))
    stored = {"_id": 1, "nhs_number": SEALED, "notes": sealed_randomly("secret", {"a": [1]})}
    plain = {"_id": 1, "nhs_number": NHS, "notes": {"a": [1]}}
    play >> server(reply(cursor("firstBatch", stored, cursor_id=5), 1))
    play << to_client(reply(cursor("firstBatch", plain, cursor_id=5), 1))
    get_more = command({"getMore": Int64(5), "collection": "patients", "$db": "clinic"}, 2)
    play >> client(get_more) << to_server(get_more)
    play >> server(reply(cursor("nextBatch", stored, stored), 2))
    play << to_client(reply(cursor("nextBatch", plain, plain), 2))
    assert play.count(Counter.COMMANDS, "find") == 1
    assert play.count(Counter.COMMANDS, "getMore") == 1
    assert play.count(Counter.VALUES_ENCRYPTED) == 1
    assert play.count(Counter.VALUES_DECRYPTED) == 6


def test_projected_renamed_and_grouped_values_are_decrypted_by_what_they_are(play: Playbook) -> None:
    pipeline = [{"$group": {"_id": "$nhs_number", "n": {"$sum": 1}}}]
    aggregate = command(on_patients("aggregate", pipeline=pipeline, cursor={}), 1)
    play >> client(aggregate) << to_server(aggregate)
    play >> server(reply(cursor("firstBatch", {"_id": SEALED, "n": 2}), 1))
    play << to_client(reply(cursor("firstBatch", {"_id": NHS, "n": 2}), 1))


def test_an_aggregation_matches_by_ciphertext(play: Playbook) -> None:
    def message(value: Any) -> bytes:
        return command(on_patients("aggregate", pipeline=[{"$match": {"nhs_number": value}}], cursor={}), 1)

    play >> client(message(NHS)) << to_server(message(SEALED))


def test_an_insert_with_its_documents_in_the_body(play: Playbook) -> None:
    documents = [{"_id": 1, "nhs_number": NHS, "visits": 3}, {"_id": 2, "nhs_number": None}]
    stored = [{"_id": 1, "nhs_number": SEALED, "visits": sealed("visits", 3)}, {"_id": 2, "nhs_number": None}]
    play >> client(command(on_patients("insert", documents=documents, ordered=True), 3))
    play << to_server(command(on_patients("insert", documents=stored, ordered=True), 3))
    done = reply({"n": 2, "ok": 1.0}, 3)
    play >> server(done) << to_client(done)


@pytest.mark.parametrize("place", ["first", "after"])
def test_an_insert_with_a_document_sequence_stays_one(play: Playbook, place: str) -> None:
    def message(nhs: Any, tags: list[Any]) -> bytes:
        sequence = {"documents": [{"_id": 1, "nhs_number": nhs}, {"_id": 2, "tags": tags}, {"_id": 3}]}
        if place == "first":
            return command(on_patients("insert"), first=sequence)
        return command(on_patients("insert"), after=sequence)

    play >> client(message(NHS, ["a", "b"]))
    play << to_server(message(SEALED, [sealed("nhs", "a"), sealed("nhs", "b")]))


def test_random_values_are_encrypted_anew_each_time(play: Playbook) -> None:
    documents = [{"_id": 1, "notes": {"asthma": True}}, {"_id": 2, "notes": {"asthma": True}}]
    play >> client(command(on_patients("insert", documents=documents)))
    play << to_server_opened("", on_patients("insert", documents=documents))


def test_an_update_covers_filter_and_modifiers_in_both_shapes(play: Playbook) -> None:
    def updates(old: Any, new: Any) -> list[dict[str, Any]]:
        changes = {"$set": {"contact.email": new, "seen": 1}, "$push": {"tags": new}}
        return [{"q": {"nhs_number": old}, "u": changes, "multi": False, "upsert": True}]

    plain, stored = updates(NHS, "x@example.org"), updates(SEALED, sealed("nhs", "x@example.org"))
    play >> client(command(on_patients("update", updates=plain), 1))
    play << to_server(command(on_patients("update", updates=stored), 1))
    play >> client(command(on_patients("update"), 2, after={"updates": plain}))
    play << to_server(command(on_patients("update"), 2, after={"updates": stored}))


def test_a_delete(play: Playbook) -> None:
    def message(value: Any) -> bytes:
        return command(on_patients("delete"), after={"deletes": [{"q": {"nhs_number": value}, "limit": 1}]})

    play >> client(message(NHS)) << to_server(message(SEALED))


def test_find_and_modify_answers_in_clear(play: Playbook) -> None:
    def message(old: Any, new: Any) -> bytes:
        return command(
            on_patients("findAndModify", query={"nhs_number": old}, update={"$set": {"nhs_number": new}})
        )

    play >> client(message(NHS, "new")) << to_server(message(SEALED, sealed("nhs", "new")))
    play >> server(reply({"value": {"_id": 1, "nhs_number": SEALED}, "ok": 1.0}))
    play << to_client(reply({"value": {"_id": 1, "nhs_number": NHS}, "ok": 1.0}))


def test_count_and_distinct(play: Playbook) -> None:
    play >> client(command(on_patients("count", query={"nhs_number": {"$in": [NHS]}}), 1))
    play << to_server(command(on_patients("count", query={"nhs_number": {"$in": [SEALED]}}), 1))
    distinct = command(on_patients("distinct", key="nhs_number", query={}), 2)
    play >> client(distinct) << to_server(distinct)
    play >> server(reply({"values": [SEALED, None], "ok": 1.0}, 2))
    play << to_client(reply({"values": [NHS, None], "ok": 1.0}, 2))


def test_an_index_over_a_deterministic_field_passes_and_its_partial_filter_is_covered(play: Playbook) -> None:
    def message(value: Any) -> bytes:
        index = {
            "key": {"nhs_number": 1},
            "name": "nhs",
            "unique": True,
            "partialFilterExpression": {"nhs_number": value},
        }
        return command(on_patients("createIndexes", indexes=[index]))

    play >> client(message(NHS)) << to_server(message(SEALED))


def test_the_fields_of_a_transaction_pass_untouched(play: Playbook) -> None:
    play >> client(command(on_patients("insert", documents=[{"nhs_number": NHS}], **TRANSACTION), 1))
    play << to_server(command(on_patients("insert", documents=[{"nhs_number": SEALED}], **TRANSACTION), 1))
    commit = command({"commitTransaction": 1, **TRANSACTION, "$db": "admin"}, 2)
    play >> client(commit) << to_server(commit)


def test_a_duplicate_key_is_told_in_clear(play: Playbook) -> None:
    insert = on_patients("insert", documents=[{"nhs_number": NHS}])
    stored = on_patients("insert", documents=[{"nhs_number": SEALED}])
    play >> client(command(insert)) << to_server(command(stored))

    def answer(value: Any) -> bytes:
        key = {"index": 0, "code": 11000, "keyPattern": {"nhs_number": 1}, "keyValue": {"nhs_number": value}}
        return reply({"n": 0, "writeErrors": [{**key, "errmsg": "E11000 duplicate key error"}], "ok": 1.0})

    play >> server(answer(SEALED)) << to_client(answer(NHS))


def test_the_events_of_a_change_stream_are_decrypted_wherever_they_hold_ciphertext(play: Playbook) -> None:
    watch = command(on_patients("aggregate", pipeline=[{"$changeStream": {}}], cursor={}))
    play >> client(watch) << to_server(watch)

    def events(nhs: Any, note: Any) -> bytes:
        update = {"updatedFields": {"nhs_number": nhs, "contact.note": note, "tags.0": nhs}}
        event = {
            "_id": {"_data": "82"},
            "operationType": "update",
            "fullDocument": {"_id": 1, "nhs_number": nhs, "contact": {"note": note}},
            "fullDocumentBeforeChange": {"_id": 1, "tags": [nhs, nhs]},
            "documentKey": {"_id": 1, "nhs_number": nhs},
            "updateDescription": update,
        }
        return reply(cursor("firstBatch", event, cursor_id=9))

    play >> server(events(SEALED, sealed_randomly("secret", [1, "two"])))
    play << to_client(events(NHS, [1, "two"]))


def test_unprotected_traffic_is_byte_identical_both_ways(play: Playbook) -> None:
    insert = command({"insert": "wards", "$db": "clinic"}, 1, after={"documents": [{"nhs_number": NHS}]})
    odd = command({"usersInfo": "patients", "$db": "other", "x": [1]}, 2, flags=1 << 17)
    delete = command({"delete": "x", "$db": "other"}, 3, first={"deletes": [{}, {"a": 1}]}, flags=CHECKSUM)
    play >> client(insert, odd, delete) << to_server(insert) << to_server(odd) << to_server(delete)
    answers = [
        reply({"ok": 1.0}, number, 100 + number, flags=flags) for number, flags in enumerate([0, 1], 2)
    ]
    play >> server(*answers) << to_client(answers[0]) << to_client(answers[1])


def test_an_envelope_in_the_answer_about_an_unprotected_collection_stays_one(play: Playbook) -> None:
    find = command({"find": "exported", "$db": "elsewhere"})
    answer = reply(cursor("firstBatch", {"copy": SEALED}), flags=CHECKSUM)
    play >> client(find) << to_server(find)
    play >> server(answer) << to_client(answer)
    assert play.count(Counter.VALUES_DECRYPTED) == 0


def test_it_is_decrypted_too_where_everything_is_to_be() -> None:
    play = Playbook(session(reveal=Reveal.EVERYWHERE))
    find = command({"find": "exported", "$db": "elsewhere"})
    for _ in range(2):
        play >> client(find) << to_server(find)
        play >> server(reply(cursor("firstBatch", {"copy": SEALED}), flags=CHECKSUM))
        play << to_client(reply(cursor("firstBatch", {"copy": NHS}), flags=CHECKSUM))
    # such a cursor needs no mark: what it yields later is opened all the same
    play >> client(find) << to_server(find)
    play >> server(reply(cursor("firstBatch", {"copy": SEALED}, cursor_id=7)))
    play << to_client(reply(cursor("firstBatch", {"copy": NHS}, cursor_id=7)))
    play.finish()


def test_a_checksum_is_recomputed_after_a_rewrite(play: Playbook) -> None:
    plain, stored = (on_patients("find", filter={"nhs_number": value}) for value in (NHS, SEALED))
    play >> client(command(plain, flags=CHECKSUM)) << to_server(command(stored, flags=CHECKSUM))


def test_a_wrong_checksum_from_the_client_closes(play: Playbook) -> None:
    message = command(on_patients("find", filter={}), flags=CHECKSUM)
    play >> client(message[:-1] + bytes([message[-1] ^ 1])) << close(CloseReason.CLIENT_PROTOCOL)


def test_a_wrong_checksum_from_the_server_closes_and_is_not_passed_on(play: Playbook) -> None:
    find = command(on_patients("find", filter={}))
    answer = reply(cursor("firstBatch", {"nhs_number": SEALED}), flags=CHECKSUM)
    play >> client(find) << to_server(find)
    play >> server(answer[:-1] + bytes([answer[-1] ^ 1])) << close(CloseReason.SERVER_PROTOCOL)


def test_an_unacknowledged_write_is_encrypted_and_awaits_nothing(play: Playbook) -> None:
    def message(value: Any, request_id: int) -> bytes:
        body = on_patients("insert", writeConcern={"w": 0})
        return command(body, request_id, flags=MORE_TO_COME, after={"documents": [{"nhs_number": value}]})

    for number in (1, 1, 2):
        play >> client(message(NHS, number)) << to_server(message(SEALED, number))
        assert play.session.idle
    play >> server(reply({"ok": 1.0}, 1)) << close(CloseReason.SERVER_PROTOCOL)


def test_a_refused_unacknowledged_write_closes_without_an_answer(play: Playbook) -> None:
    updates = {"updates": [{"q": {"nhs_number": {"$gt": NHS}}, "u": {"$set": {"a": 1}}}]}
    message = command(on_patients("update", writeConcern={"w": 0}), flags=MORE_TO_COME, after=updates)
    play >> client(message)
    play << audit("refused", "clinic.patients", "update", "range", "nhs_number")
    play << close(CloseReason.REFUSED_UNACKNOWLEDGED, "range")
    assert play.count(Counter.REFUSALS, "range") == 1


@pytest.mark.parametrize(
    ("body", "code", "name", "reason", "path"),
    [
        (on_patients("find", filter={"nhs_number": {"$gt": NHS}}), *_REFUSED, "range", "nhs_number"),
        (on_patients("find", filter={"nhs_number": {"$regex": NHS}}), *_REFUSED, "pattern", "nhs_number"),
        (on_patients("find", sort={"nhs_number": 1}), *_REFUSED, "sort", "nhs_number"),
        (on_patients("find", filter={"notes": NHS}), *_REFUSED, "random-equality", "notes"),
        (on_patients("findAndModify", update={"visits": NHS}), 14, "TypeMismatch", "type", "visits"),
        (on_patients("find", newArgument=NHS), 2, "BadValue", "shape", ""),
    ],
)
def test_a_refusal_is_a_command_error_and_the_connection_lives_on(
    play: Playbook, body: dict[str, Any], code: int, name: str, reason: str, path: str
) -> None:
    play >> client(command(body, 7))
    play << audit("refused", "clinic.patients", next(iter(body)), reason, path)
    play << error(code, name, 7)
    assert play.session.idle
    ping = command({"ping": 1, "$db": "admin"}, 8)
    play >> client(ping) << to_server(ping)


def test_a_refused_command_is_on_record_with_its_purpose(play: Playbook) -> None:
    body = on_patients("find", sort={"nhs_number": 1}, comment="purpose=direct-care")
    play >> client(command(body, 7))
    play << audit("refused", "clinic.patients", "find", "sort", "nhs_number", "direct-care")
    play << error(*_REFUSED, 7)


@rows(
    "statement",
    {"update": {"$set": {"seen": 1}}, "arrayFilters": [{"x": NHS}]},
    {"update": {"nhs_number": NHS}, "arrayFilters": [{"x": NHS}]},
    {"remove": True, "arrayFilters": [{"x": NHS}]},
)
def test_a_value_that_the_server_would_ignore_or_object_to_does_not_reach_it(
    play: Playbook, statement: dict[str, Any]
) -> None:
    play >> client(command(on_patients("findAndModify", query={}, **statement)))
    play << audit("refused", "clinic.patients", "findAndModify", "shape", "") << error(2, "BadValue")


@pytest.mark.parametrize("value", ["", 1, 1.0, Int64(1), True, None, 0, False])
def test_an_unset_as_people_write_it_passes(play: Playbook, value: Any) -> None:
    message = command(on_patients("findAndModify", query={}, update={"$unset": {"nhs_number": value}}))
    play >> client(message) << to_server(message)


@pytest.mark.parametrize("value", [NHS, 5, {"email": NHS}, [NHS]])
def test_an_unset_goes_without_the_value_that_somebody_wrote_there(play: Playbook, value: Any) -> None:
    sent, wanted = (
        command(on_patients("findAndModify", query={}, update={"$unset": {"nhs_number": each}}))
        for each in (value, "")
    )
    play >> client(sent) << to_server(wanted)


def test_a_forged_envelope_is_refused(play: Playbook) -> None:
    play >> client(command(on_patients("find", filter={"nhs_number": SEALED})))
    play << audit("refused", "clinic.patients", "find", "envelope") << error(2, "BadValue")


def test_an_exhaust_cursor_answers_one_request_many_times(play: Playbook) -> None:
    get_more = command(
        {"getMore": Int64(5), "collection": "patients", "$db": "clinic"}, 1, flags=EXHAUST_ALLOWED
    )
    play >> client(get_more) << to_server(get_more)
    for previous, number in ((1, 50), (50, 51), (51, 52)):
        last = number == 52
        flags = 0 if last else MORE_TO_COME
        play >> server(reply(cursor("nextBatch", {"n": SEALED}), previous, number, flags=flags))
        play << to_client(reply(cursor("nextBatch", {"n": NHS}), previous, number, flags=flags))
        assert play.session.idle is last
    play >> server(reply(cursor("nextBatch"), 52, 53)) << close(CloseReason.SERVER_PROTOCOL)


def test_an_explained_command_is_covered_like_the_command(play: Playbook) -> None:
    def message(value: Any) -> bytes:
        inner = {"find": "patients", "filter": {"nhs_number": value}}
        return command({"explain": inner, "verbosity": "queryPlanner", "$db": "clinic"})

    play >> client(message(NHS)) << to_server(message(SEALED))
    play >> server(reply({"parsedQuery": {"nhs_number": {"$eq": SEALED}}, "ok": 1.0}))
    play << to_client(reply({"parsedQuery": {"nhs_number": {"$eq": NHS}}, "ok": 1.0}))


def test_a_client_side_encrypted_value_is_not_ours_and_passes(play: Playbook) -> None:
    foreign = {"other": {"sub": b"x"}, "binary": envelope("nhs", NHS)}  # subtype 0: bytes, not an envelope
    message = command(on_patients("insert", documents=[foreign]))
    play >> client(message) << to_server(message)


# No right outlives its reason.


ANN = NamedUser(Wildcards(("ann",)), Wildcards(("admin",)))
NOBODY = Wildcards((), are_subjects=True)
ROLES = Roles(
    (Role("r", (ANN,), Wildcards(("CN=ann",), are_subjects=True), {"nhs": ClassAccess(CLEAR)}, NO_ACCESS),),
    ("nhs",),
)


MOST_SHARED = 10
"""So many things do the two sides of a session share. Whatever one of them can own, it owns."""


def test_the_sides_share_few_things() -> None:
    conversation = session()._conversation
    shared = {name for name in dir(conversation) if not name.startswith("__")}
    held = {name for name in shared if not callable(getattr(conversation, name))}
    assert len(held) <= MOST_SHARED


def login_under(roles: Roles | None) -> ClientLogin:
    login = session()._conversation.login
    login.use_roles(roles)
    return login


def has_role(login: ClientLogin, stated: Stated = NOTHING_STATED) -> bool:
    rights = login.rights(stated)
    assert rights is not None
    return not rights.is_empty


def test_without_roles_there_are_no_rights_to_ask_for() -> None:
    login = login_under(None)
    assert login.rights(NOTHING_STATED) is None
    assert login.roles is None


def test_a_login_gives_rights_and_another_takes_them() -> None:
    login = login_under(ROLES)
    assert not has_role(login)
    login.name_users(("ann@admin",))
    assert has_role(login)
    login.name_users(("bob@admin",))
    assert not has_role(login)
    login.name_users(())
    assert not has_role(login)


def test_a_certificate_stays_through_logins() -> None:
    login = login_under(ROLES)
    login.certify("CN=ann", NOT_CERTIFIED)
    login.name_users(("bob@admin",))
    assert has_role(login)
    assert login.client == "bob@admin"
    login.name_users(())
    assert login.client == "CN=ann"


def test_the_same_subject_of_two_authorities_is_told_apart() -> None:
    one, two = login_under(ROLES), login_under(ROLES)
    one.certify("CN=ann", Certified((), issuer="CN=Clinic CA"))
    two.certify("CN=ann", Certified((), issuer="CN=Supplier CA"))
    assert one.client != two.client


def test_another_policy_counts_at_once() -> None:
    login = login_under(ROLES)
    login.name_users(("ann@admin",))
    before = login.rights(NOTHING_STATED)
    assert login.rights(NOTHING_STATED) is before
    login.use_roles(ROLES)
    assert login.rights(NOTHING_STATED) is not before
    login.use_roles(None)
    assert login.rights(NOTHING_STATED) is None


def test_what_clients_state_is_not_remembered_without_end() -> None:
    login = login_under(ROLES)
    for number in range(3 * MAX_REMEMBERED):
        login.rights(Stated(purpose=str(number)))
    assert len(login._known) <= MAX_REMEMBERED
