"""From a command to the end of its uses: what it uses, and what has to end before they do."""

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from sealwire.keys.frontier.frontier import CursorOutdated, Position, SnapshotOutdated, TransactionLost
from sealwire.policies.aggregation.stages import TABLES
from sealwire.policies.commands.planner import naming_operators
from sealwire.policies.file.schema import PolicySet, leaves
from sealwire.policies.planning.plan import Plan
from sealwire.proxy.session.moving.moves import Hold, Moves
from sealwire.proxy.session.replies import code_of, cursor_in, is_ok, open_id
from sealwire.wire import kinds
from sealwire.wire.framing import request_id_of
from sealwire.wire.op_msg import OpMsg, build_op_msg
from sealwire.wire.raw_bson import elements, find_element

ENDING: Final = frozenset({b"commitTransaction", b"abortTransaction"})

_REJECTED: Final = frozenset(
    {
        *(2, 9, 13, 14, 16, 17, 20, 26, 27, 28, 40, 43, 48, 52, 53, 54, 56, 57, 58, 59, 66, 67, 68, 72, 73),
        *(85, 86, 112, 115, 121, 168, 197, 238, 241, 251, 303, 10334, 11000),
    }
)
"""Codes with which a server says that a command is wrong, or its documents are: it is at work on it no more.

Any other may come from a router that has given up waiting. Source: MongoDB's error_codes.yml.
"""
_WRITING: Final = tuple(stage + b"\0" for stage in TABLES.writing)
_FILTER: Final = b"$match\0"

_FIRST_LOCATION: Final = 15_000
"""Codes from here on name the place of a check in the server's source."""


# ------------------------ a transaction that may not be committed any more is aborted in its commit's place
#
# The server would else keep it open, with its locks, for as long as a transaction may last: a driver
# aborts nothing after a commit that has failed.

_ABORT: Final = bytes((kinds.INT,)) + b"abortTransaction\0\1\0\0\0"
_int32: Final = struct.Struct("<i").pack


def abort_of(message: bytes, parsed: OpMsg) -> bytes:
    """The command that aborts what this `commitTransaction` would commit, under the same request id.

    Everything else stays as it is: session, number, write concern. Raises BsonError. Cost: O(message)
    """
    others = [
        message[element.start : element.end]
        for element in elements(message, parsed.body)
        if element.name != b"commitTransaction"
    ]
    content = b"".join((_ABORT, *others))
    return build_op_msg(request_id_of(message), 0, _int32(len(content) + 5) + content + b"\0")


# -------------------------- what a command uses of the classes that move: these values, or any of the class
#
# A command that names its values one by one uses these: what it stores, and what a filter asks for
# equality. A change stream is like a filter. Any other command uses any value: an aggregation, a
# negation, an expression, a copy inside the server, a walk along an index. So does one that names its
# values, or none, and may lead the server along an index in which other values move (`Frontier.walked`):
# it would miss documents, or meet them twice. A command that is not known to name its values is taken for
# one that does not. It waits for windows that it might have passed, and its answer is right.

_STORING: Final = "insert"
_STREAMING: Final = "aggregate"
_FILTERING: Final = frozenset({"find", "count", "delete", "update", "findAndModify"})

# Names of operators, each with its NUL as in BSON. A string that looks like one only makes a command wait.
_OPERATOR: Final = re.compile(rb"(\$[A-Za-z]+)\0")

_ONE_BY_ONE: Final = naming_operators() | frozenset(
    b"$db $meta $natural $readPreference $clusterTime".split()
)
"""Operators that compare with what they name, or store it; and the generic arguments."""

# A hint or bounds lead along an index; `let` brings variables; an update that is an array is a pipeline.
_OTHERS: Final = (b"hint\0", b"min\0", b"max\0", b"let\0", b"\4u\0", b"\4update\0")


def touched(
    plan: Plan,
    policy: PolicySet,
    moving: Iterable[str],
    named: Mapping[str, frozenset[Position] | None],
    walks: Callable[[str, bytes], bool],
) -> dict[str, frozenset[Position] | None]:
    """By moving class: the positions that the command names, None for any; no class that it does not touch.

    walks: whether a message may lead the server along an index in which values of a class move
    Cost: O(message), and O(paths) of its collection. Raises nothing.
    """
    if not plan.protected:
        return {}
    if is_stream(plan):
        return {name: named[name] for name in moving if name in named}
    node = policy.covered(plan.namespace)
    if node is None or not (plan.command == _STORING or plan.command in _FILTERING):
        return dict.fromkeys(moving)
    classes = {leaf.leaf.name for leaf in leaves(node) if leaf.leaf is not None}
    if plan.command == _STORING:
        return {name: named[name] for name in moving if name in named}
    here = [name for name in moving if name in classes]
    if _is_wide(plan.buf):
        return dict.fromkeys(here)
    found = {name: named[name] for name in moving if name in named}
    return found | dict.fromkeys(name for name in here if walks(name, plan.buf))


def is_stream(plan: Plan) -> bool:
    """Whether it is a change stream that compares at most with what it names.

    One lasts for days. It shows documents as they are, so it does not rely on which form that is.
    """
    if plan.command != _STREAMING:
        return False
    found = _OPERATOR.findall(plan.buf)
    return b"$changeStream" in found and _ONE_BY_ONE.union((b"$changeStream", b"$match")).issuperset(found)


def _is_wide(message: bytes) -> bool:
    if any(found not in _ONE_BY_ONE for found in _OPERATOR.findall(message)):
        return True
    return any(name in message for name in _OTHERS)


def held_by(  # noqa: PLR0913 - one for each thing that says it
    moves: Moves,
    plan: Plan,
    body: int,
    name: bytes,
    named: Mapping[str, frozenset[Position] | None],
    policy: PolicySet,
    *,
    is_marked: bool,
) -> Hold | None:
    """What a command that is about to be sent holds up until its reply is here; None: nothing.

    `named`: by moving class, the positions of the values that it names, as `Forms.named` has them.
    `is_marked`: whether it goes on with a cursor that was opened while classes moved. What belongs to a
    transaction is held until that ends. Raises WindowMet, FrontierLost,
    TransactionLost, SnapshotOutdated, CursorOutdated, BsonError. Cost: O(message).
    """
    transaction = transaction_of(plan.buf, body)
    if name in ENDING:
        if moves.transactions.is_lost(transaction) and name == b"commitTransaction":
            raise TransactionLost
        hold = moves.take_transaction(transaction)
        if hold is not None:
            hold.transaction = b""
            hold.outlasts_errors = name == b"commitTransaction"
            hold.commits = transaction if hold.outlasts_errors else b""
        return hold
    if name == b"killCursors":
        return _joined(moves, _killed(plan.buf, body))
    if name == b"getMore":
        return _gone_on_with(moves, plan.buf, body, transaction, is_marked=is_marked)
    if not plan.protected and not transaction:
        return None
    if plan.protected and moves.have_begun and _reads_at_a_time(plan.buf, body):
        raise SnapshotOutdated
    uses = touched(plan, policy, moves.classes, named, moves.walks)
    snapshot = None
    if transaction:
        begins = find_element(plan.buf, body, b"startTransaction") is not None
        snapshot = moves.snapshot(transaction, begins=begins)
        if plan.protected:
            moves.expect_in(snapshot, uses)
    hold = moves.begin(uses)
    hold.transaction, hold.snapshot = transaction, snapshot
    hold.outlasts_errors = any(stage in plan.buf for stage in _WRITING)
    hold.is_stream = is_stream(plan)
    hold.names_nothing = hold.is_stream and _FILTER not in plan.buf
    return hold


def held_by_question(moves: Moves, transaction: bytes, *, begins: bool) -> Hold:
    """What a question for stored values holds up, which may use any, until its transaction ends.

    `begins`: it is the transaction's first command. Raises WindowMet, FrontierLost, SnapshotOutdated.
    """
    uses = dict.fromkeys(moves.classes)
    snapshot = moves.snapshot(transaction, begins=begins)
    moves.expect_in(snapshot, uses)
    hold = moves.begin(uses)
    hold.transaction, hold.snapshot = transaction, snapshot
    return hold


def answered(moves: Moves, hold: Hold, message: bytes, body: int) -> None:
    """The last reply to the command of `hold` is here. Raises BsonError."""
    if is_ok(message, body):
        moves.keep_for(hold, open_id(message, cursor_in(message, body)))
        return
    is_rejected = _is_rejected(message, body)
    if is_rejected and not hold.outlasts_errors:
        hold.end()
        return
    # a statement's error ends its transaction; and a commit's, where it says so
    hold.transaction = b""
    if is_rejected:
        hold.commits = b""
    moves.leave(hold)


def _gone_on_with(
    moves: Moves, message: bytes, body: int, transaction: bytes, *, is_marked: bool
) -> Hold | None:
    number = find_element(message, body, b"getMore")
    if number is None or number.kind != kinds.LONG:
        return None
    cursor_id = message[number.value : number.end]
    if moves.cursors.is_lost(cursor_id) or moves.transactions.is_lost(transaction):
        raise CursorOutdated
    hold = moves.cursors.take(cursor_id)
    if hold is not None and hold.is_outdated:
        hold.end()
        moves.cursors.lose_one(cursor_id)
        raise CursorOutdated
    if hold is not None or moves.transactions.has(transaction):
        return hold
    if not is_marked and moves.have_begun:
        # While classes move, and for a while after, each cursor gets a mark: this one was opened before. It
        # may have passed documents that moved, or still be looking for their old form.
        raise CursorOutdated
    # nothing has moved yet; or by its mark another process opened it, and holds until it ends
    hold = moves.begin(dict.fromkeys(moves.classes))
    hold.is_brief = True
    return hold


def transaction_of(message: bytes, body: int) -> bytes:
    """What tells a transaction from all others; empty outside of one."""
    parts = {element.name: element for element in elements(message, body)}
    flag, number, session = (parts.get(name) for name in (b"autocommit", b"txnNumber", b"lsid"))
    if flag is None or number is None or session is None or flag.kind != kinds.BOOL or message[flag.value]:
        return b""
    return message[number.value : number.end] + message[session.value : session.end]


def _reads_at_a_time(message: bytes, body: int) -> bool:
    """Whether the server shows documents as they were then: values that have moved have their old form."""
    concern = find_element(message, body, b"readConcern")
    if concern is None or concern.kind != kinds.OBJECT:
        return False
    return find_element(message, concern.value, b"atClusterTime") is not None


def _killed(message: bytes, body: int) -> Iterator[bytes]:
    cursors = find_element(message, body, b"cursors")
    if cursors is not None and cursors.kind == kinds.ARRAY:
        for item in elements(message, cursors.value):
            yield message[item.value : item.end]


def _is_rejected(message: bytes, body: int) -> bool:
    code = code_of(message, body)
    return code is not None and (code in _REJECTED or code >= _FIRST_LOCATION)


def _joined(moves: Moves, cursor_ids: Iterator[bytes]) -> Hold | None:
    joined: Hold | None = None
    for cursor_id in cursor_ids:
        hold = moves.cursors.take(cursor_id)
        if hold is not None:
            joined = hold if joined is None else joined.joined(hold)
    return joined
