"""The one interpreter of aggregation expressions: what an expression yields, and what may be stored of it.

`infer` follows covered fields upwards: it answers with the tree of what an expression yields, which is
NOTHING, a leaf, a sub-document with covered fields inside, or an opaque node when that is known only at run
time. `check` goes downwards: what is stored at a covered path must be ciphertext of its class. Both read the
same rows (`operators.OPERATORS`), which come with the walk, so that an operator means the same in a filter,
a stage, a pipeline update and a view.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions import constants
from sealwire.policies.file.schema import NOTHING, PathNode, follow, has_dot, is_transparent, parts_of
from sealwire.policies.planning import arguments
from sealwire.policies.planning.numbers import whole_number
from sealwire.policies.planning.rules import Operator, without_row
from sealwire.policies.planning.trees import OPAQUE, document_node, merge, placed, same_values
from sealwire.policies.planning.values import plan_value, store
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes

PENDING: Final = PathNode("", opaque=True)
"""What `$$value` of a `$reduce` is while its class is found out: it may be handed on, and nothing else."""

_DOLLAR: Final = ord("$")
_DOCUMENT: Final = frozenset({b"ROOT", b"CURRENT"})
_INT32: Final = 2**31


def infer_plain(walk: Walk, element: Element) -> None:
    """Cover an expression whose result must not be ciphertext, such as a condition. Raises Refusal."""
    node = infer(walk, element)
    if node.covers:
        raise Refusal(Reason.COMPUTE, path=node.path)


def infer_number(walk: Walk, number: Element, operator: Element) -> None:
    """Cover an argument that must be a whole number of 32 bits, or null. Raises Refusal(SHAPE, COMPUTE)."""
    constants.refuse_covered(infer(walk, number), operator)
    value = constants.known_value(walk, number)
    if value is None or value.kind == kinds.NULL:
        return
    if not -_INT32 <= whole_number(walk.buf, value) < _INT32:
        raise Refusal(Reason.SHAPE, rule=f"{arguments.operator_name(operator)} with a number out of range")


def infer(walk: Walk, element: Element) -> PathNode:
    """Cover the constants of an expression and tell what it yields, over documents with the walk's tree.

    Raises Refusal, BsonError. Cost: O(elements).
    """
    if element.kind == kinds.STRING:
        return _reference(walk, element)
    if element.kind == kinds.ARRAY:
        inner = walk.inside(element.value)
        return merge([infer(inner, item) for item in elements(walk.buf, element.value)], walk.draft.work)
    if element.kind != kinds.OBJECT:
        return NOTHING
    inner = walk.inside(element.value)
    if arguments.first_name(walk.buf, element.value).startswith(b"$"):
        operator = arguments.only_element(walk.buf, element.value, "an expression")
        row = operator_row(walk, operator)
        return infer_unknown(inner, operator) if row is None else row.handler(inner, operator)
    named = arguments.named_parts(walk.buf, element.value)
    if any(name.startswith(b"$") for name in named):
        # read as an operator, its arguments would mean something else
        raise Refusal(Reason.SHAPE, rule="an operator that is not alone")
    children = {name: infer(inner, item) for name, item in named.items()}
    for name, node in children.items():
        if has_dot(name) and node.covers:
            # MongoDB refuses it too; were it a field's name, no path could follow it
            raise Refusal(Reason.SHAPE, path=node.path, rule="a field name with a dot")
    return document_node(children)


def _reference(walk: Walk, element: Element) -> PathNode:
    """What `$field` or `$$variable` yields; NOTHING for any other string."""
    text = string_bytes(walk.buf, element)
    if text.startswith(b"$$"):
        name, dot, path = text[2:].partition(b".")
        bound = walk.node if name in _DOCUMENT else walk.variable(name)
        if bound is PENDING:
            raise Refusal(Reason.COMPUTE, path=walk.node.path, rule="$$value")
        node = bound if isinstance(bound, PathNode) else NOTHING
        return placed(_field_of(node, path) if dot else node)
    if text.startswith(b"$"):
        return placed(_field_of(walk.node, text[1:]))
    return NOTHING


def _field_of(node: PathNode, path: bytes) -> PathNode:
    """What a path leads to. Raises Refusal(SHAPE) for one that MongoDB does not take, such as `a..b`."""
    found = follow(node, path)
    if found is not None:
        # in an expression a number is a field's name, and an unprotected document may have one
        return replace(OPAQUE, path=found.path) if _is_beside(node, path) else found
    for part in path.split(b"."):
        if not part or (part.startswith(b"$") and part not in arguments.REFERENCE) or b"\0" in part:
            raise Refusal(Reason.SHAPE, rule="a path with an empty or an odd name")
    return NOTHING


def _is_beside(node: PathNode, path: bytes) -> bool:
    """Whether a path has a number at a place where documents of unprotected collections can be."""
    at: PathNode | None = node
    for part in parts_of(path):
        if at is not None and at.pure:
            return False
        if is_transparent(part):
            return True
        at = None if at is None else at.child(part)
    return False


def operator_row(walk: Walk, operator: Element) -> Operator | None:
    """The row of an operator, whose arguments fit its signature; None for one that has none.

    Raises Refusal(SHAPE).
    """
    row = walk.draft.tables.operators.get(operator.name)
    if row is not None:
        arguments.check_arguments(walk.buf, operator, row.signature)
    return row


def infer_unknown(walk: Walk, operator: Element, accumulators: Collection[bytes] | None = None) -> PathNode:
    """An operator without a row computes on plain values, or the server does not know it and says so.

    So nothing in it may refer to what is covered, nor be a name of it. `accumulators` are the names that it
    may have instead if it is to gather. Raises Refusal(OPERATOR, UNKNOWN_EXPRESSION, UNKNOWN_ACCUMULATOR).
    """
    draft = walk.draft
    known = draft.unnamed
    is_known = known is not None and known[0] is walk.node and known[1] <= operator.start < known[2]
    if not is_known and _names_covered(walk, operator):
        raise _without_row(walk, operator, accumulators)
    if not is_known:
        # of operators inside this one, the same has been found out
        draft.unnamed = (walk.node, operator.start, operator.end)
    if infer(walk, operator).covers:
        raise _without_row(walk, operator, accumulators)
    walk.draft.makes_unknown = True
    return NOTHING


def _without_row(
    walk: Walk, operator: Element, accumulators: Collection[bytes] | None = None, path: str = ""
) -> Refusal:
    rows = walk.draft.tables.operators if accumulators is None else accumulators
    unknown = Reason.UNKNOWN_EXPRESSION if accumulators is None else Reason.UNKNOWN_ACCUMULATOR
    return without_row(operator.name, unknown, rows, reason=Reason.OPERATOR, path=path)


def _names_covered(walk: Walk, element: Element) -> bool:
    """Whether a string or a name at or below an element reads like the path of something covered."""
    if element.kind == kinds.STRING:
        text = string_bytes(walk.buf, element)
        return bool(text) and not text.startswith(b"$") and follow(walk.node, text) is not None
    if element.kind not in (kinds.OBJECT, kinds.ARRAY):
        return False
    inner = walk.inside(element.value)
    is_document = element.kind == kinds.OBJECT
    return any(
        (is_document and not item.name.startswith(b"$") and follow(walk.node, item.name) is not None)
        or _names_covered(inner, item)
        for item in elements(walk.buf, element.value)
    )


def results_of(walk: Walk, operator: Element) -> list[constants.Place]:
    """The arguments of which one, or a part, is what an operator yields; all of them by default."""
    row = walk.draft.tables.operators[operator.name]
    return constants.arguments_of(walk, operator) if row.results is None else row.results(walk, operator)


def check_clear(walk: Walk, element: Element) -> None:
    """Cover an expression that is stored where no path is covered: no ciphertext may end there.

    Raises Refusal, BsonError.
    """
    found = infer(walk, element)
    if found.covers:
        raise Refusal(Reason.PIPELINE_UPDATE, path=found.path, rule="a copy of a covered value")
    arguments.check_nested(walk.buf, element)


def check(walk: Walk, element: Element, target: PathNode) -> None:
    """Cover an expression whose result is stored at `target`, over documents with the walk's tree.

    What ends there must be ciphertext of the path's class, or a sub-document with ciphertext at its covered
    fields. So constants are covered as in `$set`, a field may be forwarded where its covered paths are the
    same, and operators that choose, join or merge such values are looked into. Anything else the server would
    compute in clear. Raises Refusal, BsonError. Cost: O(elements).
    """
    check_single(element, target, several=element.kind == kinds.ARRAY)
    if _is_whole(target) and element.kind != kinds.STRING:
        constant = constants.written(walk, element)
        if constant is not None:
            # a random class encrypts an array or a sub-document as a whole
            store(constant[0], constant[1], target)
            return
    if element.kind == kinds.STRING and walk.buf[element.value + 4] == _DOLLAR:
        _check_reference(walk, element, target)
    elif element.kind == kinds.ARRAY:
        if _is_whole(target):
            raise computed(target, element)
        inner = walk.inside(element.value)
        for item in elements(walk.buf, element.value):
            check(inner, item, target)
    elif element.kind != kinds.OBJECT:
        plan_value(walk, element, target)
    elif arguments.first_name(walk.buf, element.value).startswith(b"$"):
        _check_operator(walk, element, target)
    else:
        _check_document(walk, element, target)


def check_single(element: Element, target: PathNode, *, several: bool) -> None:
    """Refuse what could put several values of a class with a range at one path.

    Below the top level the field above may be an array, and then each of its elements gets the value.
    """
    is_nested = "." in target.path or (target.leaf is None and target.path != "")
    if (several or is_nested) and target.is_ranged:
        raise computed(target, element)


def _is_whole(target: PathNode) -> bool:
    """Whether one envelope is stored at a path, whatever the value is: the class is random."""
    return target.leaf is not None and target.is_random


def computed(target: PathNode, element: Element) -> Refusal:
    """The refusal of what is not known to be ciphertext of the target's class."""
    name = arguments.operator_name(element) if element.name.startswith(b"$") else ""
    return Refusal(Reason.PIPELINE_UPDATE, path=target.path, rule=name)


def _check_reference(walk: Walk, element: Element, target: PathNode) -> None:
    """`$field` or `$$variable`: fine when the same classes lie at the same paths, or when nothing is left."""
    text = string_bytes(walk.buf, element)
    if text == b"$$REMOVE":
        return
    found = infer(walk, element)
    if target.leaf is not None and constants.cover_reference(walk, element, target, stores=True):
        return
    name, _, path = text[2:].partition(b".") if text.startswith(b"$$") else (b"ROOT", b".", text[1:])
    if not same_values(found, target, walk.draft.work) or (name not in _DOCUMENT and target.is_ranged):
        # what a variable holds may be several values
        raise computed(target, element)
    if _is_whole(target) and (name not in _DOCUMENT or has_dot(path)):
        # a path that leads through an array yields many envelopes, where the class stores one
        raise computed(target, element)


def _check_document(walk: Walk, element: Element, target: PathNode) -> None:
    """`{field: expression, ...}`, a new sub-document."""
    if target.leaf is not None:
        # no class in deterministic mode takes a document, and in random mode it would be one in clear
        raise Refusal(Reason.PIPELINE_UPDATE if target.is_random else Reason.TYPE, path=target.path)
    inner = walk.inside(element.value)
    for name, field in arguments.named_parts(walk.buf, element.value).items():
        if has_dot(name) or name.startswith(b"$"):
            raise Refusal(Reason.SHAPE, path=target.path, rule="a field name with a dot or dollar")
        child = target.child(name)
        if child is None and is_transparent(name):
            child = target
        if child is None:
            check_clear(inner, field)
        else:
            check(inner, field, child)


def _check_operator(walk: Walk, element: Element, target: PathNode) -> None:
    operator = arguments.only_element(walk.buf, element.value, "an expression")
    row = operator_row(walk, operator)
    inner = walk.inside(element.value)
    if row is None:
        raise _without_row(walk, operator, path=target.path)
    check_single(operator, target, several=False)
    if row.check is not None:
        row.check(inner, operator, target)
        return
    # what the operators without a check of their own yield may be an array of the class's values
    check_single(operator, target, several=True)
    found = infer(walk, element)
    if _is_whole(target) or target.is_ranged or not same_values(found, target, walk.draft.work):
        raise computed(target, operator)


def check_results(walk: Walk, operator: Element, target: PathNode) -> None:
    """The check of an operator that yields one of its results, or a document with fields of each."""
    for place, result in results_of(walk, operator):
        check(place, result, target)


def check_elements(walk: Walk, operator: Element, target: PathNode) -> None:
    """The check of an operator that yields elements of its results, which are arrays."""
    check_single(operator, target, several=True)
    if _is_whole(target):
        raise computed(target, operator)
    check_results(walk, operator, target)
