"""What roles allow of commands, and show of replies."""

from dataclasses import replace
from typing import Any

import pytest
from bson import Binary
from bson.int64 import Int64

from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.session.choices import Reveal
from sealwire.proxy.session.effects import Audit, Count, Counter, ToClient, ToServer
from sealwire.proxy.session.shared import SessionSettings
from tests.proxy.session.role_world import (
    BORN,
    FIND,
    NHS,
    POLICY,
    STORED,
    asked,
    batch,
    first,
    is_denied,
    session_as,
    shown,
)
from tests.proxy.session.world import (
    KEYRING,
    body_of,
    data_key,
    reply,
    sealed,
    sealed_randomly,
    sections,
    use_settings,
    written,
)
from tests.support.rows import rows

LOOKUP: dict[str, Any] = {"$lookup": {"from": "patients", "pipeline": [], "as": "z"}}


def test_each_class_is_shown_as_the_role_says() -> None:
    secret = sealed_randomly("secret", "a note")
    clerk = first(shown(session_as("CN=clerk"), FIND, batch({**STORED, "notes": secret})))
    assert clerk == {"_id": 1, "nhs_number": "****5919", "born": "1950", "visits": 7, "notes": secret}
    doctor = first(shown(session_as("CN=doctor"), FIND, batch({**STORED, "notes": secret})))
    assert doctor == {"_id": 1, "nhs_number": NHS, "born": BORN, "visits": 7, "notes": "a note"}


@rows(
    "document",
    {"renamed": sealed("nhs", NHS)},
    {"deep": {"er": [{"x": sealed("nhs", NHS)}]}},
    {"joined": [{"nhs_number": sealed("nhs", NHS)}]},
    {"_id": sealed("nhs", NHS)},
)
def test_no_other_name_gives_a_way_round(document: dict[str, Any]) -> None:
    answer = shown(session_as("CN=clerk"), FIND, batch(document))
    assert NHS not in str(answer)
    assert "****5919" in str(answer)


@rows(
    "body, stored, seen",
    (FIND, {"nhs_number": NHS}, {"nhs_number": "****5919"}),
    (
        FIND,
        {"born": BORN, "nhs_number": [NHS, None]},
        {"born": "1950", "nhs_number": ["****5919", None]},
    ),
    (
        {"aggregate": "patients", "pipeline": [{"$project": {"x": "$nhs_number"}}], "cursor": {}},
        {"x": NHS},
        {"x": "****5919"},
    ),
    (FIND, {"visits": 7, "ward": NHS}, {"visits": 7, "ward": NHS}),
)
def test_plaintext_at_a_covered_path_is_masked(body: Any, stored: Any, seen: Any) -> None:
    assert first(shown(session_as("CN=clerk"), body, batch(stored))) == seen


def test_plaintext_among_distinct_values_is_masked() -> None:
    body = {"distinct": "patients", "key": "nhs_number"}
    answer = {"values": [NHS, sealed("nhs", NHS)], "ok": 1.0}
    assert shown(session_as("CN=clerk"), body, answer)["values"] == ["****5919", "****5919"]


def test_plaintext_in_a_later_batch_is_masked() -> None:
    more = {"getMore": Int64(7), "collection": "patients"}
    reading = {"nextBatch": [{"nhs_number": NHS}], "id": Int64(7), "ns": "clinic.patients"}
    answer = shown(session_as("CN=clerk"), more, {"cursor": reading, "ok": 1.0})
    assert answer["cursor"]["nextBatch"] == [{"nhs_number": "****5919"}]


def test_plaintext_in_a_long_reply_is_masked() -> None:
    answer = batch(*[{"nhs_number": NHS, "pad": "x" * 300_000, "born": sealed("born", BORN)}] * 6)
    documents = shown(session_as("CN=clerk"), FIND, answer)["cursor"]["firstBatch"]
    assert [(each["nhs_number"], each["born"]) for each in documents] == [("****5919", "1950")] * 6


@pytest.mark.parametrize("document", [{"smoker": True}, {"weight": 70.5}])
def test_plaintext_of_a_class_without_a_part_to_show_withholds_the_reply(document: Any) -> None:
    assert is_denied(shown(session_as("CN=clerk"), FIND, batch(document)))
    assert first(shown(session_as("CN=doctor"), FIND, batch(document))) == document


COMPARED: tuple[dict[str, Any], ...] = (
    {"$project": {"x": {"$eq": ["$nhs_number", NHS]}}},
    {"$set": {"x": {"$in": ["$nhs_number", [NHS]]}}},
    {"$addFields": {"x": {"$indexOfArray": [["1", "2"], "$nhs_number"]}}},
    {"$group": {"_id": None, "x": {"$push": {"$ne": ["$nhs_number", NHS]}}}},
    {"$redact": {"$cond": [{"$eq": ["$nhs_number", NHS]}, "$$KEEP", "$$PRUNE"]}},
)


@rows(
    "body",
    *({"aggregate": "patients", "pipeline": [stage], "cursor": {}} for stage in COMPARED),
    {**FIND, "projection": {"x": {"$eq": ["$nhs_number", NHS]}}},
    {**FIND, "projection": {"tags": {"$elemMatch": {"$eq": NHS}}}},
)
def test_the_result_of_a_comparison_is_for_who_reads_in_clear(body: dict[str, Any]) -> None:
    assert is_denied(shown(session_as("CN=clerk"), body, batch()))
    assert written(asked(session_as("CN=doctor"), body), ToServer)


def test_a_reply_with_a_denied_value_is_withheld_as_a_whole() -> None:
    talk = session_as("CN=clerk")
    asked(talk, FIND)
    effects = talk.server_data(reply(batch(STORED, {"_id": 2, "smoker": sealed("smoker", True)})))
    assert is_denied(body_of(written(effects, ToClient)))
    assert Audit("refused", "clinic.patients", "find", "role", users=()) in effects
    assert Count(Counter.REFUSALS, label="role") in effects


@pytest.mark.parametrize("certificate", ["", "CN=stranger", "CN=clerk\\,x", "CN=doctors", "unreadable"])
@rows(
    "body",
    FIND,
    {"insert": "patients", "documents": [{"_id": 1}]},
    {"aggregate": "wards", "pipeline": [LOOKUP], "cursor": {}, "$db": "clinic"},
    {"getMore": Int64(5), "collection": "patients"},
    {"explain": FIND},
    {"aggregate": 1, "pipeline": [{"$changeStream": {}}], "cursor": {}},
    {"drop": "patients"},
    {"collStats": "patients"},
)
def test_who_has_no_role_reaches_nothing_protected(certificate: str, body: dict[str, Any]) -> None:
    assert is_denied(shown(session_as(certificate), body, batch(STORED)))


def test_who_has_no_role_reaches_everything_else() -> None:
    talk = session_as("")
    find = {"find": "wards", "$db": "other"}
    bodies: list[dict[str, Any]] = [find, {"ping": 1}, find]
    for number, body in enumerate(bodies, 1):
        assert written(asked(talk, body, number), ToServer)


def piped(*stages: dict[str, Any]) -> dict[str, Any]:
    return {"aggregate": "patients", "pipeline": list(stages), "cursor": {}}


FIELDS = {"localField": "visits", "foreignField": "visits", "as": "x"}


@rows(
    "body",
    {"find": "patients", "filter": {"contact.email": "x"}},
    {"find": "patients", "filter": {"$expr": {"$eq": ["$visits", 7]}}},
    {"find": "patients", "filter": {"visits": {"$in": [7]}}},
    {"find": "patients", "filter": {"visits": {"$ne": 7}}},
    {"find": "patients", "projection": {"tags": {"$elemMatch": {"$eq": "x"}}}},
    {"count": "patients", "query": {"visits": 7}},
    # an index on ciphertext brings equal values together, and `returnKey` shows the hashes of another
    {"find": "patients", "filter": {}, "hint": {"visits": 1, "ward": -1}},
    {"find": "patients", "filter": {}, "hint": "visits_1_ward_-1"},
    {"find": "patients", "filter": {}, "hint": "by_ward"},
    {"find": "patients", "filter": {}, "hint": {"visits": "hashed"}, "returnKey": True},
    {"distinct": "patients", "key": "ward", "hint": {"visits": 1}},
    {**piped(), "hint": {"visits": 1}},
    {"distinct": "patients", "key": "visits"},
    piped({"$group": {"_id": "$visits"}}),
    piped({"$sortByCount": "$visits"}),
    piped({"$match": {"visits": 7}}),
    piped({"$project": {"x": {"$eq": ["$visits", 7]}}}),
    piped({"$project": {"x": {"$ifNull": ["$visits", 7]}}}),
    piped({"$group": {"_id": 1, "x": {"$addToSet": "$visits"}}}),
    piped({"$lookup": {"from": "patients", **FIELDS}}),
    {"createIndexes": "patients", "indexes": [{"key": {"visits": 1}, "name": "v", "unique": True}]},
    {"update": "patients", "updates": [{"q": {"visits": 7}, "u": {"$set": {"x": 1}}}]},
    {"delete": "patients", "deletes": [{"q": {"visits": 7}, "limit": 1}]},
)
def test_comparing_needs_the_right_to_filter(body: dict[str, Any]) -> None:
    certificate = "CN=writer" if "contact.email" in str(body) or "$elemMatch" in str(body) else "CN=clerk"
    answer = shown(session_as(certificate), body, batch())
    assert is_denied(answer) or is_denied(answer["writeErrors"][0])
    assert not is_denied(shown(session_as("CN=doctor"), body, batch()))


@rows(
    "body",
    {"createIndexes": "patients", "indexes": [{"key": {"t": 1}, "name": "t", "expireAfterSeconds": 0}]},
    {"collMod": "patients", "index": {"keyPattern": {"t": 1}, "expireAfterSeconds": 0}},
    {"collMod": "patients", "expireAfterSeconds": 0},
    {"collMod": "patients", "cappedSize": 1},
    {"collMod": "patients", "cappedMax": 0},
    {"create": "patients", "capped": True, "size": 1000},
)
def test_what_has_the_server_delete_documents_needs_the_right_to_delete(body: dict[str, Any]) -> None:
    assert is_denied(shown(session_as("CN=clerk"), body, {"ok": 1.0}))
    assert not is_denied(shown(session_as("CN=doctor"), body, {"ok": 1.0}))


def test_what_deletes_nothing_does_not() -> None:
    for body in (
        {
            "createIndexes": "patients",
            "indexes": [{"key": {"t": 1}, "name": "t", "expireAfterSeconds": None}],
        },
        {"collMod": "patients", "index": {"keyPattern": {"t": 1}, "hidden": True}},
        {"create": "patients", "capped": False},
    ):
        assert not is_denied(shown(session_as("CN=clerk"), body, {"ok": 1.0}))


COMPARING = {"$match": {"$expr": {"$eq": ["$nhs_number", NHS]}}}


def everybodys(stage: dict[str, Any]) -> dict[str, Any]:
    return {"aggregate": 1, "pipeline": [{"$currentOp": {}}, stage], "cursor": {}, "$db": "admin"}


UPDATE = {"$set": {"name": "x"}}


@rows(
    "certificate, body",
    ("CN=clerk", {"find": "patients", "filter": {"nhs_number": NHS}}),
    ("CN=clerk", {"find": "patients", "filter": {"visits": {"$exists": True}, "born": None}}),
    ("CN=clerk", {"distinct": "patients", "key": "nhs_number"}),
    ("CN=clerk", {"find": "patients", "projection": {"renamed": "$notes"}}),
    # filters and groups need the right to filter only
    ("CN=clerk", piped(COMPARING)),
    ("CN=clerk", piped({"$group": {"_id": "$nhs_number"}})),
    # an index on what one may filter by may be hinted
    ("CN=clerk", {**FIND, "hint": {"_id": 1}}),
    ("CN=clerk", {**FIND, "hint": {"$natural": -1}}),
    ("CN=clerk", {**FIND, "hint": {"ward": 1}}),
    ("CN=clerk", {**FIND, "hint": "ward_1"}),
    ("CN=clerk", {**FIND, "hint": {"nhs_number": 1}}),
    # an update of other fields needs no right to write
    ("CN=clerk", {"update": "patients", "updates": [{"q": {"nhs_number": NHS}, "u": UPDATE}]}),
    ("CN=clerk", {"update": "patients", "updates": [{"q": {"nhs_number": NHS}, "u": [UPDATE]}]}),
    ("CN=clerk", {"update": "patients", "updates": [{"q": {"nhs_number": NHS}, "u": {"$inc": {"n": 1}}}]}),
    # what shows no document needs no role
    ("", {"listCollections": 1}),
    ("", {"dbStats": 1}),
    ("", {"killCursors": "patients", "cursors": [Int64(5)]}),
    ("", {"connectionStatus": 1}),
    # nor what shows nothing of everybody's commands but their kind
    ("", everybodys({"$group": {"_id": "$op", "n": {"$sum": 1}}})),
    ("", everybodys({"$replaceWith": {"op": "$op", "ns": "$ns"}})),
)
def test_what_a_role_allows_passes(certificate: str, body: dict[str, Any]) -> None:
    assert written(asked(session_as(certificate), body), ToServer)


@rows(
    "change",
    {"$set": {"nhs_number": NHS}},
    {"$unset": {"nhs_number": ""}},
    {"$unset": {"contact": ""}},
    {"$set": {"contact": {"city": "x"}}},
    {"$set": {"nhs_number": None}},
    {"$set": {"tags": []}},
    {"$push": {"tags": "x"}},
    {"$pop": {"tags": 1}},
    {"$rename": {"nhs_number": "contact.email"}},
    {"_id": 1},
    [{"$set": {"visits": 7}}],
    [{"$unset": "visits"}],
    [{"$project": {"name": 1}}],
    [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"x": 1}]}}],
)
def test_changing_a_covered_path_needs_the_right_to_write(change: Any) -> None:
    body = {"update": "patients", "updates": [{"q": {"_id": 1}, "u": change}]}
    answer = shown(session_as("CN=clerk"), body, {"ok": 1.0, "n": 0})
    assert is_denied(answer["writeErrors"][0])
    asked_one = {"findAndModify": "patients", "query": {"_id": 1}, "update": change}
    assert is_denied(shown(session_as("CN=clerk"), asked_one, {"ok": 1.0}))
    assert written(asked(session_as("CN=doctor"), body), ToServer)


def test_an_upsert_writes_what_it_filters_by() -> None:
    statement = {"q": {"nhs_number": NHS}, "u": {"$set": {"name": "x"}}, "upsert": True}
    answer = shown(session_as("CN=clerk"), {"update": "patients", "updates": [statement]}, {"ok": 1.0})
    assert is_denied(answer["writeErrors"][0])


@rows(
    "body",
    {"findAndModify": "patients", "query": {"_id": 1}, "remove": True},
    {"drop": "patients"},
    {"dropDatabase": 1},
    {"renameCollection": "ward.a", "to": "ward.b", "dropTarget": True, "$db": "admin"},
    {"convertToCapped": "patients", "size": 100},
    {"aggregate": "patients", "pipeline": [{"$out": "patients"}], "cursor": {}},
    {"aggregate": "patients", "pipeline": [{"$merge": "patients"}], "cursor": {}},
)
def test_deleting_needs_the_right_to_write_every_class(body: dict[str, Any]) -> None:
    assert is_denied(shown(session_as("CN=clerk"), body, {"ok": 1.0}))
    assert is_denied(shown(session_as("CN=writer"), body, {"ok": 1.0})) or "ward" in str(body)
    assert not is_denied(shown(session_as("CN=doctor"), body, {"ok": 1.0}))


def test_statements_without_the_right_are_left_out_of_a_write() -> None:
    documents = [{"_id": 1, "nhs_number": NHS}, {"_id": 2, "visits": 7}]
    body = {"insert": "patients", "documents": documents, "ordered": False}
    talk = session_as("CN=writer")
    sent = body_of(written(asked(talk, body), ToServer))
    assert [document["_id"] for document in sent["documents"]] == [1]
    answer = body_of(written(talk.server_data(reply({"n": 1, "ok": 1.0})), ToClient))
    assert [(each["index"], each["code"]) for each in answer["writeErrors"]] == [(1, 13)]


def test_the_error_of_a_duplicate_key_is_masked_in_its_text_too() -> None:
    talk = session_as("CN=doctor")
    key = {"nhs_number": sealed("nhs", NHS)}
    text = "E11000 duplicate key error collection: clinic.patients index: n dup key: { nhs_number: BinData }"
    error = {"index": 0, "code": 11000, "errmsg": text, "keyPattern": {"nhs_number": 1}, "keyValue": key}
    insert = {"insert": "patients", "documents": [{"nhs_number": NHS}]}
    assert NHS in str(shown(talk, insert, {"n": 0, "writeErrors": [error], "ok": 1.0}))
    clerk = session_as("CN=clerk")
    asked_one = {"findAndModify": "patients", "query": {"_id": 1}, "update": {"$set": {"name": "x"}}}
    answer = shown(clerk, asked_one, {"ok": 0.0, **{k: error[k] for k in ("code", "errmsg", "keyValue")}})
    assert NHS not in str(answer)
    assert "****5919" in answer["errmsg"]


def test_a_cursor_shows_what_the_reader_may_see_and_not_what_its_opener_may() -> None:
    more = {"getMore": Int64(5), "collection": "patients"}
    answer = {"cursor": {"nextBatch": [STORED], "id": Int64(0), "ns": "clinic.patients"}, "ok": 1.0}
    assert NHS not in str(shown(session_as("CN=clerk"), more, answer))
    assert NHS in str(shown(session_as("CN=doctor"), more, answer))


def test_a_role_with_a_purpose_counts_where_the_command_states_it() -> None:
    answer = shown(session_as("CN=researcher"), FIND, batch(STORED))
    assert is_denied(answer)
    assert "without a purpose" in answer["errmsg"]
    for comment in ({"sealwire": {"purpose": "research"}}, "purpose=research"):
        assert (
            first(shown(session_as("CN=researcher"), {**FIND, "comment": comment}, batch(STORED)))["visits"]
            == 7
        )
    other = {**FIND, "comment": "purpose=marketing"}
    assert is_denied(shown(session_as("CN=researcher"), other, batch(STORED)))


BORN_IN_CLEAR = Keyring(data_key(name, is_plaintext=name == "born") for name in POLICY.class_names)


def test_while_a_class_lies_in_clear_only_who_reads_it_in_clear_reaches_anything() -> None:
    clerk, doctor = (session_as(name, keyring=BORN_IN_CLEAR) for name in ("CN=clerk", "CN=doctor"))
    assert is_denied(shown(clerk, FIND, batch({"born": BORN})))
    assert first(shown(doctor, FIND, batch({"born": BORN})))["born"] == BORN


SERVERS_OWN: tuple[dict[str, Any], ...] = (
    {"find": "system.profile", "$db": "clinic"},
    {"find": "oplog.rs", "$db": "local"},
    {"aggregate": 1, "pipeline": [{"$currentOp": {}}], "cursor": {}, "$db": "admin"},
    {"currentOp": 1, "$db": "admin"},
    {"getLog": "global", "$db": "admin"},
)


@pytest.mark.parametrize("command", SERVERS_OWN)
def test_only_who_reads_every_class_in_clear_is_shown_everybodys_commands(command: dict[str, Any]) -> None:
    assert is_denied(shown(session_as(""), command, batch()))
    assert is_denied(shown(session_as("CN=clerk"), command, batch()))
    assert not is_denied(shown(session_as("CN=doctor"), command, batch()))


@pytest.mark.parametrize("command", SERVERS_OWN)
def test_while_a_class_lies_in_clear_it_does_so_in_what_the_server_keeps_too(command: dict[str, Any]) -> None:
    assert is_denied(shown(session_as("CN=clerk", keyring=BORN_IN_CLEAR), command, batch()))
    assert not is_denied(shown(session_as("CN=doctor", keyring=BORN_IN_CLEAR), command, batch()))


def test_a_class_that_goes_into_clear_meanwhile_withholds_replies_under_way() -> None:
    talk = session_as("CN=clerk")
    asked(talk, FIND)
    talk.shared.use_keyring(BORN_IN_CLEAR)
    assert is_denied(body_of(written(talk.server_data(reply(batch({"born": BORN}))), ToClient)))


def test_replies_that_are_opened_everywhere_are_opened_as_far_as_the_rights_go() -> None:
    talk = session_as("", reveal=Reveal.EVERYWHERE)
    find = {"find": "copies", "$db": "other"}
    for number in (1, 2):  # the second time it passes without a plan
        assert is_denied(shown(talk, find, batch(STORED, namespace="other.copies"), number))
    clerk = session_as("CN=clerk", reveal=Reveal.EVERYWHERE)
    glass = {**find, "comment": "breakGlass=fire"}
    assert first(shown(clerk, glass, batch(STORED), 1))["nhs_number"] == NHS
    assert first(shown(clerk, find, batch(STORED), 2))["nhs_number"] == "****5919"
    assert first(shown(clerk, find, batch(STORED), 3))["nhs_number"] == "****5919"


def test_other_roles_count_from_the_next_message_on() -> None:
    talk = session_as("CN=doctor")
    asked(talk, FIND)
    narrower = POLICY.roles
    assert narrower is not None
    less = replace(POLICY, roles=replace(narrower, roles=narrower.roles[1:]))
    use_settings(talk, SessionSettings(less, login_required=False))
    assert is_denied(body_of(written(talk.server_data(reply(batch(STORED))), ToClient)))
    assert is_denied(shown(talk, FIND, batch(STORED), 2))


def test_a_class_that_shares_its_key_is_shown_as_the_least_of_both() -> None:
    assert KEYRING.classes_of(1) == ("nhs",)
    assert KEYRING.classes_of(99) == ()


def test_an_envelope_of_an_unknown_class_is_not_shown() -> None:
    forged = Binary(bytes(sealed("nhs", NHS)[:4]) + b"\0\0\0\x63" + bytes(sealed("nhs", NHS)[8:]), 0x80)
    talk = session_as("CN=clerk")
    asked(talk, FIND)
    talk.server_data(reply(batch({"x": forged})))
    answer = body_of(written(talk.keys_loaded(), ToClient))
    assert answer["ok"] == 0.0
    assert sections(reply(answer))


def test_a_validator_with_constants_is_not_shown_to_who_has_no_role() -> None:
    options = {"options": {"validator": {"nhs_number": sealed("nhs", NHS)}}}
    assert is_denied(shown(session_as(""), {"listCollections": 1}, batch(options)))


def test_a_duplicate_key_keeps_its_code_where_the_class_is_denied() -> None:
    text, key = "E11000 x dup key: { nhs_number: BinData }", {"nhs_number": sealed("nhs", NHS)}
    error = {"index": 0, "code": 11000, "errmsg": text, "keyValue": key}
    insert = {"insert": "patients", "documents": [{"nhs_number": NHS}]}
    answer = shown(session_as("CN=writer"), insert, {"n": 0, "writeErrors": [error], "ok": 1.0})
    assert answer["writeErrors"][0]["code"] == 11000
    assert answer["writeErrors"][0]["keyValue"] == {"nhs_number": "***"}
    assert NHS not in str(answer)


def test_a_long_reply_is_shown_as_a_short_one() -> None:
    answer = batch(*[{**STORED, "pad": "x" * 5000}] * 400)
    seen = shown(session_as("CN=clerk"), FIND, answer)
    assert {each["nhs_number"] for each in seen["cursor"]["firstBatch"]} == {"****5919"}
    denied = batch(*[{**STORED, "pad": "x" * 5000}] * 400, {"smoker": sealed("smoker", True)})
    assert is_denied(shown(session_as("CN=clerk"), FIND, denied))


def test_a_long_reply_that_began_under_other_rights_is_withheld() -> None:
    talk = session_as("CN=doctor")
    asked(talk, FIND)
    message = reply(batch(*[{**STORED, "pad": "x" * 5000}] * 400))
    assert talk.server_data(message[: len(message) // 2]) == []
    talk.certified("CN=clerk")
    assert is_denied(body_of(written(talk.server_data(message[len(message) // 2 :]), ToClient)))


@pytest.mark.parametrize("default", [{"$ifNull": ["$visits", 5]}, {"$cond": ["$x", "$visits", 5]}])
@pytest.mark.parametrize(("certificate", "passes"), [("CN=doctor", True), ("CN=clerk", False)])
def test_a_constant_among_stored_values_needs_the_right_to_filter(
    certificate: str, passes: bool, default: dict[str, Any]
) -> None:
    body = {"aggregate": "patients", "pipeline": [{"$set": {"visits": default}}], "cursor": {}}
    effects = asked(session_as(certificate), body)
    assert any(isinstance(each, ToServer) for each in effects) is passes
    assert [each.reason for each in effects if isinstance(each, Audit)] == ([] if passes else ["role"])
