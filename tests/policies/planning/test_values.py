"""What may be stored in a deterministic class: only what is sound, and no zero of another sign."""

import re
import struct
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, encode
from bson.binary import Binary
from bson.raw_bson import RawBSONDocument
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.aggregation.stages import TABLES
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.ranges import is_canonical, read_number
from sealwire.policies.file.schema import NOTHING, FieldClass, Mode, PathNode, ValueType
from sealwire.policies.planning.numbers import is_true, whole_number
from sealwire.policies.planning.plan import Use, ValueEdit
from sealwire.policies.planning.trees import MAX_ALIKE_FIELDS, OPAQUE, Work
from sealwire.policies.planning.values import (
    demand_definition,
    demand_delete,
    demand_filter,
    demand_result,
    demand_role,
    demand_write,
    plan_stored_document,
)
from sealwire.policies.planning.walk import Draft, Walk
from sealwire.policies.roles.role import CLEAR, DENIED, ClassAccess, Rights
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.raw_bson import Element, elements
from tests.policies.support import (
    POLICY,
    covered,
    find,
    insert,
    plan_message,
    plan_of,
    planned,
    reason,
    value_edits,
)
from tests.support.policies import policy_of
from tests.support.reasons import raising
from tests.support.rows import rows

ZEROS = [-0.0, Decimal128("-0"), Decimal128("-0E+3")]


@pytest.mark.parametrize("zero", ZEROS)
@rows(
    "command",
    lambda zero: insert({"ratio": zero}),
    lambda zero: insert({"ratio": [1.0, zero]}),
    lambda zero: {"findAndModify": "patients", "update": {"$set": {"ratio": zero}}},
    lambda zero: {"findAndModify": "patients", "update": {"$push": {"ratio": zero}}},
    lambda zero: {
        "update": "patients",
        "updates": [{"q": {"ratio": zero}, "u": {"$set": {"x": 1}}, "upsert": True}],
    },
)
def test_a_negative_zero_is_not_stored(command: Any, zero: Any) -> None:
    assert reason({**command(zero), "$db": "clinic"}) is Reason.TYPE


@pytest.mark.parametrize("zero", [*ZEROS, 0, 0.0, Decimal128("0")])
def test_zeros_of_both_signs_are_compared_as_one(zero: Any) -> None:
    filters: list[Any] = [{"ratio": zero}, {"ratio": {"$in": [zero]}}, {"$expr": {"$eq": ["$ratio", zero]}}]
    for each in filters:
        found = plan_of({"find": "patients", "filter": each, "$db": "clinic"})
        assert [edit.value for edit in value_edits(found)] == [bytes(8)]
    update = {"q": {"ratio": zero}, "u": {"$pull": {"ratio": zero}}}
    found = plan_of({"update": "patients", "updates": [update], "$db": "clinic"})
    assert [edit.value for edit in value_edits(found)] == [bytes(8)] * 2


@pytest.mark.parametrize("zero", [0, 0.0, Decimal128("0")])
def test_a_zero_is_stored(zero: Any) -> None:
    found = plan_of({"insert": "patients", "documents": [{"ratio": zero}], "$db": "clinic"})
    assert [edit.value for edit in value_edits(found)] == [bytes(8)]


@pytest.mark.parametrize("zero", ZEROS)
def test_an_int_has_one_zero(zero: Any) -> None:
    """The other one would come back as the int 0, and the application has stored something else."""
    assert reason({"insert": "patients", "documents": [{"visits": zero}], "$db": "clinic"}) is Reason.TYPE
    found = plan_of({"find": "patients", "filter": {"visits": zero}, "$db": "clinic"})
    assert [edit.value for edit in value_edits(found)] == [bytes(4)]


FLAGGED = policy_of(
    b"version: 1\nclasses: {flag: {mode: deterministic, type: bool}}\n"
    b"collections: {clinic.patients: {smoker: flag}}\n"
)


@pytest.mark.parametrize(("value", "name"), [(True, b"smoker"), ([True], b"0")])
def test_a_flag_that_is_neither_true_nor_false_is_an_error(value: Any, name: bytes) -> None:
    """Statements in an array are looked through as a whole; this update is not."""
    body = {"findAndModify": "patients", "update": {"$set": {"smoker": value}}, "$db": "clinic"}
    message, sound = encode(body), b"\x08" + name + b"\0\1"
    assert sound in message
    assert len(plan_command(FLAGGED, message, 0).edits) == 1
    with raising(BsonError, WireReason.BSON_VALUE):
        plan_command(FLAGGED, message.replace(sound, sound[:-1] + b"\2"), 0)


NOT_CANONICAL = [
    (10**34).to_bytes(15, "little") + b"\x30",  # a coefficient of 35 digits
    ((1 << 113) - 1 | 0x3040 << 112).to_bytes(16, "little"),
    b"\1" + bytes(14) + b"\x6c",  # the form for large coefficients
    bytes(15) + b"\xec",
]


def of(value: Any) -> tuple[bytes, Element]:
    buf = encode({"n": value})
    return buf, next(elements(buf, 0))


def truth(value: Any) -> bool:
    buf, element = of(value)
    return is_true(element.kind, buf[element.value : element.end])


@rows(
    "value",
    *(0, Int64(0), 0.0, -0.0, False, None),
    *(Decimal128("0"), Decimal128("-0"), Decimal128("0E+6000"), Decimal128("-0E-6176")),
)
def test_zeros_and_null_are_false(value: Any) -> None:
    assert not truth(value)


@rows(
    "value",
    *(1, -1, Int64(2**32), 5e-324, -5e-324, float("nan"), float("inf"), True),
    *(Decimal128("1E-6176"), Decimal128("NaN"), Decimal128("-Infinity")),
    *("", "x", {}, [], b"", ObjectId(), MinKey(), Regex("x")),
)
def test_other_values_are_true(value: Any) -> None:
    assert truth(value)


def test_undefined_is_false() -> None:
    assert not is_true(kinds.UNDEFINED, b"")


@rows(
    "value, whole",
    *((0, 0), (-7, -7), (Int64(2**63 - 1), 2**63 - 1), (Int64(-(2**63)), -(2**63))),
    *((3.0, 3), (-0.0, 0), (2.0**53, 2**53), (-(2.0**63), -(2**63))),
    *((Decimal128("3"), 3), (Decimal128("3.00"), 3), (Decimal128("3E+2"), 300), (Decimal128("-0"), 0)),
    (Decimal128("9223372036854775807"), 2**63 - 1),
    (Decimal128("-9223372036854775808"), -(2**63)),
)
def test_whole_numbers_of_every_type(value: Any, whole: int) -> None:
    assert whole_number(*of(value)) == whole


@rows(
    "value",
    *(0.5, float("nan"), float("inf"), -float("inf"), 2.0**63, 1e300, -1e19),
    *(Decimal128("-9223372036854775809"), -1.5 * 2.0**63),
    *(Decimal128("0.5"), Decimal128("NaN"), Decimal128("Infinity"), Decimal128("9223372036854775808")),
    *(Decimal128("1E+6000"), Decimal128("1E-6000"), "1", True, None, [1], {"n": 1}),
)
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    with raising(Refusal, Reason.SHAPE):
        whole_number(*of(value))


@pytest.mark.parametrize("data", NOT_CANONICAL)
def test_decimals_that_are_not_canonical_decide_nothing(data: bytes) -> None:
    assert not is_canonical(data)
    assert read_number(kinds.DECIMAL, data) == 0
    with pytest.raises(Refusal):
        is_true(kinds.DECIMAL, data)
    with pytest.raises(Refusal):
        whole_number(*of(Decimal128.from_bid(data)))


@pytest.mark.parametrize("text", ["1E+1", "9" * 34, "9" * 34 + "E+6111", "1E-6175", "Infinity", "NaN"])
def test_a_decimal_of_34_digits_and_any_exponent_is_canonical(text: str) -> None:
    assert is_canonical(Decimal128(text).bid)


@given(st.decimals(places=6, min_value=-(10**20), max_value=10**20))
def test_what_writers_make_is_canonical(number: Any) -> None:
    assert is_canonical(Decimal128(number).bid)


@given(st.binary(min_size=16, max_size=16))
def test_any_decimal_is_read_or_refused(data: bytes) -> None:
    read_number(kinds.DECIMAL, data)
    try:
        found = whole_number(*of(Decimal128.from_bid(data)))
    except Refusal:
        return
    assert found == read_number(kinds.DECIMAL, data)


@given(st.floats())
def test_doubles_are_whole_where_they_are_integers_of_64_bits(number: float) -> None:
    plan, element = of(number)
    is_whole = number.is_integer() and -(2**63) <= number < 2**63
    try:
        found = whole_number(plan, element)
    except Refusal:
        assert not is_whole
    else:
        assert is_whole
        assert found == number
    assert is_true(kinds.DOUBLE, struct.pack("<d", number)) is (number != 0)


# -------------------------------------------------------------- what a command demands of its client's rights

A, B = (FieldClass(name, Mode.DETERMINISTIC, ValueType.STRING) for name in "ab")
LEAF_A, LEAF_B = PathNode("x", leaf=A), PathNode("y", leaf=B)
BOTH = PathNode("", {b"x": LEAF_A, b"y": LEAF_B})
BEHIND = PathNode("z", behind_number=PathNode("z", {b"x": LEAF_A}))
ALL_OF_B = ClassAccess(DENIED, filters=True, writes=True)


def draft(rights: Rights | None) -> Draft:
    found = Draft(b"", TABLES)
    found.rights = rights
    return found


@rows("demand", demand_filter, demand_result, demand_write, demand_delete, demand_definition)
def test_without_roles_nothing_is_demanded(demand: Any) -> None:
    demand(draft(None), OPAQUE)


@pytest.mark.parametrize("demand", [demand_filter, demand_write, demand_delete, demand_definition])
@pytest.mark.parametrize("node", [LEAF_A, BOTH, BEHIND, OPAQUE])
def test_every_class_at_and_below_a_node_counts(demand: Any, node: PathNode) -> None:
    with raising(Refusal, Reason.ROLE):
        demand(draft(Rights(("r",), {"b": ALL_OF_B})), node)
    demand(draft(Rights(("r",), {"b": ALL_OF_B})), LEAF_B)


@pytest.mark.parametrize("demand", [demand_filter, demand_write, demand_delete, demand_definition])
def test_what_is_not_covered_needs_nothing(demand: Any) -> None:
    demand(draft(Rights(("r",))), PathNode("free"))


def test_the_result_of_a_comparison_needs_the_right_to_read_outside_of_filters() -> None:
    found = draft(Rights(("r",), {"a": ClassAccess(CLEAR), "b": ALL_OF_B}))
    demand_result(found, LEAF_A)
    with raising(Refusal, Reason.ROLE):
        demand_result(found, BOTH)
    found.filters = 1
    demand_result(found, BOTH)


def test_who_may_delete_needs_no_right_to_write() -> None:
    demand_delete(draft(Rights(("r",), deletes=True)), BOTH)
    demand_definition(draft(Rights(("r",), deletes=True)), BOTH)
    with pytest.raises(Refusal):
        demand_write(draft(Rights(("r",), deletes=True)), BOTH)


def test_a_role_is_demanded_by_what_is_missing() -> None:
    demand_role(draft(None))
    demand_role(draft(Rights(("r",))))
    with pytest.raises(Refusal) as caught:
        demand_role(draft(Rights(lacks="a purpose")))
    assert caught.value.rule.endswith("without a purpose")


def test_a_node_that_stands_many_times_in_a_tree_is_looked_at_once() -> None:
    node = PathNode("", {b"x": LEAF_B})
    for _ in range(40):
        node = PathNode("", {b"l": node, b"r": node})
    demand_filter(draft(Rights(("r",), {"b": ALL_OF_B})), node)


# -------------------------------------------------------------------------------------------------- documents


def test_an_inserted_value_is_for_storing() -> None:
    assert planned(insert({"nhs_number": "a"})) == [("nhs_number", "nhs", "store", "a")]


@rows(
    "document, edits",
    ({"nhs_number": "a", "name": "x", "notes": "n"}, [("nhs_number", "a"), ("notes", "n")]),
    ({"address": {"postcode": "a", "city": "x"}}, [("address.postcode", "a")]),
    ({"address": [{"postcode": "a"}, {"postcode": "b"}]}, [("address.postcode", v) for v in "ab"]),
    ({"contacts": [[{"phone": "a"}], {"phone": "b"}, 5]}, [("contacts.phone", v) for v in "ab"]),
    ({"contacts": {"phone": "a"}}, [("contacts.phone", "a")]),
    ({"contacts": {"0": {"phone": "a"}}}, [("contacts.phone", "a")]),
    ({"deep": [{"a": [{"b": ["n", ["m"]]}]}]}, [("deep.a.b", "n"), ("deep.a.b", "m")]),
    ({"tags": ["a", ["b", [None, "c"]]]}, [("tags", v) for v in "abc"]),
    ({"notes": ["a", {"b": 1}]}, [("notes", ["a", {"b": 1}])]),
    ({"notes": {"a": {"b": 1}}}, [("notes", {"a": {"b": 1}})]),
    ({"notes": {}}, [("notes", {})]),
    ({"notes": []}, [("notes", [])]),
)
def test_covered_values_are_found(document: dict[str, Any], edits: list[tuple[str, Any]]) -> None:
    assert covered(insert(document)) == edits


@rows(
    "document",
    {},
    {"_id": {"nhs_number": "x"}},
    {"nhs_number": None, "notes": None, "tags": None},
    {"tags": [], "contacts": [], "address": {}},
    {"tags": [None, [None]]},
    {"address": "one line", "contacts": 5, "deep": {"a": "x"}},
    {"address": {"city": "x", "Postcode": "x"}},
    {"other": {"nhs_number": "x"}, "phone": "x"},
    {"": "x", " nhs_number": "x"},
    {"x.y": {"nhs_number": "x"}, "x.nhs_number": "x"},
    {"any": [Code("f", {"a": 1}), MinKey(), MaxKey(), Timestamp(1, 2), ObjectId(bytes(12)), re.compile("x")]},
)
def test_what_no_covered_path_reaches_stays_as_it_is(document: dict[str, Any]) -> None:
    assert covered(insert(document)) == []


@rows(
    "value",
    *("text", 5, Int64(5), 5.5, True, ObjectId(), b"bytes", Binary(b"x", 6), Regex("x", "i")),
    *(Code("f"), Code("f", {"a": 1}), Timestamp(1, 2), {"a": [1]}, [1, {"a": 2}]),
    datetime(2000, 1, 1, tzinfo=UTC).replace(tzinfo=None),
)
def test_a_random_class_takes_a_value_of_any_type_as_a_whole(value: object) -> None:
    assert covered(insert({"notes": value})) == [("notes", value)]


@pytest.mark.parametrize("value", [MinKey(), MaxKey()])
@pytest.mark.parametrize("path", ["notes", "nhs_number"])
def test_values_that_are_only_bounds_cannot_be_stored(path: str, value: object) -> None:
    assert reason(insert({path: value})) is Reason.TYPE


def test_undefined_cannot_be_stored_on_a_covered_path() -> None:
    document = RawBSONDocument(b"\x0c\0\0\0\x06notes\0\0")
    assert reason(insert(document)) is Reason.TYPE


@rows(
    "document, path",
    ({"nhs_number": 5}, "nhs_number"),
    ({"nhs_number": {"x": 1}}, "nhs_number"),
    ({"nhs_number": ["a", {"x": 1}]}, "nhs_number"),
    ({"nhs_number": re.compile("a")}, "nhs_number"),
    ({"contacts": [{"phone": "a"}, {"phone": 5}]}, "contacts.phone"),
    ({"born": "2000-01-01"}, "born"),
)
def test_a_value_of_another_type_than_declared_is_refused_by_its_path(
    document: dict[str, Any], path: str
) -> None:
    with pytest.raises(Exception, match=Reason.TYPE.value) as caught:
        plan_of(insert(document))
    assert getattr(caught.value, "path", "") == path


@rows(
    "document",
    *({"address.postcode": "x"}, {"contacts.0.phone": "x"}),
    *({"deep": {"a.b": "x"}}, {"nhs_number.x": "y"}),
    *({"0.nhs_number": "x"}, {"contacts": [{"0.phone": "x"}]}, {"contacts": [{"$x.phone": "x"}]}),
    *({"contacts": [{"0.$.phone": ["x"]}]}, {"0.1.address.city": "x"}),
)
def test_a_field_name_with_a_dot_that_reads_like_a_covered_path_is_refused(document: dict[str, Any]) -> None:
    assert reason(insert(document)) is Reason.SHAPE


def test_a_repeated_field_is_covered_each_time() -> None:
    once, twice = encode({"nhs_number": "a"}), encode({"nhs_number": "b"})
    both = (len(once) + len(twice) - 5).to_bytes(4, "little") + once[4:-1] + twice[4:]
    assert covered(insert(RawBSONDocument(both))) == [("nhs_number", "a"), ("nhs_number", "b")]


@pytest.mark.parametrize("path", ["name", "contacts", "tags", "notes"])
def test_documents_nested_without_end_are_not_well_formed(path: str) -> None:
    document = nested_arrays(path, 3000)
    with raising(BsonError, WireReason.BSON_DEPTH):
        plan_of(insert(document))
    with raising(BsonError, WireReason.BSON_DEPTH):
        plan_message({"insert": "patients"}, {"documents": [document]})


@pytest.mark.parametrize("path", ["name", "contacts", "tags"])
def test_values_to_compare_with_nested_without_end_are_not_well_formed(path: str) -> None:
    with raising(BsonError, WireReason.BSON_DEPTH):
        plan_of(find(nested_arrays(path, 3000)))


def nested_arrays(path: str, levels: int) -> Any:
    """{path: [[[...]]]}, deeper than pymongo would encode."""
    value = b"\x05\0\0\0\0"
    for _ in range(levels):
        value = (len(value) + 8).to_bytes(4, "little") + b"\x040\0" + value + b"\0"
    size = len(value) + len(path) + 7
    return RawBSONDocument(size.to_bytes(4, "little") + b"\x04" + path.encode() + b"\0" + value + b"\0")


def test_uncovered_values_are_checked_as_well() -> None:
    broken = RawBSONDocument(b"\x14\0\0\0\x03name\0\x09\0\0\0\x08x\0\x02\0\0")
    with pytest.raises(BsonError):
        plan_of(insert(broken))


def element(name: str, value: Any) -> bytes:
    """One element: `value` encoded, or if it is bytes, its type byte and its own bytes."""
    if type(value) is bytes:
        return value[:1] + name.encode() + b"\0" + value[1:]
    return encode({name: value})[4:-1]


def raw(*fields: tuple[str, Any] | None) -> RawBSONDocument:
    """A document with these fields, equal names and what pymongo would not encode included."""
    inside = b"".join(element(*field) for field in fields if field is not None)
    return RawBSONDocument((len(inside) + 5).to_bytes(4, "little") + inside + b"\0")


FIELDS: dict[str, list[Any]] = {
    "nhs_number": ["x", "y", None, 1],
    "tags": ["x", ["a", "b"], [], Regex("a")],
    "visits": [1, 1.0, Int64(2), -0.0, "x"],
    "notes": [{"a": 1}, [1], [None], "x", Timestamp(0, 0), Timestamp(1, 1)],
    "address": [{"postcode": "x"}, [{"postcode": "x"}], {"0": {"postcode": "x"}}, "x"],
    "contacts": [{"phone": "x"}, [{"phone": "x", "note": 1}, {"phone": 1}]],
    "0": [{"nhs_number": "x"}, [{"visits": 1}], {"0": {"tags": ["x"]}}, "x"],
    "flag": [True, False, b"\x08\2", 1],
    "bytes": [Binary(b"x", 0), b"\x05\1\0\0\0\2x", "x"],
    "inner": [{"x": True}, {}, b"\x03\6\0\0\0\0\0", b"\x03\x09\0\0\0\x08x\0\2\0"],
    "list": [[{}], [True], b"\x04\x09\0\0\0\x080\0\2\0"],
    "code": [Code("x", {"a": 1}), Code("x"), b"\x0e\2\0\0\0x\0", MinKey(), b"\x06"],
    "n" * 65: ["x", True, b"\x08\2"],
    "x.y": ["x", {"phone": "x"}],
    "0.nhs_number": ["x", True, b"\x08\2"],
    "$x.contacts": [{"phone": "x"}],
}
some_documents = st.lists(st.sampled_from(sorted(FIELDS)), max_size=4).flatmap(
    lambda names: st.lists(
        st.tuples(*(st.sampled_from([*((name, each) for each in FIELDS[name]), None]) for name in names)),
        min_size=3,
        max_size=6,
    )
)
"""Fields or none, of documents of which many begin alike."""
collections = st.lists(st.sampled_from(["patients", "patients", "appointments"]), min_size=6, max_size=6)


def planned_alike(documents: list[RawBSONDocument], names: list[str] | None = None) -> list[object]:
    """What is decided for each document of an insert, by offsets in it; or why it is not planned.

    `names`: the collection of each; then it is a `bulkWrite`.
    """
    command: dict[str, Any] = {"insert": "patients"}
    sequences: dict[str, list[Any]] = {"documents": documents}
    if names is not None:
        spaces = [{"ns": f"clinic.{name}"} for name in names]
        command = {"bulkWrite": 1, "$db": "admin"}
        ops = [{"insert": place, "document": each} for place, each in enumerate(documents)]
        sequences = {"ops": ops, "nsInfo": spaces}
    try:
        message = plan_message(command, sequences)
    except Refusal as refusal:
        return [(refusal.reason, refusal.path, refusal.rule)]
    except BsonError as error:
        return [error.reason]
    edits, found, end = value_edits(message.plan), list[object](), 0
    for document in documents:
        start = message.data.index(document.raw, end)
        end = start + len(document.raw)
        found.append([relative(edit, start) for edit in edits if start <= edit.element.start < end])
    return found


def relative(edit: ValueEdit, start: int) -> object:
    """What an edit says, with offsets in the document at `start`."""
    element, parents = edit.element, [each - start for each in edit.parents if each >= start]
    offsets = (element.start - start, element.value - start, element.end - start, parents)
    what = (element.kind, element.name, edit.node.path, edit.field_class.name, edit.use)
    return offsets, what, edit.kind, edit.value, edit.place


def one_by_one(documents: list[RawBSONDocument], names: list[str] | None) -> list[object]:
    """The same, each document planned in a command of its own; why the first is refused that is."""
    decided: list[object] = []
    for place, each in enumerate(documents):
        found = planned_alike([each], None if names is None else [names[place]])
        if not isinstance(found[0], list):
            return found
        decided += found
    return decided


@given(shapes=some_documents)
def test_what_is_decided_for_a_document_does_not_depend_on_those_before_it(
    shapes: list[tuple[tuple[str, Any] | None, ...]],
) -> None:
    documents = [raw(*fields) for fields in shapes]
    assert planned_alike(documents) == one_by_one(documents, None)


@given(shapes=some_documents, names=collections)
def test_nor_on_those_of_other_collections(
    shapes: list[tuple[tuple[str, Any] | None, ...]], names: list[str]
) -> None:
    documents = [raw(*fields) for fields in shapes]
    chosen = names[: len(documents)]
    assert planned_alike(documents, chosen) == one_by_one(documents, chosen)


@rows(
    "good, broken",
    (True, b"\x08\2"),
    (Binary(b"x", 0), b"\x05\1\0\0\0\2x"),
    ({}, b"\x03\x09\0\0\0\x08x\0\2\0"),
    ([], b"\x04\x09\0\0\0\x080\0\2\0"),
    (Code("x", {}), b"\x0f\x17\0\0\0\2\0\0\0x\0\x09\0\0\0\x08x\0\2\0"),
)
def test_a_value_is_checked_in_every_document(good: Any, broken: bytes) -> None:
    documents = [raw(("name", value), ("nhs_number", "x")) for value in (good, good, broken)]
    assert planned_alike(documents[:2]) == one_by_one(documents[:2], None)
    assert planned_alike(documents) == planned_alike(documents[2:])
    assert isinstance(planned_alike(documents)[0], WireReason)


@pytest.mark.parametrize("count", [MAX_ALIKE_FIELDS - 1, MAX_ALIKE_FIELDS, MAX_ALIKE_FIELDS + 2])
def test_of_documents_with_many_fields_only_so_many_are_known(count: int) -> None:
    fields = [(f"f{number}", number) for number in range(count)]
    documents = [raw(*fields, ("nhs_number", "x"))] * 3
    assert planned_alike(documents) == one_by_one(documents, None)
    work, node = Work(), POLICY.covered("clinic.patients") or NOTHING
    walk = Walk(Draft(encode(documents[0]), TABLES, work=work), node, (), Use.STORE)
    for _ in range(3):
        plan_stored_document(walk, 0)
    assert len(work.known_fields(node) or ()) == min(count + 1, MAX_ALIKE_FIELDS)
