"""No envelope reaches a client in the text of an error where the policy has roles."""

from base64 import b64encode, urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import CONTEXT_FORMAT, FORMAT, MAGIC
from sealwire.proxy.session.effects import ToClient, ToServer
from sealwire.proxy.session.write_errors.printed import without_envelopes
from sealwire.wire.header import request_id_of
from sealwire.wire.long_message import LONG_BYTES
from tests.proxy.session.role_world import asked, session_as
from tests.proxy.session.world import body_of, command, material, reply, session, value_bytes, written

ENVELOPE = ValueCipher(material(1, 1), 1, 1).encrypt_deterministically(*value_bytes("9434765919"))
PRINTED = f"cannot use [ BinData(128, {ENVELOPE.hex().upper()}), 1 ] as a document"
LEFT = "cannot use [ BinData(128, ...), 1 ] as a document"
UPDATE = {"update": "patients", "updates": [{"q": {"_id": 1}, "u": {"$set": {"x": 1}}}]}
BULK = {
    "bulkWrite": 1,
    "ops": [{"insert": 0, "document": {"_id": 1}}],
    "nsInfo": [{"ns": "clinic.patients"}],
    "$db": "admin",
}


def told(certificate: str, body: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    talk = session_as(certificate)
    asked(talk, body)
    return body_of(written(talk.server_data(reply(answer)), ToClient))


@pytest.mark.parametrize("certificate", ["CN=clerk", "CN=writer"])
def test_a_commands_error_shows_none(certificate: str) -> None:
    error = {"ok": 0.0, "errmsg": PRINTED, "code": 40228, "errInfo": {"details": [{"reason": PRINTED}]}}
    found = told(certificate, {"find": "patients", "filter": {"_id": 1}}, error)
    assert (found["errmsg"], found["code"]) == (LEFT, 40228)
    assert found["errInfo"] == {"details": [{"reason": LEFT}]}


@pytest.mark.parametrize("code", [91, 18])
def test_the_error_to_a_question_of_ours_shows_none(code: int) -> None:
    talk = session_as("CN=clerk")
    sent = written(talk.client_data(command({"find": "shown", "filter": {}, "$db": "clinic"}, 70)), ToServer)
    assert "listCollections" in body_of(sent)
    error = {"ok": 0.0, "errmsg": PRINTED, "code": code}
    effects = talk.server_data(reply(error, request_id_of(sent)))
    assert body_of(written(effects, ToClient)) == {**error, "errmsg": LEFT}


def test_errors_of_statements_show_none() -> None:
    errors = [{"index": 0, "code": 28, "errmsg": PRINTED}]
    found = told("CN=writer", UPDATE, {"n": 0, "nModified": 0, "writeErrors": errors, "ok": 1.0})
    assert [each["errmsg"] for each in found["writeErrors"]] == [LEFT]
    row = {"ok": 0.0, "idx": 0, "code": 28, "errmsg": PRINTED, "n": 0}
    cursor = {"id": 0, "firstBatch": [row], "ns": "admin.$cmd.bulkWrite"}
    found = told("CN=doctor", BULK, {"cursor": cursor, "nErrors": 1, "nInserted": 0, "ok": 1.0})
    assert [each["errmsg"] for each in found["cursor"]["firstBatch"]] == [LEFT]


def test_a_long_reply_shows_none_either() -> None:
    """A delete may have as many errors as statements."""
    talk = session_as("CN=doctor")
    asked(talk, {"delete": "patients", "deletes": [{"q": {"_id": 1}, "limit": 1}]})
    errors = [{"index": place, "code": 28, "errmsg": PRINTED} for place in range(LONG_BYTES // len(PRINTED))]
    whole = reply({"n": 0, "writeErrors": errors, "ok": 1.0})
    assert len(whole) > LONG_BYTES
    effects = [
        each for at in range(0, len(whole), 50_000) for each in talk.server_data(whole[at : at + 50_000])
    ]
    found = body_of(written(effects, ToClient))
    assert {each["errmsg"] for each in found["writeErrors"]} == {LEFT}


def test_what_is_no_error_and_what_has_no_roles_stays_as_it_is() -> None:
    row = {"_id": 1, "note": PRINTED}
    cursor = {"cursor": {"firstBatch": [row], "id": 0, "ns": "clinic.patients"}, "ok": 1.0}
    found = told("CN=doctor", {"find": "patients", "filter": {}}, cursor)
    assert found["cursor"]["firstBatch"] == [row]
    talk = session()
    talk.client_data(command({"find": "patients", "filter": {}, "$db": "clinic"}))
    error = {"ok": 0.0, "errmsg": PRINTED, "code": 28}
    assert body_of(written(talk.server_data(reply(error)), ToClient))["errmsg"] == PRINTED


@given(
    before=st.binary(max_size=9),
    form=st.sampled_from([FORMAT, CONTEXT_FORMAT]),
    after=st.binary(min_size=40, max_size=60),
    write=st.sampled_from([bytes.hex, b64encode, urlsafe_b64encode]),
    text=st.text("abc d(){},:", max_size=9),
)
def test_it_is_found_in_every_notation_wherever_it_stands(
    before: bytes, form: int, after: bytes, write: Any, text: str
) -> None:
    printed = write(before + MAGIC + bytes((form,)) + after)
    run = printed if isinstance(printed, str) else printed.decode()
    error = reply({"ok": 0.0, "errmsg": f"{text} ({run}) {text}", "code": 1})
    assert body_of(without_envelopes(error))["errmsg"] == f"{text} (...) {text}"


@given(st.text(max_size=60))
def test_other_texts_stay_as_they_are(text: str) -> None:
    error = reply({"ok": 0.0, "errmsg": text, "code": 1})
    assert without_envelopes(error) == error
