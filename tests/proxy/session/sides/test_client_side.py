"""What becomes of each kind of message from the client; what is planned has tests of its own."""

from typing import Any

import pytest
from bson.binary import Binary

from sealwire.crypto.envelope import SUBTYPE
from sealwire.policies.aggregation.views import MAX_NAMES
from sealwire.policies.commands.command import target_of
from sealwire.proxy.session.choices import Reveal
from sealwire.proxy.session.effects import Audit, CloseReason, Counter, LongToServer, ToClient, ToServer
from sealwire.proxy.session.replies import AUTHENTICATION_FAILED
from sealwire.wire.errors import WireReason
from sealwire.wire.long_message import LONG_BYTES
from sealwire.wire.op_msg import parse_op_msg
from tests.proxy.session.playbook import (
    Playbook,
    audit,
    client,
    close,
    error,
    pause,
    server,
    to_client,
    to_server,
)
from tests.proxy.session.world import (
    body_of,
    command,
    legacy_query,
    legacy_reply,
    opened,
    reply,
    sealed,
    sections,
    session,
    written,
)

HELLO = {"hello": 1, "client": {"driver": {"name": "PyMongo", "version": "4.20"}}}
PING = command({"ping": 1, "$db": "admin"}, 2)
INSERT: dict[str, Any] = {"insert": "patients", "$db": "clinic"}
GOOD, BAD = {"_id": 1, "nhs_number": "943"}, {"_id": 2, "visits": "many"}


def test_another_opcode_ends_the_session(play: Playbook) -> None:
    message = bytearray(PING)
    message[12:16] = (2012).to_bytes(4, "little")
    play >> client(bytes(message)) << close(CloseReason.CLIENT_PROTOCOL)
    assert play.count(Counter.PROTOCOL_ERRORS, WireReason.OPCODE.value) == 1


def test_an_old_query_is_a_handshake_or_is_answered_with_an_error(play: Playbook) -> None:
    play >> client(legacy_query(HELLO)) << to_server(legacy_query(HELLO))
    answer = legacy_reply({"isWritablePrimary": True, "ok": 1.0})
    play >> server(answer) << to_client(answer)
    answers = session().client_data(legacy_query({"find": "patients"}))
    assert [type(each).__name__ for each in answers] == ["Count", "Count", "ToClient"]
    assert session().client_data(legacy_query(HELLO, namespace=b"clinic.patients"))[0] == answers[0]


@pytest.mark.parametrize(
    "query",
    [legacy_query(HELLO) + b"\0", legacy_query({**HELLO, "x": sealed("nhs", "1")})],
    ids=["more", "envelope"],
)
def test_an_old_handshake_has_nothing_behind_it_and_no_envelope(query: bytes) -> None:
    whole = len(query).to_bytes(4, "little") + query[4:]
    Playbook(session()) >> client(whole) << close(CloseReason.CLIENT_PROTOCOL)


def test_what_the_server_could_not_answer_is_the_answer_to_the_command(play: Playbook) -> None:
    find = {"find": "unknown", "filter": {"nhs_number": "1"}, "$db": "clinic"}
    play >> client(command(find))
    play << pause(True)
    (question,) = play._unexpected
    assert isinstance(question, ToServer)
    play._unexpected.clear()
    failed = {"ok": 0.0, "errmsg": "shutting down", "code": 91, "codeName": "ShutdownInProgress"}
    play >> server(reply(failed, int.from_bytes(question.data[4:8], "little"))) << pause(False)
    play << audit("refused", "clinic.unknown", "find", "NamespaceUnknown") << error(91, "ShutdownInProgress")
    play >> client(PING) << to_server(PING)


def test_a_command_that_leads_to_too_many_names_is_refused() -> None:
    unions = [{"$unionWith": f"other{number}"} for number in range(MAX_NAMES + 1)]
    pipeline = {"aggregate": "patients", "pipeline": unions, "cursor": {}, "$db": "clinic"}
    (refused,) = [each for each in session().client_data(command(pipeline)) if isinstance(each, Audit)]
    assert refused.reason == "too-large"


@pytest.mark.parametrize(("first", "path"), [("patients", "clinic.patients"), ("943 476 5919", "")])
@pytest.mark.parametrize(("name", "reason"), [("peek", "unknown-command"), ("godinsert", "command")])
def test_a_command_without_a_row_leaves_a_name_on_record_only_if_that_is_a_collections(
    name: str, reason: str, first: str, path: str
) -> None:
    effects = session().client_data(command({name: first, "$db": "clinic"}))
    (refused,) = [each for each in effects if isinstance(each, Audit)]
    assert (refused.command, refused.reason, refused.namespace) == ("other", reason, "")
    assert refused.path == path


def test_an_unknown_name_is_answered_as_by_a_server_and_without_a_label_for_drivers() -> None:
    told = body_of(
        written(session().client_data(command({"fnd": "x", "txnNumber": 1, "$db": "clinic"})), ToClient)
    )
    assert (told["code"], told["codeName"]) == (59, "CommandNotFound")
    assert "no such command: 'fnd' (did you mean 'find'?)" in told["errmsg"]
    assert "errorLabels" not in told


def test_statements_that_are_refused_are_left_out() -> None:
    talk = session()
    sent = written(talk.client_data(command(INSERT, after={"documents": [GOOD, BAD]})), ToServer)
    (document,) = dict(sections(sent))["documents"]
    assert opened(body_of(command(document)))["nhs_number"] == "943"
    nothing = session().client_data(command(INSERT, after={"documents": [BAD]}))
    assert body_of(written(nothing, ToClient))["n"] == 0


def test_an_unacknowledged_write_with_a_refused_statement_ends_the_session(play: Playbook) -> None:
    play >> client(command({**INSERT, "ordered": False}, flags=2, after={"documents": [GOOD, BAD]}))
    play << audit("refused", "clinic.patients", "insert", "type", "visits")
    play << close(CloseReason.REFUSED_UNACKNOWLEDGED, "type")


def test_a_login_by_certificate_cannot_pass(play: Playbook) -> None:
    start = {"saslStart": 1, "mechanism": "MONGODB-X509", "payload": Binary(b""), "$db": "$external"}
    play >> client(command(start)) << audit("refused", "", "authenticate", "CertificateLogin")
    play << error(*AUTHENTICATION_FAILED)


@pytest.mark.parametrize("after", [False, True])
def test_a_clients_envelope_is_refused_on_every_collection(after: bool) -> None:
    stolen = {"_id": 1, "x": Binary(bytes(sealed("nhs", "1")), SUBTYPE)}
    body = {"insert": "wards", "$db": "elsewhere"}
    message = (
        command(body, after={"documents": [stolen]}) if after else command({**body, "documents": [stolen]})
    )
    (refused,) = [each for each in session().client_data(message) if isinstance(each, Audit)]
    assert refused.reason == "envelope"


def test_a_command_on_what_nobody_protects_is_planned_once() -> None:
    talk = session()
    body = {"find": "wards", "filter": {}, "$db": "elsewhere"}
    message = command(body)
    target = target_of(message, parse_op_msg(message).body, talk.shared.passing.planned)
    assert target is not None
    for number in range(1, 4):
        assert (talk.shared.passing.get(target) is None) is (number == 1)
        message = command(body, number)
        assert ToServer(message) in talk.client_data(message)
        talk.server_data(reply({"cursor": {"id": 0, "firstBatch": []}, "ok": 1.0}, number))


def test_with_reveal_everywhere_each_reply_is_opened() -> None:
    talk = session(reveal=Reveal.EVERYWHERE)
    talk.client_data(command({"find": "copies", "filter": {}, "$db": "elsewhere"}))
    shown = reply({"cursor": {"id": 0, "firstBatch": [{"n": sealed("nhs", "943")}]}, "ok": 1.0})
    body = body_of(written(talk.server_data(shown), ToClient))
    assert body["cursor"]["firstBatch"] == [{"n": "943"}]


def test_a_long_insert_leaves_in_pieces() -> None:
    documents = [{"nhs_number": f"{number:0600}"} for number in range(2500)]
    message = command(INSERT, after={"documents": documents})
    assert len(message) > LONG_BYTES
    (effect,) = [each for each in _in_parts(message) if isinstance(each, LongToServer | ToServer)]
    whole = b"".join(effect.pieces) if isinstance(effect, LongToServer) else effect.data
    assert len(dict(sections(whole))["documents"]) == len(documents)
    assert documents[0]["nhs_number"].encode() not in whole


def _in_parts(message: bytes) -> list[Any]:
    talk = session()
    return [
        effect
        for start in range(0, len(message), 1 << 18)
        for effect in talk.client_data(message[start : start + (1 << 18)])
    ]
