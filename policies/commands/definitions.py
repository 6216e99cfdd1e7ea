"""The commands that define collections and their indexes."""

from collections.abc import Callable, Mapping
from typing import Final

from sealwire.policies.aggregation.projections import plan_project_stage
from sealwire.policies.aggregation.stage_arguments import (
    FLAG,
    TEXT,
    Shape,
    check_shapes,
    shaped,
    typed,
    unless_null,
)
from sealwire.policies.commands.command import (
    GENERIC,
    Argument,
    Command,
    apply_arguments,
    collation,
    plain_arguments,
    unread,
)
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file import schema
from sealwire.policies.filters.filters import plan_filter_argument
from sealwire.policies.planning import values
from sealwire.policies.planning.arguments import (
    check_nested,
    document_of,
    given,
    named_parts,
    operator_name,
    string_of,
)
from sealwire.policies.planning.numbers import is_given, whole_number
from sealwire.policies.planning.rules import Act, Rule, acts, encrypted
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes

_INDEX_KINDS = frozenset({kinds.INT, kinds.LONG, kinds.DOUBLE})
_FLAG: Final[Shape] = unless_null(FLAG)
_TEXT: Final[Shape] = unless_null(TEXT)
_DOCUMENT: Final[Shape] = unless_null(typed(kinds.OBJECT))


def _flags(buf: bytes, argument: Element, named: Element) -> None:
    """Fields that are kept or left out, and fields of sub-documents. Raises Refusal(SHAPE)."""
    for field in elements(buf, document_of(argument, named)):
        if field.name.startswith(b"$"):
            raise Refusal(Reason.SHAPE, rule=f"{operator_name(named)} with {operator_name(field)}")
        (_flags if field.kind == kinds.OBJECT else FLAG)(buf, field, named)


_INDEX_OPTIONS: Final[dict[bytes, Shape]] = {
    **dict.fromkeys(
        b"""v unique sparse background hidden expireAfterSeconds prepareUnique dropDups clustered bits min max
        bucketSize textIndexVersion 2dsphereIndexVersion""".split(),
        _FLAG,
    ),
    **dict.fromkeys(b"name ns default_language language_override".split(), _TEXT),
    **dict.fromkeys(b"key weights collation partialFilterExpression".split(), _DOCUMENT),
    b"storageEngine": unless_null(shaped({b"wiredTiger": shaped({b"configString": TEXT})})),
    b"wildcardProjection": unless_null(_flags),
}
_MODIFIED_OPTIONS: Final[dict[bytes, Shape]] = {
    **dict.fromkeys(b"hidden unique prepareUnique expireAfterSeconds".split(), _FLAG),
    b"name": _TEXT,
    b"keyPattern": _DOCUMENT,
}

_UNIQUE: Final = frozenset({b"unique", b"prepareUnique"})


def create_indexes(command: Command, walk: Walk) -> None:
    """Ordinary and hashed indexes work on ciphertext; text, geo, TTL and wildcard ones cannot."""
    table = {**GENERIC, **plain_arguments("createIndexes indexes commitQuorum")}
    apply_arguments(walk, command.arguments, table)
    for among, start in command.documents(walk, b"indexes"):
        _index(command, among.inside(start), start)


def _index(command: Command, walk: Walk, start: int) -> None:
    parts = named_parts(command.buf, start)
    key = parts.get(b"key")
    if key is None:
        raise Refusal(Reason.SHAPE, rule="createIndexes")
    _check_options(walk.buf, parts, command.arguments[command.name], _INDEX_OPTIONS)
    covered = judge_fields(walk, parts, key)
    _refuse_weights(walk, given(parts, b"weights"))
    lifetime = given(parts, b"expireAfterSeconds")
    if lifetime is not None:
        # on any field: the server deletes the documents, with all that they hold
        values.demand_delete(walk.draft, walk.node)
        if covered is not None:
            raise Refusal(Reason.INDEX, path=covered.path, rule=operator_name(lifetime))
    own_collation, partial = given(parts, b"collation"), given(parts, b"partialFilterExpression")
    if own_collation is not None:
        collation(walk, own_collation)
    if partial is not None:
        plan_filter_argument(walk, partial)
    command.draft.check_collation(covered.path if covered is not None else "")


def judge_fields(walk: Walk, parts: dict[bytes, Element], key: Element) -> schema.PathNode | None:
    """A covered field of an index or a shard key that is defined or changed; None: it has none.

    `parts` are its options, `key` is its pattern. An index that is unique, or that is to be, tells by its
    errors which values are equal. Raises Refusal, BsonError.
    """
    covered: schema.PathNode | None = None
    for field in elements(walk.buf, document_of(key, key)):
        found = indexed_field(walk, field, parts.get(b"wildcardProjection"))
        if found is not None:
            covered = found
            values.note_comparison(walk.draft, found)
    if covered is not None and any(is_given(walk.buf, parts.get(name)) for name in _UNIQUE):
        check_unique(walk.buf, document_of(key, key), walk.node)
    return covered


def check_unique(buf: bytes, key: int, tree: schema.PathNode) -> None:
    """Where the fields of a document at `key` are unique together, what has a key for a context needs that.

    Values are told apart within their context only, so a unique index has to name that as well.

    Raises Refusal(CONTEXT).
    """
    names = [field.name for field in elements(buf, key)]
    for name in names:
        target = schema.follow(tree, name)
        per = None if target is None or target.leaf is None else target.leaf.per
        if target is None or per is None or per == schema.PER_DATABASE:
            continue
        # a number leads to one element, and the field's path to all
        is_numbered = per.startswith(schema.BESIDE) and name != target.path.encode()
        if is_numbered or schema.whole_path(schema.context_field(per, target.path)) not in names:
            raise Refusal(Reason.CONTEXT, path=target.path, rule="a unique index without its field")


def _check_options(
    buf: bytes, parts: dict[bytes, Element], named: Element, known: Mapping[bytes, Shape]
) -> None:
    """Options are known by name and type: none of them holds a value of a document. Raises Refusal(SHAPE)."""
    for part in parts.values():
        check_nested(buf, part)
    check_shapes(buf, parts, named, known)


def _refuse_weights(walk: Walk, weights: Element | None) -> None:
    """The fields of a text index, which may stand here alone: `{_fts: "text"}` is a key that names none."""
    if weights is None:
        return
    for field in elements(walk.buf, document_of(weights, weights)):
        covered = walk.node if field.name == b"$**" else schema.follow(walk.node, field.name)
        if covered is not None:
            raise Refusal(Reason.INDEX, path=covered.path, rule="weights")


def indexed_field(walk: Walk, field: Element, projection: Element | None) -> schema.PathNode | None:
    """The covered node that a field of an index, or of a shard key, leads to; None: nothing covered.

    `projection` is that of a wildcard index. Raises Refusal(INDEX).
    """
    if b"$**" in field.name:
        prefix = field.name.removesuffix(b"$**").removesuffix(b".")
        below = schema.follow(walk.node, prefix) if prefix else _projected(walk, projection)
        if below is not None and _shows(below):
            raise Refusal(Reason.INDEX, path=below.path, rule="a wildcard index")
        return None
    covered = schema.follow(walk.node, field.name)
    if covered is None:
        return None
    plain = field.kind in _INDEX_KINDS and whole_number(walk.buf, field) != 0
    if not plain and not (field.kind == kinds.STRING and string_of(walk.buf, field) == "hashed"):
        raise Refusal(Reason.INDEX, path=covered.path, rule="this index type")
    if covered.holds_random:
        raise Refusal(Reason.INDEX, path=covered.path, rule="an index on a random class")
    return covered


def _projected(walk: Walk, projection: Element | None) -> schema.PathNode:
    """What a wildcard index sees of the documents: all but what its projection leaves out."""
    if projection is None or projection.kind != kinds.OBJECT:
        return walk.node
    return plan_project_stage(walk, projection)


def _shows(node: schema.PathNode) -> bool:
    """Whether an index of every field at or below a node would hold ciphertext."""
    if node.absent:
        return False
    return node.leaf is not None or node.opaque or any(map(_shows, node.children.values()))


def create(command: Command, walk: Walk) -> None:
    """`create` and `collMod` of a protected collection: its validator is covered like a filter."""
    apply_arguments(walk, command.arguments, {command.name: unread, **_DEFINITIONS[command.name]})


def _default_collation(walk: Walk, argument: Element) -> None:
    """Every later comparison would be under it, so no class may hold strings that can be compared."""
    collation(walk, argument)
    for leaf in schema.leaves(walk.node):
        # a filter that fixes a context would find other spellings, which are other contexts
        has_context = leaf.leaf is not None and leaf.leaf.per not in (None, schema.PER_DATABASE)
        if not leaf.is_random or has_context or leaf.asks:
            values.note_comparison(walk.draft, leaf)


def _time_series(walk: Walk, argument: Element) -> None:
    """Measurements may be covered, and so may what they are grouped by; time is what the server orders by."""
    _TIME_SERIES(walk.buf, argument, argument)
    time = named_parts(walk.buf, argument.value).get(b"timeField")
    covered = None if time is None else schema.follow(walk.node, string_bytes(walk.buf, time))
    if covered is not None:
        raise Refusal(Reason.INDEX, path=covered.path, rule="timeField")


_TIME_SERIES: Final[Shape] = shaped(
    {
        **dict.fromkeys((b"timeField", b"metaField", b"granularity"), TEXT),
        **dict.fromkeys((b"bucketMaxSpanSeconds", b"bucketRoundingSeconds"), FLAG),
    }
)


def _modified_index(walk: Walk, argument: Element) -> None:
    parts = named_parts(walk.buf, document_of(argument, argument))
    _check_options(walk.buf, parts, argument, _MODIFIED_OPTIONS)
    expires = b"expireAfterSeconds" in parts
    if expires:
        values.demand_delete(walk.draft, walk.node)
    elif _UNIQUE.isdisjoint(parts):
        return
    else:
        values.demand_definition(walk.draft, walk.node)
    pattern = parts.get(b"keyPattern")
    if pattern is None:
        # which fields an index has does not show in its name
        raise Refusal(Reason.INDEX, path=walk.node.path, rule="an option of an index without keyPattern")
    covered = judge_fields(walk, parts, pattern)
    if covered is not None and expires:
        raise Refusal(Reason.INDEX, path=covered.path, rule="expireAfterSeconds")


def _losing(walk: Walk, argument: Element) -> None:
    """The server deletes documents by this, sooner or later. Raises Refusal(ROLE)."""
    unread(walk, argument)
    is_off = argument.kind == kinds.NULL or (argument.kind == kinds.BOOL and not is_given(walk.buf, argument))
    if not is_off:
        values.demand_delete(walk.draft, walk.node)


def _validator(walk: Walk, argument: Element) -> None:
    """Another validator, or none. Raises Refusal(ROLE) and what a filter does."""
    values.demand_definition(walk.draft, walk.node)
    plan_filter_argument(walk, argument)


def _validation(walk: Walk, argument: Element) -> None:
    """How strictly the validator counts. Raises Refusal(ROLE)."""
    values.demand_definition(walk.draft, walk.node)
    unread(walk, argument)


_DEFINED: Final[dict[bytes, Argument]] = {
    **GENERIC,
    **plain_arguments(
        """size max validationLevel validationAction indexOptionDefaults storageEngine
        autoIndexId flags changeStreamPreAndPostImages recordPreImages prepareUnique dryRun idIndex
        clusteredIndex"""
    ),
    **dict.fromkeys(b"capped cappedSize cappedMax expireAfterSeconds".split(), _losing),
    b"validator": plan_filter_argument,
    b"collation": _default_collation,
    b"timeseries": _time_series,
}
_MODIFIED: Final[dict[bytes, Argument]] = {
    **_DEFINED,
    b"index": _modified_index,
    b"validator": _validator,
    **dict.fromkeys((b"validationLevel", b"validationAction"), _validation),
}
_DEFINITIONS: Final = {b"create": _DEFINED, b"collMod": _MODIFIED}


DEFINITION_COMMANDS: dict[bytes, Rule[Callable[[Command, Walk], None]]] = {
    b"createIndexes": encrypted(create_indexes, "no text, geo, TTL or wildcard index; no random class"),
    b"create": encrypted(create, "validators as filters; no views"),
    **acts(Act.ADMINISTRATION, {b"collMod": encrypted(create, "validators as filters; no views")}),
}
