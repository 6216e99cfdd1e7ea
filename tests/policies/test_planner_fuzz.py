"""Whatever a client sends as a command is planned or refused; a plan's edits splice to a sound message."""

from contextlib import suppress
from typing import Any

from bson import encode
from bson.raw_bson import RawBSONDocument
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.policies.commands.administration import BEYOND_TARGET
from sealwire.policies.commands.planner import KNOWN_COMMANDS, MATRIX, plan_command
from sealwire.policies.errors import Refusal
from sealwire.policies.file.loader import load_policy
from sealwire.wire.errors import ProtocolError
from sealwire.wire.raw_bson import validate
from tests.policies.command_strategies import Document, commands
from tests.policies.support import POLICY, seal
from tests.strategies import bson_documents, python_scalars

RANGED = load_policy(
    b"""
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  day: {mode: deterministic, type: date, range: {unit: day, from: 1900-01-01, to: 2100-01-01}}
  age: {mode: deterministic, type: int, range: {from: 0, to: 120}}
  secret: {mode: random}
collections:
  "*.patients": {nhs_number: nhs, address.postcode: day, tags: age, notes: secret, contacts.phone: age}
""",
    "policy.yaml",
)

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
