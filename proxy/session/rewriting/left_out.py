"""Write a command again without the statements that the policy refuses.

It happens after the whole command was refused, so that other commands pay nothing for it. The shorter command
is planned as any other. It is not made where a server would not go on after a write error (in a transaction),
where nobody would hear of one (unacknowledged), and where anything about it is not sure: then the refusal
stands for the whole command.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sealwire.policies.commands.command import DocumentSequence
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.commands.write_errors import CODES, STATEMENTS, RefusedStatements
from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import PathNode, PolicySet
from sealwire.policies.planning.arguments import named_parts
from sealwire.policies.planning.trees import Work
from sealwire.policies.roles.role import Rights
from sealwire.proxy.session.write_errors.merging import WriteErrors
from sealwire.wire import kinds
from sealwire.wire.op_msg import OpMsg, refresh_checksum
from sealwire.wire.raw_bson import Element, elements, int32_at
from sealwire.wire.splice import Edit, splice

# The results of a `bulkWrite` of this length fit into one reply, whatever they are, so that all their places
# can be corrected: each takes a few hundred bytes and what its operation has of values.
MAX_BULK_BYTES: Final = 1 << 20

_pack_int32: Final = struct.Struct("<i").pack


class LeftOut(NamedTuple):
    """A command without the statements that are refused."""

    message: bytes
    """The command that is sent in its place; empty when there is nothing left to send."""
    errors: WriteErrors
    refused: list[tuple[int, Refusal]]
    """Those statements by their places, in order."""


def leave_out(  # noqa: PLR0913, PLR0917 - what planning needs
    refusal: Refusal,
    message: bytes,
    parsed: OpMsg,
    sequences: tuple[DocumentSequence, ...],
    policy: PolicySet,
    covered: Callable[[str], PathNode | None],
    rights: Rights | None = None,
    work: Work | None = None,
) -> LeftOut:
    """The command without what is refused of it. Raises the refusal where it stands for all of it, and
    whatever planning raises. Cost: as planning.
    """
    if refusal.reason not in CODES:
        raise refusal
    arguments = named_parts(message, parsed.body)
    name = next(iter(arguments), b"")
    ordered = _ordered(message, arguments)
    if (
        name not in STATEMENTS
        or ordered is None
        or b"autocommit" in arguments
        or (name == b"bulkWrite" and not _is_answered_at_once(message, arguments))
    ):
        raise refusal
    judged = RefusedStatements(name, message, ordered=ordered)
    plan_command(
        policy,
        message,
        parsed.body,
        sequences=sequences,
        covered=covered,
        refused=judged.note,
        rights=rights,
        work=work,
    )
    if not judged.found:
        raise refusal
    places = [place for place, _ in judged.found]
    argument = arguments.get(STATEMENTS[name])
    if argument is not None:
        edits, sent = _without_items(message, argument, places, (0, parsed.body), ordered=ordered)
    else:
        edits, sent = _without_documents(message, sequences, STATEMENTS[name], places, ordered=ordered)
    shorter = refresh_checksum(splice(message, edits)) if sent else b""
    return LeftOut(shorter, WriteErrors(name, judged.found, sent, ordered=ordered), judged.found)


def _ordered(message: bytes, arguments: dict[bytes, Element]) -> bool | None:
    """Whether the server stops at the first error; None where that is not said in the usual way."""
    argument = arguments.get(b"ordered")
    if argument is None:
        return True
    return bool(message[argument.value]) if argument.kind == kinds.BOOL else None


def _is_answered_at_once(message: bytes, arguments: dict[bytes, Element]) -> bool:
    """Whether all results of a `bulkWrite` come in the first reply."""
    cursor = arguments.get(b"cursor")
    if cursor is not None and (cursor.kind != kinds.OBJECT or cursor.end - cursor.value > _EMPTY_BYTES):
        return False
    return len(message) <= MAX_BULK_BYTES


_EMPTY_BYTES: Final = 5


def _is_left(place: int, refused: set[int], first: int, *, ordered: bool) -> bool:
    return place < first if ordered else place not in refused


def _without_items(
    message: bytes, array: Element, places: Sequence[int], above: tuple[int, ...], *, ordered: bool
) -> tuple[list[Edit], int]:
    """An edit of an array in the body, whose items get new names, for the server counts by these."""
    refused = set(places)
    left = [
        item
        for place, item in enumerate(elements(message, array.value))
        if _is_left(place, refused, places[0], ordered=ordered)
    ]
    pieces = [b"\x03%d\0%b" % (index, message[item.value : item.end]) for index, item in enumerate(left)]
    inside = b"".join(pieces)
    data = b"".join((_pack_int32(len(inside) + _EMPTY_BYTES), inside, b"\0"))
    return [Edit(array.value, array.end, data, above)], len(left)


def _without_documents(
    message: bytes,
    sequences: Sequence[DocumentSequence],
    name: bytes,
    places: Sequence[int],
    *,
    ordered: bool,
) -> tuple[list[Edit], int]:
    """Edits that take documents out of the sequence of this name."""
    refused, sent = set(places), 0
    edits: list[Edit] = []
    for sequence in sequences:
        if sequence.identifier != name:
            continue
        for place, start in enumerate(sequence.documents):
            if _is_left(place, refused, places[0], ordered=ordered):
                sent += 1
            else:
                edits.append(Edit(start, start + int32_at(message, start), b"", sequence.parents))
    return edits, sent
