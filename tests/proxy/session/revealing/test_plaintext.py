"""Plaintext where the policy wants ciphertext: which values it is, and in which replies it is looked for."""

from typing import Any

import bson
import pytest
from bson import Int64, encode
from bson.binary import Binary
from hypothesis import given
from hypothesis import strategies as st

from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.file.loader import load_policy
from sealwire.proxy.session.effects import Effect, PlaintextMet, ToClient
from sealwire.proxy.session.replies import TooManyDocuments
from sealwire.proxy.session.revealing import documents_read
from sealwire.proxy.session.revealing.documents_read import HourlyCount, documents_in, pseudonym
from sealwire.proxy.session.revealing.plaintext import (
    MAX_CURSORS,
    MAX_NAMESPACES,
    REPLIES_FOR_ONE_LOOK,
    REPLIES_TO_NEXT_TRY,
    Look,
    PlaintextWatch,
)
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import MAX_DEPTH
from tests.policies.file.test_stored import nested
from tests.proxy.session.world import (
    POLICY,
    command,
    data_key,
    encoded,
    reply,
    sealed,
    sealed_randomly,
    session,
    session_of,
    use_settings,
)
from tests.support.rows import rows

TREE = POLICY.collections["clinic.patients"]
NHS = "943 476 5919"
SEALED = sealed("nhs", NHS)
IN_CLEAR = {"_id": 1, "nhs_number": NHS}
MET = [PlaintextMet("clinic.patients", "nhs_number", 1)]
CURSOR = 4711


def found(*documents: dict[str, Any]) -> dict[str, int]:
    """What is found in a first batch."""
    body = encoded({"cursor": {"firstBatch": list(documents), "id": Int64(0)}, "ok": 1.0})
    return plaintext_in(body)


def plaintext_in(body: bytes, allowed: frozenset[str] = frozenset()) -> dict[str, int]:
    return PlaintextWatch().look_at(body, 0, Look("clinic.patients", TREE), allowed)


@pytest.mark.parametrize(
    ("document", "paths"),
    [
        ({"nhs_number": NHS}, {"nhs_number": 1}),
        ({"nhs_number": SEALED}, {}),
        ({"nhs_number": None}, {}),
        ({}, {}),
        ({"nhs_number": Binary(b"foreign", 6)}, {}),
        ({"nhs_number": Binary(b"SW", 0)}, {"nhs_number": 1}),
        ({"nhs_number": Binary(b"", 0)}, {"nhs_number": 1}),
        ({"nhs_number": {"a": SEALED}}, {"nhs_number": 1}),
        ({"name": NHS, "address": {"nhs_number": NHS}}, {}),
        ({"visits": 3, "nhs_number": SEALED, "weight": 2.5}, {"visits": 1, "weight": 1}),
        ({"tags": ["a", SEALED, None, ["b"], Binary(b"x", 6)]}, {"tags": 2}),
        ({"tags": []}, {}),
        ({"notes": sealed_randomly("secret", "x")}, {}),
        ({"notes": [sealed_randomly("secret", "x"), "y"]}, {"notes": 1}),
        ({"notes": []}, {"notes": 1}),
        ({"contact": {"email": NHS, "other": NHS}}, {"contact.email": 1}),
        (
            {"contact": [{"email": NHS}, {"email": SEALED}, {"note": 1}, 5]},
            {"contact.email": 1, "contact.note": 1},
        ),
        ({"contact": {"0": {"email": NHS}}}, {"contact.email": 1}),
        ({"contact": NHS, "visits": 1}, {"visits": 1}),
    ],
)
def test_a_value_that_is_no_envelope_is_plaintext_at_a_covered_path(
    document: dict[str, Any], paths: dict[str, int]
) -> None:
    assert found(document) == paths


def test_values_of_all_documents_are_added_up() -> None:
    assert found(IN_CLEAR, {"nhs_number": SEALED}, IN_CLEAR) == {"nhs_number": 2}


@rows(
    "body", {"cursor": {"nextBatch": [IN_CLEAR]}}, {"ok": 1.0, "lastErrorObject": {"n": 1}, "value": IN_CLEAR}
)
def test_documents_are_where_their_commands_put_them(body: dict[str, Any]) -> None:
    assert plaintext_in(encoded(body)) == {"nhs_number": 1}


@rows(
    "body",
    {"value": None},
    {"value": "x"},
    {"cursor": 1},
    {"cursor": {"firstBatch": IN_CLEAR}},
    {"cursor": {"firstBatch": [1, None]}},
    {"cursor": {"other": [IN_CLEAR]}},
    {"values": [IN_CLEAR], "ok": 1},
    {"lastErrorObject": IN_CLEAR},
)
def test_elsewhere_there_are_no_documents(body: dict[str, Any]) -> None:
    assert plaintext_in(encoded(body)) == {}


def test_what_stands_before_malformed_bson_is_counted() -> None:
    body = bytearray(encoded({"cursor": {"firstBatch": [IN_CLEAR, {"nhs_number": NHS}]}}))
    at = body.rindex(b"\x02nhs_number")
    body[at] = 0x7E
    assert plaintext_in(bytes(body)) == {"nhs_number": 1}


def numbered(value: Any, levels: int) -> Any:
    """A value below so many names that are numbers."""
    for _ in range(levels):
        value = {"0": value}
    return value


@rows(
    "document, paths",
    ({"contact": nested({"email": NHS}, MAX_DEPTH - 1)}, {"contact.email": 1}),
    ({"contact": nested({"email": NHS}, MAX_DEPTH)}, {}),
    ({"contact": nested({"email": NHS}, 2 * MAX_DEPTH)}, {}),
    ({"contact": numbered({"email": NHS}, MAX_DEPTH - 1)}, {"contact.email": 1}),
    ({"contact": numbered({"email": NHS}, MAX_DEPTH)}, {}),
    ({"tags": nested(SEALED, MAX_DEPTH)}, {}),
    ({"tags": nested(SEALED, MAX_DEPTH + 1)}, {"tags": 1}),
)
def test_what_no_server_nests_is_not_followed(document: dict[str, Any], paths: dict[str, int]) -> None:
    assert found({**document, "visits": 1}) == {**paths, "visits": 1}


@rows(
    "old, new, met",
    (True, None, []),
    (True, False, []),
    (False, True, []),
    (False, None, MET),
    (False, False, MET),
)
def test_a_class_that_is_in_clear_or_moves_from_or_to_it_may_be(
    old: bool, new: bool | None, met: list[Effect]
) -> None:
    keys = [data_key(name, is_plaintext=old and name == "nhs") for name in POLICY.class_names]
    if new is not None:
        keys.append(data_key("nhs", 2, KeyState.PENDING, is_plaintext=new))
    assert answered(session(Keyring(keys)), FIND) == met


def test_values_of_other_classes_are_counted_beside_a_class_in_clear() -> None:
    body = encoded({"value": {"nhs_number": NHS, "tags": [NHS], "visits": 3, "notes": "n"}})
    assert plaintext_in(body, frozenset({"nhs"})) == {"visits": 1, "notes": 1}


@given(st.binary(max_size=60))
def test_no_bytes_make_the_look_fail(noise: bytes) -> None:
    whole = encoded({"value": {"contact": {"email": NHS, "x": noise}}})
    for cut in range(5, len(whole)):
        mixed = whole[:cut] + noise + whole[cut + len(noise) :]
        plaintext_in(mixed[: len(whole)].ljust(len(whole), b"\0"))


# -- in which replies ----------------------------------------------------------------------------------------


def answered(
    core: Session, body: dict[str, Any], shown: dict[str, Any] | None = None, number: int = 1
) -> list[Effect]:
    """The effects of a reply, other than the one that sends it on: it shows plaintext by default."""
    core.client_data(command({**body, "$db": body.get("$db", "clinic")}, number))
    batch = shown or {"cursor": {"firstBatch": [IN_CLEAR], "id": Int64(0), "ns": "clinic.patients"}}
    sent, *others = core.server_data(reply({**batch, "ok": 1.0}, number, 9000 + number))
    assert isinstance(sent, ToClient)
    return others


FIND = {"find": "patients"}
VALUE = {"value": IN_CLEAR}


@rows(
    "body, shown",
    (FIND, None),
    (FIND | {"filter": {"nhs_number": "1"}, "sort": {"_id": 1}, "limit": 3}, None),
    (FIND | {"projection": {}}, None),
    (FIND | {"projection": {"nhs_number": 1, "_id": False}}, None),
    ({"findAndModify": "patients", "query": {"_id": 1}, "remove": True}, VALUE),
    ({"findandmodify": "patients", "remove": True, "fields": {"notes": 0}}, VALUE),
    ({"aggregate": "patients", "pipeline": [], "cursor": {}}, None),
    ({"aggregate": "patients", "pipeline": [{"$match": {"_id": 1}}, {"$limit": 2}], "cursor": {}}, None),
)
def test_documents_as_the_collection_has_them_are_looked_at(
    body: dict[str, Any], shown: dict[str, Any] | None
) -> None:
    assert answered(session(), body, shown) == MET


@rows(
    "body, shown",
    (FIND | {"projection": {"nhs_number": "$name"}}, None),
    (FIND | {"projection": {"nhs_number": {"$literal": "x"}}}, None),
    (FIND | {"returnKey": True}, None),
    ({"findAndModify": "patients", "remove": True, "fields": {"nhs_number": "$name"}}, VALUE),
    ({"aggregate": "patients", "pipeline": [{"$project": {"nhs_number": "$name"}}], "cursor": {}}, None),
    ({"aggregate": "patients", "pipeline": [{"$limit": 1}, {"$unset": "a"}], "cursor": {}}, None),
    ({"distinct": "patients", "key": "nhs_number"}, {"values": [NHS]}),
    ({"count": "patients"}, VALUE),
    ({"getMore": Int64(CURSOR), "collection": "patients"}, None),
    ({"find": "wards", "$db": "stock"}, None),
)
def test_documents_of_another_shape_are_not_looked_at(
    body: dict[str, Any], shown: dict[str, Any] | None
) -> None:
    core = session()
    assert all(not isinstance(effect, PlaintextMet) for effect in answered(core, body, shown))


def looks(core: Session, body: dict[str, Any], times: int) -> list[int]:
    """After which of so many commands plaintext was found, counted from 0."""
    return [time for time in range(times) if answered(core, body, number=time + 1)]


def test_the_first_reply_is_looked_at_and_few_of_the_others() -> None:
    expected = [0, REPLIES_FOR_ONE_LOOK, 2 * REPLIES_FOR_ONE_LOOK]
    assert looks(session(), FIND, 2 * REPLIES_FOR_ONE_LOOK + 3) == expected


def test_another_policy_begins_with_a_look() -> None:
    core = session()
    assert looks(core, FIND, 3) == [0]
    core.shared.use_settings(core.shared.settings)
    core.settings_changed()
    assert looks(core, FIND, 3) == [0]


def test_every_second_begins_with_a_look() -> None:
    core = session()
    assert looks(core, FIND, 3) == [0]
    core.shared.plaintext.next_second()
    assert looks(core, FIND, 3) == [0]


def test_sessions_of_a_process_take_turns_and_namespaces_have_their_own() -> None:
    first = session()
    second = Session(first.shared, first._conversation.topology)
    assert answered(first, FIND) == MET
    assert answered(second, FIND) == []
    other = {"cursor": {"firstBatch": [{"name": "x"}], "id": Int64(0), "ns": "ward.a"}}
    for core in (first, second):
        core._conversation.at_hand.views._collections.add("ward.a")
    query = {"find": "a", "$db": "ward"}
    assert answered(first, query, other) == [PlaintextMet("ward.a", "name", 1)]
    assert answered(second, query, other) == []


def test_after_documents_of_another_shape_the_next_try_comes_soon() -> None:
    core = session()
    assert looks(core, FIND | {"projection": {"a": "$b"}}, 1) == []
    assert looks(core, FIND, 2 * REPLIES_TO_NEXT_TRY) == [REPLIES_TO_NEXT_TRY - 1]


def test_another_policy_begins_anew_and_its_paths_count() -> None:
    core = session()
    assert answered(core, FIND) == MET
    policy = b"version: 1\nclasses: {a: {mode: random}}\ncollections: {clinic.patients: {ward: a}}\n"
    use_settings(core, SessionSettings(load_policy(policy, "p"), login_required=False))
    assert answered(core, FIND) == []
    core.shared.plaintext.next_second()
    shown: dict[str, Any] = {
        "cursor": {"firstBatch": [{"ward": "x"}], "id": Int64(0), "ns": "clinic.patients"}
    }
    assert answered(core, FIND, shown) == [PlaintextMet("clinic.patients", "ward", 1)]


def test_another_policy_forgets_the_cursors() -> None:
    core = session()
    assert answered(core, FIND, batch("firstBatch")) == MET
    use_settings(core, SessionSettings(POLICY, login_required=False))
    assert answered(core, GET_MORE, batch("nextBatch")) == []


def test_a_name_of_which_the_server_had_to_be_asked_is_not_looked_at() -> None:
    core = session_of(SessionSettings(POLICY, login_required=False))
    query = {"find": "a", "$db": "ward"}
    (*_, question) = core.client_data(command(query))
    number = int.from_bytes(question.data[4:8], "little")  # type: ignore[union-attr]
    listed = {"name": "a", "type": "collection", "info": {"readOnly": False}}
    answer = {
        "cursor": {"firstBatch": [listed], "id": Int64(0), "ns": "ward.$cmd.listCollections"},
        "ok": 1.0,
    }
    core.server_data(reply(answer, number))
    shown = {"cursor": {"firstBatch": [{"name": "x"}], "id": Int64(0), "ns": "ward.a"}, "ok": 1.0}
    (sent,) = core.server_data(reply(shown, 1, 9002))
    assert isinstance(sent, ToClient)
    assert answered(core, query, shown, 2) == [PlaintextMet("ward.a", "name", 1)]


def batch(name: str, cursor_id: int = CURSOR) -> dict[str, Any]:
    return {"cursor": {name: [IN_CLEAR], "id": Int64(cursor_id), "ns": "clinic.patients"}}


GET_MORE = {"getMore": Int64(CURSOR), "collection": "patients"}


def test_later_batches_of_a_cursor_that_was_looked_at_are_looked_at() -> None:
    core = session()
    assert answered(core, FIND, batch("firstBatch")) == MET
    core.shared.plaintext.next_second()
    elsewhere = Session(core.shared, core._conversation.topology)
    assert answered(elsewhere, GET_MORE, batch("nextBatch")) == MET


@rows(
    "query, first",
    (FIND, batch("firstBatch", 0)),
    (FIND, batch("firstBatch", CURSOR + 1)),
    (FIND, {"cursor": 1}),
    (FIND, {"cursor": {"id": 5}}),
    (FIND | {"projection": {"nhs_number": "$name"}}, batch("firstBatch")),
)
def test_later_batches_of_other_cursors_are_not(query: dict[str, Any], first: dict[str, Any]) -> None:
    core = session()
    answered(core, query, first)
    core.shared.plaintext.next_second()
    assert answered(core, GET_MORE, batch("nextBatch")) == []


def test_a_reply_whose_cursor_cannot_be_read_is_sent_on_as_it_came() -> None:
    core = session()
    core.client_data(command({**FIND, "$db": "clinic"}))
    damaged = reply({"cursor": {"ix": Int64(1)}, "ok": 1.0}).replace(b"\x12ix\0", b"\x7eix\0")
    assert core.server_data(damaged) == [ToClient(damaged)]


def test_a_reply_of_an_exhaust_cursor_is_not_looked_at() -> None:
    core = session()
    core.client_data(command({**FIND, "$db": "clinic"}))
    effects = core.server_data(reply(batch("firstBatch"), flags=2))
    assert [type(effect) for effect in effects] == [ToClient]


def test_nothing_grows_without_end() -> None:
    assert (REPLIES_FOR_ONE_LOOK, REPLIES_TO_NEXT_TRY, MAX_CURSORS, MAX_NAMESPACES) == (256, 8, 256, 1024)
    watch = PlaintextWatch()
    plan = plan_command(POLICY, encoded({"find": "patients", "$db": "clinic"}), 0)
    for number in range(MAX_NAMESPACES):
        watch.look_for(POLICY, f"ward.{number}", b"find", plan)
    assert len(watch._turns) == MAX_NAMESPACES
    watch.look_for(POLICY, "ward.a", b"find", plan)
    assert len(watch._turns) == 1
    for number in range(MAX_CURSORS + 1):
        watch.look_at(bson.encode({"cursor": {"id": Int64(number + 1)}}), 0, Look("a.b", TREE))
    more = [bson.encode({"getMore": Int64(number + 1)}) for number in range(MAX_CURSORS + 1)]
    assert [watch._cursors.of_get_more(each, 0) for each in more] == [None] + ["a.b"] * MAX_CURSORS


def test_the_effect_has_no_value() -> None:
    assert NHS not in repr(MET)


# How many documents a client was shown in the last hour.


def test_no_more_than_the_limit_in_an_hour() -> None:
    reads = HourlyCount()
    reads.take("ann", 3, 5)
    with pytest.raises(TooManyDocuments):
        reads.take("ann", 3, 5)
    reads.take("ann", 2, 5)
    reads.take("bob", 5, 5)
    assert (reads.of_last_hour("ann"), reads.of_last_hour("bob"), reads.of_last_hour("eve")) == (5, 5, 0)


def test_what_was_shown_an_hour_ago_counts_no_more() -> None:
    reads = HourlyCount()
    reads.take("ann", 3, 5)
    for _ in range(1800):
        reads.next_second()
    reads.take("ann", 2, 5)
    for _ in range(1799):
        reads.next_second()
    assert reads.of_last_hour("ann") == 5
    reads.next_second()
    assert reads.of_last_hour("ann") == 2
    for _ in range(1800):
        reads.next_second()
    assert reads.of_last_hour("ann") == 0


def test_what_other_processes_granted_counts_against_the_whole_limit() -> None:
    reads = HourlyCount()
    assert (reads.left("ann", 10, 2), reads.left("ann", 1, 2)) == (5, 1)
    reads.elsewhere = {pseudonym("documents", "ann"): 7, pseudonym("comparisons", "bob"): 9}
    assert (reads.left("ann", 10), reads.left("ann", 10, 2), reads.left("ann", 40, 2)) == (3, 3, 20)
    assert reads.left("bob", 10) == 10
    reads.take("ann", 2, 10)
    with pytest.raises(TooManyDocuments):
        reads.take("ann", 2, 10)
    assert (reads.left("ann", 10), reads.of_last_hour("ann"), reads.left("ann", 5)) == (1, 2, -4)


def test_what_was_granted_is_kept_for_a_report_if_somebody_takes_it() -> None:
    reads = HourlyCount()
    reads.take("ann", 2, 10)
    assert reads.unreported is None
    reads.unreported = {}
    for amount in (2, 3):
        reads.take("ann", amount, 10)
    with pytest.raises(TooManyDocuments):
        reads.take("bob", 11, 10)
    assert reads.unreported == {"ann": 5}


def test_a_pseudonym_is_of_one_user_and_one_kind_of_limit() -> None:
    names = {
        pseudonym(kind, client) for kind in ("documents", "comparisons") for client in ("ann@a", "bob@a")
    }
    assert len(names) == 4
    assert not any("ann" in name for name in names)


def test_no_documents_are_no_reason_to_remember_anybody() -> None:
    reads = HourlyCount()
    reads.take("ann", 0, 0)
    assert reads.of_last_hour("ann") == 0


@pytest.mark.plain_core(reason="replaces a constant of the core")
def test_clients_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents_read, "MAX_CLIENTS", 2)
    reads = HourlyCount()
    for name in ("ann", "bob", "eve"):
        reads.take(name, 1, 5)
    assert [reads.of_last_hour(name) for name in ("ann", "bob", "eve")] == [0, 1, 1]


@rows(
    "body, count",
    ({"cursor": {"firstBatch": [{}, {}], "id": Int64(0), "ns": "a.b"}, "ok": 1.0}, 2),
    ({"cursor": {"nextBatch": [{}], "id": Int64(0), "ns": "a.b"}, "ok": 1.0}, 1),
    ({"cursor": {"id": Int64(0), "ns": "a.b"}, "ok": 1.0}, 0),
    ({"values": [1, 2, 3], "ok": 1.0}, 3),
    ({"value": {"_id": 1}, "ok": 1.0}, 1),
    ({"value": None, "ok": 1.0}, 0),
    ({"n": 5, "ok": 1.0}, 0),
    ({"cursor": 5, "values": 5}, 0),
)
def test_documents_of_a_reply(body: dict[str, Any], count: int) -> None:
    assert documents_in(encode(body), 0, gathered=False) == count


@rows(
    "document, count",
    ({}, 1),
    ({"a": 1, "b": {"c": 2}}, 1),
    ({"a": [1, 2, 3]}, 3),
    ({"a": []}, 1),
    ({"a": [{"x": [1, 2]}, {"x": []}, 5]}, 4),
    ({"a": [1, 2], "b": {"c": [1, 2, 3]}, "d": [1]}, 5),
    ({"a": [[1, 2], [3, 4]]}, 4),
)
def test_what_is_gathered_in_a_document_counts_by_the_items_of_its_arrays(
    document: dict[str, Any], count: int
) -> None:
    body = {"cursor": {"firstBatch": [document], "id": Int64(0), "ns": "a.b"}}
    assert documents_in(encode(body), 0, gathered=True) == count
    assert documents_in(encode(body), 0, gathered=False) == 1


def _nested(levels: int) -> bytes:
    document = encode({})
    for _ in range(levels):
        document = (len(document) + 8).to_bytes(4, "little") + b"\x04a\0" + document + b"\0"
    return document


def test_a_reply_is_gone_into_as_deep_as_servers_nest() -> None:
    for levels, is_fine in ((MAX_DEPTH - 5, True), (MAX_DEPTH + 5, False)):
        values = _nested(levels)
        batch = (len(values) + 8).to_bytes(4, "little") + b"\x03a\0" + values + b"\0"
        cursor = (len(batch) + 17).to_bytes(4, "little") + b"\x04firstBatch\0" + batch + b"\0"
        body = (len(cursor) + 13).to_bytes(4, "little") + b"\x03cursor\0" + cursor + b"\0"
        if is_fine:
            assert documents_in(body, 0, gathered=True) == 1
            continue
        with pytest.raises(BsonError):
            documents_in(body, 0, gathered=True)
