"""Updates where classes have a key for each context: what fixes it, and that the update leaves it alone.

A stored value stays under the key that encrypted it. So nothing may change the field that says which one that
is: afterwards the value would belong to another tenant or patient, and equality would not find it.
"""

from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import is_transparent, parts_of
from sealwire.policies.file.schema import ContextField, whole_path
from sealwire.policies.planning.arguments import document_of, first_name
from sealwire.policies.planning.contexts import (
    NO_FIELDS,
    Contexts,
    context_of,
    fixed_in_document,
    fixed_in_filter,
)
from sealwire.policies.planning.walk import Walk
from sealwire.policies.updates.paths import fixed_by_array_filters, identifiers_of
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
    if contexts is None or not contexts.fields:
        plan_update(walk, update, array_filters)
        return
    fields = [(place, path) for place, paths in contexts.fields.items() for path in paths]
    if update.kind == kinds.ARRAY:
        # what it computes for the field, nobody follows
        rule = "an update by a pipeline"
        raise Refusal(Reason.CONTEXT, path=min(map(whole_path, fields)).decode("utf-8", "replace"), rule=rule)
    found: dict[bytes, bytes] = {}
    if condition is not None and condition.kind == kinds.OBJECT:
        paths = frozenset(map(whole_path, fields))
        found = fixed_in_filter(walk.buf, condition.value, paths, seeds=seeds)
    start = document_of(update, update)
    before = contexts.fixed, contexts.elements
    contexts.is_as_stored = True
    try:
        if first_name(walk.buf, start).startswith(b"$"):
            _check_operators(walk.buf, start, fields, found)
            contexts.fixed = {field: found[path] for field in fields if (path := whole_path(field)) in found}
            if array_filters is not None and array_filters.kind == kinds.ARRAY:
                contexts.elements = fixed_by_array_filters(
                    walk, array_filters, identifiers_of(walk, start), contexts
                )
        else:
            contexts.fixed = _in_replacement(walk.buf, start, contexts, found)
        if contexts.is_text:
            walk.draft.compares = True  # under a collation, the filter would find documents of others
        plan_update(walk, update, array_filters)
    finally:
        contexts.fixed, contexts.elements = before
        contexts.is_as_stored = False


def _in_replacement(
    buf: bytes, start: int, contexts: Contexts, found: dict[bytes, bytes]
) -> dict[ContextField, bytes]:
    """What a replacement says; of the `_id`, which it keeps if it has none itself, what the filter says."""
    paths = contexts.fields.get("", NO_FIELDS)
    said = fixed_in_document(buf, start, paths)
    if not any(element.name == _IDENTITY for element in elements(buf, start)):
        said |= {
            path: value
            for path, value in found.items()
            if path in paths and path.split(b".", 1)[0] == _IDENTITY
        }
    return contexts.entered("", said)


def _check_operators(buf: bytes, start: int, fields: list[ContextField], found: dict[bytes, bytes]) -> None:
    """Nothing is written to a context's field, but the very value that the filter demands there."""
    for operator in elements(buf, start):
        if operator.kind != kinds.OBJECT:
            continue  # the planner refuses it
        for argument in elements(buf, operator.value):
            for field in fields:
                path = whole_path(field)
                if operator.name == b"$rename" and _touches(string_bytes(buf, argument), field):
                    raise _changed(path, operator)
                if not _touches(argument.name, field):
                    continue
                is_same = argument.name == path and context_of(buf, argument) == found.get(path, b"")
                if operator.name not in _SETTING or not is_same:
                    raise _changed(path, operator)


def _touches(written: bytes, field: ContextField) -> bool:
    """Whether writing to a path changes the field, and leaves the document that has it.

    Who writes a whole sub-document writes its values anew. Numbers and their like lead to any element.
    """
    names = [part for part in parts_of(written) if not is_transparent(part)]
    whole = whole_path(field).split(b".")
    above = len(field[0].split(".")) if field[0] else 0
    length = min(len(names), len(whole))
    return length > above and names[:length] == whole[:length]


def _changed(path: bytes, operator: Element) -> Refusal:
    rule = f"{operator.name.decode('utf-8', 'replace')} of a context"
    return Refusal(Reason.CONTEXT, path=path.decode("utf-8", "replace"), rule=rule)
