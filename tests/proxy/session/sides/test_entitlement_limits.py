"""How many documents roles show in an hour, and what a broken glass shows and leaves on record."""

from typing import Any

import pytest
from bson import Int64

from sealwire.policies.file.loader import load_policy
from sealwire.proxy.session.choices import Reveal
from sealwire.proxy.session.effects import Audit, Count, Counter, ToClient, ToServer
from sealwire.proxy.session.revealing.documents_read import pseudonym
from sealwire.wire.header import request_id_of
from tests.proxy.session.role_world import (
    FIND,
    NHS,
    STORED,
    asked,
    batch,
    first,
    is_denied,
    session_as,
    shown,
)
from tests.proxy.session.world import (
    POLICY_TEXT,
    body_of,
    command,
    reply,
    sealed,
    written,
)


def test_who_breaks_the_glass_is_on_record_before_the_command_goes_out() -> None:
    talk = session_as("CN=clerk")
    comment = {"sealwire": {"breakGlass": "patient unconscious"}}
    effects = asked(talk, {**FIND, "comment": comment})
    record = Audit(
        "break-glass", "clinic.patients", "find", glass="patient unconscious", role="clerk,emergency"
    )
    assert effects.index(record) < next(i for i, each in enumerate(effects) if isinstance(each, ToServer))
    assert Count(Counter.GLASS_BROKEN) in effects
    assert first(body_of(written(talk.server_data(reply(batch(STORED))), ToClient)))["nhs_number"] == NHS


@pytest.mark.parametrize(
    "comment", [None, "breakGlass=", "breakGlass=  ", {"sealwire": {"breakGlass": "  "}}]
)
def test_the_glass_stays_whole_without_a_reason_and_for_the_next_command(comment: Any) -> None:
    talk = session_as("CN=clerk")
    shown(talk, {**FIND, "comment": "breakGlass=fire"}, batch(STORED))
    assert first(shown(talk, {**FIND, "comment": comment}, batch(STORED), 2))["nhs_number"] == "****5919"


def test_no_more_documents_than_the_limit_are_shown_in_an_hour() -> None:
    talk = session_as("CN=researcher")
    find = {**FIND, "comment": "purpose=research"}
    shown(talk, find, batch(*[STORED] * 3))
    assert is_denied(shown(talk, find, batch(*[STORED] * 3), 2))
    assert not is_denied(shown(talk, find, batch(*[STORED] * 2), 3))
    refused = shown(talk, find, batch(), 4)
    assert "more documents in this hour" in refused["errmsg"]
    for _ in range(3600):
        talk.shared.reads.next_second()
    assert not is_denied(shown(talk, find, batch(STORED), 5))


def test_documents_that_another_process_has_shown_count() -> None:
    talk = session_as("CN=researcher")
    find = {**FIND, "comment": "purpose=research"}
    talk.shared.reads.elsewhere = {pseudonym("documents", "CN=researcher"): 3}
    assert is_denied(shown(talk, find, batch(*[STORED] * 3)))
    assert not is_denied(shown(talk, find, batch(*[STORED] * 2), 2))
    assert "more documents in this hour" in shown(talk, find, batch(), 3)["errmsg"]


def test_documents_count_as_those_of_who_asked_whatever_login_is_sent_before_the_reply() -> None:
    talk = session_as("CN=researcher", login_required=True)
    start = {"saslStart": 1, "mechanism": "PLAIN", "payload": b"x", "$db": "admin"}
    talk.client_data(command(start, 50))
    talk.server_data(reply({"ok": 1.0, "done": True}, 50))
    (question,) = (
        each.data
        for each in asked(talk, {**FIND, "comment": "purpose=research"})
        if isinstance(each, ToServer)
    )
    users = {"authenticatedUsers": [{"user": "ann", "db": "admin"}]}
    talk.server_data(reply({"ok": 1.0, "authInfo": users}, request_id_of(question)))
    talk.client_data(command(start, 51))
    talk.server_data(reply(batch(*[STORED] * 3)))
    assert talk.shared.reads.of_last_hour("ann@admin") == 3


def test_each_worker_grants_its_share_of_the_limit() -> None:
    talk = session_as("CN=researcher", workers=2)
    find = {**FIND, "comment": "purpose=research"}
    assert is_denied(shown(talk, find, batch(*[STORED] * 3)))
    assert not is_denied(shown(talk, find, batch(*[STORED] * 2), 2))


def aggregated(*pipeline: dict[str, Any]) -> dict[str, Any]:
    return {"aggregate": "patients", "pipeline": pipeline, "cursor": {}, "comment": "purpose=research"}


PUSHED = aggregated({"$group": {"_id": None, "all": {"$push": "$$ROOT"}}})


def test_documents_gathered_into_one_count_each() -> None:
    talk = session_as("CN=researcher")
    assert is_denied(shown(talk, PUSHED, batch({"all": [STORED] * 6})))
    assert is_denied(shown(talk, PUSHED, batch({"all": [sealed("nhs", NHS)] * 6}), 2))
    assert is_denied(shown(talk, PUSHED, batch({"all": [True] * 6}), 3))
    assert not is_denied(shown(talk, PUSHED, batch({"all": [STORED] * 5}), 4))


@pytest.mark.parametrize(
    "body",
    [
        {**FIND, "comment": "purpose=research"},
        aggregated({"$match": {"_id": 1}}, {"$project": {"relatives": 1}}),
    ],
)
def test_one_document_is_one_however_many_values_it_has(body: dict[str, Any]) -> None:
    talk = session_as("CN=researcher")
    person = {"relatives": [sealed("nhs", NHS)] * 12}
    assert not is_denied(shown(talk, body, batch(*[person] * 5)))
    assert is_denied(shown(talk, body, batch(person), 2))


@pytest.mark.parametrize(
    ("body", "is_shown"), [({**FIND, "comment": "purpose=research"}, True), (PUSHED, False)]
)
def test_later_batches_count_as_the_first_one_does(body: dict[str, Any], is_shown: bool) -> None:
    talk = session_as("CN=researcher")
    opened = batch()
    opened["cursor"]["id"] = Int64(7)
    shown(talk, body, opened)
    more = {"getMore": Int64(7), "collection": "patients", "comment": "purpose=research"}
    reading = {"nextBatch": [{"all": [sealed("nhs", NHS)] * 6}], "id": Int64(7), "ns": "clinic.patients"}
    answer = shown(talk, more, {"cursor": reading, "ok": 1.0}, 2)
    assert is_denied(answer) is not is_shown


def test_a_cursor_that_another_process_opened_may_gather() -> None:
    talk = session_as("CN=researcher")
    more = {"getMore": Int64(7), "collection": "patients", "comment": "purpose=research"}
    reading = {"nextBatch": [{"all": [sealed("nhs", NHS)] * 6}], "id": Int64(7), "ns": "clinic.patients"}
    assert is_denied(shown(talk, more, {"cursor": reading, "ok": 1.0}))


COMPARING = load_policy(
    POLICY_TEXT
    + b"""
roles:
  clerk:
    certificates: ["CN=c"]
    comparisons_per_hour: 4
    classes: {"*": {read: {mask: last4}, filter: true}}
""",
    "p",
)


def test_no_more_constants_than_the_limit_are_compared_in_an_hour() -> None:
    talk = session_as("CN=c", COMPARING)
    three = {"find": "patients", "filter": {"nhs_number": {"$in": ["1", "2", "3"]}}}
    one = {"count": "patients", "query": {"$expr": {"$eq": ["$nhs_number", NHS]}}}
    assert written(asked(talk, three), ToServer)
    refused = shown(talk, three, batch(), 2)
    assert "more comparisons in this hour" in refused["errmsg"]
    assert is_denied(refused)
    assert written(asked(talk, one, 3), ToServer)
    assert is_denied(shown(talk, one, batch(), 4))
    assert written(asked(talk, {"find": "patients", "filter": {"nhs_number": None}}, 5), ToServer)
    for _ in range(3600):
        talk.shared.comparisons.next_second()
    assert written(asked(talk, three, 6), ToServer)


def test_a_command_with_more_constants_than_the_limit_is_refused() -> None:
    days = [str(number) for number in range(5)]
    body = {"find": "patients", "filter": {"nhs_number": {"$nin": days}}}
    assert is_denied(shown(session_as("CN=c", COMPARING), body, batch()))


def test_each_worker_grants_its_share_of_the_comparisons() -> None:
    talk = session_as("CN=c", COMPARING, workers=2)
    body = {"find": "patients", "filter": {"nhs_number": {"$in": ["1", "2", "3"]}}}
    assert is_denied(shown(talk, body, batch()))


def test_of_a_long_reply_documents_are_counted_too() -> None:
    find = {**FIND, "comment": "purpose=research"}
    answer = batch(*[{**STORED, "pad": "x" * 300_000}] * 6)
    assert is_denied(shown(session_as("CN=researcher"), find, answer))


def test_a_glass_that_is_broken_for_what_may_hold_copies_is_on_record() -> None:
    find = {"find": "copies", "$db": "other", "comment": "breakGlass=fire"}
    everywhere = asked(session_as("CN=clerk", reveal=Reveal.EVERYWHERE), find)
    assert [each.event for each in everywhere if isinstance(each, Audit)] == ["break-glass"]
    assert not any(isinstance(each, Audit) for each in asked(session_as("CN=clerk"), find))
    listed = asked(session_as("CN=clerk"), {"listCollections": 1, "comment": "breakGlass=fire"})
    assert [each.event for each in listed if isinstance(each, Audit)] == ["break-glass"]


def test_documents_by_broken_glass_are_counted_apart() -> None:
    text = (
        POLICY_TEXT
        + b"""
roles:
  clerk: {certificates: ["CN=c"], documents_per_hour: 4, classes: {"*": {read: ciphertext}}}
  glass: {certificates: ["CN=c"], break_glass: true, documents_per_hour: 2, classes: {"*": {read: clear}}}
"""
    )
    talk = session_as("CN=c", load_policy(text, "p"))
    glass = {**FIND, "comment": "breakGlass=fire"}
    assert not is_denied(shown(talk, FIND, batch(*[STORED] * 4)))
    assert not is_denied(shown(talk, glass, batch(*[STORED] * 2), 2))
    assert is_denied(shown(talk, glass, batch(STORED), 3))
    assert is_denied(shown(talk, FIND, batch(STORED), 4))
