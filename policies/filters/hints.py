"""`hint`: an index on ciphertext has the ciphertext's order, and may not decide which documents come.

MongoDB promises no order without a sort, so a plan that the server chooses itself may give any documents. A
hint chooses the index, and with it the order. So a hinted command that takes some of the documents only is
refused when a covered path is in the index, unless the filter fixes the path to one value: what comes then is
in the order of the other fields, as in plaintext.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.ranges import NUMERIC
from sealwire.policies.file.schema import PathNode, follow
from sealwire.policies.filters.operands import BRANCHES
from sealwire.policies.planning import arguments
from sealwire.policies.planning.numbers import whole_number
from sealwire.policies.planning.plan import ValueEdit
from sealwire.policies.planning.values import match
from sealwire.policies.planning.walk import Draft, Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes

_BY_DEFAULT: Final = re.compile(rb"_(?:-?1|hashed|text|2d|2dsphere)(?=_|\Z)")
"""What follows each field in the name that servers and drivers give an index."""

_KINDS: Final = frozenset({b"hashed", b"text", b"2d", b"2dsphere"})

# More fields than this no index has (kMaxNumIndexedFields is 32).
_MOST_FIELDS: Final = 32

_NO_EQUALITY: Final = frozenset({kinds.ARRAY, kinds.REGEX})

# Behind these the order of the index is gone, or promised by nobody.
_ORDERING: Final = frozenset(
    b"$sort $group $sortByCount $count $bucket $bucketAuto $sample $geoNear $changeStream".split()
)
_CUTTING: Final = frozenset({b"$limit", b"$skip"})
_CHOOSING: Final = frozenset(b"$first $last $firstN $lastN $mergeObjects $accumulator".split())


def refuse_hint(
    buf: bytes,
    hint: Element,
    node: PathNode,
    conditions: Iterable[Element],
    bounded: frozenset[bytes] = frozenset(),
    *,
    is_view: bool = False,
) -> None:
    """Refuse a hint under which ciphertext would decide which documents a command takes.

    `node` has the covered paths of the collection, `conditions` are filters that all hold, and `bounded` are
    fields that `min` and `max` fix. Filters were planned before, so that their form and their depth are
    right. Of a view the index is one of another collection, whose covered paths are not seen here. Raises
    Refusal(SORT), BsonError. Cost: O(elements of the filters).
    """
    names = index_fields(buf, hint)
    if is_view and names != []:
        raise Refusal(Reason.SORT, path=node.path, rule="hint on a view")
    found = {name: follow(node, name) for name in names or () if name not in bounded}
    covered = {name: target for name, target in found.items() if target is not None}
    if names is not None and not covered:
        return
    mentions = _Mentions()
    for condition in conditions:
        _mention(buf, condition, mentions, is_needed=True)
    if mentions.fixes(b"_id"):
        return  # there is one document or none
    if names is None:
        raise Refusal(Reason.SORT, path=node.path, rule="hint with an index that may be any")
    for name, target in covered.items():
        if not mentions.fixes(name):
            raise Refusal(Reason.SORT, path=target.path, rule="hint")


def is_index_kind(buf: bytes, element: Element) -> bool:
    """Whether a field of a key pattern says how it is indexed: a number, or the name of a kind of index.

    Raises Refusal(SHAPE) for a number that is not whole.
    """
    if element.kind == kinds.STRING:
        return string_bytes(buf, element) in _KINDS
    return element.kind in NUMERIC and whole_number(buf, element) != 0


def sorts(buf: bytes, sort: Element | None) -> bool:
    """Whether a sort specification gives an order of its own."""
    if sort is None or sort.kind != kinds.OBJECT:
        return False
    return arguments.first_name(buf, sort.value) not in (b"", b"$natural")


def index_fields(buf: bytes, hint: Element) -> list[bytes] | None:
    """The fields that may be in the hinted index, in which order is not known; None when any may be."""
    if hint.kind == kinds.OBJECT:
        names = [element.name for element in elements(buf, hint.value)]
        return [] if names in ([b"$natural"], [b"_id"]) else names
    if hint.kind != kinds.STRING:
        return []  # no server takes it
    name = string_bytes(buf, hint)
    if name == b"_id_":
        return []
    ends = [(found.start(), found.end()) for found in _BY_DEFAULT.finditer(name)]
    if not ends or ends[-1][1] != len(name) or len(ends) > _MOST_FIELDS:
        return None
    # `a_1_b_1` has the fields a and b, or one that is called `a_1_b`
    starts = [0, *(end + 1 for _, end in ends[:-1])]
    # no field is between the two kinds of `a_hashed_1`, and compiled slices must not end before they start
    return [name[start:end] for place, start in enumerate(starts) for end, _ in ends[place:] if start < end]


@dataclass(slots=True)
class _Mentions:
    """How often a filter speaks of each path, and which are said to equal one value."""

    counts: dict[bytes, int] = field(default_factory=dict)
    equal: set[bytes] = field(default_factory=set)

    def fixes(self, path: bytes) -> bool:
        """Whether one equality, and nothing else, tells where in an index on `path` the documents lie.

        Beside another condition on an array's field, the server uses either of them for the index.
        """
        if path not in self.equal or self.counts[path] != 1:
            return False
        parts = path.split(b".")
        return not any(b".".join(parts[:length]) in self.counts for length in range(1, len(parts)))


def _mention(buf: bytes, condition: Element, mentions: _Mentions, *, is_needed: bool) -> None:
    if condition.kind != kinds.OBJECT:
        return  # null, as a filter that is not given
    for element in elements(buf, condition.value):
        if element.name in BRANCHES:
            if element.kind == kinds.ARRAY:
                holds = is_needed and element.name == b"$and"
                for branch in elements(buf, element.value):
                    _mention(buf, branch, mentions, is_needed=holds)
            continue
        mentions.counts[element.name] = mentions.counts.get(element.name, 0) + 1
        if is_needed and _is_equality(buf, element):
            mentions.equal.add(element.name)


def _is_equality(buf: bytes, element: Element) -> bool:
    if arguments.is_operator_document(buf, element):
        parts = list(elements(buf, element.value))
        return len(parts) == 1 and parts[0].name == b"$eq" and parts[0].kind not in _NO_EQUALITY
    return element.kind not in _NO_EQUALITY


def leading_conditions(buf: bytes, pipeline: Element) -> list[Element]:
    """The filters with which a pipeline begins."""
    conditions = []
    for stage in _stages(buf, pipeline):
        if stage.name != b"$match":
            break
        conditions.append(stage)
    return conditions


def takes_some(buf: bytes, pipeline: Element, *, is_outermost: bool = True) -> bool:
    """Whether a pipeline takes some documents, by the order that an index gives them. Cost: O(elements)."""
    for stage in _stages(buf, pipeline):
        if stage.name in _CUTTING:
            return True
        if stage.name == b"$group":
            return _chooses(buf, stage)
        if stage.name == b"$facet" and stage.kind == kinds.OBJECT and is_outermost:
            parts = elements(buf, stage.value)
            return any(takes_some(buf, part, is_outermost=False) for part in parts)
        if stage.name in _ORDERING:
            return False
    return False


def _stages(buf: bytes, pipeline: Element) -> Sequence[Element]:
    if pipeline.kind != kinds.ARRAY:
        return ()
    return [
        arguments.only_element(buf, item.value, "a stage")
        for item in elements(buf, pipeline.value)
        if item.kind == kinds.OBJECT
    ]


def _chooses(buf: bytes, group: Element) -> bool:
    """Whether an accumulator takes one document's value, or some, by their order."""
    if group.kind != kinds.OBJECT:
        return False
    return any(
        part.kind == kinds.OBJECT and arguments.first_name(buf, part.value) in _CHOOSING
        for part in elements(buf, group.value)
    )


# ------------------------------------------------------- min and max of find: bounds in the order of an index
#
# Keys of an index are compared field by field, and a later field counts only where the earlier ones are
# equal. So where both bounds have the same values in all fields down to the last covered one, the keys
# between them have these values too, in ciphertext as in plaintext, and their order is that of the fields
# behind.

_NESTED = frozenset({kinds.OBJECT, kinds.ARRAY})


def plan_index_bounds(walk: Walk, low: Element | None, high: Element | None) -> None:
    """Cover `min` and `max`. Raises Refusal(RANGE) where covered fields have an order in them, BsonError."""
    bounds = [bound for bound in (low, high) if bound is not None and bound.kind != kinds.NULL]
    node = walk.node
    parts = [arguments.named_parts(walk.buf, arguments.document_of(bound, bound)) for bound in bounds]
    covered = [name for part in parts for name in part if follow(node, name) is not None]
    for part in parts:
        for value in part.values():
            arguments.check_nested(walk.buf, value)
    if not covered:
        return
    if len(parts) != 2 or list(parts[0]) != list(parts[1]):
        raise _ordered(node, covered[0])
    above = [walk.inside(bound.value) for bound in bounds]
    left = set(covered)
    for name, one in parts[0].items():
        if not left:
            return
        left.discard(name)
        if not _are_equal((one, parts[1][name]), follow(node, name), above):
            raise _ordered(node, name if name in covered else covered[-1])


def fixed_by_bounds(buf: bytes, given: dict[bytes, Element]) -> frozenset[bytes]:
    """The fields that stand in both `min` and `max`; no others may be covered in them."""
    low, high = given.get(b"min"), given.get(b"max")
    if low is None or high is None or not low.kind == high.kind == kinds.OBJECT:
        return frozenset()
    names = [{element.name for element in elements(buf, bound.value)} for bound in (low, high)]
    return frozenset(names[0] & names[1])


def _are_equal(values: tuple[Element, Element], node: PathNode | None, above: list[Walk]) -> bool:
    """Whether both bounds have the same value here; it is covered where the field is."""
    if any(value.kind in _NESTED for value in values):
        return False
    if node is None:
        buf = above[0].buf
        one, other = (bytes((value.kind,)) + buf[value.value : value.end] for value in values)
        return one == other
    if node.leaf is None:
        return False
    meant = []
    for value, walk in zip(values, above, strict=True):
        edits = len(walk.draft.edits)
        match(walk, value, node)
        meant.append(_meant(walk.draft, value, edits))
    return meant[0] == meant[1]


def _meant(draft: Draft, value: Element, edits: int) -> tuple[int, bytes]:
    """Type and bytes of a value after coercion; null has no edit."""
    if len(draft.edits) == edits:
        return value.kind, b""
    edit = draft.edits[edits]
    if isinstance(edit, ValueEdit) and edit.value is not None:
        return edit.kind, edit.value
    return value.kind, draft.buf[value.value : value.end]


def _ordered(node: PathNode, name: bytes) -> Refusal:
    found = follow(node, name)
    return Refusal(Reason.RANGE, path=found.path if found is not None else node.path, rule="min or max")
