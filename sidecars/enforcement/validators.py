"""Validators that only envelopes satisfy: what each collection needs, and the change to it.

The validator is a `$jsonSchema`, because query operators see through one array at a time and a schema can
be nested: a covered value must be missing, null or a binary, and a deterministic array may hold such
values. The schema language has no recursion, so arrays are followed to a stated depth; what lies deeper is
rejected where it could hold a covered field. It cannot look into a binary: one that is no envelope passes.

Query operators can, because they compare bits. Beside the schema there may therefore be conditions that no
document may meet: a binary at a path begins otherwise than envelopes of the active version. Arrays are
followed as deep as the schema follows them. Each condition is one test of one value: a second test of the
same path might be met by another element of an array.
Source: MongoDB manual, "$jsonSchema", "Schema Validation", "$bitsAnyClear" and "$elemMatch".
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from bson import encode
from pymongo.errors import PyMongoError

from sealwire.policies.file.schema import PathNode, covered_fields
from sealwire.sidecars.covered import CoveredCollection, Validation
from sealwire.sidecars.direct import Client, collection_of, failure

MARK: Final = "sealwire policy enforce 1"
"""Begins the title of every schema that is ours; the number changes when its meaning does."""

LEAF_ARRAYS: Final = 4
"""How deeply arrays may be nested in a covered field of a deterministic class."""

NUMERIC_NAMES: Final = 1
"""How many fields whose name is a number, or begins with `$`, may lie above a covered value."""

MAX_SCHEMA_NODES: Final = 20_000
"""About 1.5 MB of BSON. Paths of five parts stay below it, every step being an array or not."""

MAX_CONDITIONS: Final = 10_000
"""About 1.5 MB of BSON as well."""

# Names that the planner sees through like array indexes (paths.is_transparent). The lookahead stands for
# the end of the text: `$` would also match before a last newline.
_TRANSPARENT_NAME: Final = r"^([0-9]+(?![\s\S])|\$)"

_NO_STRUCTURE: Final = {"not": {"bsonType": ["object", "array"]}}

Schema = dict[str, Any]
Condition = dict[str, Any]
Rules = tuple[Schema, tuple[Condition, ...]]
Headers = Mapping[str, bytes]
"""The bytes that every stored envelope of a class begins with, by class."""


class SchemaTooLarge(Exception):
    """The covered paths of a collection are too deep or too many for one validator."""


def covering_schema(root: PathNode, only: str | None = None, *, names: int = NUMERIC_NAMES) -> Schema:
    """A `$jsonSchema` that holds for documents without plaintext in the covered fields of `root`.

    With `only`, a covered path, the others are left out; the depths stay those of the whole tree.
    Raises SchemaTooLarge. Cost: O(paths * depth^2), not the size of the schema: equal parts are shared.
    """
    schema, nodes = _Builder(only).document(root, root.depth, names)
    if nodes > MAX_SCHEMA_NODES:
        raise SchemaTooLarge(f"{nodes} nodes")
    return schema


def covering_rules(root: PathNode, headers: Headers, only: str | None = None) -> Rules:
    """`covering_schema`, and conditions that no document may meet: values that do not begin as `headers` say.

    A query cannot follow fields whose name is any number, so beside conditions the schema lets no structure
    stand in such fields. Raises SchemaTooLarge. Cost: the size of what it returns.
    """
    is_conditional = any(each.name in headers for _, each in covered_fields(root))
    schema = covering_schema(root, only, names=_names(is_conditional))
    found = tuple({path: each} for path, each in _begins_otherwise(root, headers, only, root.depth))
    if len(found) > MAX_CONDITIONS:
        raise SchemaTooLarge(f"{len(found)} conditions")
    return schema, found


def _names(is_conditional: object) -> int:
    return 0 if is_conditional else NUMERIC_NAMES


def _begins_otherwise(
    node: PathNode, headers: Headers, only: str | None, arrays: int
) -> Iterator[tuple[str, Condition]]:
    """Paths from a document at `node`, each with a condition that a value of another beginning meets.

    A dotted path sees through one array at each step, and at its end; `$elemMatch` sees through the others.
    """
    for raw_name, child in node.children.items():
        name = raw_name.decode()
        if child.leaf is not None:
            if only in (None, child.path) and (header := headers.get(child.leaf.name)):
                for depth in (0, *range(2, LEAF_ARRAYS + 1)):
                    yield name, _inside({"$bitsAnyClear": header}, depth)
                    yield name, _inside({"$bitsAnySet": bytes(0xFF ^ byte for byte in header)}, depth)
            continue
        for path, condition in _begins_otherwise(child, headers, only, arrays):
            yield f"{name}.{path}", condition
        for depth in range(2, arrays + 1):
            for path, condition in _begins_otherwise(child, headers, only, arrays - depth):
                yield name, _inside({path: condition}, depth)


def _inside(condition: Condition, arrays: int) -> Condition:
    for _ in range(arrays):
        condition = {"$elemMatch": condition}
    return condition


class _Builder:
    """Remembers the schema and its size for every node and what may still be followed below it."""

    def __init__(self, only: str | None) -> None:
        self._only = only
        self._done: dict[tuple[str, int, int], tuple[Schema, int]] = {}

    def branch(self, node: PathNode, arrays: int, names: int) -> tuple[Schema, int]:
        """The schema of a value above covered ones; so many arrays and names may still lie below it."""
        key = (node.path, arrays, names)
        if key not in self._done:
            schema, nodes = self.document(node, arrays, names)
            items = self.branch(node, arrays - 1, names) if arrays else (_NO_STRUCTURE, 1)
            self._done[key] = schema | {"items": items[0]}, nodes + items[1]
        return self._done[key]

    def document(self, node: PathNode, arrays: int, names: int) -> tuple[Schema, int]:
        """The schema of a value that is a document, not an array."""
        properties = {}
        nodes = 1
        for name, child in node.children.items():
            if not self._wanted(child):
                continue
            below = _leaf(child) if child.leaf is not None else self.branch(child, arrays, names)
            properties[name.decode()] = below[0]
            nodes += below[1]
        numbered = self.branch(node, arrays, names - 1) if names else (_NO_STRUCTURE, 1)
        schema = {"properties": properties, "patternProperties": {_TRANSPARENT_NAME: numbered[0]}}
        return schema, nodes + numbered[1]

    def _wanted(self, node: PathNode) -> bool:
        return self._only is None or self._only == node.path or self._only.startswith(node.path + ".")


def _leaf(node: PathNode) -> tuple[Schema, int]:
    schema: Schema = {"bsonType": ["binData", "null"]}
    if node.is_random:
        return schema, 1
    for _ in range(LEAF_ARRAYS):
        schema = {"bsonType": ["binData", "null", "array"], "items": schema}
    return schema, LEAF_ARRAYS + 1


# The title keeps what the collection had before: nothing but the collection itself is needed to go back.
_TITLE = re.compile(re.escape(MARK) + r"; before: level=(\w*) action=(\w*)")
_DESCRIPTION = "Covered fields hold ciphertext only: write them through Sealwire."


def combine(schema: Schema, former: Validation, conditions: Sequence[Condition] = ()) -> dict[str, Any]:
    """A validator that asks for `schema`, for none of `conditions`, and for what was asked for before."""
    title = f"{MARK}; before: level={former.level or ''} action={former.action or ''}"
    ours: dict[str, Any] = {"$jsonSchema": {"title": title, "description": _DESCRIPTION, **schema}}
    if conditions:
        ours["$nor"] = list(conditions)
    return {"$and": [ours, former.validator]} if former.validator else ours


class Enforced(Enum):
    """Whether a collection rejects plaintext because of a validator of ours."""

    NOT = "not"
    """It has none, or one that lets everything pass."""
    AS_POLICY = "as the policy says"
    """At the paths that the policy covers now."""
    OTHERWISE = "otherwise"
    """At the paths of another policy, or of another release."""


def enforced(now: Validation, tree: PathNode | None) -> Enforced:
    """What a collection's validation does with plaintext; `tree` are its covered paths. Raises nothing."""
    former = take_apart(now.validator)
    if former is None or now.level == "off" or now.action == "warn":
        return Enforced.NOT
    if tree is not None:
        with suppress(SchemaTooLarge):
            conditions = _conditions(now.validator)
            schema = covering_schema(tree, names=_names(conditions))
            if encode(combine(schema, former, conditions)) == encode(now.validator or {}):
                return Enforced.AS_POLICY
    return Enforced.OTHERWISE


def enforces_versions(now: Validation) -> bool:
    """Whether a validator of ours rejects values of other versions than the active one."""
    return bool(_conditions(now.validator)) and now.level != "off" and now.action != "warn"


def _conditions(validator: Mapping[str, Any] | None) -> Sequence[Condition]:
    """The conditions of `covering_rules` in what `combine` made; none in any other validator."""
    if validator is None or take_apart(validator) is None:
        return ()
    ours = validator.get("$and", [validator])[0]
    found: Sequence[Condition] = ours.get("$nor", ())
    return found


def take_apart(validator: Mapping[str, Any] | None) -> Validation | None:
    """What the collection had before `combine` made `validator`; None when it is not one of those."""
    if validator is None:
        return None
    former = None
    parts = validator.get("$and")
    if isinstance(parts, list) and len(parts) == 2 and all(isinstance(part, Mapping) for part in parts):
        if len(validator) != 1:
            return None
        validator, former = parts
    schema = validator.get("$jsonSchema") if set(validator) <= {"$jsonSchema", "$nor"} else None
    title = schema.get("title") if isinstance(schema, Mapping) else None
    found = _TITLE.fullmatch(title) if isinstance(title, str) else None
    if found is None:
        return None
    return Validation(former, found[1] or None, found[2] or None)


# the collection validator that rejects plaintext in covered fields, and how it stands beside another one


RIGHTS = "log in as a user that may list collections, find, and collMod (dbAdmin and read)"
"""The hint where the server denies something."""


class EnforcementOutcome(Enum):
    """What became of a collection, or before it is carried out what would become of it."""

    INSTALLED = "installed"
    CREATED = "created"
    REPLACED = "replaced"
    """An older validator of ours gave way to one that fits the policy or the options."""
    ALREADY = "already"
    REMOVED = "removed"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator asked for; None keeps what the collection has, or strict and error."""

    level: str | None = None
    action: str | None = None
    create: bool = False
    allow_existing: bool = False
    versions: bool = False
    """Whether values have to be of the active version: `headers` are needed then."""
    headers: Headers = field(default_factory=dict)
    """For the classes whose values have to be of the active version."""


@dataclass(frozen=True, slots=True)
class Change:
    """One collection's outcome, and the command that brings it about where one is needed."""

    namespace: str
    outcome: EnforcementOutcome
    reason: str = ""
    plaintext: Mapping[str, int] = field(default_factory=dict)
    """Documents that the validator would reject, by covered path; those without any are left out."""
    command: Mapping[str, Any] | None = field(default=None, repr=False)


def plan_removal(found: CoveredCollection) -> Change:
    """Take our validator away and leave what was there before it. Asks the server nothing."""
    if not found.exists:
        return Change(found.namespace, EnforcementOutcome.SKIPPED, "does not exist")
    former = take_apart(found.validation.validator)
    if former is None:
        return Change(found.namespace, EnforcementOutcome.SKIPPED, "has no validator of Sealwire's")
    return Change(found.namespace, EnforcementOutcome.REMOVED, command=_command("collMod", found, former))


def plan_install(client: Client, found: CoveredCollection, options: Options) -> Change:
    """Decide how the collection gets its validator, after counting the documents that it would reject.

    Cost: one scan of the collection; one more for each covered path where there are such documents.
    """
    if not found.exists and not options.create:
        return Change(found.namespace, EnforcementOutcome.SKIPPED, "does not exist; --create makes it")
    if found.kind != "collection":
        return Change(found.namespace, EnforcementOutcome.SKIPPED, f"a {found.kind} takes no validator")
    try:
        rules = covering_rules(found.tree, options.headers)
    except SchemaTooLarge:
        return Change(
            found.namespace, EnforcementOutcome.FAILED, "its covered paths are too deep for one validator"
        )
    ours = take_apart(found.validation.validator)
    wanted = _wanted(found, rules, ours or found.validation, options)
    if not found.exists:
        return Change(found.namespace, EnforcementOutcome.CREATED, command=_command("create", found, wanted))
    if ours is not None and _same(wanted, found.validation):
        return Change(found.namespace, EnforcementOutcome.ALREADY, _weakness(wanted))
    try:
        plaintext = count_plaintext(client, found, options.headers)
    except PyMongoError as error:
        return Change(found.namespace, EnforcementOutcome.FAILED, f"cannot be counted: {failure(error)}")
    if plaintext and not options.allow_existing and (wanted.level, wanted.action) == ("strict", "error"):
        reason = "holds plaintext, so later updates would fail; encrypt it first, or --allow-existing"
        if options.headers:
            reason = (
                "holds values that are no envelopes of the active version, so later updates would fail; "
                "migrate encrypt or repair first, or --allow-existing"
            )
        return Change(found.namespace, EnforcementOutcome.FAILED, reason, plaintext)
    outcome = EnforcementOutcome.INSTALLED if ours is None else EnforcementOutcome.REPLACED
    reason = _weakness(wanted)
    if not reason and enforces_versions(found.validation) and not enforces_versions(wanted):
        reason = "lets values of other versions pass from now on"
    return Change(found.namespace, outcome, reason, plaintext, _command("collMod", found, wanted))


def count_plaintext(client: Client, found: CoveredCollection, headers: Headers) -> dict[str, int]:
    """How many documents the validator would reject, by covered path. Raises PyMongoError."""
    collection = collection_of(client, found.namespace)

    def rejected(only: str | None) -> int:
        schema, conditions = covering_rules(found.tree, headers, only)
        return collection.count_documents({"$or": [{"$nor": [{"$jsonSchema": schema}]}, *conditions]})

    if not rejected(None):
        return {}
    counts = {path: rejected(path) for path, _ in covered_fields(found.tree)}
    return {path: count for path, count in counts.items() if count}


def carry_out(client: Client, change: Change) -> Change:
    """Run the change's command. What the server refuses becomes a failed outcome; nothing is tried again."""
    if change.command is None:
        return change
    try:
        client.get_database(change.namespace.partition(".")[0]).command(dict(change.command))
    except PyMongoError as error:
        return replace(change, outcome=EnforcementOutcome.FAILED, reason=failure(error))
    return change


def _wanted(found: CoveredCollection, rules: Rules, former: Validation, options: Options) -> Validation:
    # a collection with a validator goes on as its owner chose: ours must not make theirs stricter
    kept = found.validation if found.validation.validator else Validation()
    schema, conditions = rules
    level, action = options.level or kept.level or "strict", options.action or kept.action or "error"
    return Validation(combine(schema, former, conditions), level, action)


def _same(wanted: Validation, now: Validation) -> bool:
    same_rules = encode(wanted.validator or {}) == encode(now.validator or {})
    return same_rules and (wanted.level, wanted.action) == (now.level or "strict", now.action or "error")


def _weakness(wanted: Validation) -> str:
    if wanted.level == "off" or wanted.action == "warn":
        return f"does not reject: level {wanted.level}, action {wanted.action}"
    moderate = "lets documents that hold plaintext be updated: level moderate"
    return moderate if wanted.level == "moderate" else ""


def _command(name: str, found: CoveredCollection, wanted: Validation) -> dict[str, Any]:
    return {
        name: found.namespace.partition(".")[2],
        "validator": wanted.validator or {},
        "validationLevel": wanted.level or "strict",
        "validationAction": wanted.action or "error",
    }
