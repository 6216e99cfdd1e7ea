"""Whatever a client sends as a command is planned or refused; a plan's edits splice to a sound message."""

from bson import encode
from bson.raw_bson import RawBSONDocument
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.policies.errors import Refusal
from sealwire.policies.planner import plan_command
from sealwire.wire.errors import ProtocolError
from sealwire.wire.raw_bson import validate
from tests.policies.command_strategies import Document, commands
from tests.policies.support import POLICY, seal
from tests.strategies import bson_documents


def _tried(data: bytes) -> None:
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
