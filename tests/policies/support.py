"""Plan a command given as a dictionary, so that a test reads as a table: command -> edits, or the reason."""

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pytest
from bson import decode, encode
from bson.binary import Binary

from sealwire.policies.commands.command import DocumentSequence
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import FieldClass, Mode, PathNode, PolicySet, ValueType
from sealwire.policies.planning.plan import Plan, ValueEdit
from sealwire.policies.roles.role import Rights
from sealwire.wire.op_msg import parse_op_msg, sequence_documents
from sealwire.wire.raw_bson import Edit, splice
from tests.support.policies import policy_of

POLICY = policy_of("""
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  postcode: {mode: deterministic, type: string}
  phone: {mode: deterministic, type: string}
  tag: {mode: deterministic, type: string}
  visits: {mode: deterministic, type: int}
  big: {mode: deterministic, type: long}
  ratio: {mode: deterministic, type: double}
  born: {mode: deterministic, type: date}
  secret: {mode: random}
collections:
  clinic.patients:
    nhs_number: nhs
    other_nhs: nhs
    postcode: postcode
    address.postcode: postcode
    contacts.phone: phone
    contacts.note: secret
    tags: tag
    visits: visits
    big: big
    ratio: ratio
    born: born
    notes: secret
    deep.a.b: nhs
  clinic.appointments:
    patient_nhs: nhs
  clinic.fs.files:
    metadata.nhs: nhs
  tenant_*.patients:
    nhs_number: nhs
""")

COVERED_PATHS = (
    *("nhs_number", "other_nhs", "postcode", "address.postcode", "contacts.phone", "contacts.note", "tags"),
    *("visits", "big", "ratio", "born", "notes", "deep.a.b"),
)
"""Those of clinic.patients."""

MARK = b"sealed:"

Command = Mapping[str, Any]
Edits = list[tuple[str, Any]]
"""Path and value of each."""
Row = tuple[str, str, str, Any]


EVERYTHING: dict[str, Any] = {}
"""A filter."""


def find(filter_: Any = EVERYTHING, **more: Any) -> dict[str, Any]:
    return {"find": "patients", "filter": filter_, **more}


def insert(*documents: Any) -> dict[str, Any]:
    return {"insert": "patients", "documents": list(documents)}


def run(*stages: Any, on: Any = "patients", **more: Any) -> dict[str, Any]:
    """An aggregate command of these stages."""
    return {"aggregate": on, "pipeline": list(stages), "cursor": {}, **more}


def update(change: Any, **more: Any) -> dict[str, Any]:
    """An update of all documents by one statement; `more` are its other fields."""
    return {"update": "patients", "updates": [{"q": {}, "u": change, **more}]}


class Message(NamedTuple):
    """An OP_MSG with a command, and its plan."""

    data: bytes
    body: int
    plan: Plan


def plan_of(command: Command, policies: PolicySet = POLICY) -> Plan:
    """The plan for `command`; `$db` is clinic unless it says otherwise."""
    return plan_command(policies, encode({**command, "$db": command.get("$db", "clinic")}), 0)


def planned(command: Command) -> list[Row]:
    """(path, class, use, value) of every edit."""
    plan = plan_of(command)
    return [
        (edit.node.path, edit.field_class.name, edit.use.value, value_of(plan, edit))
        for edit in value_edits(plan)
    ]


def covered(command: Command) -> Edits:
    """(path, value) of every edit."""
    return [(path, value) for path, _, _, value in planned(command)]


def refusal_of(command: Command, policies: PolicySet = POLICY) -> Refusal:
    """The refusal of `command`, which must be refused."""
    with pytest.raises(Refusal) as caught:
        plan_of(command, policies)
    return caught.value


def reason(command: Command) -> Reason:
    """Why `command` is refused."""
    return refusal_of(command).reason


def value_edits(plan: Plan) -> list[ValueEdit]:
    """The edits of a plan that has no ranges."""
    edits = [edit for edit in plan.edits if isinstance(edit, ValueEdit)]
    assert len(edits) == len(plan.edits)
    return edits


def value_of(plan: Plan, edit: ValueEdit) -> Any:
    """The value that an edit would encrypt, decoded."""
    data = edit_bytes(plan.buf, edit)
    document = bytes((edit.kind,)) + b"v\0" + data
    return decode(struct.pack("<i", len(document) + 5) + document + b"\0")["v"]


def edit_bytes(buf: bytes, edit: ValueEdit) -> bytes:
    """The bytes that an edit would encrypt."""
    return buf[edit.element.value : edit.element.end] if edit.value is None else edit.value


def seal(plan: Plan) -> bytes:
    """The bytes of a plan with a marked binary of the plaintext in place of every covered value."""
    edits: list[Edit] = []
    for edit in value_edits(plan):
        name = plan.buf[edit.element.start + 1 : edit.element.value]
        content = MARK + bytes((edit.kind,)) + edit_bytes(plan.buf, edit)
        data = b"\x05" + name + struct.pack("<iB", len(content), 0x80) + content
        edits.append(Edit(edit.element.start, edit.element.end, data, edit.parents))
    return splice(plan.buf, edits)


def is_sealed(value: object) -> bool:
    """Whether a decoded value is one of the marked binaries of `seal`."""
    return isinstance(value, Binary) and value.subtype == 0x80 and value.startswith(MARK)


def plan_message(
    command: Command,
    sequences: Mapping[str, Iterable[Command]],
    written: Callable[[bytes], bytes] = lambda document: document,
) -> Message:
    """Plan a command whose arguments stand partly in document sequences, in an OP_MSG as on the wire.

    written: what becomes of each document of a sequence.
    """
    parts = [struct.pack("<i", 0), b"\0", encode({**command, "$db": command.get("$db", "clinic")})]
    for identifier, documents in sequences.items():
        content = identifier.encode() + b"\0" + b"".join(written(encode(document)) for document in documents)
        parts += [b"\1", struct.pack("<i", len(content) + 4), content]
    payload = b"".join(parts)
    data = struct.pack("<iiii", 16 + len(payload), 1, 0, 2013) + payload
    parsed = parse_op_msg(data)
    found = tuple(
        DocumentSequence(part.identifier, tuple(sequence_documents(data, part)), (0, part.start))
        for part in parsed.sequences
    )
    return Message(data, parsed.body, plan_command(POLICY, data, parsed.body, (0,), found))


def planned_with(rights: Rights, command: Command) -> None:
    """Plan for a client with these rights. Raises Refusal."""
    plan_command(POLICY, encode({**command, "$db": command.get("$db", "clinic")}), 0, rights=rights)


def target(command: str, collection: str, database: str) -> bytes:
    """What `target_of` makes of a command: the two elements that name the three."""
    return encode({command: collection})[4:-1] + encode({"$db": database})[4:-1]


# Trees of covered paths, written as text.
#
# `k` and `l` are deterministic classes, `r` is a random one, `?` is opaque. `-` stands before what is
# absent, `>` before what was moved, `|` before what is behind a number.


CLASSES = {
    "k": FieldClass("k", Mode.DETERMINISTIC, ValueType.STRING),
    "l": FieldClass("l", Mode.DETERMINISTIC, ValueType.INT),
    "r": FieldClass("r", Mode.RANDOM, None),
}

Shape = str | dict[str, Any]
"""A text as above, or the shapes of children by name; `-`, `>` and `|` are keys there."""


def node(shape: Shape) -> PathNode:
    if isinstance(shape, dict):
        children = {name.encode(): node(part) for name, part in shape.items() if name not in "->|"}
        behind = node(shape["|"]) if "|" in shape else None
        return PathNode("", children, behind_number=behind, absent="-" in shape, moved=">" in shape)
    name = shape.lstrip("->")
    return PathNode("", leaf=CLASSES.get(name), opaque=name == "?", absent="-" in shape, moved=">" in shape)


def shown(tree: PathNode | None) -> str:
    if tree is None:
        return "None"
    text = "-" * tree.absent + ">" * tree.moved
    text += tree.leaf.name if tree.leaf else "?" * tree.opaque
    if tree.children:
        text += (
            "{"
            + " ".join(f"{name.decode()}:{shown(tree.children[name])}" for name in sorted(tree.children))
            + "}"
        )
    return text + (f"|{shown(tree.behind_number)}" if tree.behind_number is not None else "")
