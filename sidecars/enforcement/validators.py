"""The collection validator that rejects plaintext in covered fields, and how it stands beside another one.

It is a `$jsonSchema`, because query operators see through one array at a time and a schema can be nested: a
covered value must be missing, null or a binary, and a deterministic array may hold such values. The schema
language has no recursion, so arrays are followed to a stated depth; what lies deeper is rejected where it
could hold a covered field. It cannot look into a binary: one that is no envelope passes.

Query operators can, because they compare bits. Beside the schema there may therefore be conditions that no
document may meet: a binary at a path begins otherwise than envelopes of the active version. Arrays are
followed as deep as the schema follows them. Each condition is one test of one value: a second test of the
same path might be met by another element of an array.
Source: MongoDB manual, "$jsonSchema", "Schema Validation", "$bitsAnyClear" and "$elemMatch".
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any, Final

from bson import encode

from sealwire.policies.file.schema import PathNode, leaves
from sealwire.sidecars.covered import Validation

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
    is_conditional = any(leaf.leaf and leaf.leaf.name in headers for leaf in leaves(root))
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
