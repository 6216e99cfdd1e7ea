"""The leak test: after a plan is carried out, no covered path reaches a value in clear, and all else stays.

The reference is a slow walk of the decoded document, with MongoDB's meaning of a path through arrays.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from bson import ObjectId, decode, encode
from bson.raw_bson import RawBSONDocument
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sealwire.policies.commands.administration import BEYOND_TARGET
from sealwire.policies.commands.planner import KNOWN_COMMANDS, MATRIX, plan_command
from sealwire.policies.errors import Refusal
from sealwire.wire.errors import BsonError, ProtocolError, WireReason
from sealwire.wire.raw_bson import validate
from tests.policies.command_strategies import PARTS, Document, commands
from tests.policies.support import (
    COVERED_PATHS,
    MARK,
    POLICY,
    Command,
    find,
    insert,
    is_sealed,
    plan_message,
    plan_of,
    run,
    seal,
    update,
)
from tests.strategies import bson_documents, python_scalars
from tests.support.policies import policy_of
from tests.support.reasons import raising

# Stored documents whose covered fields mostly have a type that their class takes.
texts = st.text(max_size=5)
own = st.one_of(
    texts, st.none(), st.lists(st.one_of(texts, st.none(), st.lists(texts, max_size=2)), max_size=3)
)
anything = st.one_of(
    *(texts, st.integers(-5, 5), st.none(), st.binary(min_size=12, max_size=12).map(ObjectId)),
    *(st.lists(texts, max_size=2), st.dictionaries(st.sampled_from(PARTS), texts, max_size=2)),
)


def _some(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One, a list of some, or a document of numbered ones: what a path sees through."""
    numbered = st.dictionaries(st.sampled_from(["0", "1"]), of, max_size=2)
    return st.one_of(of, st.lists(st.one_of(of, st.lists(of, max_size=2), anything), max_size=3), numbered)


contacts = st.fixed_dictionaries(
    {}, optional={"phone": own, "note": anything, "kind": anything, "tags": anything}
)
addresses = st.fixed_dictionaries({}, optional={"postcode": own, "city": anything, "address": anything})
stored = st.fixed_dictionaries(
    {},
    optional={
        **{"_id": st.integers(0, 9), "name": anything, "x": _some(anything)},
        **dict.fromkeys(("nhs_number", "other_nhs", "postcode", "tags"), own),
        **{
            "visits": st.one_of(
                st.integers(-9, 9), st.just(5.0), st.none(), st.lists(st.integers(0, 5), max_size=3)
            )
        },
        **{"notes": anything, "contacts": _some(contacts), "address": _some(addresses)},
        **{
            "deep": _some(
                st.fixed_dictionaries(
                    {}, optional={"a": _some(st.fixed_dictionaries({"b": own})), "c": anything}
                )
            )
        },
        **dict.fromkeys(("0", "17"), anything),
    },
)


def reached(value: Any, parts: tuple[str, ...]) -> Iterator[Any]:
    """What a MongoDB path reaches: fields of documents, elements of arrays, by index or all of them."""
    if isinstance(value, list):
        for item in value:
            yield from reached(item, parts)
        if parts and parts[0].isdigit() and int(parts[0]) < len(value):
            yield from reached(value[int(parts[0])], parts[1:])
    elif not parts:
        yield value
    elif isinstance(value, dict) and parts[0] in value:
        yield from reached(value[parts[0]], parts[1:])


def with_indexes(path: str) -> Iterator[tuple[str, ...]]:
    """The path and the ways to write it with one index in it."""
    parts = tuple(path.split("."))
    yield parts
    for place in range(1, len(parts) + 1):
        for index in "01":
            yield (*parts[:place], index, *parts[place:])


def assert_no_covered_value_is_left(document: Document) -> None:
    """The leak test: by every covered path only ciphertext and null are reached."""
    for path in COVERED_PATHS:
        for parts in with_indexes(path):
            for value in reached(document, parts):
                assert value is None or is_sealed(value), (path, parts)


def opened(value: Any) -> Any:
    """A decoded document with every marked binary turned back into its value."""
    if isinstance(value, list):
        return [opened(item) for item in value]
    if isinstance(value, dict):
        return {name: opened(item) for name, item in value.items()}
    if is_sealed(value):
        kind, data = value[len(MARK)], value[len(MARK) + 1 :]
        element = bytes((kind,)) + b"v\0" + data
        return decode((len(element) + 5).to_bytes(4, "little") + element + b"\0")["v"]
    return value


@settings(max_examples=300)
@given(st.lists(stored, min_size=1, max_size=3))
def test_no_covered_value_of_a_stored_document_is_left_and_all_else_stays(documents: list[Document]) -> None:
    try:
        message = plan_message({"insert": "patients"}, {"documents": documents})
    except Refusal:
        assume(False)
    sealed = seal(message.plan)
    assert int.from_bytes(sealed[:4], "little") == len(sealed)
    as_array = decode(seal(plan_of(insert(*documents))))["documents"]
    for document in as_array:
        assert_no_covered_value_is_left(document)
    assert opened(as_array) == documents
    assert sum(edit.use.value == "store" for edit in message.plan.edits) == len(message.plan.edits)
    start, found = sealed.index(b"documents\0") + len(b"documents\0"), []
    while start < len(sealed):
        end = validate(sealed, start, len(sealed))
        found.append(decode(sealed[start:end]))
        start = end
    assert found == as_array


@settings(max_examples=200)
@given(stored, st.sampled_from(["$set", "replacement", "$setOnInsert"]))
def test_no_covered_value_of_an_update_is_left(document: Document, form: str) -> None:
    change = document if form == "replacement" else {form: document}
    try:
        plan = plan_of(update(change))
    except Refusal:
        assume(False)
    written = decode(seal(plan))["updates"][0]["u"]
    written = written if form == "replacement" else written[form]
    assert_no_covered_value_is_left(written)
    assert opened(written) == document


@settings(max_examples=200)
@given(st.sampled_from(COVERED_PATHS), st.data(), own)
def test_a_value_set_by_a_dotted_path_and_the_filter_for_it_are_the_same_ciphertext(
    path: str, data: st.DataObject, value: Any
) -> None:
    parts = data.draw(st.sampled_from([*with_indexes(path)]))
    written_path = ".".join(parts)
    try:
        stored_plan = plan_of(update({"$set": {written_path: value}}))
        asked_plan = plan_of(find({written_path: value}))
    except Refusal:
        assume(False)
    written = decode(seal(stored_plan))["updates"][0]["u"]["$set"][written_path]
    assert decode(seal(asked_plan))["filter"][written_path] == written
    assert opened(written) == value


@settings(max_examples=200)
@given(stored)
def test_a_sub_document_to_compare_with_is_the_one_that_is_stored(document: Document) -> None:
    try:
        inserted = decode(seal(plan_of(insert(document))))["documents"][0]
        asked = plan_of(find({"$and": [{name: value} for name, value in document.items()]}))
    except Refusal:
        assume(False)
    conditions = decode(seal(asked))["filter"].get("$and", [])
    for (name, value), condition in zip(document.items(), conditions, strict=True):
        if not isinstance(value, dict) or not next(iter(value), "").startswith("$"):
            assert condition[name] == inserted[name]


# ----------------------------------------------------------------------------------- values that nobody reads

GOOD = RawBSONDocument(b"\x09\0\0\0\x08x\0\x01\0")
BROKEN = RawBSONDocument(b"\x09\0\0\0\x08x\0\x02\0")
"""{x: true}, and the same with a boolean that is neither true nor false."""


def bulk(operation: Command) -> Command:
    targets = [{"ns": "clinic.wards"}, {"ns": "clinic.patients"}]
    return {"bulkWrite": 1, "$db": "admin", "ops": [operation], "nsInfo": targets}


PLACES: dict[str, Callable[[Any], Command]] = {
    "stored": lambda value: insert({"name": value}),
    "stored, random": lambda value: insert({"notes": value}),
    "stored, in an array": lambda value: insert({"contacts": [{"x": value}]}),
    "compared": lambda value: find({"name": value}),
    "compared, in operators": lambda value: find({"name": {"$gt": value}}),
    "compared with a class of another type": lambda value: find({"nhs_number": value}),
    "$comment": lambda value: find({"$comment": value}),
    "$comment in a condition": lambda value: find({"nhs_number": {"$eq": "a", "$comment": value}}),
    "min": lambda value: find({}, hint={"ward": 1}, min={"ward": value}),
    "max": lambda value: find({}, hint={"ward": 1}, max={"ward": value}),
    "let": lambda value: find({}, let={"v": value}),
    "comment of a command": lambda value: find({}, comment=value),
    "properties of $jsonSchema": lambda value: find({"$jsonSchema": {"properties": {"ward": value}}}),
    "$elemMatch of a projection": lambda value: find({}, projection={"list": {"$elemMatch": {"a": value}}}),
    "$set": lambda value: update({"$set": {"name": value}}),
    "$unset": lambda value: update({"$unset": {"name": value}}),
    "$unset of a covered path": lambda value: update({"$unset": {"nhs_number": value}}),
    "$inc": lambda value: update({"$inc": {"name": value}}),
    "$min": lambda value: update({"$min": {"name": value}}),
    "$currentDate": lambda value: update({"$currentDate": {"name": value}}),
    "$push": lambda value: update({"$push": {"list": value}}),
    "$addToSet": lambda value: update({"$addToSet": {"list": value}}),
    "$pull": lambda value: update({"$pull": {"list": value}}),
    "$pullAll": lambda value: update({"$pullAll": {"list": [value]}}),
    "$pop": lambda value: update({"$pop": {"list": value}}),
    "an operator without a row": lambda value: update({"$other": {"name": value}}),
    "$literal": lambda value: run({"$set": {"x": {"$literal": value}}}),
    "$literal in an update": lambda value: update([{"$set": {"x": {"$literal": value}}}]),
    "a constant in an update": lambda value: update([{"$set": {"x": [value]}}]),
    "a stage out of reach": lambda value: run(
        {"$match": {"x": value}}, {"$lookup": {"from": "patients", "pipeline": [], "as": "z"}}, on="wards"
    ),
    "$merge": lambda value: run(
        {"$project": {"ward": 1}},
        {"$merge": {"into": "wards", "let": {"v": value}, "whenMatched": [{"$set": {"y": "$$v"}}]}},
    ),
    "$geoNear": lambda value: run({"$geoNear": {"near": value, "distanceField": "d"}}),
    "an option of an index": lambda value: {
        "createIndexes": "patients",
        "indexes": [{"key": {"ward": 1}, "name": "n", "partialFilterExpression": {"ward": value}}],
    },
    "an operation on another collection": lambda value: bulk({"insert": 0, "document": value}),
    "currentOp": lambda value: {"currentOp": 1, "client": value, "$db": "admin"},
}


@pytest.mark.parametrize("place", PLACES)
def test_a_malformed_value_is_noticed_wherever_it_is_passed_on(place: str) -> None:
    with raising(BsonError, WireReason.BSON_VALUE):
        plan_of(PLACES[place](BROKEN))


BOOLEANS = policy_of(
    b"version: 1\nclasses: {k: {mode: deterministic, type: bool}}\ncollections: {clinic.c: {f: k}}\n"
)


@pytest.mark.parametrize("value", [0, 1, 2])
def test_a_boolean_that_is_stored_covered_is_true_or_false(value: int) -> None:
    document = RawBSONDocument(b"\x09\0\0\0\x08f\0%c\0" % value)
    command = {"insert": "c", "documents": [document]}
    if value < 2:
        assert len(plan_of(command, BOOLEANS).edits) == 1
        return
    with raising(BsonError, WireReason.BSON_VALUE):
        plan_of(command, BOOLEANS)


@pytest.mark.parametrize("path", ["address", "contacts", "deep"])
def test_a_boolean_in_place_of_a_document_with_covered_fields_is_true_or_false(path: str) -> None:
    def document(value: int) -> RawBSONDocument:
        content = b"\x08%s\0%c\0" % (path.encode(), value)
        return RawBSONDocument((len(content) + 4).to_bytes(4, "little") + content)

    assert plan_of(insert(document(1))).edits == []
    with raising(BsonError, WireReason.BSON_VALUE):
        plan_of(insert(document(2)))


@pytest.mark.parametrize("place", PLACES)
def test_only_what_is_malformed_in_it_is_the_reason(place: str) -> None:
    plan_of(PLACES[place](GOOD))


# Whatever a client sends as a command is planned or refused; a plan's edits splice to a sound message.


RANGED = policy_of("""
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  day: {mode: deterministic, type: date, range: {unit: day, from: 1900-01-01, to: 2100-01-01}}
  age: {mode: deterministic, type: int, range: {from: 0, to: 120}}
  secret: {mode: random}
collections:
  "*.patients": {nhs_number: nhs, address.postcode: day, tags: age, notes: secret, contacts.phone: age}
""")

_ARGUMENTS = [
    "filter",
    "query",
    "q",
    "u",
    "updates",
    "deletes",
    "documents",
    "pipeline",
    "let",
    "c",
    "key",
    "indexes",
    "validator",
    "arrayFilters",
    "min",
    "max",
    "sort",
    "fields",
    "projection",
    "ops",
    "nsInfo",
    "collation",
    "hint",
    "update",
    "remove",
    "upsert",
    "multi",
    "viewOn",
    "to",
    "out",
    "index",
    "explain",
    "new",
    "limit",
]
_NAMES = sorted(
    name.decode() for name in {*KNOWN_COMMANDS, *BEYOND_TARGET, b"explain", b"getMore", b"unheardOf"}
)
_raw = bson_documents().map(RawBSONDocument)
_operators = sorted(
    {
        *(name.decode() for family in MATRIX for name in family.rules if name.startswith(b"$")),
        *("nhs_number", "address", "tags", "notes", "contacts.0.phone", "q", "u", "update", "key", "ns"),
    }
)
_values: st.SearchStrategy[Any] = st.recursive(
    python_scalars()
    | _raw
    | st.sampled_from(["$nhs_number", "$$v", "$address", "patients", "clinic.patients"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_operators), inner, min_size=1, max_size=2)
    ),
    max_leaves=6,
)


def _tried(data: bytes) -> None:
    with suppress(Refusal, ProtocolError):
        plan_command(RANGED, data, 0)
    try:
        plan = plan_command(POLICY, data, 0)
    except (Refusal, ProtocolError):
        return
    sealed = seal(plan)
    assert validate(sealed, 0, len(sealed)) == len(sealed)


@settings(max_examples=300)
@given(commands())
def test_a_generated_command_is_planned_or_refused_and_nothing_else(command: Document) -> None:
    _tried(encode(command | {"$db": "clinic"}))


@settings(max_examples=600)
@given(
    st.sampled_from(_NAMES),
    st.sampled_from(["patients", "clinic.patients", 1, "wards"]),
    st.dictionaries(st.sampled_from(_ARGUMENTS), _values, max_size=4),
)
def test_any_values_as_the_arguments_of_any_command_are_planned_or_refused_and_nothing_else(
    name: str, target: Any, arguments: Document
) -> None:
    _tried(encode({name: target, **arguments, "$db": "clinic"}))


@settings(max_examples=150)
@given(
    st.sampled_from(["find", "insert", "update", "aggregate", "createIndexes", "explain"]), bson_documents()
)
def test_any_bson_as_a_command_is_planned_or_refused_and_nothing_else(name: str, document: bytes) -> None:
    head = encode({name: "patients", "$db": "clinic"})
    _tried((len(head) + len(document) - 5).to_bytes(4, "little") + head[4:-1] + document[4:])


@settings(max_examples=150)
@given(
    st.sampled_from(["filter", "projection", "sort"]),
    st.sampled_from(["nhs_number", "contacts", "$and", "$expr", "address", "tags", "notes"]),
    bson_documents(),
)
def test_any_bson_as_an_argument_is_planned_or_refused_and_nothing_else(
    argument: str, field: str, document: bytes
) -> None:
    _tried(encode({"find": "patients", argument: {field: RawBSONDocument(document)}, "$db": "clinic"}))
