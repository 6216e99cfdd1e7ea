"""What a command uses of the classes that move: these values, or any of the class.

A command that names its values one by one uses these: what it stores, and what a filter asks for equality. A
change stream is like a filter. Any other command uses any value: an aggregation, a negation, an expression, a
copy inside the server, a walk along an index. So does one that names its values, or none, and may lead the
server along an index in which other values move (`Frontier.walked`): it would miss documents, or meet them
twice. A command that is not known to name its values is taken for one that does not. It waits for windows
that it might have passed, and its answer is right.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from sealwire.keys.frontier.frontier import Position
from sealwire.policies.file.schema import PolicySet, leaves
from sealwire.policies.planning.plan import Plan

_STORING: Final = "insert"
_STREAMING: Final = "aggregate"
_FILTERING: Final = frozenset({"find", "count", "delete", "update", "findAndModify"})

# Names of operators, each with its NUL as in BSON. A string that looks like one only makes a command wait.
_OPERATOR: Final = re.compile(rb"\$([A-Za-z]+)\0")

_ONE_BY_ONE: Final = frozenset(
    b"eq in and or all elemMatch size mod regex options gt gte lt lte bitsAllSet bitsAnySet "
    b"set setOnInsert unset push pull pullAll addToSet each position slice inc mul currentDate pop "
    b"db comment meta natural readPreference clusterTime".split()
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
    return b"changeStream" in found and _ONE_BY_ONE.union((b"changeStream", b"match")).issuperset(found)


def _is_wide(message: bytes) -> bool:
    if any(found not in _ONE_BY_ONE for found in _OPERATOR.findall(message)):
        return True
    return any(name in message for name in _OTHERS)
