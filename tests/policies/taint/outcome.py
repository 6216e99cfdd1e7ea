"""Ask the planner about a case, and look at what would leave for the server."""

import struct
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from sealwire.policies.commands.command import DocumentSequence
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import PER_DATABASE
from sealwire.policies.planning.plan import Plan, RangeEdit, Use, ValueEdit
from sealwire.wire import kinds
from sealwire.wire.errors import ProtocolError
from sealwire.wire.op_msg import parse_op_msg, sequence_documents
from sealwire.wire.raw_bson import Edit, splice
from tests.policies.taint.commands import Case
from tests.policies.taint.values import MARK, Document, Pairs, children, encoded, rebuilt
from tests.policies.taint.world import KEYED, POLICY, covering
from tests.strategies import MadeSequence, made_op_msg

_CIPHERTEXT = struct.pack("<iB", 8, 0x80) + b"SW......"
_EMPTY_IN = b"\x04$in\0" + struct.pack("<i", 5) + b"\0"
_AMONG = (b"\x04$in\0", b"\x04$nin\0")
_COVERED = covering(POLICY)
_KEYED_COVERED = covering(KEYED)
_DBREF = (b"$ref", b"$id", b"$db")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case."""

    refused: bool
    problem: str = ""
    """Empty when all is well."""


def outcome_of(case: Case, *, is_keyed: bool = False) -> Outcome:
    """Plan a case, carry the plan out with ciphertext of no value, and search it for markers.

    With `is_keyed` its classes have a key for each context, and each value has to have the one that is said.

    Whatever the planner raises beside what it may is a problem as well. Cost: O(bytes).
    """
    try:
        plan = _planned(case, is_keyed=is_keyed)
    except (Refusal, ProtocolError):
        return Outcome(refused=True)
    except Exception as error:  # noqa: BLE001 - any other exception is what is looked for
        return Outcome(refused=True, problem=f"raises {type(error).__name__}: {error}")
    if case.refused:
        return Outcome(refused=False, problem=f"is planned: {case.refused}")
    try:
        left = carried_out(plan)
    except ValueError as error:
        return Outcome(refused=False, problem=f"cannot be carried out: {error}")
    if MARK in left:
        return Outcome(refused=False, problem="lets a marker through")
    if any(isinstance(edit, ValueEdit) and _hides_operator(plan.buf, edit) for edit in plan.edits):
        return Outcome(refused=False, problem="encrypts an operator that the server rejects among values")
    if is_keyed and not all(map(is_said, plan.edits)):
        return Outcome(refused=False, problem="has a value in another context than what is said")
    return Outcome(refused=False)


def message_of(case: Case, flags: int = 0) -> bytes:
    """The OP_MSG that a client sends."""
    sections = tuple(
        MadeSequence(name.encode(), tuple(_as_document(item) for item in documents))
        for name, documents in case.sequences.items()
    )
    return made_op_msg(encoded(case.whole), (None, *sections), flags).message


def _planned(case: Case, *, is_keyed: bool) -> Plan:
    policies, covered = (KEYED, _KEYED_COVERED) if is_keyed else (POLICY, _COVERED)
    if not case.sequences:
        return plan_command(policies, encoded(case.whole), 0, covered=covered)
    message = message_of(case)
    parsed = parse_op_msg(message)
    sequences = tuple(
        DocumentSequence(part.identifier, tuple(sequence_documents(message, part)), (0, part.start))
        for part in parsed.sequences
    )
    return plan_command(policies, message, parsed.body, (0,), sequences, covered)


def _as_document(item: Document) -> bytes:
    return encoded({"": item})[6:-1]


def carried_out(plan: Plan) -> bytes:
    """What leaves, with ciphertext that says nothing of its value."""
    edits = []
    for edit in plan.edits:
        element = edit.element
        if isinstance(edit, RangeEdit):
            data = _EMPTY_IN
        else:
            data = b"\x05" + plan.buf[element.start + 1 : element.value] + _CIPHERTEXT
        edits.append(Edit(element.start, element.end, data, edit.parents))
    edits += [Edit(put.element.start, put.element.end, put.data, put.parents) for put in plan.replacements]
    return splice(plan.buf, edits)


def _hides_operator(buf: bytes, edit: ValueEdit) -> bool:
    """Whether `{$operator: ...}` stood among the values of `$in` or `$nin`: servers refuse it there."""
    if edit.use is not Use.MATCH or edit.kind != kinds.OBJECT or not buf[: edit.parents[-1]].endswith(_AMONG):
        return False
    start = edit.element.value + 5
    name = buf[start : buf.index(0, start)]
    return name.startswith(b"$") and name not in _DBREF


# Let the documents and filters of a drawn command say one tenant and one owner, so that contexts are known.
#
# Of the commands that are drawn for classes with one key, hardly any would be planned otherwise.


_TENANT: Final = 7
_OWNER: Final = "o"
_CONTEXTS: Final = {
    b"tenant": bytes((kinds.LONG,)) + _TENANT.to_bytes(8, "little"),
    b"owner.id": bytes((kinds.STRING,)) + _OWNER.encode(),
}
_FILTERS: Final = frozenset({"filter", "query", "q", "$match", "restrictSearchWithMatch"})
_DOCUMENTS: Final = frozenset({"document", "u", "update", "updateMods"})


def saying(case: Case, seed: int) -> Case:
    """The case, in which most filters fix the contexts and most documents say them. Cost: O(values)."""
    random = Random(seed)
    body = {name: _said(random, name, value) for name, value in case.body.items()}
    sequences = {
        name: [_said(random, "document" if name == "documents" else "", each) for each in documents]
        for name, documents in case.sequences.items()
    }
    doubled = tuple((name, _said(random, name, value)) for name, value in case.doubled)
    return replace(case, body=body, sequences=sequences, doubled=doubled)


def is_said(edit: ValueEdit | RangeEdit) -> bool:
    """Whether a value has the context that its class has a key for."""
    per = edit.field_class.per
    found = edit.context[0] if isinstance(edit, ValueEdit) and edit.context else None
    if per is None or found is None:
        return per is None and found is None
    if per == PER_DATABASE:
        return found == b"$clinic" or found.startswith(b"$tenant_")
    return found == _CONTEXTS[per]


def _said(random: Random, name: str, value: Any) -> Any:
    parts = children(value)
    if not parts:
        return value
    inner = "document" if name == "documents" else ""
    found = [(each, _said(random, each or inner, below)) for each, below in parts]
    if type(value) is list:
        return rebuilt(value, found)
    if name in _FILTERS and random.random() < 0.9:
        found += [("tenant", _TENANT), ("owner.id", _OWNER)]
    elif name in _DOCUMENTS and not parts[0][0].startswith("$") and random.random() < 0.9:
        found += [("tenant", _TENANT), ("owner", {"id": _OWNER})]
    else:
        return rebuilt(value, found)
    names = {each for each, _ in found}
    return dict(found) if len(names) == len(found) else Pairs(found)
