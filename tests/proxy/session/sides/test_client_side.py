"""What becomes of each kind of message from the client; what is planned has tests of its own."""

from typing import Any

import bson
import pytest
from bson.binary import Binary
from bson.int64 import Int64

from sealwire.crypto.envelope import SUBTYPE
from sealwire.policies.commands.command import target_of
from sealwire.policies.commands.views import MAX_NAMES
from sealwire.policies.planning.walk import SETTLED_EDITS
from sealwire.proxy.session.choices import Reveal
from sealwire.proxy.session.effects import (
    Audit,
    Close,
    CloseReason,
    Count,
    Counter,
    Effect,
    LongToClient,
    LongToServer,
    NeedKeys,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.login.handshake import MAX_CLIENT_MESSAGE_BYTES
from sealwire.proxy.session.replies import AUTHENTICATION_FAILED
from sealwire.proxy.session.requests import OTHER
from sealwire.proxy.session.session import Session
from sealwire.wire.errors import WireReason
from sealwire.wire.framing import LONG_BYTES, PART_BYTES
from sealwire.wire.op_msg import CHECKSUM_PRESENT, parse_op_msg
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
from tests.proxy.session.test_session import FIND, NHS_ID, ROTATED
from tests.proxy.session.world import (
    body_of,
    command,
    decoded,
    legacy_query,
    legacy_reply,
    load_keys,
    opened,
    reply,
    sealed,
    sections,
    served_in_parts,
    session,
    written,
)
from tests.support.rows import rows
from tests.wire.corpus import document, element

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


# A server's errors are counted once, by the name of the command; nothing else is.


ERRORS = (Counter.SERVER_ERRORS, Counter.WRITE_ERRORS)
FIND_PATIENTS = {"find": "patients", "$db": "clinic"}
INSERT_WARD = {"insert": "wards", "documents": [{"_id": 1}], "$db": "clinic"}
BULK = {
    "bulkWrite": 1,
    "ops": [{"insert": 0, "document": {"_id": 1}}],
    "nsInfo": [{"ns": "elsewhere.beds"}],
    "$db": "admin",
}
CURSOR = {"firstBatch": [{"ok": 0.0}], "id": 0, "ns": "clinic.patients"}
WRITE_ERROR = {"index": 0, "code": 11000, "errmsg": "no"}


def answered(asked: dict[str, Any], answer: dict[str, Any] | bytes) -> list[Effect]:
    made = session()
    made.client_data(command(asked))
    return made.server_data(reply(answer))


def counted(asked: dict[str, Any], answer: dict[str, Any] | bytes) -> list[tuple[Counter, str]]:
    effects = answered(asked, answer)
    assert any(isinstance(effect, ToClient) for effect in effects)
    return [(e.counter, e.label) for e in effects if isinstance(e, Count) and e.counter in ERRORS]


@pytest.mark.parametrize("no", [0.0, 0, Int64(0), False, "yes", None], ids=str)
def test_an_error_is_counted_by_the_name_of_its_command(no: object) -> None:
    error = {"ok": no, "errmsg": "exceeded the time limit", "code": 50, "errInfo": {"ok": 1.0}}
    assert counted(FIND_PATIENTS, error) == [(Counter.SERVER_ERRORS, "find")]
    assert counted(INSERT_WARD, error) == [(Counter.SERVER_ERRORS, "insert")]


def test_what_stands_before_ok_does_not_hide_an_error() -> None:
    before = {"operationTime": bson.Timestamp(1, 1), "$clusterTime": {"clusterTime": bson.Timestamp(1, 1)}}
    state = {"topologyVersion": {"processId": bson.ObjectId(), "counter": Int64(6)}, "ok": 0.0, "code": 13435}
    assert counted(FIND_PATIENTS, state) == [(Counter.SERVER_ERRORS, "find")]
    assert counted(FIND_PATIENTS, before | {"ok": 0.0}) == [(Counter.SERVER_ERRORS, "find")]
    assert counted(INSERT_WARD, {"n": 0, "ok": 0.0}) == [(Counter.SERVER_ERRORS, "insert")]


@rows(
    "asked, answer",
    (FIND_PATIENTS, {"cursor": CURSOR, "ok": 1.0}),
    (FIND_PATIENTS, {"waitedMS": Int64(0), "cursor": CURSOR, "ok": 1}),
    (INSERT_WARD, {"n": 1, "ok": 1.0}),
    (INSERT_WARD, {"n": 1, "ok": True}),
    (
        INSERT_WARD,
        {"n": 1, "electionId": bson.ObjectId(bytes(12)), "opTime": {"ts": 1}, "writeErrors": [], "ok": 1.0},
    ),
    (BULK, {"cursor": CURSOR, "nErrors": 0, "nInserted": 1, "ok": 1.0}),
)
def test_a_reply_without_an_error_is_not_counted(asked: dict[str, Any], answer: dict[str, Any]) -> None:
    assert counted(asked, answer) == []


def test_errors_of_writes_count_once_for_their_command() -> None:
    errors = [WRITE_ERROR, WRITE_ERROR | {"index": 1}]
    assert counted(INSERT_WARD, {"n": 0, "writeErrors": errors, "ok": 1.0}) == [
        (Counter.WRITE_ERRORS, "insert")
    ]
    behind = {"ok": 1.0, "n": 0, "writeErrors": errors}
    assert counted(INSERT_WARD, behind) == [(Counter.WRITE_ERRORS, "insert")]
    bulk = {"cursor": CURSOR, "nErrors": 1, "nInserted": 1, "ok": 1.0}
    assert counted(BULK, bulk) == [(Counter.WRITE_ERRORS, "bulkWrite")]


def test_a_server_cannot_make_up_a_label() -> None:
    answer = {"n": 0, "writeErrors": [WRITE_ERROR], "ok": 1.0}
    assert counted(FIND_PATIENTS, answer) == [(Counter.WRITE_ERRORS, OTHER)]


def test_what_is_no_bson_passes_and_counts_as_nothing() -> None:
    broken = document(element(0x10, b"n", bytes(4)), element(0x7E, b"odd", b""))
    assert counted(INSERT_WARD, broken) == []
    assert counted(INSERT_WARD, document()) == []


def test_a_reply_of_very_many_fields_is_not_walked_to_its_end() -> None:
    many = {f"f{number}": 1 for number in range(64)}
    assert counted(FIND_PATIENTS, many | {"ok": 0.0}) == []
    del many["f0"]
    assert counted(FIND_PATIENTS, many | {"ok": 0.0}) == [(Counter.SERVER_ERRORS, "find")]


CHUNK_BYTES = 64 * 1024
MANY = 1500


def batch(*values: Any, flags: int = 0) -> bytes:
    """A reply of more than 1 MiB with these values in turns."""
    documents = [{"v": value, "pad": "p" * 800} for value in values] * (MANY // len(values))
    return reply({"cursor": {"firstBatch": documents, "id": 0, "ns": "a.b"}, "ok": 1.0}, flags=flags)


def asked() -> Session:
    talking = session()
    talking.client_data(command(FIND, 1))
    return talking


def received(talking: Session, stream: bytes) -> list[Effect]:
    """The stream in chunks as they come from a socket."""
    return served_in_parts(talking, stream, CHUNK_BYTES)


def pieces_of(effect: Effect) -> list[bytes]:
    assert isinstance(effect, LongToClient)
    return effect.pieces


def test_a_long_reply_leaves_in_pieces_and_is_counted() -> None:
    effects = received(asked(), batch(sealed("nhs", "x"), "y"))
    pieces = pieces_of(effects[0])
    assert b"".join(pieces) == batch("x", "y")
    assert max(map(len, pieces)) < 2 * PART_BYTES
    assert effects[1:] == [Count(Counter.VALUES_DECRYPTED, MANY // 2)]


def test_one_without_envelopes_leaves_in_the_parts_in_which_it_came() -> None:
    effects = received(asked(), batch("x"))
    pieces = pieces_of(effects[0])
    assert b"".join(pieces) == batch("x")
    assert len(effects) == 1
    assert len(pieces) > 5


@pytest.mark.parametrize("chunk_bytes", [CHUNK_BYTES, MAX_CLIENT_MESSAGE_BYTES * 2])
@pytest.mark.parametrize("value", ["x", sealed("nhs", "x")])
def test_one_that_no_driver_would_take_becomes_an_error(value: Any, chunk_bytes: int) -> None:
    documents = [{"v": value, "pad": "p" * 1_000_000}] * 20
    message = reply({"cursor": {"firstBatch": documents, "id": 0, "ns": "a.b"}, "ok": 1.0})
    assert len(message) > MAX_CLIENT_MESSAGE_BYTES
    talking = asked()
    effects = served_in_parts(talking, message, chunk_bytes)
    count, audit, answer = effects
    assert count == Count(Counter.REFUSALS, label="ReplyTooLong")
    assert audit == Audit("refused", "clinic.patients", "find", "ReplyTooLong", users=())
    assert isinstance(answer, ToClient)
    assert body_of(answer.data)["code"] == 10334
    assert talking.idle


def test_a_part_that_does_not_open_withholds_all_of_it() -> None:
    forged = bytearray(sealed("nhs", "x"))
    forged[-1] ^= 1
    good = [sealed("nhs", "x")] * 49
    effects = received(asked(), batch(*good, type(good[0])(bytes(forged), good[0].subtype)))
    assert [type(effect) for effect in effects] == [Count, Audit, ToClient]
    assert isinstance(effects[2], ToClient)
    assert body_of(effects[2].data)["ok"] == 0.0


def test_nothing_is_said_before_the_last_part_has_come() -> None:
    talking = asked()
    stream = batch(sealed("nhs", "x"))
    assert received(talking, stream[:-1]) == []
    assert b"".join(pieces_of(talking.server_data(stream[-1:])[0])) == batch("x")


def test_a_bad_part_is_told_of_when_the_last_one_has_come() -> None:
    talking = asked()
    forged = bytearray(sealed("nhs", "x"))
    forged[-1] ^= 1
    stream = batch(type(sealed("nhs", "x"))(bytes(forged), 128), *["x"] * (MANY - 1))
    assert received(talking, stream[:-1]) == []
    assert [type(effect) for effect in talking.server_data(stream[-1:])] == [Count, Audit, ToClient]


def test_it_waits_for_a_key_and_what_came_after_it_waits_too() -> None:
    talking = asked()
    talking.client_data(command(FIND, 2))
    stream = batch(sealed("nhs", "x"), sealed("nhs", "y", 2)) + reply({"a": 1}, 2)
    assert received(talking, stream) == [NeedKeys(((NHS_ID, 2),))]
    effects = load_keys(talking, ROTATED)
    assert b"".join(pieces_of(effects[0])) == batch("x", "y")
    assert effects[1:] == [Count(Counter.VALUES_DECRYPTED, MANY), ToClient(reply({"a": 1}, 2))]
    assert talking.idle


def test_without_the_key_it_is_withheld_and_the_next_one_is_opened() -> None:
    talking = asked()
    talking.client_data(command(FIND, 2))
    stream = batch(sealed("nhs", "x"), sealed("nhs", "y", 2))
    assert received(talking, stream) == [NeedKeys(((NHS_ID, 2),))]
    effects = talking.keys_loaded()
    assert Count(Counter.DECRYPTION_FAILURES, label="UnknownKey") in effects
    assert not any(isinstance(effect, LongToClient) for effect in effects)
    again = stream[:8] + (2).to_bytes(4, "little") + stream[12:]
    assert Count(Counter.DECRYPTION_FAILURES, label="UnknownKey") in received(talking, again)


def test_one_with_a_checksum_is_put_together_first() -> None:
    flags = CHECKSUM_PRESENT
    effects = received(asked(), batch(sealed("nhs", "x"), flags=flags))
    assert effects[0] == ToClient(batch("x", flags=flags))


@pytest.mark.parametrize("value", ["x", sealed("nhs", "x")])
def test_one_that_nobody_awaits_closes(value: Any) -> None:
    assert [type(effect) for effect in received(session(), batch(value))] == [Count, Close]


def test_one_whose_parts_do_not_fit_closes() -> None:
    stream = bytearray(batch(sealed("nhs", "x")))
    stream[-1] = 1
    effects = received(asked(), bytes(stream))
    assert [type(effect) for effect in effects] == [Count, Close]


def test_a_long_insert_leaves_in_pieces_and_is_counted_whole() -> None:
    documents = [{"nhs_number": f"{number:0800}", "visits": number} for number in range(3 * SETTLED_EDITS)]
    message = command({"insert": "patients", "$db": "clinic"}, after={"documents": documents})
    effects = session().client_data(message)
    assert Count(Counter.VALUES_ENCRYPTED, 6 * SETTLED_EDITS) in effects
    (sent,) = [effect for effect in effects if isinstance(effect, LongToServer)]
    there = dict(sections(written(effects, ToServer)))["documents"]
    assert [opened(decoded(each)) for each in there] == documents
    assert len(sent.pieces) > 5


@pytest.mark.parametrize("value", ["x", sealed("nhs", "x")])
def test_one_to_a_command_that_reads_nothing_is_not_opened(value: Any) -> None:
    talking = session()
    talking.client_data(command({"find": "wards", "$db": "stats"}, 1))
    effects = received(talking, batch(value))
    assert b"".join(pieces_of(effects[0])) == batch(value)
    assert len(effects) == 1
