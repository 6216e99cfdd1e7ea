"""Carrying out a plan: which bytes change, which never do, and what is too large."""

from dataclasses import replace
from typing import Any

import bson
import pytest
from bson.binary import Binary
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import SUBTYPE
from sealwire.crypto.errors import UnsupportedValue
from sealwire.keys.errors import UnknownKey
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.commands.command import DocumentSequence
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning.plan import Plan, Settler
from sealwire.policies.planning.walk import SETTLED_EDITS
from sealwire.proxy.session.effects import Count, Counter, ToServer
from sealwire.proxy.session.moving.forms import Forms
from sealwire.proxy.session.rewriting import MAX_COMMAND_BYTES, MAX_MORE_BYTES, Settled, apply_plan
from sealwire.proxy.session.shared import SessionSettings, Shared
from sealwire.wire.framing import MAX_MESSAGE_BYTES
from sealwire.wire.op_msg import parse_op_msg, sequence_documents
from tests.proxy.session.world import (
    BATCHING,
    KEYRING,
    POLICY,
    body_of,
    command,
    data_key,
    material,
    opened,
    sealed,
    sections,
    session,
    value_bytes,
    written,
)
from tests.support.policies import policy_of
from tests.support.reasons import raising
from tests.support.rows import rows
from tests.support.short_siv import made_with_short_siv

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
    with raising(Refusal, Reason.TOO_LARGE):
        applied(message)


def test_a_sequence_may_be_larger_than_a_document() -> None:
    documents = [{"nhs_number": "x", "p": b"\0" * 9_000_000} for _ in range(2)]
    assert len(sections(applied(command(INSERT, after={"documents": documents})))) == 2


def test_a_message_that_outgrows_the_limit_is_refused() -> None:
    message = command(INSERT, after={"documents": [{"nhs_number": "x"}]})
    grown = len(applied(message))
    assert len(applied(message, limit=grown)) == grown
    with raising(Refusal, Reason.TOO_LARGE):
        applied(message, limit=grown - 1)


def test_a_value_past_the_largest_is_unsupported() -> None:
    with pytest.raises(UnsupportedValue):
        applied(command({**INSERT, "documents": [{"notes": "x" * 16 * 1024 * 1024}]}))


def test_the_checksum_is_that_of_the_new_bytes() -> None:
    plain, stored = ({**INSERT, "documents": [{"nhs_number": value}]} for value in ("x", sealed("nhs", "x")))
    assert applied(command(plain, flags=1)) == command(stored, flags=1)


RANGED = policy_of(
    b"version: 1\nclasses:\n  visits: {mode: deterministic, type: int, range: {from: 0, to: 300}}\n"
    b"collections:\n  clinic.patients: {visits: visits}\n"
)


def ranged(condition: dict[str, Any]) -> dict[str, Any]:
    """What becomes of a condition on visits."""
    message = command({"find": "patients", "filter": {"visits": condition}, "$db": "clinic"})
    found: dict[str, Any] = body_of(apply_plan(planned(message, policy=RANGED), shared())[0])["filter"]
    return dict(found["visits"])


def test_a_range_becomes_one_list_that_does_not_show_the_order_of_its_values() -> None:
    found = ranged({"$exists": True, "$gte": 100, "$lt": 200})
    assert list(found) == ["$exists", "$in"]
    assert sorted(opened(found["$in"])) == list(range(100, 200))
    assert found["$in"] == sorted(found["$in"])
    assert opened(found["$in"]) != sorted(opened(found["$in"]))


def test_a_range_beside_a_list_becomes_a_list_of_its_own() -> None:
    found = ranged({"$in": [5, 7], "$gte": 6, "$lt": 9})
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


@pytest.mark.parametrize("where", ["body", "first", "after"])
def test_values_are_sealed_together_as_each_by_itself(where: str) -> None:
    message = _many(where)
    assert applied(message, BATCHING) == applied(message)


FIELDS: dict[Any, st.SearchStrategy[Any]] = {
    "nhs_number": st.text(max_size=90),
    "contact": st.builds(dict, email=st.text(max_size=20)),
    "tags": st.lists(st.text(max_size=9)),
}


@given(documents=st.lists(st.fixed_dictionaries({}, optional=FIELDS), min_size=8))
def test_any_documents_are_sealed_together_as_each_by_itself(documents: list[dict[str, Any]]) -> None:
    message = command({**INSERT, "documents": documents})
    assert applied(message, BATCHING) == applied(message)


@pytest.mark.parametrize("operator", ["$eq", "$in", "$nin"])
def test_values_with_older_forms_are_sealed_each_by_itself(operator: str) -> None:
    value: Any = "ann" if operator == "$eq" else ["ann", "bob"]
    stored = {"$set": {"nhs_number": "x", "contact.email": "y"}}
    body = {"update": "patients", "updates": [{"q": {"nhs_number": {operator: value}}, "u": stored}] * 10}
    two = [data_key("nhs", 1, KeyState.DECRYPT_ONLY), data_key("nhs", 2), *OTHERS]
    assert sent(body, made_with_short_siv(lambda: Keyring(two))) == sent(body, Keyring(two))


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
    with raising(Refusal, Reason.TYPE):
        planned(command(INSERT, after={"documents": documents}), taking.take)


def test_what_is_settled_may_be_as_long_as_a_message_and_no_longer() -> None:
    message = _many("after")
    taking = Settled(shared())
    planned(message, taking.take)
    size = sum(len(edit.data) for edit in taking.edits)
    exact = Settled(shared(limit=size))
    planned(message, exact.take)
    assert [edit.data for edit in exact.edits] == [edit.data for edit in taking.edits]
    with raising(Refusal, Reason.TOO_LARGE):
        planned(message, Settled(shared(limit=size - 1)).take)


def test_what_was_settled_counts_for_the_limit_of_the_message() -> None:
    message = _many("after")
    size = len(applied(message))
    assert len(b"".join(settled(message, size)[2])) == size
    for limit in (size - 1, 1000):
        with raising(Refusal, Reason.TOO_LARGE):
            settled(message, limit)


OTHERS = [data_key(name) for name in POLICY.class_names if name != "nhs"]
TWO = Keyring([data_key("nhs", 1, KeyState.DECRYPT_ONLY), data_key("nhs", 2), *OTHERS])
THREE = Keyring(
    [*(data_key("nhs", each, KeyState.DECRYPT_ONLY) for each in (1, 2)), data_key("nhs", 3), *OTHERS]
)
NEW, OLD = sealed("nhs", "ann", 2), sealed("nhs", "ann")
BOTH = {"$in": [NEW, OLD]}
IN = "clinic"


def sent(body: dict[str, Any], keyring: Keyring = TWO, policy: PolicySet = POLICY) -> Any:
    """The command as it goes to the server."""
    shared = Shared(SessionSettings(policy), keyring)
    plan = planned(command(body | {"$db": IN}), policy=policy)
    forms = Forms(shared.moves, keyring) if keyring.plaintext_classes else None
    return body_of(b"".join(apply_plan(plan, shared, forms=forms)))


def filtered(condition: dict[str, Any], keyring: Keyring = TWO) -> Any:
    return sent({"find": "patients", "filter": condition}, keyring)["filter"]


@rows(
    "asked, expected",
    ({"nhs_number": "ann"}, {"nhs_number": BOTH}),
    ({"nhs_number": {"$eq": "ann"}}, {"nhs_number": BOTH}),
    ({"nhs_number": {"$ne": "ann"}}, {"nhs_number": {"$nin": [NEW, OLD]}}),
    ({"nhs_number": {"$in": ["ann", None]}}, {"nhs_number": {"$in": [NEW, None, OLD]}}),
    ({"nhs_number": {"$nin": ["ann"]}}, {"nhs_number": {"$nin": [NEW, OLD]}}),
    ({"nhs_number": {"$not": {"$eq": "ann"}}}, {"nhs_number": {"$not": BOTH}}),
    ({"$or": [{"nhs_number": "ann"}, {"a": 1}]}, {"$or": [{"nhs_number": BOTH}, {"a": 1}]}),
    ({"$nor": [{"nhs_number": "ann"}]}, {"$nor": [{"nhs_number": BOTH}]}),
    ({"contact.email": "ann"}, {"contact.email": BOTH}),
    ({"tags": {"$elemMatch": {"$eq": "ann"}}}, {"tags": {"$elemMatch": BOTH}}),
    ({"tags.0": "ann"}, {"tags.0": BOTH}),
    ({"contact": {"$elemMatch": {"email": "ann"}}}, {"contact": {"$elemMatch": {"email": BOTH}}}),
    (
        {"nhs_number": {"$ne": "ann", "$exists": True}},
        {"nhs_number": {"$nin": [NEW, OLD], "$exists": True}},
    ),
    ({"nhs_number": {"$eq": "ann", "$nin": []}}, {"nhs_number": {"$in": [NEW, OLD], "$nin": []}}),
    # where they would be in the document twice, or mean another thing: the newest form alone
    ({"nhs_number": {"$eq": "ann", "$in": [None]}}, {"nhs_number": {"$eq": NEW, "$in": [None]}}),
    ({"nhs_number": {"$ne": "ann", "$nin": []}}, {"nhs_number": {"$ne": NEW, "$nin": []}}),
    ({"nhs_number": ["ann"]}, {"nhs_number": [NEW]}),
    ({"nhs_number": {"$in": [["ann"]]}}, {"nhs_number": {"$in": [[NEW]]}}),
    ({"tags": {"$all": ["ann"]}}, {"tags": {"$all": [NEW]}}),
    ({"contact": {"email": "ann"}}, {"contact": {"email": NEW}}),
    ({"$expr": {"$eq": ["$nhs_number", "ann"]}}, {"$expr": {"$eq": ["$nhs_number", NEW]}}),
    # what the class cannot hold is in no older form
    ({"nhs_number": 5}, {"nhs_number": sealed("nhs", 5, 2)}),
    ({"nhs_number": None}, {"nhs_number": None}),
    # a class that has one version
    (
        {"visits": 3, "weight": {"$in": [1]}},
        {"visits": sealed("visits", 3), "weight": {"$in": [sealed("weight", 1.0)]}},
    ),
)
def test_a_filter_names_every_form_where_a_list_means_the_same(
    asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert filtered(asked) == expected


def test_the_newest_older_version_comes_first() -> None:
    forms = [sealed("nhs", "ann", version) for version in (3, 2, 1)]
    assert filtered({"nhs_number": "ann"}, THREE) == {"nhs_number": {"$in": forms}}


def test_items_are_appended_under_the_names_that_follow() -> None:
    found = filtered({"tags": {"$in": ["a", "b", 7]}}, THREE)["tags"]["$in"]
    newest = [sealed("nhs", "a", 3), sealed("nhs", "b", 3), sealed("nhs", 7, 3)]
    assert found == newest + [sealed("nhs", text, version) for text in "ab" for version in (2, 1)]


def test_a_borrowed_version_makes_the_forms_of_its_lender() -> None:
    lender = data_key("visits")
    borrowed = replace(data_key("nhs", 1, KeyState.DECRYPT_ONLY), material=lender.material, lender=lender.ids)
    found = filtered({"nhs_number": "ann"}, Keyring([borrowed, data_key("nhs", 2), *OTHERS]))
    cipher = ValueCipher(material(*lender.ids), *lender.ids)
    lent = Binary(cipher.encrypt_deterministically(*value_bytes("ann")), SUBTYPE)
    assert found == {"nhs_number": {"$in": [NEW, lent]}}
    # the lender's own version is no older one of its own
    assert filtered({"visits": 3}, Keyring([borrowed, *OTHERS])) == {"visits": sealed("visits", 3)}


def test_a_value_is_counted_once_whatever_its_forms() -> None:
    asking = session(TWO)
    effects = asking.client_data(command({"find": "patients", "filter": {"nhs_number": "ann"}, "$db": IN}))
    assert body_of(written(effects, ToServer))["filter"] == {"nhs_number": BOTH}
    counted = [each for each in effects if isinstance(each, Count)]
    assert Count(Counter.VALUES_ENCRYPTED, 1) in counted


@pytest.mark.parametrize("state", [KeyState.RETIRED, KeyState.DESTROYED])
def test_a_version_that_opens_nothing_is_left_out(state: KeyState) -> None:
    keyring = Keyring([data_key("nhs", 1, state), data_key("nhs", 2), *OTHERS])
    assert filtered({"nhs_number": "ann"}, keyring) == {"nhs_number": NEW}


def test_plaintext_is_never_named_as_an_older_version() -> None:
    clear = data_key("nhs", 1, KeyState.DECRYPT_ONLY, is_plaintext=True)
    found = filtered({"nhs_number": "ann"}, Keyring([clear, data_key("nhs", 2), *OTHERS]))
    assert found == {"nhs_number": NEW}


def test_a_class_that_was_given_back_is_looked_for_under_its_last_key_too() -> None:
    keyring = Keyring(
        [data_key("nhs", 1, KeyState.DECRYPT_ONLY), data_key("nhs", 2, is_plaintext=True), *OTHERS]
    )
    assert filtered({"nhs_number": "ann"}, keyring) == {"nhs_number": {"$in": ["ann", OLD]}}
    assert filtered({"nhs_number": 5}, keyring) == {"nhs_number": 5}
    assert filtered({"nhs_number": {"$nin": ["ann"]}}, keyring) == {"nhs_number": {"$nin": ["ann", OLD]}}


ANN = {"nhs_number": "ann"}
SET = {"$set": {"a": 1}}
INDEX: dict[str, Any] = {"key": {"a": 1}, "name": "a", "partialFilterExpression": ANN}
EVERY_FORM: list[dict[str, Any]] = [
    {"count": "patients", "query": ANN},
    {"distinct": "patients", "key": "a", "query": ANN},
    {"delete": "patients", "deletes": [{"q": ANN, "limit": 1}]},
    {"aggregate": "patients", "pipeline": [{"$match": ANN}], "cursor": {}},
    {"findAndModify": "patients", "query": ANN, "remove": True},
    {"explain": {"find": "patients", "filter": ANN}},
]
# by a hint the server walks an index, and a definition holds for later values as well
NEWEST_FORM: list[dict[str, Any]] = [
    {"find": "patients", "filter": ANN, "hint": {"nhs_number": 1}},
    {"find": "patients", "filter": ANN, "min": {"a": 1}, "hint": {"a": 1}},
    {"update": "patients", "updates": [{"q": ANN, "u": SET, "hint": "a_1"}]},
    {"delete": "patients", "deletes": [{"q": ANN, "limit": 0, "hint": "a_1"}]},
    {"create": "patients", "validator": ANN},
    {"collMod": "patients", "validator": {"nhs_number": {"$in": ["ann"]}}},
    {"createIndexes": "patients", "indexes": [INDEX]},
    {"create": "seen", "viewOn": "patients", "pipeline": [{"$match": ANN}]},
]


def with_form(value: Any, form: Any) -> Any:
    """The same with this in the place of the value."""
    if isinstance(value, dict):
        return {name: with_form(inner, form) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_form(inner, form) for inner in value]
    return form if value == "ann" else value


@rows("asked, form", *((each, BOTH) for each in EVERY_FORM), *((each, NEW) for each in NEWEST_FORM))
def test_a_command_names_every_form_but_where_an_index_or_a_definition_counts(
    asked: dict[str, Any], form: Any
) -> None:
    assert sent(asked) == with_form(asked, form) | {"$db": IN}


def test_a_projection_names_every_form() -> None:
    asked = {"find": "patients", "projection": {"tags": {"$elemMatch": {"$eq": "ann"}}}}
    assert sent(asked)["projection"] == {"tags": {"$elemMatch": BOTH}}


@rows(
    "update, expected",
    ({"$set": ANN}, {"$set": {"nhs_number": NEW}}),
    (ANN, {"nhs_number": NEW}),
    ({"$addToSet": {"tags": "ann"}}, {"$addToSet": {"tags": NEW}}),
    (
        {"$pullAll": {"tags": ["ann", "bob"]}},
        {"$pullAll": {"tags": [NEW, sealed("nhs", "bob", 2), OLD, sealed("nhs", "bob")]}},
    ),
    ({"$pull": {"tags": "ann"}}, {"$pull": {"tags": {**BOTH, "$not": {"$type": 4}}}}),
    ({"$pull": {"tags": {"$in": ["ann"]}}}, {"$pull": {"tags": BOTH}}),
    ({"$pull": {"tags": {"$eq": "ann"}}}, {"$pull": {"tags": BOTH}}),
    ({"$pull": {"tags": ["ann"]}}, {"$pull": {"tags": [NEW]}}),
    ({"$pullAll": {"tags": [["ann"]]}}, {"$pullAll": {"tags": [[NEW]]}}),
    ({"$pull": {"contact": {"email": "ann"}}}, {"$pull": {"contact": {"email": BOTH}}}),
)
def test_an_update_looks_for_every_form_and_stores_the_newest(
    update: dict[str, Any], expected: dict[str, Any]
) -> None:
    (found,) = sent({"update": "patients", "updates": [{"q": {"a": 1}, "u": update}]})["updates"]
    assert found == {"q": {"a": 1}, "u": expected}


def test_array_filters_look_for_every_form() -> None:
    statement = {"q": ANN, "u": {"$set": {"tags.$[t]": "bob"}}, "arrayFilters": [{"t": "ann"}]}
    (found,) = sent({"update": "patients", "updates": [statement]})["updates"]
    stored = {"$set": {"tags.$[t]": sealed("nhs", "bob", 2)}}
    assert found == {**with_form(statement, BOTH), "u": stored}


def test_long_commands_look_for_every_form_as_well() -> None:
    statements = [{"q": {"nhs_number": str(number)}, "u": SET} for number in range(3000)]
    shared = Shared(SessionSettings(POLICY), TWO)
    settled = Settled(shared)
    message = command({"update": "patients", "$db": IN}, after={"updates": statements})
    plan = planned(message, settled.take)
    assert settled.edits
    assert plan.values == 3000
    out = b"".join(apply_plan(plan, shared, settled))
    forms = [[sealed("nhs", str(number), version) for version in (2, 1)] for number in range(3000)]
    expected = [{"q": {"nhs_number": {"$in": each}}, "u": SET} for each in forms]
    assert out == command({"update": "patients", "$db": IN}, after={"updates": expected})
    assert len(sections(out)) == 2


def test_the_older_forms_of_a_command_are_bounded() -> None:
    texts = [f"{number:0200}" for number in range(8000)]
    found = filtered({"tags": {"$in": texts}})["tags"]["$in"]
    assert found[:8000] == [sealed("nhs", text, 2) for text in texts]
    size = len(sealed("nhs", texts[0])) + 5
    assert len(found) - 8000 == -(-MAX_MORE_BYTES // size)


@given(st.lists(st.one_of(st.text(max_size=3), st.none(), st.integers(0, 9)), max_size=6), st.booleans())
def test_with_one_version_nothing_changes(values: list[Any], is_negated: bool) -> None:
    condition = {"tags": {"$nin" if is_negated else "$in": values}, "nhs_number": "x", "visits": {"$ne": 3}}
    one = filtered(condition, KEYRING)
    assert one["tags"] == {
        name: [sealed("nhs", value) if value is not None else None for value in values]
        for name in condition["tags"]
    }
    assert one["nhs_number"] == sealed("nhs", "x")
    assert one["visits"] == {"$ne": sealed("visits", 3)}


@given(st.lists(st.one_of(st.text(max_size=3), st.none()), max_size=6))
def test_a_list_has_each_value_in_each_form(values: list[Any]) -> None:
    found = filtered({"tags": {"$in": values}}, THREE)["tags"]["$in"]
    texts = [value for value in values if value is not None]
    expected = [sealed("nhs", text, version) for text in texts for version in (1, 2, 3)]
    assert sorted(map(repr, found)) == sorted(map(repr, [*expected, *([None] * values.count(None))]))
