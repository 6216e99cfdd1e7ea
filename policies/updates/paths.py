"""Paths of updates, in which `$`, `$[]` and `$[id]` stand for elements of arrays, and `arrayFilters`."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import follow, is_transparent, parts_of
from sealwire.policies.file.schema import PathNode
from sealwire.policies.filters.filters import plan_condition, unlisted_operator
from sealwire.policies.filters.operands import BRANCHES, pass_condition
from sealwire.policies.planning.arguments import document_of
from sealwire.policies.planning.contexts import NO_FIELDS, Contexts, fixed_in_filter
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

# A number is looked for in bytes at once (`paths.has_dot`).
_DOLLAR: Final = ord("$")

_POSITIONAL: Final = re.compile(rb"\$(\[([a-z][0-9A-Za-z]*)?\])?|\$(ref|id|db)")
"""What may begin with `$` in a path: places in an array, and the fields of a reference."""


def target_of(walk: Walk, path: bytes) -> PathNode | None:
    """The covered node that a path writes to.

    Raises Refusal(SHAPE) for a covered path that the server would take for no path. Cost: O(path).
    """
    found = follow(walk.node, path)
    if found is not None and _DOLLAR in path:
        for part in parts_of(path):
            if part.startswith(b"$") and _POSITIONAL.fullmatch(part) is None:
                raise Refusal(Reason.SHAPE, path=found.path, rule="a path with an odd $")
    return found


def arrays_in(path: bytes) -> int:
    """How many arrays a path leads into by a number or a `$`."""
    return len([part for part in parts_of(path) if is_transparent(part)])


def identifiers_of(walk: Walk, update: int) -> dict[bytes, PathNode | None]:
    """Where in the covered paths the array stands that each `$[id]` of the update's paths goes through.

    Raises Refusal(SHAPE) for one that stands for elements of two arrays.
    """
    found: dict[bytes, PathNode | None] = {}
    for path in _paths_of(walk.buf, update):
        at: PathNode | None = walk.node
        for part in parts_of(path):
            if part.startswith(b"$[") and part.endswith(b"]") and len(part) > 3:
                known = found.setdefault(part[2:-1], at)
                if known is not at:
                    raise Refusal(Reason.SHAPE, rule="an array filter used on different paths")
            # an update's paths lead through a policy's own tree, where each step can be taken by itself
            at = None if at is None else follow(at, part)
    return found


def _paths_of(buf: bytes, update: int) -> Iterator[bytes]:
    for operator in elements(buf, update):
        if operator.kind == kinds.OBJECT:
            for argument in elements(buf, document_of(operator, operator)):
                yield argument.name


def plan_array_filters(walk: Walk, array_filters: Element, identifiers: dict[bytes, PathNode | None]) -> None:
    """Cover filters whose paths begin with an identifier; `identifiers` says what each stands for.

    Raises Refusal, BsonError.
    """
    contexts = walk.draft.contexts
    if contexts is None:
        _array_filters(walk, array_filters, _Identified(identifiers, NO_FIELDS), {})
        return
    before = contexts.fixed
    contexts.fixed = {field: value for field, value in before.items() if not field[0]}
    try:
        _array_filters(walk, array_filters, _identified(identifiers, contexts), {})
    finally:
        contexts.fixed = before


def fixed_by_array_filters(
    walk: Walk, array_filters: Element, identifiers: dict[bytes, PathNode | None], contexts: Contexts
) -> dict[bytes, bytes]:
    """The contexts that array filters fix by equality, by paths such as `e.patient_id`.

    Raises Refusal(SHAPE) where two of them fix one, as the server rejects two filters of one identifier.
    """
    paths = _identified(identifiers, contexts).paths
    found: dict[bytes, bytes] = {}
    for start in walk.documents(array_filters)[1]:
        for path, value in fixed_in_filter(walk.buf, start, paths).items():
            if path in found:
                raise Refusal(Reason.SHAPE, rule="two array filters for the same elements")
            found[path] = value
    return found


class _Identified(NamedTuple):
    """What identifiers stand for."""

    nodes: dict[bytes, PathNode | None]
    paths: frozenset[bytes]
    """The fields of contexts in their elements, as array filters name them."""


def _identified(identifiers: dict[bytes, PathNode | None], contexts: Contexts) -> _Identified:
    paths = frozenset(
        b"%b.%b" % (identifier, path)
        for identifier, node in identifiers.items()
        if node is not None and contexts.holds(node.path)
        for path in contexts.fields[node.path]
    )
    return _Identified(identifiers, paths)


def _array_filters(walk: Walk, several: Element, known: _Identified, said: dict[bytes, bytes]) -> None:
    """Filters of elements, of which `said` is fixed above them."""
    inner, starts = walk.documents(several)
    for start in starts:
        _array_filter(inner, start, known, said)


def _array_filter(walk: Walk, start: int, known: _Identified, said: dict[bytes, bytes]) -> None:
    inner = walk.inside(start)
    fixed = fixed_in_filter(walk.buf, start, known.paths)
    if len({path.partition(b".")[0] for path in fixed}) > 1:
        # the server rejects it too; copied for each branch, they could be many
        raise Refusal(Reason.SHAPE, rule="an array filter for two identifiers")
    said = said | fixed
    for element in elements(walk.buf, start):
        if element.name in BRANCHES:
            _array_filters(inner, element, known, said)
            continue
        if element.name.startswith(b"$"):
            raise unlisted_operator(element)
        identifier, _, path = element.name.partition(b".")
        if identifier not in known.nodes:
            # the server would refuse it too, but it would have read the value
            raise Refusal(Reason.SHAPE, rule="an array filter that the update does not use")
        node = known.nodes[identifier]
        target = follow(node, path) if node is not None and path else node
        if target is None or node is None:
            pass_condition(walk.buf, element)
        else:
            _on_element(inner, element, node, target, said)


def _on_element(
    walk: Walk, element: Element, node: PathNode, target: PathNode, said: dict[bytes, bytes]
) -> None:
    """A condition on an element at `node`, or on what it holds."""
    contexts, place = walk.draft.contexts, node.path
    if contexts is None or not contexts.holds(place):
        plan_condition(walk, element, target)
        return
    identifier, _, path = element.name.partition(b".")
    prefix = identifier + b"."
    before = contexts.fixed
    contexts.fixed = contexts.entered(
        place, {name: said[prefix + name] for name in contexts.fields[place] if prefix + name in said}
    )
    contexts.fixed = contexts.followed(place, path)
    try:
        plan_condition(walk, element, target)
    finally:
        contexts.fixed = before
