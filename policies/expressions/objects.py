"""Expressions on documents: `$mergeObjects`, `$getField`, `$objectToArray` and its inverse."""

from dataclasses import replace

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.arguments import arguments_of, written
from sealwire.policies.expressions.interpreter import check_results, computed, infer
from sealwire.policies.file.paths import has_dot, is_transparent
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import is_document_literal, operator_name
from sealwire.policies.planning.budget import Work
from sealwire.policies.planning.trees import OPAQUE, document_node, either, placed
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes


def infer_merged(walk: Walk, operator: Element) -> PathNode:
    """`$mergeObjects`: later documents win. Where it is not known which has a field, it is of both kinds."""
    merged = _Merged()
    for place, argument in arguments_of(walk, operator):
        node = infer(place, argument)
        if node.leaf is not None or node.opaque:
            raise Refusal(Reason.COMPUTE, path=node.path, rule=operator_name(operator))
        merged.put_over(node, _literal_names(walk.buf, argument), walk.draft.work)
    return merged.node()


def check_merged(walk: Walk, operator: Element, target: PathNode) -> None:
    """Every field comes from one of sub-documents that could each be stored here."""
    if target.leaf is not None:
        raise computed(target, operator)
    check_results(walk, operator, target)


class _Merged:
    """What is known of the documents that were merged so far."""

    __slots__ = ("_fields", "_is_numbered", "_names", "_path", "_uncertain")

    def __init__(self) -> None:
        self._fields: dict[bytes, PathNode] = {}
        self._names: set[bytes] | None = set()
        """Those that the result can have, while they are known."""
        self._uncertain: set[bytes] = set()
        """Fields that another document of unknown fields may change."""
        self._path = ""
        self._is_numbered = False

    def put_over(self, node: PathNode, literal: set[bytes] | None, work: Work) -> None:
        """Put a document's fields over the others'; `literal` names them, None where any may be there.

        What a document of unknown fields may have changed, another one may change without a difference. So
        only uncertain fields are looked at again. Cost: O(its fields and these), over many documents linear.
        """
        right, fields, names = node.children, self._fields, self._names
        work.visit(1 + len(right) + (len(self._uncertain) if literal is None else 0))
        for name in sorted(right.keys() | self._uncertain if literal is None else literal):
            there = right.get(name, NOTHING)
            if names is None or name in names:
                there = either(fields.get(name, NOTHING), there, work)
            fields[name] = there
        if literal is None:
            self._uncertain = set(right)
        else:
            self._uncertain |= literal
        if names is None or literal is None:
            self._names = None
        else:
            names |= literal
        is_numbered = node.behind_number is not None
        self._is_numbered = (
            self._is_numbered or is_numbered or any(map(is_transparent, [*right, *(literal or ())]))
        )
        self._path = self._path or node.path

    def node(self) -> PathNode:
        """The tree of the merged documents."""
        return document_node(self._fields, self._path, is_numbered=self._is_numbered)


def _literal_names(buf: bytes, argument: Element) -> set[bytes] | None:
    """The fields that a document written out has, null none; None where it is not written out."""
    if argument.kind == kinds.NULL:
        return set()
    if not is_document_literal(buf, argument):
        return None
    return {field.name for field in elements(buf, argument.value)}


def infer_field(walk: Walk, operator: Element) -> PathNode:
    """`$getField` with a name that is written out: a field of a document, not seen through arrays."""
    (place, name), source = (walk, operator), walk.node
    if is_document_literal(walk.buf, operator):
        place, parts = walk.parts(operator)
        name = parts[b"field"]
        if b"input" in parts:
            source = infer(place, parts[b"input"])
    constant = written(place, name)
    text = b"" if constant is None else string_bytes(walk.buf, constant[1])
    is_name = constant is not None and constant[1].kind == kinds.STRING
    if not is_name or is_transparent(text) or has_dot(text) or source.leaf is not None:
        raise Refusal(Reason.COMPUTE, path=source.path or walk.node.path, rule="$getField")
    if source.opaque:
        return placed(replace(source, within=None))  # that is of the whole
    return placed(source.children.get(text, NOTHING))


def infer_pairs(walk: Walk, operator: Element) -> PathNode:
    """`$objectToArray`: `[{k: name, v: value}]`, in which a value may be any of the document's."""
    ((place, argument),) = arguments_of(walk, operator)
    node = infer(place, argument)
    if node.leaf is not None:
        raise Refusal(Reason.COMPUTE, path=node.path, rule="$objectToArray")
    if not node.covers:
        return NOTHING
    value = replace(OPAQUE, path=node.path, pure=node.pure)
    return PathNode(node.path, {b"v": value}, pure=node.pure)


def infer_from_pairs(walk: Walk, operator: Element) -> PathNode:
    """`$arrayToObject`: a document whose names are in clear, and whose values may be covered."""
    ((place, argument),) = arguments_of(walk, operator)
    node = infer(place, argument)
    if not node.covers:
        return NOTHING
    if node.leaf is not None or node.opaque or b"k" in node.children:
        # a name that is ciphertext no document can have
        raise Refusal(Reason.COMPUTE, path=node.path, rule="$arrayToObject")
    return replace(OPAQUE, path=node.path, pure=node.pure)
