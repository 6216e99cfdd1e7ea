"""The commands that define collections and their indexes."""

from collections.abc import Callable, Mapping
from typing import Final

from sealwire.policies.aggregation.projections import plan_project_stage
from sealwire.policies.commands.command import GENERIC, Argument, Command, apply_arguments, collation, unread
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import PathNode, leaves
from sealwire.policies.filters.filters import plan_filter
from sealwire.policies.planning.arguments import (
    check_nested,
    document_of,
    named_parts,
    operator_name,
    string_of,
)
from sealwire.policies.planning.numbers import FLAGS, whole_number
from sealwire.policies.planning.rules import Rule, encrypted, family
from sealwire.policies.planning.values import note_comparison
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes

_INDEX_KINDS = frozenset({kinds.INT, kinds.LONG, kinds.DOUBLE})
_NONE: Final = frozenset[int]()
_TEXT: Final = frozenset({kinds.STRING})
_DOCUMENT: Final = frozenset({kinds.OBJECT})

_INDEX_OPTIONS: Final[dict[bytes, frozenset[int]]] = {
    **dict.fromkeys(
        b"""v unique sparse background hidden expireAfterSeconds prepareUnique dropDups clustered bits min max
        bucketSize textIndexVersion 2dsphereIndexVersion""".split(),
        FLAGS,
    ),
    **dict.fromkeys(b"name ns default_language language_override".split(), _TEXT),
    **dict.fromkeys(
        b"key weights collation partialFilterExpression storageEngine wildcardProjection".split(), _DOCUMENT
    ),
}
_MODIFIED_OPTIONS: Final[dict[bytes, frozenset[int]]] = {
    **dict.fromkeys(b"hidden unique prepareUnique expireAfterSeconds".split(), FLAGS),
    b"name": _TEXT,
    b"keyPattern": _DOCUMENT,
}


def create_indexes(command: Command, walk: Walk) -> None:
    """Ordinary and hashed indexes work on ciphertext; text, geo, TTL and wildcard ones cannot."""
    table: dict[bytes, Argument] = {command.name: unread, b"indexes": unread, b"commitQuorum": unread}
    apply_arguments(command, walk, command.arguments, {**GENERIC, **table})
    for among, start in command.documents(walk, b"indexes"):
        _index(command, among.inside(start), start)


def _index(command: Command, walk: Walk, start: int) -> None:
    parts = named_parts(command.buf, start)
    key = parts.get(b"key")
    if key is None:
        raise Refusal(Reason.SHAPE, rule="createIndexes")
    _check_options(command, parts, _INDEX_OPTIONS, "createIndexes")
    covered: PathNode | None = None
    for field in elements(command.buf, document_of(key, key)):
        covered = _index_field(walk, field, parts.get(b"wildcardProjection")) or covered
    _refuse_weights(walk, parts.get(b"weights"))
    if covered is not None:
        lifetime = parts.get(b"expireAfterSeconds")
        if lifetime is not None and lifetime.kind != kinds.NULL:
            raise Refusal(Reason.INDEX, path=covered.path, rule=operator_name(lifetime))
        note_comparison(command.draft, covered)
    own_collation = parts.get(b"collation")
    if own_collation is not None and own_collation.kind != kinds.NULL:
        command.note_collation(own_collation)
    partial = parts.get(b"partialFilterExpression")
    if partial is not None and partial.kind != kinds.NULL:
        plan_filter(walk, document_of(partial, partial))
    command.check_collation(covered.path if covered is not None else "")


def _check_options(
    command: Command, parts: dict[bytes, Element], known: Mapping[bytes, frozenset[int]], rule: str
) -> None:
    """Options are known by name and type: none of them holds a value of a document. Raises Refusal(SHAPE)."""
    for name, part in parts.items():
        check_nested(command.buf, part)
        if part.kind not in known.get(name, _NONE) and not (name in known and part.kind == kinds.NULL):
            raise Refusal(Reason.SHAPE, rule=f"{rule} with {operator_name(part)}")
    engine, projection = (parts.get(name) for name in (b"storageEngine", b"wildcardProjection"))
    if engine is not None and engine.kind == kinds.OBJECT and not _is_engine(command, engine):
        raise Refusal(Reason.SHAPE, rule=f"{rule} with {operator_name(engine)}")
    if projection is not None and projection.kind == kinds.OBJECT:
        for flag in elements(command.buf, projection.value):
            if flag.kind not in FLAGS:
                raise Refusal(Reason.SHAPE, rule=f"{rule} with {operator_name(projection)}")


def _is_engine(command: Command, argument: Element) -> bool:
    """Whether it is `{wiredTiger: {configString: "..."}}`."""
    for engine in elements(command.buf, argument.value):
        if engine.name != b"wiredTiger" or engine.kind != kinds.OBJECT:
            return False
        inside = named_parts(command.buf, engine.value)
        if not inside.keys() <= {b"configString"} or any(
            part.kind != kinds.STRING for part in inside.values()
        ):
            return False
    return True


def _refuse_weights(walk: Walk, weights: Element | None) -> None:
    """The fields of a text index, which may stand here alone: `{_fts: "text"}` is a key that names none."""
    if weights is None or weights.kind == kinds.NULL:
        return
    for field in elements(walk.buf, document_of(weights, weights)):
        covered = walk.node if field.name == b"$**" else follow(walk.node, field.name)
        if covered is not None:
            raise Refusal(Reason.INDEX, path=covered.path, rule="weights")


def _index_field(walk: Walk, field: Element, projection: Element | None) -> PathNode | None:
    """The covered node that an indexed path leads to. Raises Refusal(INDEX)."""
    if b"$**" in field.name:
        prefix = field.name.removesuffix(b"$**").removesuffix(b".")
        below = follow(walk.node, prefix) if prefix else _projected(walk, projection)
        if below is not None and _shows(below):
            raise Refusal(Reason.INDEX, path=below.path, rule="a wildcard index")
        return None
    covered = follow(walk.node, field.name)
    if covered is None:
        return None
    plain = field.kind in _INDEX_KINDS and whole_number(walk.buf, field) != 0
    if not plain and not (field.kind == kinds.STRING and string_of(walk.buf, field) == "hashed"):
        raise Refusal(Reason.INDEX, path=covered.path, rule="this index type")
    if covered.holds_random:
        raise Refusal(Reason.INDEX, path=covered.path, rule="an index on a random class")
    return covered


def _projected(walk: Walk, projection: Element | None) -> PathNode:
    """What a wildcard index sees of the documents: all but what its projection leaves out."""
    if projection is None or projection.kind != kinds.OBJECT:
        return walk.node
    return plan_project_stage(walk, projection)


def _shows(node: PathNode) -> bool:
    """Whether an index of every field at or below a node would hold ciphertext."""
    if node.absent:
        return False
    return node.leaf is not None or node.opaque or any(map(_shows, node.children.values()))


def create(command: Command, walk: Walk) -> None:
    """`create` and `collMod` of a protected collection: its validator is covered like a filter."""
    apply_arguments(command, walk, command.arguments, {command.name: unread, **_DEFINITIONS[command.name]})


def _validator(command: Command, walk: Walk, argument: Element) -> None:
    del command
    plan_filter(walk, document_of(argument, argument))


def _default_collation(command: Command, walk: Walk, argument: Element) -> None:
    """Every later comparison would be under it, so no class may hold strings that can be compared."""
    collation(command, walk, argument)
    for leaf in leaves(walk.node):
        if not leaf.is_random:
            note_comparison(command.draft, leaf)


def _time_series(command: Command, walk: Walk, argument: Element) -> None:
    """Measurements may be covered, and so may what they are grouped by; time is what the server orders by."""
    parts = named_parts(command.buf, document_of(argument, argument))
    for name, part in parts.items():
        if part.kind not in _TIME_SERIES.get(name, _NONE):
            raise Refusal(Reason.SHAPE, path=walk.node.path, rule=f"timeseries with {operator_name(part)}")
    time = parts.get(b"timeField")
    covered = None if time is None else follow(walk.node, string_bytes(command.buf, time))
    if covered is not None:
        raise Refusal(Reason.INDEX, path=covered.path, rule="timeField")


_TIME_SERIES: Final[dict[bytes, frozenset[int]]] = {
    **dict.fromkeys((b"timeField", b"metaField", b"granularity"), _TEXT),
    **dict.fromkeys((b"bucketMaxSpanSeconds", b"bucketRoundingSeconds"), FLAGS),
}


def _modified_index(command: Command, walk: Walk, argument: Element) -> None:
    parts = named_parts(command.buf, document_of(argument, argument))
    _check_options(command, parts, _MODIFIED_OPTIONS, "collMod")
    if b"expireAfterSeconds" not in parts:
        return
    pattern = parts.get(b"keyPattern")
    if pattern is None:
        # which fields an index has does not show in its name
        raise Refusal(Reason.INDEX, path=walk.node.path, rule="expireAfterSeconds without keyPattern")
    for field in elements(command.buf, document_of(pattern, pattern)):
        covered = follow(walk.node, field.name)
        if covered is not None:
            raise Refusal(Reason.INDEX, path=covered.path, rule="expireAfterSeconds")


_DEFINED: Final[dict[bytes, Argument]] = {
    **GENERIC,
    **dict.fromkeys(
        b"""capped size max validationLevel validationAction indexOptionDefaults storageEngine
        autoIndexId flags changeStreamPreAndPostImages recordPreImages cappedSize cappedMax prepareUnique
        dryRun idIndex clusteredIndex expireAfterSeconds""".split(),
        unread,
    ),
    b"validator": _validator,
    b"collation": _default_collation,
    b"timeseries": _time_series,
}
_DEFINITIONS: Final = {b"create": _DEFINED, b"collMod": {**_DEFINED, b"index": _modified_index}}


DEFINITION_COMMANDS: dict[bytes, Rule[Callable[[Command, Walk], None]]] = {
    b"createIndexes": encrypted(create_indexes, "no text, geo, TTL or wildcard index; no random class"),
    **family("create collMod", encrypted(create, "validators as filters; no views")),
}
