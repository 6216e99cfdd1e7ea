"""A write of one document that finds nothing is asked about once more, and sent again if that can help."""

from typing import Any

import pytest
from bson import Decimal128, Int64

from sealwire.proxy.session.auditing.subjects import CommandAudit
from sealwire.proxy.session.choices import CommandScope
from sealwire.proxy.session.effects import Begun, Close, CloseReason, Done, Effect, ToClient, ToServer
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings
from sealwire.proxy.session.sides.ask_again import MOST_TIMES
from sealwire.wire.op_msg import MORE_TO_COME
from tests.proxy.session.playbook import (
    Expected,
    Playbook,
    client,
    close,
    drain,
    error,
    pause,
    server,
    to_client,
    to_server,
)
from tests.proxy.session.playbook import audit as on_record
from tests.proxy.session.sides.test_ask_values import (
    ASKING,
    BATCH,
    LOCAL,
    LSID,
    TRANSACTION,
    asked,
    command_of,
    either,
    told,
)
from tests.proxy.session.sides.test_entitlement_limits import counted, sends
from tests.proxy.session.world import body_of, command, reply, sealed, session_of
from tests.support.rows import rows

ABOVE = {"nhs_number": {"$gt": "5"}}
NONE: dict[str, Any] = {"n": 0, "nModified": 0, "ok": 1.0}


@pytest.fixture
def session() -> Session:
    return session_of(SessionSettings(ASKING, login_required=False))


@pytest.fixture
def play(session: Session) -> Playbook:
    return Playbook(session)


def update(query: dict[str, Any], **more: Any) -> dict[str, Any]:
    statements = [{"q": query, "u": {"$set": {"a": 1}}}]
    options = {**LSID, "txnNumber": Int64(5), **more}
    return {"update": "patients", "updates": statements, **options, "$db": "clinic"}


def delete(query: dict[str, Any], limit: int = 1) -> dict[str, Any]:
    return {"delete": "patients", "deletes": [{"q": query, "limit": limit}], "$db": "clinic"}


def modify(query: dict[str, Any]) -> dict[str, Any]:
    return {"findAndModify": "patients", "query": query, "remove": True, "$db": "clinic"}


def begin(play: Playbook, number: int, *values: str, kept: dict[str, Any] = LSID) -> None:
    """The command waits, and the server is asked and says that it holds these values."""
    play << pause(True) << to_server(command_of(asked(number), {**kept, **LOCAL}))
    play >> server(told(number, *(sealed("nhs", each) for each in values))) << pause(False)


def test_a_value_that_was_stored_meanwhile_is_found(play: Playbook) -> None:
    play >> client(command(update(ABOVE), 70))
    begin(play, 1, "7")
    play << to_server(command(update({"nhs_number": either("7")}), 70))
    play >> server(reply(NONE, 70))
    begin(play, 2, "8")
    play << to_server(command(update({"nhs_number": either("8")}), 70))
    play >> server(reply({**NONE, "n": 1}, 70)) << to_client(reply({**NONE, "n": 1}, 70))
    ping = command({"ping": 1, "$db": "admin"}, 71)
    play >> client(ping) << to_server(ping)


@rows("make, none", (delete, {"n": 0, "ok": 1.0}), (modify, {"value": None, "ok": 1.0}))
def test_without_a_new_value_the_client_gets_the_reply(
    play: Playbook, make: Any, none: dict[str, Any]
) -> None:
    play >> client(command(make(ABOVE), 70))
    begin(play, 1, "7", "8", kept={})
    play << to_server(command(make({"nhs_number": either("7", "8")}), 70))
    play >> server(reply(none, 70))
    begin(play, 2, "8", "3", kept={})
    play << to_client(reply(none, 70))


@rows(
    "body, answer",
    (update(ABOVE), {"n": 1, "nModified": 1, "ok": 1.0}),
    (update(ABOVE), {**NONE, "writeErrors": [{"index": 0, "code": 1, "errmsg": "x"}]}),
    (update(ABOVE), {"ok": 0.0, "code": 50, "errmsg": "x", "codeName": "MaxTimeMSExpired"}),
    (update(ABOVE), {**NONE, "n": Decimal128("0E+3")}),
    (update(ABOVE), {"ok": 1.0}),
    (modify(ABOVE), {"value": {"_id": 1}, "ok": 1.0}),
    (delete(ABOVE, 0), {"n": 0, "ok": 1.0}),
    ({**update(ABOVE), "updates": [{"q": ABOVE, "u": {"$set": {"a": 1}}, "multi": True}]}, NONE),
    ({**update(ABOVE), "updates": [{"q": ABOVE, "u": {"$set": {"a": 1}}}] * 2}, NONE),
)
def test_no_other_reply_is_held_back(session: Session, body: dict[str, Any], answer: dict[str, Any]) -> None:
    session.client_data(command(body, 70))
    session.server_data(told(1, sealed("nhs", "7")))
    effects = session.server_data(reply(answer, 70))
    assert [each.data for each in effects if isinstance(each, ToClient)] == [reply(answer, 70)]


def test_in_a_transaction_nothing_changes_meanwhile(play: Playbook) -> None:
    body = update(ABOVE, **TRANSACTION)
    play >> client(command(body, 70)) << pause(True) << to_server(command_of(asked(1), TRANSACTION))
    play >> server(told(1, sealed("nhs", "7"))) << pause(False)
    play << to_server(command(update({"nhs_number": either("7")}, **TRANSACTION), 70))
    play >> server(reply(NONE, 70)) << to_client(reply(NONE, 70))


def test_it_is_sent_so_many_times(play: Playbook) -> None:
    play >> client(command(update(ABOVE), 70))
    for number in range(1, MOST_TIMES + 1):
        begin(play, number, str(5) + str(number))
        play << to_server(command(update({"nhs_number": either(str(5) + str(number))}), 70))
        play >> server(reply(NONE, 70))
    play << to_client(reply(NONE, 70))


def test_a_client_that_has_sent_more_does_not_wait_for_it(play: Playbook) -> None:
    play >> client(command(update(ABOVE), 70))
    begin(play, 1, "7")
    play << to_server(command(update({"nhs_number": either("7")}), 70))
    ping = command({"ping": 1, "$db": "admin"}, 71)
    play >> client(ping) << to_server(ping)
    play >> server(reply(NONE, 70)) << to_client(reply(NONE, 70))


def test_an_error_of_the_second_question_is_the_clients(play: Playbook) -> None:
    play >> client(command(update(ABOVE), 70))
    begin(play, 1, "7")
    play << to_server(command(update({"nhs_number": either("7")}), 70))
    play >> server(reply(NONE, 70)) << pause(True) << to_server(command_of(asked(2), {**LSID, **LOCAL}))
    failed = {"ok": 0.0, "errmsg": "x", "code": 50, "codeName": "MaxTimeMSExpired"}
    play >> server(reply(failed, 2)) << pause(False)
    play << on_record("refused", "clinic.patients", "update", "ValuesUnknown")
    play << error(50, "MaxTimeMSExpired", 70)


def test_a_drain_waits_for_the_answer(play: Playbook, session: Session) -> None:
    play >> client(command(update(ABOVE), 70))
    begin(play, 1, "7")
    play << to_server(command(update({"nhs_number": either("7")}), 70))
    play >> drain()
    play >> server(reply(NONE, 70))
    begin(play, 2, "7")
    play << to_client(reply(NONE, 70)) << close(CloseReason.DRAINED)
    assert not any(isinstance(each, Close) for each in session.client_eof())


@pytest.mark.parametrize("is_sent_again", [False, True])
def test_a_write_whose_reply_was_held_back_is_on_record(is_sent_again: bool) -> None:
    """The connection ends while the server is asked again, or while the command is under way once more."""
    audit = CommandAudit(CommandScope.PROTECTED)
    session = session_of(SessionSettings(ASKING, login_required=False, audit=audit))
    session.client_data(command(update(ABOVE), 70))
    begun = session.server_data(told(1, sealed("nhs", "7")))
    held_back = session.server_data(reply(NONE, 70))
    assert not any(isinstance(each, Done | ToClient) for each in held_back)
    if is_sent_again:
        begun = session.server_data(told(2, sealed("nhs", "8")))
    session.server_eof()
    records = [each.record for each in begun if isinstance(each, Begun)]
    assert len(records) == 1
    assert session.unanswered() == records


# -------------------------------------------------------------------- in the order of stored values

NUMBERED: dict[str, Any] = {**LSID, "txnNumber": Int64(5)}
NOTHING: dict[str, Any] = {"value": None, "ok": 1.0}


def first(**more: Any) -> dict[str, Any]:
    query, sort = {"contact.email": "x"}, {"nhs_number": -1, "_id": 1}
    return {
        "findAndModify": "patients",
        "query": query,
        "sort": sort,
        "remove": True,
        **more,
        "$db": "clinic",
    }


def is_retryable(effect: Effect) -> str:
    body = body_of(effect.data) if isinstance(effect, ToClient) else {}
    said = body.get("code"), body.get("errorLabels")
    return "" if said == (262, ["RetryableWriteError"]) else f"{effect}"


def ask_for_first(
    play: Playbook, number: int, *values: str, kept: dict[str, Any] = LSID, **more: Any
) -> None:
    """The server is asked for the values behind the filter, and says these."""
    group = {"_id": "$nhs_number", "__sealwire": {"$sum": 1}}
    question = {
        "aggregate": "patients",
        "pipeline": [{"$match": {"contact.email": sealed("nhs", "x")}}, {"$group": group}],
        "cursor": {"batchSize": BATCH},
        "allowDiskUse": True,
        "$db": "clinic",
    }
    play << pause(True) << sends({**question, **kept, **LOCAL, **more})
    play >> server(counted(number, **dict.fromkeys(values, 1))) << pause(False)


def send_first(play: Playbook, *values: str, **more: Any) -> None:
    """The command goes to the server, with the first value."""
    no_array = {"$not": [{"$or": [{"$isArray": ["$nhs_number"]}]}]}
    condition = {"nhs_number": either(*values), "$expr": no_array}
    query = {"contact.email": sealed("nhs", "x"), "$and": [condition]}
    play << sends({**first(**more), "query": query, "sort": {"_id": 1}})


def test_the_first_document_is_found_by_its_value(play: Playbook) -> None:
    play >> client(command(first(**NUMBERED), 70))
    ask_for_first(play, 1, "7", "8")
    send_first(play, "8", **NUMBERED)
    play >> server(reply(NOTHING, 70))
    ask_for_first(play, 2, "7", "8")
    send_first(play, "8", **NUMBERED)  # another document may have been behind it all the time
    play >> server(reply(NOTHING, 70))
    ask_for_first(play, 3, "7")
    send_first(play, "7", **NUMBERED)
    done = {"value": {"_id": 1}, "ok": 1.0}
    play >> server(reply(done, 70)) << to_client(reply(done, 70))


def test_without_any_document_the_client_gets_the_reply(play: Playbook) -> None:
    play >> client(command(first(**NUMBERED), 70))
    ask_for_first(play, 1)
    send_first(play, **NUMBERED)
    play >> server(reply(NOTHING, 70))
    ask_for_first(play, 2)
    play << to_client(reply(NOTHING, 70))


def test_drivers_try_it_again_if_others_are_always_faster(play: Playbook) -> None:
    play >> client(command(first(**NUMBERED), 70))
    for number in range(1, MOST_TIMES + 1):
        ask_for_first(play, number, "7")
        send_first(play, "7", **NUMBERED)
        play >> server(reply(NOTHING, 70))
    ask_for_first(play, MOST_TIMES + 1, "7")
    play << on_record("refused", "clinic.patients", "findAndModify", "SortDisturbed")
    play << Expected("an error for which drivers write again", is_retryable)


def test_a_client_that_has_sent_more_is_told_that_it_failed(play: Playbook) -> None:
    play >> client(command(first(), 70))
    ask_for_first(play, 1, "7", kept={})
    send_first(play, "7")
    ping = command({"ping": 1, "$db": "admin"}, 71)
    play >> client(ping) << to_server(ping)
    play >> server(reply(NOTHING, 70))
    play << on_record("refused", "clinic.patients", "findAndModify", "SortDisturbed")
    play << error(262, "ExceededTimeLimit", 70)


@pytest.mark.parametrize("number", [0, 1])
def test_no_other_statement_is_beside_it(session: Session, number: int) -> None:
    """Also if the other one would be left out, and the rest be sent."""
    sort = {"q": {}, "u": {"$set": {"a": 1}}, "sort": {"nhs_number": 1}}
    statements = [sort, {"q": {"notes": "x"}, "u": {"$set": {"a": 1}}}]
    body = {"update": "patients", "updates": statements[:: 1 - 2 * number], "$db": "clinic"}
    effects = session.client_data(command(body, 70))
    if any(isinstance(each, ToServer) for each in effects):
        effects = session.server_data(counted(1, **{"7": 1}))
    assert not [each for each in effects if isinstance(each, ToServer)]
    assert [each for each in effects if isinstance(each, ToClient)]


def test_nobody_would_know_of_an_unacknowledged_write(session: Session) -> None:
    statement = {"q": {}, "u": {"$set": {"a": 1}}, "sort": {"nhs_number": 1}}
    body = {"update": "patients", "updates": [statement], "$db": "clinic"}
    session.client_data(command(body, 70, flags=MORE_TO_COME))
    effects = session.server_data(counted(1, **{"7": 1}))
    assert not [each for each in effects if isinstance(each, ToServer | ToClient)]
