"""A policy that is only observed: commands go as they came, and what would have become of them is counted."""

from typing import Any

import pytest
from bson import Int64

from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.session.effects import Close, Effect, ObservedCommand, ToClient, ToServer
from sealwire.proxy.session.effects import ObservedVerdict as Verdict
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings
from sealwire.proxy.session.sides.observing import OPERATORS
from sealwire.wire.framing import LONG_BYTES
from tests.policies.taint.commands import draw_case
from tests.policies.taint.outcome import message_of
from tests.policies.taint.values import MARK
from tests.proxy.session.role_world import ROLES_TEXT
from tests.proxy.session.test_taint import case_names
from tests.proxy.session.world import (
    POLICY,
    POLICY_TEXT,
    body_of,
    command,
    reply,
    sealed,
    session_of,
    use_settings,
    written,
)
from tests.support.rows import rows

WHOLE = b"\nmode: observe\n"
SOME = b"\nobserve: [clinic.patients]\n"
ASKING = POLICY_TEXT.replace(b"type: string}", b"type: string, ask: true}")
EXACT = POLICY_TEXT.replace(b"ward.*:", b"ward.beds:")
NHS = "943 476 5919"
EXAMPLES = 500


def policy(text: bytes) -> PolicySet:
    return load_policy(text, "policy.yaml").enforced


def observing(text: bytes = POLICY_TEXT + WHOLE, **settings: Any) -> Session:
    settings.setdefault("login_required", False)
    return session_of(SessionSettings(policy(text), **settings))


def sent(core: Session, body: dict[str, Any], **more: Any) -> list[Effect]:
    """What follows from a command in the clinic that has to go as it came."""
    message = command({**body, "$db": "clinic"}, **more)
    effects = core.client_data(message)
    assert written(effects, ToServer) == message
    return effects


def met(effects: list[Effect]) -> ObservedCommand:
    (found,) = (each for each in effects if isinstance(each, ObservedCommand))
    return found


GROUP = [{"$group": {"_id": 0, "a": {"$sum": "$visits"}}}]
INC = {"q": {}, "u": {"$inc": {"visits": 1}}}


@rows(
    "body, verdict, why",
    ({"find": "wards"}, Verdict.LOOKED_UP, ()),
    ({"insert": "wards", "documents": [{"a": 1}]}, Verdict.UNTOUCHED, ()),
    ({"find": "patients", "filter": {"nhs_number": NHS}}, Verdict.ANSWERED, ()),
    ({"insert": "patients", "documents": [{"nhs_number": NHS, "notes": "x"}]}, Verdict.ANSWERED, ()),
    (
        {"find": "patients", "filter": {"nhs_number": {"$gt": NHS}}},
        Verdict.REFUSED,
        ("$gt", "nhs_number", "range"),
    ),
    ({"find": "patients", "sort": {"born": 1}}, Verdict.REFUSED, ("", "born", "sort")),
    (
        {"insert": "patients", "documents": [{"nhs_number": 5}]},
        Verdict.REFUSED,
        ("", "nhs_number", "type"),
    ),
    ({"update": "patients", "updates": [INC]}, Verdict.REFUSED, ("$inc", "visits", "operator")),
    ({"aggregate": "patients", "pipeline": GROUP}, Verdict.REFUSED, ("$sum", "visits", "compute")),
    ({"getMore": Int64(5), "collection": "patients"}, Verdict.UNTOUCHED, ()),
)
def test_a_command_goes_as_it_came_and_its_verdict_is_counted(
    body: dict[str, Any], verdict: Verdict, why: tuple[str, ...]
) -> None:
    name, value = next(iter(body.items()))
    namespace = f"clinic.{body.get('collection', value)}"
    assert met(sent(observing(), body)) == ObservedCommand(verdict, name, namespace, *why)


@rows(
    "body",
    {"find": "patients", "filter": {"nhs_number": {"$regex": "^943"}}},
    {"count": "patients", "query": {"nhs_number": {"$gt": "9"}, "contact.email": {"$lt": "a"}}},
    {"find": "patients", "filter": {}, "sort": {"nhs_number": 1}},
    {"aggregate": "patients", "pipeline": [{"$sort": {"nhs_number": 1}}], "cursor": {}},
)
def test_what_would_be_asked_goes_in_one_step(body: dict[str, Any]) -> None:
    core = observing(ASKING + WHOLE)
    assert met(sent(core, body)).verdict is Verdict.ASKED
    assert met(sent(core, {"find": "patients"}, request_id=2)).verdict is Verdict.ANSWERED


def test_a_refusal_behind_a_question_is_seen() -> None:
    body = {"find": "patients", "filter": {"nhs_number": {"$gt": "9"}, "born": {"$mod": [2, 0]}}}
    found = met(sent(observing(ASKING + WHOLE), body))
    assert (found.verdict, found.path) == (Verdict.REFUSED, "born")


def test_no_value_and_no_word_of_a_client_is_counted() -> None:
    core = observing()
    bodies: list[dict[str, Any]] = [
        {"find": "patients", "filter": {"nhs_number": {f"${NHS}": 1}}},
        {f"{NHS}": "patients"},
        {"aggregate": "patients", "pipeline": [{f"${NHS}": {}}]},
        {"explain": {f"{NHS}": 1}},
    ]
    for number, body in enumerate(bodies, 1):
        effects = core.client_data(command({**body, "$db": "clinic"}, request_id=number))
        found = met(effects)
        assert found.verdict is Verdict.REFUSED
        assert NHS not in repr(found)
        assert not found.operator or found.operator in OPERATORS


def test_a_message_that_is_no_bson_inside_goes_on_and_is_counted() -> None:
    body = command({"find": "patients", "filter": {"nhs_number": "x" * 20}, "$db": "clinic"})
    broken = body.replace(b"\x15\0\0\0" + b"x" * 20, b"\x99\0\0\0" + b"x" * 20)
    effects = observing().client_data(broken)
    assert written(effects, ToServer) == broken
    assert met(effects).reason == "shape"


def test_a_long_insert_is_planned_without_its_edits_being_kept() -> None:
    documents = [{"nhs_number": NHS, "pad": "x" * 1000} for _ in range(LONG_BYTES // 1000 + 1)]
    effects = sent(observing(), {"insert": "patients"}, after={"documents": documents})
    assert met(effects).verdict is Verdict.ANSWERED


def test_the_application_is_named_in_a_bounded_way() -> None:
    core = observing()
    name = "ward 943 476 5919 " + "\n" * 80
    hello = {"hello": 1, "$db": "admin", "client": {"application": {"name": name}}}
    assert not [each for each in core.client_data(command(hello)) if isinstance(each, ObservedCommand)]
    found = met(sent(core, {"find": "patients"}, request_id=2))
    assert found.application.startswith("ward [masked] ?")
    assert len(found.application) <= 64


def test_nothing_is_planned_before_a_login() -> None:
    core = observing(login_required=True)
    effects = core.client_data(command({"find": "patients", "$db": "clinic"}))
    assert not [each for each in effects if isinstance(each, ObservedCommand | ToServer)]


def test_an_unacknowledged_write_goes_and_the_connection_stays() -> None:
    body = {"update": "patients", "updates": [{"q": {}, "u": {"$inc": {"visits": 1}}}]}
    effects = sent(observing(), body, flags=2)
    assert met(effects).verdict is Verdict.REFUSED
    assert not [each for each in effects if isinstance(each, Close)]


def test_transactions_go_as_they_came() -> None:
    body = {"find": "patients", "filter": {"nhs_number": NHS}, "txnNumber": Int64(1), "autocommit": False}
    assert met(sent(observing(), {**body, "startTransaction": True})).verdict is Verdict.ANSWERED


def test_roles_are_not_enforced_and_what_they_would_refuse_is_counted() -> None:
    text = POLICY_TEXT + ROLES_TEXT + WHOLE
    core = observing(text)
    core.certified("CN=writer")
    found = met(sent(core, {"find": "patients", "filter": {"nhs_number": NHS}}))
    assert (found.verdict, found.reason) == (Verdict.REFUSED, "role")
    answer = reply(
        {"ok": 1.0, "cursor": {"id": Int64(0), "ns": "clinic.patients", "firstBatch": [{"smoker": True}]}}
    )
    assert written(core.server_data(answer), ToClient) == answer


def test_roles_of_what_is_protected_stay_in_force() -> None:
    core = observing(EXACT + ROLES_TEXT + b"\nobserve: [clinic.patients]\n")
    core.certified("CN=nobody")
    effects = core.client_data(command({"find": "beds", "$db": "ward"}))
    assert not written(effects, ToServer)
    assert body_of(written(effects, ToClient))["code"] == 13


# -------------------------------------------------------------------------- some collections, and the others


def test_what_is_not_observed_is_encrypted_as_before() -> None:
    core = observing(EXACT + SOME)
    effects = core.client_data(command({"insert": "beds", "documents": [{"name": NHS}], "$db": "ward"}))
    assert NHS.encode() not in written(effects, ToServer)
    assert met(effects).verdict is Verdict.ANSWERED
    found = met(sent(core, {"find": "patients", "filter": {"nhs_number": NHS}}, request_id=2))
    assert found.verdict is Verdict.ANSWERED


JOINED = {"localField": "nhs_number", "foreignField": "name", "as": "beds"}


@rows(
    "database, collection, stage, reason",
    # one value is in clear, and the other is not
    ("clinic", "patients", {"$lookup": {"from": {"db": "ward", "coll": "beds"}, **JOINED}}, "join"),
    ("ward", "beds", {"$out": {"db": "clinic", "coll": "patients"}}, "target"),
    ("clinic", "patients", {"$out": {"db": "ward", "coll": "beds"}}, "target"),
)
def test_a_command_that_mixes_both_is_refused(
    database: str, collection: str, stage: Any, reason: str
) -> None:
    core = observing(EXACT + SOME)
    body = {"aggregate": collection, "pipeline": [stage], "cursor": {}, "$db": database}
    effects = core.client_data(command(body))
    assert not written(effects, ToServer)
    assert body_of(written(effects, ToClient))["errmsg"].endswith(f"[{reason}]")


def test_an_observed_name_goes_before_a_pattern_that_is_protected() -> None:
    text = POLICY_TEXT + b"\nobserve: [ward.open]\n"
    text = text.replace(b"  ward.*:", b"  ward.open: {name: nhs}\n  ward.*:")
    core = observing(text)
    message = command({"insert": "open", "documents": [{"name": NHS}], "$db": "ward"})
    assert written(core.client_data(message), ToServer) == message
    other = command({"insert": "beds", "documents": [{"name": NHS}], "$db": "ward"}, request_id=2)
    assert NHS.encode() not in written(core.client_data(other), ToServer)


# ------------------------------------------------------------- encrypted values where nothing is decrypted

STORED = {"_id": 1, "nhs_number": sealed("nhs", NHS)}


@rows(
    "body, answer",
    ({"find": "patients"}, {"cursor": {"id": Int64(0), "ns": "clinic.patients", "firstBatch": [STORED]}}),
    ({"findAndModify": "patients", "update": {"$set": {"a": 1}}}, {"value": STORED}),
    ({"distinct": "patients", "key": "nhs_number"}, {"values": [STORED["nhs_number"]]}),
    (
        {"getMore": Int64(5), "collection": "patients"},
        {"cursor": {"id": Int64(5), "ns": "clinic.patients", "nextBatch": [STORED]}},
    ),
)
def test_a_reply_with_encrypted_values_is_withheld(body: dict[str, Any], answer: dict[str, Any]) -> None:
    core = observing()
    sent(core, body)
    said = body_of(written(core.server_data(reply({**answer, "ok": 1.0})), ToClient))
    assert (said["ok"], said["code"]) == (0, 1)
    assert "observe" in said["errmsg"]


def test_a_long_reply_with_encrypted_values_is_withheld() -> None:
    core = observing()
    sent(core, {"find": "patients"})
    batch = [{"pad": "x" * LONG_BYTES}, STORED]
    answer = reply({"cursor": {"id": Int64(0), "ns": "clinic.patients", "firstBatch": batch}, "ok": 1.0})
    assert body_of(written(core.server_data(answer), ToClient))["ok"] == 0


def test_ciphertext_elsewhere_passes_as_without_a_policy() -> None:
    core = observing()
    sent(core, {"find": "wards"})
    answer = reply({"cursor": {"id": Int64(0), "ns": "clinic.wards", "firstBatch": [STORED]}, "ok": 1.0})
    assert written(core.server_data(answer), ToClient) == answer


def test_a_reload_begins_and_ends_it_for_open_sessions() -> None:
    core = session_of(SessionSettings(POLICY, login_required=False))
    plain = command({"find": "patients", "filter": {"nhs_number": NHS}, "$db": "clinic"})
    assert written(core.client_data(plain), ToServer) != plain
    use_settings(core, SessionSettings(policy(POLICY_TEXT + WHOLE), login_required=False))
    found = met(sent(core, {"find": "patients", "filter": {"nhs_number": NHS}}, request_id=2))
    assert found.verdict is Verdict.ANSWERED
    use_settings(core, SessionSettings(POLICY, login_required=False))
    again = command({"find": "patients", "filter": {"nhs_number": NHS}, "$db": "clinic"}, request_id=3)
    effects = core.client_data(again)
    assert written(effects, ToServer) != again
    assert not [each for each in effects if isinstance(each, ObservedCommand)]


@pytest.mark.parametrize("text", [POLICY_TEXT, ASKING, POLICY_TEXT + ROLES_TEXT])
def test_whatever_comes_goes_on_untouched_and_no_value_is_in_what_is_counted(text: bytes) -> None:
    """But for ciphertext, and for an argument that stands twice: nobody can say which of the two counts."""
    cases = [draw_case(number) for number in range(EXAMPLES)]
    commands = [
        (message_of(case), case_names(case))
        for case in cases
        if "patients" in case.body.values() and not case.doubled
    ]
    goes_on = [each for each in commands if b"\x80SW" not in each[0]]
    assert len(goes_on) > EXAMPLES / 3
    for message, names in goes_on:
        effects = observing(text + WHOLE).client_data(message)
        assert written(effects, ToServer) == message
        assert not written(effects, ToClient)
        shown = repr(met(effects)).encode()
        assert MARK not in shown or MARK in names
