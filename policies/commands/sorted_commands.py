"""Commands that are sorted by a field of which the server is asked.

A `find` becomes an `aggregate`: only a pipeline can look ranks up. The reply has the same shape, and its
cursor is read on in the same way. Arguments that the two commands read differently are refused.

A write of one document goes to the first document that meets the filter, which has the first value. So the
server is asked for that value, the filter gets a condition that says it, and the sort goes on with the other
keys. A write that then finds nothing is asked about again before it is answered (`sides.ask_again`).
"""

from typing import Any, Final

from bson import Int64, encode

from sealwire.policies.aggregation import sorting
from sealwire.policies.aggregation.stage_arguments import plan_sort_key
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.filters.asking import among_planned, note_asked, strength_at
from sealwire.policies.filters.negations import free_name
from sealwire.policies.planning.arguments import document_of, given, named_parts, operator_name, string_of
from sealwire.policies.planning.numbers import FLAGS, is_given, whole_number
from sealwire.policies.planning.plan import ListPlace, RangeEdit, Replacement
from sealwire.policies.planning.walk import LISTED_BYTES, Walk
from sealwire.policies.questions.asked import ValuesQuestion, ValuesUnknown
from sealwire.policies.questions.conditions import SortOrder
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, enclosed

_FLAGS: Final = frozenset(b"returnKey showRecordId oplogReplay noCursorTimeout allowPartialResults".split())
"""Arguments that a pipeline does not have. They are allowed if they are off."""
_TURNED: Final = frozenset(b"find filter sort projection skip limit batchSize singleBatch".split())
_KEPT: Final = frozenset(
    b"""hint comment maxTimeMS readConcern let allowDiskUse lsid txnNumber autocommit startTransaction $db
    $clusterTime $readPreference apiVersion apiStrict apiDeprecationErrors collation $client $audit
    $configTime $topologyTime""".split()
)
"""Arguments that mean the same in both."""


class FindSortsByValues(Exception):
    """The command has to be planned as `as_aggregate` writes it."""


def as_aggregate(buf: bytes, body: int) -> bytes:
    """The document of the `aggregate` that answers the `find` at `body`.

    Raises Refusal(SORT, SHAPE) for what only `find` knows, BsonError. Cost: O(command).
    """
    parts = named_parts(buf, body)
    for name, part in parts.items():
        is_off = name in _FLAGS and not (part.kind in FLAGS and is_given(buf, part))
        if part.kind != kinds.NULL and name not in _KEPT | _TURNED and not is_off:
            raise _refused(operator_name(part))
    stages = []
    for name, stage in ((b"filter", b"$match"), (b"sort", b"$sort")):
        said = given(parts, name)
        if said is not None:
            stages.append(_element(stage, buf, said, document_of(said, said)))
    skip, limit, batch = (_amount(buf, parts, name) for name in (b"skip", b"limit", b"batchSize"))
    cursor: dict[str, Any] = {} if batch is None else {"batchSize": Int64(batch)}
    if is_given(buf, parts.get(b"singleBatch")):
        limit = min((each for each in (limit, batch) if each), default=0)
        if not limit:
            raise _refused("singleBatch without a limit")
        cursor = {"batchSize": Int64(limit + 1)}  # so that the server sees the end, and closes the cursor
    windowed = (("$skip", skip), ("$limit", limit))
    stages += [encode({name: Int64(amount)}) for name, amount in windowed if amount]
    projection = given(parts, b"projection")
    if projection is not None and next(elements(buf, document_of(projection, projection)), None) is not None:
        _check_projection(buf, projection)
        stages.append(_element(b"$project", buf, projection, projection.value))
    array = b"".join(b"\x03%d\0%b" % (index, stage) for index, stage in enumerate(stages))
    kept = [buf[part.start : part.end] for name, part in parts.items() if name in _KEPT]
    first = encode({"aggregate": string_of(buf, parts[b"find"]), "cursor": cursor})[4:-1]
    return enclosed(b"".join((first, b"\x04pipeline\0", enclosed(array), *kept)))


def _element(name: bytes, buf: bytes, part: Element, start: int) -> bytes:
    return enclosed(b"\x03%b\0%b" % (name, buf[start : part.end]))


def _amount(buf: bytes, parts: dict[bytes, Element], name: bytes) -> int | None:
    """A number of documents; None where none is given. Raises Refusal(SHAPE)."""
    part = given(parts, name)
    amount = None if part is None else whole_number(buf, part)
    if amount is not None and amount < 0:
        raise Refusal(Reason.SHAPE, rule=name.decode())
    return amount


def _check_projection(buf: bytes, projection: Element) -> None:
    """Raises Refusal(SORT) for operators, of which `$project` reads some in another way."""
    for part in elements(buf, projection.value):
        if part.kind not in FLAGS or b"$" in part.name:
            raise _refused(f"a projection with {operator_name(part)}")


def _refused(what: str) -> Refusal:
    return Refusal(Reason.SORT, rule=f"{what} beside a sort by stored values")


# ------------------------------------------------------------------ the first document, for a write

_QUERY: Final = b"query"
"""The one filter that may be missing."""


def check_sorted_write(walk: Walk, statement: dict[bytes, Element], constants: bytes, *, seeds: bool) -> None:
    """Raises Refusal(QUESTION) for what the question, or a filter with one more condition, does not know."""
    asking = walk.draft.asking
    if asking is None:
        raise TypeError("nothing may be asked")
    refused = (
        (seeds, "an upsert", "find the `_id` first, and insert if there is none"),
        (is_given(walk.buf, statement.get(b"multi")), "multi", "remove `multi` or the sort"),
        (
            constants in statement or b"let" in walk.draft.arguments,
            "variables",
            "write their values into the filter and the update",
        ),
        (asking.written.count > 0, "other statements", "send it as a command of its own"),
        (bool(asking.namespace), "bulkWrite", "send it as findAndModify, or as update"),
    )
    for is_there, what, instead in refused:
        if is_there:
            rule = f"{what} beside a sort by stored values"
            raise Refusal(Reason.QUESTION, path=walk.node.path, rule=rule, instead=instead)
    asking.sorts_write = True


def plan_sorted_write(walk: Walk, sort: Element, statement: dict[bytes, Element], filter_name: bytes) -> None:
    """Find the first document by its value; the filter is planned already, and the walk is in the statement.

    Raises Refusal, OrderUnknown. Cost: O(equal values).
    """
    draft, buf = walk.draft, walk.buf
    first, *others = named_parts(buf, sort.value).values()
    asked = sorting.asked_keys(walk, [first.name, *(key.name for key in others)])
    (_, node), asking, leaf = asked[0], draft.asking, asked[0][1].leaf
    if asking is None or leaf is None:
        raise TypeError("nothing may be asked")
    if len(asked) > 1 or asked[0][0] != first.name:
        rule = "a write that is sorted by stored values behind another key"
        instead = "sort by this field first and then by fields in clear, or find the `_id` first"
        raise Refusal(Reason.QUESTION, path=node.path, rule=rule, instead=instead)
    for key in others:
        plan_sort_key(walk, key)
    note_asked(walk, node)
    query = given(statement, filter_name)
    if (query is None and (filter_name != _QUERY or filter_name in statement)) or (
        query is not None and query.kind != kinds.OBJECT
    ):
        raise Refusal(Reason.SHAPE, path=node.path, rule="a sorted write without a filter")
    if query is not None and sorting.varies(buf, query):
        raise Refusal(
            Reason.QUESTION, path=node.path, rule="a choice by chance beside a sort by stored values"
        )
    part = None if query is None else (query.value, query.end)
    order = SortOrder(sorting.direction_of(walk, first) < 0, 1, part, strength_at(walk, node))
    options = asking.collation + asking.hint
    question = ValuesQuestion(draft.namespace, node.path, leaf.name, (), order=order, options=options)
    if draft.contexts is not None and query is not None:
        draft.contexts.source.narrow(buf, query.value)
    question = sorting.within_context(walk, node, question)
    try:
        answer = asking.answers.of(question)
    except ValuesUnknown:
        among = None if part is None else among_planned(draft, part, walk.parents, is_filter=True)
        raise sorting.OrderUnknown(question, among) from None
    draft.budget.spend(sum(len(held.stored[1]) + LISTED_BYTES for held in answer.all), len(answer.all))
    if query is None:
        name, offset, parents = filter_name, sort.start, walk.parents
    else:
        inside = walk.within(query.value, walk.node)
        name, offset, parents = free_name(inside, node), query.end - 1, inside.parents
    place = Element(kinds.NULL, name, *[offset] * 3)
    draft.edits.append(RangeEdit([place], node, leaf, answer.all, parents, ListPlace.FIRST, answer.ranks))
    left = b"".join(buf[key.start : key.end] for key in others)
    draft.replacements.append(
        Replacement(sort, walk.parents, b"\x03sort\0" + enclosed(left) if left else b"")
    )
