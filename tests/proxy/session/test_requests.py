"""Pairing replies with requests."""

import struct
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any, get_args

import pytest
from bson import Int64, encode
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto.errors import (
    DecryptionFailed,
    EnvelopeReason,
    InvalidEnvelope,
    UnsupportedValue,
    ValueReason,
)
from sealwire.keys.contexts.cache import ContextKeysMissing, ContextsMissing
from sealwire.keys.errors import KeyDestroyed, KeysReason, UnknownKey
from sealwire.keys.frontier.frontier import CursorOutdated, FrontierLost, WindowMet
from sealwire.policies.errors import ErrorCode, Reason, Refusal
from sealwire.policies.file.schema import NOTHING, PolicySet
from sealwire.policies.planning.arguments import MAX_NAME_CHARACTERS
from sealwire.proxy.session import replies
from sealwire.proxy.session.effects import (
    UNANSWERED,
    Audit,
    Begun,
    Close,
    CloseReason,
    CommandRecord,
    Count,
    Counter,
    Done,
    Effect,
    GoOn,
    LongToClient,
    LongToServer,
    NeedKeys,
    ObservedCommand,
    ObservedVerdict,
    PauseClient,
    PlaintextMet,
    StrangerMet,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.login.handshake import ACCEPTED_CLIENT_MESSAGE_BYTES, MAX_CLIENT_MESSAGE_BYTES
from sealwire.proxy.session.requests import (
    COMMAND_LABELS,
    FAILURES,
    MAX_AWAITED,
    OTHER,
    REFUSAL_LABELS,
    AwaitedRequests,
    CommandCounts,
    Request,
    RequestKind,
    command_label,
    is_policy_reason,
    split_label,
)
from sealwire.proxy.session.revealing.long_reply import WINDOW_BYTES
from sealwire.proxy.session.rewriting import MAX_COMMAND_BYTES
from sealwire.proxy.session.sides.client_side import MAX_BYTES_BEFORE_LOGIN
from sealwire.proxy.session.sides.server_side import MAX_ASKED_KEYS
from sealwire.proxy.session.write_errors import MAX_BULK_BYTES, MAX_TEXTS
from sealwire.wire.op_msg import parse_op_msg
from tests.proxy.session.world import body_of, command, decoded, session
from tests.support.rows import rows
from tests.wire.corpus import document, element, string


def request(kind: RequestKind = RequestKind.COMMAND) -> Request:
    return Request(kind, "find", "clinic.patients")


def awaiting(*ids: int) -> tuple[AwaitedRequests, dict[int, Request]]:
    awaited, requests = AwaitedRequests(), {number: request() for number in ids}
    for number, made in requests.items():
        awaited.add(number, made)
    return awaited, requests


def test_each_reply_finds_its_own_request_in_any_order() -> None:
    awaited, requests = awaiting(1, 2, 3)
    for number in (2, 3, 1):
        assert awaited.answer(number, 90, more_to_come=False) is requests[number]
        assert awaited.answer(number, 90, more_to_come=False) is None
    assert awaited.idle


def test_requests_that_look_alike_are_answered_apart() -> None:
    awaited, _ = awaiting(1, 2)
    awaited.answer(1, 90, more_to_come=False)
    assert not awaited.idle
    assert awaited.has_room_for(1)
    assert not awaited.has_room_for(2)


def test_a_reply_to_nobody_leaves_what_is_awaited() -> None:
    awaited, requests = awaiting(1)
    assert awaited.answer(2, 1, more_to_come=True) is None
    assert awaited.answer(1, 90, more_to_come=False) is requests[1]


def test_a_stream_takes_no_id_of_another_request() -> None:
    awaited, requests = awaiting(1, 2)
    assert awaited.answer(1, 2, more_to_come=True) is None
    assert awaited.find(2) is requests[2]


@pytest.mark.parametrize("chained", [True, False])
def test_a_stream_remembers_two_ids_at_most_and_forgets_both_at_its_end(chained: bool) -> None:
    awaited, requests = awaiting(1, 2)
    answered = 1
    for number in range(100, 100 + 2 * MAX_AWAITED):
        assert awaited.answer(answered, number, more_to_come=True) is requests[1]
        answered = number if chained else 1
    assert not awaited.has_room_for(number)
    assert awaited.has_room_for(number - 2)
    assert awaited.answer(answered, 90, more_to_come=False) is requests[1]
    assert awaited.has_room_for(1)
    assert awaited.has_room_for(number)
    assert not awaited.has_room_for(2)


def test_the_oldest_is_the_one_that_waits_longest_and_no_stream() -> None:
    awaited, _ = awaiting(7, 2, 5)
    seen = [awaited.oldest]
    awaited.answer(7, 90, more_to_come=False)
    seen.append(awaited.oldest)
    awaited.answer(2, 91, more_to_come=True)
    seen.append(awaited.oldest)
    awaited.answer(5, 92, more_to_come=False)
    assert [*seen, awaited.oldest] == [7, 2, 5, None]


@pytest.mark.parametrize("kind", RequestKind)
def test_only_commands_make_it_busy(kind: RequestKind) -> None:
    awaited = AwaitedRequests()
    awaited.add(1, request(kind))
    assert awaited.idle is (kind in (RequestKind.HELLO, RequestKind.LEGACY_HELLO))


def test_the_number_of_open_requests_is_bounded() -> None:
    awaited, _ = awaiting(*range(MAX_AWAITED - 1))
    assert not awaited.full
    assert awaited.has_room_for(MAX_AWAITED)
    awaited.add(MAX_AWAITED, request())
    assert awaited.full
    assert not awaited.has_room_for(MAX_AWAITED + 1)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4)), max_size=30))
def test_keeps_what_a_table_would_keep(steps: list[tuple[bool, int]]) -> None:
    awaited, table = AwaitedRequests(), dict[int, Request]()
    for is_added, number in steps:
        assert awaited.has_room_for(number) is (number not in table)
        assert awaited.find(number) is table.get(number)
        if not is_added:
            assert awaited.answer(number, 90, more_to_come=False) is table.pop(number, None)
        elif number not in table:
            table[number] = request()
            awaited.add(number, table[number])
        assert awaited.idle is (not table)


def test_a_command_with_more_to_come_is_a_stream_and_a_handshake_is_none() -> None:
    awaited = AwaitedRequests()
    awaited.add(1, request(RequestKind.HELLO))
    awaited.add(2, request())
    awaited.answer(1, 50, more_to_come=True)
    assert not awaited.streaming
    awaited.answer(2, 60, more_to_come=True)
    assert awaited.streaming
    awaited.answer(60, 61, more_to_come=False)
    assert not awaited.streaming


def test_a_command_that_nobody_knows_is_other() -> None:
    assert command_label("find") == "find"
    assert command_label("943 476 5919") == OTHER


PATTERNED = PolicySet({}, {"clinic.patients": NOTHING}, (("tenant_*.patients", NOTHING),))


@rows(
    "namespace, collection",
    ("clinic.patients", "clinic.patients"),
    ("tenant_7.patients", "tenant_*.patients"),
    ("943 476.5919", OTHER),
    ("", OTHER),
)
def test_a_command_is_counted_under_the_policys_own_word_for_its_collection(
    namespace: str, collection: str
) -> None:
    counts = CommandCounts(PATTERNED)
    sent = counts.sent("find", namespace)
    assert split_label(sent.label) == split_label(counts.label("find", namespace)) == ("find", collection)
    assert counts.sent("find", namespace) is sent
    assert split_label(counts.label("943 476 5919", namespace))[0] == OTHER


def test_of_namespaces_that_clients_name_few_are_remembered() -> None:
    counts = CommandCounts(PATTERNED)
    first = counts.sent("find", "tenant_0.patients")
    for number in range(2000):
        counts.sent("find", f"tenant_{number}.patients")
    assert counts.sent("find", "tenant_0.patients") is not first


def test_every_reason_and_failure_has_a_label() -> None:
    assert all(reason.value in REFUSAL_LABELS for reason in Reason)
    assert all(failure.__name__ in REFUSAL_LABELS for failure in FAILURES)
    assert len(set(REFUSAL_LABELS)) == len(REFUSAL_LABELS)
    assert len(set(COMMAND_LABELS)) == len(COMMAND_LABELS)


def test_a_refusal_is_of_the_policy_and_a_failure_is_not() -> None:
    assert is_policy_reason("range")
    assert not is_policy_reason("LoginNeeded")


FIND = {"find": "patients", "filter": {"nhs_number": {"$gt": "943"}}, "$db": "clinic"}
INSERT = {"insert": "patients", "documents": [{"nhs_number": 5}], "$db": "clinic"}
"""Its one document is refused, so that nothing of it is sent."""
UNKNOWN = {"9434765919": 1, "$db": "clinic"}


@pytest.mark.parametrize(
    ("body", "settings", "counter", "label"),
    [
        (FIND, {}, Counter.COMMANDS_REFUSED, "find clinic.patients"),
        (INSERT, {}, Counter.COMMANDS_REFUSED, "insert clinic.patients"),
        (UNKNOWN, {}, Counter.COMMANDS_REFUSED, OTHER),
        (FIND, {"login_required": True}, Counter.COMMANDS_FAILED, "find"),
    ],
    ids=["refused", "no statement left", "unknown", "no login"],
)
def test_a_command_that_is_not_sent_is_counted_once_by_name_and_outcome(
    body: dict[str, Any], settings: dict[str, Any], counter: Counter, label: str
) -> None:
    effects = session(**settings).client_data(command(body))
    counted = [each for each in effects if isinstance(each, Count) and each.counter is not Counter.REFUSALS]
    assert counted == [Count(counter, label=label)]


@rows(
    "limit, number",
    (MAX_BYTES_BEFORE_LOGIN, 65_536),
    (MAX_CLIENT_MESSAGE_BYTES, 20_000_000),
    (ACCEPTED_CLIENT_MESSAGE_BYTES, 21_048_576),
    # BSONObjMaxInternalSize of every MongoDB server
    (MAX_COMMAND_BYTES, 16_793_600),
    (MAX_BULK_BYTES, 1_048_576),
    (MAX_TEXTS, 1_048_576),
    (WINDOW_BYTES, 262_144),
    (MAX_AWAITED, 1024),
    (MAX_ASKED_KEYS, 64),
    (MAX_NAME_CHARACTERS, 255),
)
def test_a_limit_is_what_it_was(limit: int, number: int) -> None:
    assert limit == number


@rows(
    "error, code, name",
    (replies.INTERNAL_ERROR, 1, "InternalError"),
    (replies.UNAUTHORIZED, 13, "Unauthorized"),
    (replies.TYPE_MISMATCH, 14, "TypeMismatch"),
    (replies.AUTHENTICATION_FAILED, 18, "AuthenticationFailed"),
    (replies.KEY_NOT_FOUND, 211, "KeyNotFound"),
    (replies.UNSUPPORTED_OP_QUERY, 352, "UnsupportedOpQueryCommand"),
    (replies.OBJECT_TOO_LARGE, 10334, "BSONObjectTooLarge"),
)
def test_an_error_has_the_server_s_number_and_name(error: tuple[int, str], code: int, name: str) -> None:
    assert error == (code, name)


MADE_OFTEN = ToServer | ToClient | Begun | Done | Count
RECORD = CommandRecord("a.b", "find", written={}, filtered={})
ONE_OF_EACH: list[Effect] = [
    ToServer(b"x"),
    ToClient(b"x"),
    LongToServer([b"x"]),
    LongToClient([b"x"]),
    NeedKeys(((1, 2),)),
    PauseClient(True),
    GoOn(True),
    Close(CloseReason.DRAINED),
    Audit("refused", "a.b", "find"),
    Begun(RECORD),
    Done(RECORD, UNANSWERED),
    Count(Counter.COMMANDS),
    PlaintextMet("a.b", "c", 2),
    StrangerMet(),
    ObservedCommand(ObservedVerdict.ANSWERED, "find", "a.b"),
]


def test_the_union_has_these_members_and_no_other() -> None:
    assert {type(effect) for effect in ONE_OF_EACH} == set(get_args(Effect))


@pytest.mark.parametrize("effect", ONE_OF_EACH)
def test_an_effect_is_a_value(effect: Effect) -> None:
    assert is_dataclass(effect)
    assert not hasattr(effect, "__dict__")
    assert effect == type(effect)(*(getattr(effect, each.name) for each in fields(effect)))
    assert effect != object()


@pytest.mark.parametrize(
    "effect",
    [each for each in ONE_OF_EACH if fields(each) and not isinstance(each, MADE_OFTEN)],
)
def test_all_but_those_made_for_each_message_are_frozen(effect: Effect) -> None:
    name = fields(effect)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(effect, name, None)


@pytest.mark.parametrize("names", [CloseReason, Counter])
def test_the_names_are_distinct_and_fit_for_labels(names: type[CloseReason] | type[Counter]) -> None:
    values = [str(member.value) for member in names]
    assert len(set(values)) == len(values)
    assert all(value.isascii() and value.islower() and " " not in value for value in values)


def test_a_count_is_one_without_a_label() -> None:
    assert Count(Counter.REFUSALS) == Count(Counter.REFUSALS, 1, "")


# The errors that the proxy writes itself.


FIELDS = ["ok", "errmsg", "code", "codeName"]


def error_of(body: bytes) -> dict[str, Any]:
    fields = decoded(body)
    assert list(fields) == FIELDS  # and so no errorLabels
    assert fields["ok"] == 0.0
    return fields


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_of_a_refusal_has_its_error(reason: Reason) -> None:
    fields = error_of(replies.refusal_body(Refusal(reason, path="a.b", rule="$gt")))
    assert (fields["code"], fields["codeName"]) in [code.value for code in ErrorCode]
    assert "a.b" in fields["errmsg"]
    assert "$gt" in fields["errmsg"]
    assert f"[{reason.value}]" in fields["errmsg"]


@rows(
    "error, code, name",
    (InvalidEnvelope(EnvelopeReason.MAGIC), 1, "InternalError"),
    (DecryptionFailed(), 1, "InternalError"),
    (UnknownKey(KeysReason.VERSION_UNKNOWN, "m", "", (1, 2)), 211, "KeyNotFound"),
    (KeyDestroyed(KeysReason.DESTROYED, "m"), 211, "KeyNotFound"),
    (UnsupportedValue(ValueReason.TOO_LONG), 14, "TypeMismatch"),
)
def test_every_failure_has_its_error(error: Exception, code: int, name: str) -> None:
    fields = error_of(replies.failure_body(error))
    assert (fields["code"], fields["codeName"]) == (code, name)


@rows(
    "failure, is_retried",
    (ContextsMissing([]), True),
    (WindowMet(), True),
    (FrontierLost(), True),
    (CursorOutdated(), True),
    # the server has carried out what these are about
    (ContextKeysMissing(bytes(16)), False),
    (DecryptionFailed(), False),
    (UnknownKey(KeysReason.VERSION_UNKNOWN, "m", "", (1, 2)), False),
    ids=lambda each: type(each).__name__,
)
def test_only_what_was_not_sent_and_passes_is_tried_again(failure: Exception, *, is_retried: bool) -> None:
    message = command({"insert": "patients", "txnNumber": 1, "$db": "clinic"})
    labels = replies.retry_labels(failure, message, parse_op_msg(message).body)
    assert labels == (("RetryableWriteError",) if is_retried else ())


def test_a_forged_envelope_and_a_wrong_key_read_alike() -> None:
    bodies = {replies.failure_body(e) for e in (DecryptionFailed(), InvalidEnvelope(EnvelopeReason.LENGTH))}
    assert len(bodies) == 1


def test_a_failure_that_is_in_no_table_is_a_bug() -> None:
    with pytest.raises(KeyError):
        replies.failure_body(ValueError("x"))


def test_an_error_text_has_a_thousand_characters_at_most() -> None:
    assert len(replies.error_text("x" * 5000)) == 1024
    assert replies.error_text("x" * 1024) == "x" * 1024


def test_a_name_that_is_no_utf_8_is_refused_like_any_other() -> None:
    name = element(2, b"find", string(b"\xff\xfe\n"))
    body = document(name, element(1, b"$db", bytes(8)), element(0x10, b"sort", bytes(4)))
    ward = document(name, element(2, b"$db", string(b"ward")), element(0x10, b"futureArgument", bytes(4)))
    unknown = document(element(2, b"lookUp", string(b"\xff\n")), element(2, b"$db", string(b"ward")))
    for bad, code in ((body, 2), (ward, 2), (unknown, 59)):
        effects = session().client_data(command(bad))
        (answer,) = [effect.data for effect in effects if isinstance(effect, ToClient)]
        assert body_of(answer)["code"] == code
        (line,) = [effect for effect in effects if isinstance(effect, Audit)]
        assert all(text.isprintable() for text in (line.namespace, line.command, line.path))


def test_the_path_of_a_command_that_nobody_knows_is_audited_only_where_the_policy_has_it() -> None:
    def path(database: str, collection: str) -> str:
        effects = session().client_data(command({"lookUp": collection, "$db": database}))
        (line,) = [effect for effect in effects if isinstance(effect, Audit)]
        return line.path

    assert path("clinic", "patients") == "clinic.patients"
    assert path("ward", "943 476 5919") == ""


def test_an_immense_name_is_cut_short() -> None:
    effects = session().client_data(command({"lookUp": "x" * 100_000, "$db": "ward"}))
    (answer,) = [effect.data for effect in effects if isinstance(effect, ToClient)]
    assert len(answer) < 2_000


def test_the_legacy_error_is_an_op_reply_with_one_document() -> None:
    message = replies.legacy_error(3, 4)
    size, request_id, response_to, op_code = struct.unpack_from("<iiii", message)
    assert (size, request_id, response_to, op_code) == (len(message), 3, 4, 1)
    assert error_of(message[36:])["code"] == 352


NUMBERED = {"txnNumber": 1}


@rows(
    "command_name, more, labels",
    ("find", {}, ()),
    ("update", NUMBERED, ("RetryableWriteError",)),
    ("find", {**NUMBERED, "autocommit": False}, ("TransientTransactionError",)),
    ("commitTransaction", {**NUMBERED, "autocommit": False}, ("UnknownTransactionCommitResult",)),
)
def test_a_command_that_was_not_sent_has_its_own_label(
    command_name: str, more: dict[str, Any], labels: tuple[str, ...]
) -> None:
    message = command({command_name: 1, **more, "$db": "clinic"})
    assert replies.unsent_labels(message, parse_op_msg(message).body) == labels


@rows("code, told", (11602, 11602), (43, 262), (112, 262), (322, 322), (26, 1), (Int64(6), 1), (None, 1))
@pytest.mark.parametrize("in_transaction", [True, False])
def test_an_error_of_our_question_is_told_as_one_of_the_command(
    *, code: Any, told: int, in_transaction: bool
) -> None:
    message = command({"find": "a", **({"autocommit": False} if in_transaction else {}), "$db": "clinic"})
    said = {"ok": 0.0, "errorLabels": ["Other"], "errmsg": "x", **({} if code is None else {"code": code})}
    body = decoded(replies.unanswered_body(encode(said), message, parse_op_msg(message).body))
    own = ["Other"] if code == told else None
    labels = ["TransientTransactionError"] if in_transaction and told in {262, 11602} else own
    assert (body["code"], body.get("errorLabels")) == (told, labels)


def test_what_drivers_try_again_is_what_their_specification_lists() -> None:
    of_reads = {6, 7, 89, 91, 134, 189, 262, 9001, 10107, 13435, 13436}
    assert of_reads | {11600, 11602} == replies.RETRYABLE
