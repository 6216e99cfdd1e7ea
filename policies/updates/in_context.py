"""Updates where classes have a key for each context: the filter fixes it, and the update leaves it alone.

A stored value stays under the key that encrypted it. So nothing may change the field that says which one that
is: afterwards the value would belong to another tenant or patient, and equality would not find it.
"""

from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.arguments import document_of, first_name
from sealwire.policies.planning.contexts import Contexts, context_of, fixed_in_document, fixed_in_filter
from sealwire.policies.planning.walk import Walk
from sealwire.policies.updates.updates import plan_update
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes

_SETTING: Final = frozenset({b"$set", b"$setOnInsert"})
_IDENTITY: Final = b"_id"


def plan_update_in_context(
    walk: Walk, update: Element, array_filters: Element | None, condition: Element | None, *, seeds: bool
) -> None:
    """As `plan_update`, for an update of the documents that `condition` finds; `seeds` of an upsert.

    Raises Refusal, BsonError.
    """
    contexts = walk.draft.contexts
    if contexts is None or not contexts.paths:
        plan_update(walk, update, array_filters)
        return
    buf = walk.buf
    found: dict[bytes, bytes] = {}
    if condition is not None and condition.kind == kinds.OBJECT:
        found = fixed_in_filter(buf, condition.value, contexts, seeds=seeds)
    if update.kind == kinds.ARRAY:
        # what it computes for the field, nobody follows
        raise Refusal(Reason.CONTEXT, path=_some(contexts), rule="an update by a pipeline")
    start = document_of(update, update)
    if first_name(buf, start).startswith(b"$"):
        _check_operators(buf, start, contexts, found)
    else:
        said = fixed_in_document(buf, start, contexts)
        found = said | _kept(buf, start, found)
    before, contexts.fixed = contexts.fixed, found
    try:
        if contexts.is_text:
            walk.draft.compares = True  # under a collation, the filter would find documents of others
        plan_update(walk, update, array_filters)
    finally:
        contexts.fixed = before


def _kept(buf: bytes, start: int, found: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """What the filter says of the `_id`, which a document keeps whose replacement has none."""
    if any(element.name == _IDENTITY for element in elements(buf, start)):
        return {}
    return {path: value for path, value in found.items() if path.split(b".", 1)[0] == _IDENTITY}


def _check_operators(buf: bytes, start: int, contexts: Contexts, found: dict[bytes, bytes]) -> None:
    """Nothing is written to a context's field, but the very value that the filter demands there."""
    for operator in elements(buf, start):
        if operator.kind != kinds.OBJECT:
            continue  # the planner refuses it
        for argument in elements(buf, operator.value):
            for path in contexts.paths:
                if operator.name == b"$rename" and _touches(string_bytes(buf, argument), path):
                    raise _changed(path, operator)
                if not _touches(argument.name, path):
                    continue
                is_same = argument.name == path and context_of(buf, argument) == found.get(path, b"")
                if operator.name not in _SETTING or not is_same:
                    raise _changed(path, operator)


def _touches(written: bytes, path: bytes) -> bool:
    """Whether writing to one path changes what is at the other."""
    return written == path or written.startswith(path + b".") or path.startswith(written + b".")


def _changed(path: bytes, operator: Element) -> Refusal:
    rule = f"{operator.name.decode('utf-8', 'replace')} of a context"
    return Refusal(Reason.CONTEXT, path=path.decode("utf-8", "replace"), rule=rule)


def _some(contexts: Contexts) -> str:
    return min(contexts.paths).decode("utf-8", "replace")
