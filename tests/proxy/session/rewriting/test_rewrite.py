"""Carrying out a plan: which bytes change, which never do, and what is too large."""

from typing import Any

import bson
import pytest

from sealwire.crypto.envelope import SUBTYPE
from sealwire.crypto.errors import UnsupportedValue
from sealwire.keys.errors import UnknownKey
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.commands.command import DocumentSequence
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning.plan import Plan, Settler
from sealwire.policies.planning.walk import SETTLED_EDITS
from sealwire.proxy.session.rewriting.rewrite import MAX_COMMAND_BYTES, Settled, apply_plan
from sealwire.proxy.session.shared import SessionSettings, Shared
from sealwire.wire.framing import MAX_MESSAGE_BYTES
from sealwire.wire.op_msg import parse_op_msg, sequence_documents
from tests.proxy.session.world import KEYRING, POLICY, body_of, command, data_key, opened, sealed, sections

INSERT = {"insert": "patients", "$db": "clinic"}


def planned(message: bytes, settler: Settler | None = None, policy: PolicySet = POLICY) -> Plan:
    parsed = parse_op_msg(message)
    sequences = tuple(
        DocumentSequence(each.identifier, tuple(sequence_documents(message, each)), (0, each.start))
        for each in parsed.sequences
    )
    return plan_command(policy, message, parsed.body, (0,), sequences, settler=settler)


def shared(keyring: Keyring = KEYRING, limit: int = MAX_MESSAGE_BYTES) -> Shared:
    return Shared(SessionSettings(POLICY, max_message_bytes=limit), keyring)


def applied(message: bytes, keyring: Keyring = KEYRING, limit: int = MAX_MESSAGE_BYTES) -> bytes:
    return b"".join(apply_plan(planned(message), shared(keyring, limit)))


def test_a_plan_without_edits_gives_the_very_same_bytes() -> None:
    plan = planned(command({"find": "patients", "$db": "clinic"}))
    (piece,) = apply_plan(plan, shared(Keyring([])))
    assert piece is plan.buf


def test_every_length_above_an_edit_is_corrected() -> None:
    def message(value: Any) -> bytes:
        document = {"contact": {"email": value}, "tags": [value, [value]], "z": 1}
        return command(INSERT, first={"documents": [{}, document, document]})

    assert applied(message("x")) == message(sealed("nhs", "x"))


def test_a_random_value_becomes_one_envelope_of_its_class() -> None:
    documents = [{"notes": {"a": [1, None]}, "contact": {"note": ["x"]}}]
    stored = body_of(applied(command({**INSERT, "documents": documents})))["documents"]
    assert opened(stored) == documents
    for value in (stored[0]["notes"], stored[0]["contact"]["note"]):
        assert value.subtype == SUBTYPE
        assert value[3] == 2  # random mode


def test_what_is_coerced_is_encrypted_in_the_declared_type() -> None:
    def message(**fields: Any) -> bytes:
        return command({**INSERT, "documents": [fields]})

    assert applied(message(visits=3.0, weight=70)) == message(
        visits=sealed("visits", 3), weight=sealed("weight", 70.0)
    )


def test_the_keyring_is_asked_for_the_classes_in_use_only() -> None:
    message = command({**INSERT, "documents": [{"nhs_number": "x"}]})
    assert applied(message, Keyring([data_key("nhs")])) == applied(message)
    with pytest.raises(UnknownKey):
        applied(message, Keyring([data_key("visits")]))


@pytest.mark.parametrize("in_sequence", [True, False])
def test_a_document_that_outgrows_the_server_is_refused(in_sequence: bool) -> None:
    # 16 MiB + 16 KiB of one document, less than the envelope of one value more than is allowed
    padding = MAX_COMMAND_BYTES - 60
    documents = [{"nhs_number": "x", "p": b"\0" * padding}]
    if in_sequence:
        message = command(INSERT, after={"documents": documents})
    else:
        message = command({**INSERT, "documents": documents})
    with pytest.raises(Refusal) as caught:
        applied(message)
    assert caught.value.reason is Reason.TOO_LARGE


def test_a_sequence_may_be_larger_than_a_document() -> None:
    documents = [{"nhs_number": "x", "p": b"\0" * 9_000_000} for _ in range(2)]
    assert len(sections(applied(command(INSERT, after={"documents": documents})))) == 2


def test_a_message_that_outgrows_the_limit_is_refused() -> None:
    message = command(INSERT, after={"documents": [{"nhs_number": "x"}]})
    grown = len(applied(message))
    assert len(applied(message, limit=grown)) == grown
    with pytest.raises(Refusal) as caught:
        applied(message, limit=grown - 1)
    assert caught.value.reason is Reason.TOO_LARGE


def test_a_value_past_the_largest_is_unsupported() -> None:
    with pytest.raises(UnsupportedValue):
        applied(command({**INSERT, "documents": [{"notes": "x" * 16 * 1024 * 1024}]}))


def test_the_checksum_is_that_of_the_new_bytes() -> None:
    plain, stored = ({**INSERT, "documents": [{"nhs_number": value}]} for value in ("x", sealed("nhs", "x")))
    assert applied(command(plain, flags=1)) == command(stored, flags=1)


RANGED = load_policy(
    b"version: 1\nclasses:\n  visits: {mode: deterministic, type: int, range: {from: 0, to: 300}}\n"
    b"collections:\n  clinic.patients: {visits: visits}\n",
    "policy.yaml",
)


def test_a_range_becomes_one_list_that_does_not_show_the_order_of_its_values() -> None:
    condition = {"$exists": True, "$gte": 100, "$lt": 200}
    message = command({"find": "patients", "filter": {"visits": condition}, "$db": "clinic"})
    plan = plan_command(RANGED, message, parse_op_msg(message).body, (0,))
    found = body_of(apply_plan(plan, shared())[0])["filter"]["visits"]
    assert list(found) == ["$exists", "$in"]
    assert sorted(opened(found["$in"])) == list(range(100, 200))
    assert found["$in"] == sorted(found["$in"])
    assert opened(found["$in"]) != sorted(opened(found["$in"]))


def test_a_range_beside_a_list_becomes_a_list_of_its_own() -> None:
    condition = {"$in": [5, 7], "$gte": 6, "$lt": 9}
    message = command({"find": "patients", "filter": {"visits": condition}, "$db": "clinic"})
    plan = plan_command(RANGED, message, parse_op_msg(message).body, (0,))
    found = body_of(apply_plan(plan, shared())[0])["filter"]["visits"]
    assert list(found) == ["$in", "$not"]
    assert opened(found["$in"]) == [5, 7]
    assert sorted(opened(found["$not"]["$nin"])) == [6, 7, 8]


MANY = 2 * SETTLED_EDITS + 100


def settled(message: bytes, limit: int = MAX_MESSAGE_BYTES) -> tuple[Plan, Settled, list[bytes]]:
    """As a long message is rewritten: the edits of documents are carried out while others are planned."""
    both = shared(KEYRING, limit)
    taking = Settled(both)
    plan = planned(message, taking.take)
    return plan, taking, apply_plan(plan, both, taking)


def _many(where: str) -> bytes:
    documents = [{"nhs_number": f"{number}", "n": {"visits": number}} for number in range(MANY)]
    if where == "body":
        return command({**INSERT, "documents": documents})
    given = {"documents": documents}
    return command(INSERT, first=given) if where == "first" else command(INSERT, after=given)


@pytest.mark.parametrize("where", ["body", "first", "after"])
def test_documents_that_are_settled_on_the_way_are_sent_the_same(where: str) -> None:
    message = _many(where)
    plan, taking, pieces = settled(message)
    assert b"".join(pieces) == applied(message)
    assert plan.values == len(planned(message).edits) >= MANY
    assert len(plan.edits) <= SETTLED_EDITS + 1
    assert len(taking.edits) == 2


def test_statements_with_ranges_are_settled_the_same() -> None:
    deletes = [{"q": {"visits": {"$gte": 1, "$lt": 3}}, "limit": 0}] * MANY
    message = command({"delete": "patients", "$db": "clinic"}, after={"deletes": deletes})
    taking = Settled(shared())
    plan = planned(message, taking.take, RANGED)
    pieces = apply_plan(plan, shared(), taking)
    assert b"".join(pieces) == b"".join(apply_plan(planned(message, policy=RANGED), shared()))
    assert plan.values == MANY
    assert len(plan.replacements) == len(plan.edits) < MANY


def test_a_long_insert_leaves_in_pieces() -> None:
    documents = [{"nhs_number": f"{number:0900}"} for number in range(MANY)]
    message = command(INSERT, after={"documents": documents})
    _, taking, pieces = settled(message)
    assert b"".join(pieces) == applied(message)
    # what was settled is not copied again
    assert all(any(edit.data is piece for piece in pieces) for edit in taking.edits)


def test_a_refusal_of_the_last_document_refuses_all_of_them() -> None:
    documents: list[dict[str, Any]] = [{"nhs_number": "1"}] * MANY + [{"nhs_number": bson.MinKey()}]
    taking = Settled(shared())
    with pytest.raises(Refusal) as caught:
        planned(command(INSERT, after={"documents": documents}), taking.take)
    assert caught.value.reason is Reason.TYPE


def test_what_is_settled_may_be_as_long_as_a_message_and_no_longer() -> None:
    message = _many("after")
    taking = Settled(shared())
    planned(message, taking.take)
    size = sum(len(edit.data) for edit in taking.edits)
    exact = Settled(shared(limit=size))
    planned(message, exact.take)
    assert [edit.data for edit in exact.edits] == [edit.data for edit in taking.edits]
    with pytest.raises(Refusal) as caught:
        planned(message, Settled(shared(limit=size - 1)).take)
    assert caught.value.reason is Reason.TOO_LARGE


def test_what_was_settled_counts_for_the_limit_of_the_message() -> None:
    message = _many("after")
    size = len(applied(message))
    assert len(b"".join(settled(message, size)[2])) == size
    for limit in (size - 1, 1000):
        with pytest.raises(Refusal) as caught:
            settled(message, limit)
        assert caught.value.reason is Reason.TOO_LARGE
