"""The errors that the proxy writes itself."""

import struct
from typing import Any

import pytest
from bson import Int64, encode

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
from sealwire.proxy.session import replies
from sealwire.proxy.session.effects import Audit, ToClient
from sealwire.wire.op_msg import parse_op_msg
from tests.proxy.session.world import body_of, command, decoded, session
from tests.wire.corpus import document, element, string

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


@pytest.mark.parametrize(
    ("error", "code", "name"),
    [
        (InvalidEnvelope(EnvelopeReason.MAGIC), 1, "InternalError"),
        (DecryptionFailed(), 1, "InternalError"),
        (UnknownKey(KeysReason.VERSION_UNKNOWN, "m", "", (1, 2)), 211, "KeyNotFound"),
        (KeyDestroyed(KeysReason.DESTROYED, "m"), 211, "KeyNotFound"),
        (UnsupportedValue(ValueReason.TOO_LONG), 14, "TypeMismatch"),
    ],
)
def test_every_failure_has_its_error(error: Exception, code: int, name: str) -> None:
    fields = error_of(replies.failure_body(error))
    assert (fields["code"], fields["codeName"]) == (code, name)


@pytest.mark.parametrize(
    ("failure", "is_retried"),
    [
        (ContextsMissing([]), True),
        (WindowMet(), True),
        (FrontierLost(), True),
        (CursorOutdated(), True),
        # the server has carried out what these are about
        (ContextKeysMissing(bytes(16)), False),
        (DecryptionFailed(), False),
        (UnknownKey(KeysReason.VERSION_UNKNOWN, "m", "", (1, 2)), False),
    ],
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


@pytest.mark.parametrize(
    ("command_name", "more", "labels"),
    [
        ("find", {}, ()),
        ("update", NUMBERED, ("RetryableWriteError",)),
        ("find", {**NUMBERED, "autocommit": False}, ("TransientTransactionError",)),
        ("commitTransaction", {**NUMBERED, "autocommit": False}, ("UnknownTransactionCommitResult",)),
    ],
)
def test_a_command_that_was_not_sent_has_its_own_label(
    command_name: str, more: dict[str, Any], labels: tuple[str, ...]
) -> None:
    message = command({command_name: 1, **more, "$db": "clinic"})
    assert replies.unsent_labels(message, parse_op_msg(message).body) == labels


@pytest.mark.parametrize(
    ("code", "told"),
    [(11602, 11602), (43, 262), (112, 262), (322, 322), (26, 1), (Int64(6), 1), (None, 1)],
)
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
