"""The commands that define collections and their indexes."""

from collections.abc import Callable, Mapping
from typing import Final

from sealwire.policies.commands.command import GENERIC, Argument, Command, apply_arguments, collation, passed
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import PathNode
from sealwire.policies.filters.filters import plan_filter
from sealwire.policies.planning.arguments import (
    Parents,
    check_nested,
    document_of,
    named_parts,
    operator_name,
    string_of,
)
from sealwire.policies.planning.numbers import FLAGS, whole_number
from sealwire.policies.planning.rules import Rule, encrypted, family
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

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


def create_indexes(command: Command, node: PathNode) -> None:
    """Ordinary and hashed indexes work on ciphertext; text, geo, TTL and wildcard ones cannot."""
    table: dict[bytes, Argument] = {command.name: passed, b"indexes": passed, b"commitQuorum": passed}
    apply_arguments(command, command.arguments, {**GENERIC, **table}, command.parents)
    for start, parents in command.documents(b"indexes"):
        _index(command, node, start, (*parents, start))


def _index(command: Command, node: PathNode, start: int, parents: Parents) -> None:
    parts = named_parts(command.plan, start)
    key = parts.get(b"key")
    if key is None:
        raise Refusal(Reason.SHAPE, rule="createIndexes")
    _check_options(command, parts, _INDEX_OPTIONS, "createIndexes")
    covered: PathNode | None = None
    for field in elements(command.plan.buf, document_of(key, key)):
        covered = _index_field(command, node, field) or covered
    _refuse_weights(command, node, parts.get(b"weights"))
    if covered is not None:
        lifetime = parts.get(b"expireAfterSeconds")
        if lifetime is not None and lifetime.kind != kinds.NULL:
            raise Refusal(Reason.INDEX, path=covered.path, rule=operator_name(lifetime))
        command.plan.compares = True
    own_collation = parts.get(b"collation")
    if own_collation is not None and own_collation.kind != kinds.NULL:
        command.note_collation(own_collation)
    partial = parts.get(b"partialFilterExpression")
    if partial is not None and partial.kind != kinds.NULL:
        plan_filter(command.plan, document_of(partial, partial), node, parents)
    command.settle_collation(covered.path if covered is not None else "")


def _check_options(
    command: Command, parts: dict[bytes, Element], known: Mapping[bytes, frozenset[int]], rule: str
) -> None:
    """Options are known by name and type: none of them holds a value of a document. Raises Refusal(SHAPE)."""
    for name, part in parts.items():
        check_nested(command.plan, part)
        if part.kind not in known.get(name, _NONE) and not (name in known and part.kind == kinds.NULL):
            raise Refusal(Reason.SHAPE, rule=f"{rule} with {operator_name(part)}")
    engine, projection = (parts.get(name) for name in (b"storageEngine", b"wildcardProjection"))
    if engine is not None and engine.kind == kinds.OBJECT and not _is_engine(command, engine):
        raise Refusal(Reason.SHAPE, rule=f"{rule} with {operator_name(engine)}")
    if projection is not None and projection.kind == kinds.OBJECT:
        for flag in elements(command.plan.buf, projection.value):
            if flag.kind not in FLAGS:
                raise Refusal(Reason.SHAPE, rule=f"{rule} with {operator_name(projection)}")


def _is_engine(command: Command, argument: Element) -> bool:
    """Whether it is `{wiredTiger: {configString: "..."}}`."""
    for engine in elements(command.plan.buf, argument.value):
        if engine.name != b"wiredTiger" or engine.kind != kinds.OBJECT:
            return False
        inside = named_parts(command.plan, engine.value)
        if not inside.keys() <= {b"configString"} or any(
            part.kind != kinds.STRING for part in inside.values()
        ):
            return False
    return True


def _refuse_weights(command: Command, node: PathNode, weights: Element | None) -> None:
    """The fields of a text index, which may stand here alone: `{_fts: "text"}` is a key that names none."""
    if weights is None or weights.kind == kinds.NULL:
        return
    for field in elements(command.plan.buf, document_of(weights, weights)):
        covered = node if field.name == b"$**" else follow(node, field.name)
        if covered is not None:
            raise Refusal(Reason.INDEX, path=covered.path, rule="weights")


def _index_field(command: Command, node: PathNode, field: Element) -> PathNode | None:
    """The covered node that an indexed path leads to. Raises Refusal(INDEX)."""
    if b"$**" in field.name:
        prefix = field.name.removesuffix(b"$**").removesuffix(b".")
        below = follow(node, prefix) if prefix else node
        if below is not None and below.covers:
            raise Refusal(Reason.INDEX, path=below.path, rule="a wildcard index")
        return None
    covered = follow(node, field.name)
    if covered is None:
        return None
    plain = field.kind in _INDEX_KINDS and whole_number(command.plan, field) != 0
    if not plain and not (field.kind == kinds.STRING and string_of(command.plan, field) == "hashed"):
        raise Refusal(Reason.INDEX, path=covered.path, rule="this index type")
    if covered.holds_random:
        raise Refusal(Reason.INDEX, path=covered.path, rule="an index on a random class")
    return covered


def create(command: Command, node: PathNode) -> None:
    """`create` and `collMod` of a protected collection: its validator is covered like a filter."""

    def validator(command: Command, argument: Element, parents: Parents) -> None:
        plan_filter(command.plan, document_of(argument, argument), node, parents)

    def default_collation(command: Command, argument: Element, parents: Parents) -> None:
        collation(command, argument, parents)
        command.plan.compares = True  # every later comparison would be under it

    table: dict[bytes, Argument] = {b"validator": validator, b"collation": default_collation}
    names = b"""capped size max validationLevel validationAction indexOptionDefaults storageEngine
        autoIndexId flags changeStreamPreAndPostImages recordPreImages cappedSize cappedMax prepareUnique
        dryRun idIndex clusteredIndex expireAfterSeconds"""
    table |= dict.fromkeys([command.name, *names.split()], passed)
    if command.name == b"collMod":
        table[b"index"] = _modified_index(node)
    apply_arguments(command, command.arguments, {**GENERIC, **table}, command.parents)


def _modified_index(node: PathNode) -> Argument:
    def plan(command: Command, argument: Element, parents: Parents) -> None:
        del parents
        parts = named_parts(command.plan, document_of(argument, argument))
        _check_options(command, parts, _MODIFIED_OPTIONS, "collMod")
        if b"expireAfterSeconds" not in parts:
            return
        pattern = parts.get(b"keyPattern")
        if pattern is None:
            # which fields an index has does not show in its name
            raise Refusal(Reason.INDEX, path=node.path, rule="expireAfterSeconds without keyPattern")
        for field in elements(command.plan.buf, document_of(pattern, pattern)):
            covered = follow(node, field.name)
            if covered is not None:
                raise Refusal(Reason.INDEX, path=covered.path, rule="expireAfterSeconds")

    return plan


DEFINITION_COMMANDS: dict[bytes, Rule[Callable[[Command, PathNode], None]]] = {
    b"createIndexes": encrypted(create_indexes, "no text, geo, TTL or wildcard index; no random class"),
    **family("create collMod", encrypted(create, "validators as filters; no views")),
}
