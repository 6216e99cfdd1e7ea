"""Filters of validators, partial indexes and views, for values in both forms or in the new one."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import FieldClass, PathNode, follow, is_transparent, leaves
from sealwire.policies.filters.filters import OPERATORS, TOP_LEVEL
from sealwire.policies.planning.rules import Conversion
from sealwire.sidecars.migration.definitions.constants import (
    EMPTY_TYPES,
    ClassChange,
    Lost,
    Width,
    both,
    type_name,
)
from sealwire.sidecars.migration.moves import touches

# ------------------------------------- $jsonSchema of a validator, for values in both forms or in the new one
#
# A schema is a conjunction of its keywords, so each group of them is converted for itself: where values
# stand, what is said of the value itself becomes "this, or what it means for the other form". Forms have no
# value in common, so that is exact below `not` and `oneOf` too, but for parts that have no meaning for the
# new form: those are left out, and named. Source: MongoDB manual, "$jsonSchema".

Schema = Mapping[str, Any]

_REMARKS: Final = frozenset({"title", "description"})
_TYPES: Final = ("bsonType", "type")
_BRANCHES: Final = ("allOf", "anyOf", "oneOf")
_COUNTS: Final = frozenset({"minItems", "maxItems", "uniqueItems"})
_NUMBERED: Final = "0"


@dataclass(frozen=True, slots=True)
class Way:
    """A way through one definition: what changes, how wide it is to become, and what it loses."""

    change: ClassChange
    width: Width
    lost: list[str] = field(default_factory=list)
    is_strict: bool = False
    """Below a negation: what is lost there takes the whole negation away."""

    def lose(self, path: str, what: str) -> None:
        """Note that a part has no meaning any more. Raises Lost below a negation."""
        if self.is_strict:
            raise Lost(what)
        self.lost.append(f"{path}: {what}" if path else what)

    def negated(self) -> "Way":
        """The way below a negation."""
        return replace(self, is_strict=True)


def convert_schema(schema: Schema, node: PathNode, way: Way) -> dict[str, Any]:
    """A schema for values at `node`, whose leaves are the paths that move. Raises Lost where it is strict."""
    if node.leaf is not None:
        return _Leaf(node.path, node.leaf, way).whole(schema)
    out: dict[str, Any] = {}
    for name, value in schema.items():
        rule = _KEYWORDS.get(name)
        try:
            found = value if rule is None else rule(value, node, way, schema)
        except Lost as lost:
            way.lose(node.path, f"{name}: {lost.what}")
            continue
        out[name] = found
    return out


def child_of(node: PathNode, name: str) -> PathNode | None:
    """What a field's name leads to from a node; None where nothing moves there."""
    child = node.child(name.encode())
    return node if child is None and is_transparent(name.encode()) else child


def _properties(value: Any, node: PathNode, way: Way, _: Schema) -> Any:
    return {name: _at(schema, child_of(node, name), way) for name, schema in value.items()}


def _at(schema: Any, node: PathNode | None, way: Way) -> Any:
    return schema if node is None or not isinstance(schema, Mapping) else convert_schema(schema, node, way)


def _each(value: Any, node: PathNode, way: Way, _: Schema) -> Any:
    return [_at(each, node, way) for each in value] if isinstance(value, list) else _at(value, node, way)


def _negated(value: Any, node: PathNode, way: Way, schema: Schema) -> Any:
    return _each(value, node, way.negated(), schema)


def _patterns(value: Any, node: PathNode, way: Way, _: Schema) -> Any:
    out = {}
    for pattern, schema in value.items():
        met = [child for name, child in node.children.items() if re.search(pattern, name.decode())]
        if len(met) > 1:
            raise Lost("one schema for several paths")
        beside = node if re.search(pattern, _NUMBERED) else None
        out[pattern] = _at(schema, met[0] if met else beside, way)
    return out


def _dependencies(value: Any, node: PathNode, way: Way, _: Schema) -> Any:
    return {name: _at(each, node, way) for name, each in value.items()}


def _additional(value: Any, node: PathNode, _: Way, schema: Schema) -> Any:
    named = schema.get("properties") or {}
    if isinstance(value, Mapping) and any(name.decode() not in named for name in node.children):
        raise Lost("a schema for all fields without one of their own")
    return value


def _documents(value: Any, node: PathNode, _: Way, __: Schema) -> Any:
    if any(isinstance(each, Mapping | list) for each in value):
        raise Lost(f"documents with {node.path or 'covered'} values in them")
    return value


_Keyword = Callable[[Any, PathNode, Way, Schema], Any]

_KEYWORDS: Final[Mapping[str, _Keyword]] = {
    "properties": _properties,
    "patternProperties": _patterns,
    "additionalProperties": _additional,
    "dependencies": _dependencies,
    "items": _each,
    "additionalItems": _each,
    "allOf": _each,
    "anyOf": _each,
    "oneOf": _negated,
    "not": _negated,
    "enum": _documents,
}


@dataclass(frozen=True, slots=True)
class _Leaf:
    """Schemas of the values at one path."""

    path: str
    leaf: FieldClass
    way: Way

    def whole(self, schema: Schema) -> dict[str, Any]:
        """A schema for the value itself, or for the array of values."""
        own = {name: value for name, value in schema.items() if not self._is_inner(name)}
        groups = [self._own(own)]
        for name in [name for name in schema if name not in own]:
            try:
                groups.append({name: self._inner(name, schema[name])})
            except Lost as lost:
                self.way.lose(self.path, f"{name}: {lost.what}")
        groups = [group for group in groups if group]
        names = [name for group in groups for name in group]
        if len(names) == len(set(names)):
            found = {name: value for group in groups for name, value in group.items()}
            return dict(schema) if found == schema else found
        return {"allOf": groups}

    def _is_inner(self, name: str) -> bool:
        return name in {*_BRANCHES, "not"} or (name in {"items", "additionalItems"} and not self._is_one)

    @property
    def _is_one(self) -> bool:
        """Whether an array at the path is one value."""
        return self.leaf.value_type is None

    def _inner(self, name: str, value: Any) -> Any:
        is_negation = name in {"not", "oneOf"}
        if is_negation and self._is_one and not self.way.change.changes_nothing:
            raise Lost("a negation, and one type stands for all in envelopes")
        below = replace(self, way=self.way.negated()) if is_negation else self
        if isinstance(value, list):
            return [below.whole(each) for each in value]
        return below.whole(value) if isinstance(value, Mapping) else value

    def _own(self, schema: Schema) -> dict[str, Any]:
        new: dict[str, Any] = {}
        for name, value in schema.items():
            try:
                new.update(self._keyword(name, value))
            except Lost as lost:
                self.way.lose(self.path, lost.what)
        if self.way.width is Width.NEW or new == schema:
            return new
        remarks = {name: value for name, value in schema.items() if name in _REMARKS}
        first, second = (
            {name: value for name, value in each.items() if name not in _REMARKS} for each in (schema, new)
        )
        return {**remarks, "anyOf": [first, second]}

    def _keyword(self, name: str, value: Any) -> dict[str, Any]:
        change = self.way.change
        if name in _REMARKS or (name in _COUNTS and not self._is_one):
            return {name: value}
        if name in _TYPES:
            old = [type_name(each) for each in (value if isinstance(value, list) else [value])]
            types = change.types(value, self.leaf)
            return {name: value} if types == old else {"bsonType": types[0] if len(types) == 1 else types}
        if name == "enum":
            return {name: both((), (change.renewed(each, self.leaf) for each in value))}
        if not change.was_clear:
            # it said nothing of envelopes, and says of values in clear again what it was made for
            return {name: value}
        raise Lost(f"{name} of $jsonSchema")


# ----------------------------------------------------------- filters of validators, partial indexes and views

Filter = Mapping[str, Any]

_KEPT_ABOVE: Final = frozenset({Conversion.KEPT, Conversion.LENGTH, Conversion.TYPES})
"""Conditions that say the same of a document or an array that holds values, whatever their form."""

_Rule = Callable[[str, Any, FieldClass, Way], dict[str, Any]]


def convert_filter(chosen: Filter, node: PathNode, way: Way) -> dict[str, Any]:
    """A filter for documents whose values at the leaves of `node` move.

    What is lost is left out, so that it holds for more documents. Raises Lost where the way is strict.
    Cost: O(filter), an encryption or decryption, or both, for each constant.
    """
    out: dict[str, Any] = {}
    for name, value in chosen.items():
        try:
            out[name] = _part(name, value, node, way)
        except Lost as lost:
            way.lose("" if name.startswith("$") else name, lost.what)
    return out


def _part(name: str, value: Any, node: PathNode, way: Way) -> Any:
    if name.startswith("$"):
        return _top_level(name, value, node, way)
    try:
        target = follow(node, name.encode())
    except Refusal:
        raise Lost("a path into what is encrypted as a whole") from None
    if target is None:
        return value
    if target.leaf is not None:
        return _condition(value, target.leaf, way)
    return _above(value, target, way)


def _top_level(name: str, value: Any, node: PathNode, way: Way) -> Any:
    row = TOP_LEVEL.get(name.encode())
    conversion = None if row is None else row.converted
    if conversion is Conversion.FILTERS:
        return [convert_filter(each, node, way) for each in value]
    if conversion is Conversion.NO_FILTERS:
        return [convert_filter(each, node, way.negated()) for each in value]
    if conversion is Conversion.SCHEMA:
        return convert_schema(value, node, way)
    if conversion is None:
        raise Lost(f"{name} in a filter")
    if conversion is Conversion.EXPRESSION and names_a_path(value, node):
        raise Lost(f"{name} with one of the paths")
    return value


def _conversion(name: str) -> Conversion | None:
    """What becomes of a condition by its row; None where it has none, or cannot be converted."""
    row = OPERATORS.get(name.encode())
    return None if row is None else row.converted


def is_operators(value: Any) -> bool:
    """Whether a condition is one of operators, and not a constant."""
    return isinstance(value, Mapping) and next(iter(value), "").startswith("$")


def _above(value: Any, node: PathNode, way: Way) -> Any:
    """A condition on what has covered paths below it."""
    if not is_operators(value):
        if isinstance(value, Mapping | list):
            raise Lost("a constant that is a document or an array")
        return value
    out = {}
    for name, operand in value.items():
        conversion = _conversion(name)
        if conversion is Conversion.ELEMENT:
            out[name] = convert_filter(operand, node, way)
        elif conversion is Conversion.NEGATED:
            out[name] = _above(operand, node, way.negated())
        elif conversion in _KEPT_ABOVE:
            out[name] = operand
        else:
            raise Lost(f"{name} on what holds one of the paths")
    return out


def _condition(value: Any, leaf: FieldClass, way: Way) -> Any:
    if not is_operators(value):
        found = _operators({"$eq": value}, leaf, way)
        return found.get("$eq", value) if set(found) == {"$eq"} else found
    return _operators(value, leaf, way)


def _operators(condition: Filter, leaf: FieldClass, way: Way) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, operand in condition.items():
        conversion = _conversion(name)
        rule = None if conversion is None else _RULES.get(conversion)
        if conversion is Conversion.KEPT or (conversion is Conversion.LENGTH and leaf.value_type is not None):
            found = {name: operand}
        elif rule is None:
            raise Lost(f"{name} on the path")
        else:
            found = rule(name, operand, leaf, way)
        if out.keys() & found.keys():
            raise Lost("two lists of constants for one path")
        out |= found
    return out


def _equality(several: str) -> _Rule:
    def rule(name: str, operand: Any, leaf: FieldClass, way: Way) -> dict[str, Any]:
        new = way.change.renewed(operand, leaf)
        if way.width is Width.NEW:
            return {name: new}
        found = both([operand], [new])
        return {name: operand} if len(found) == 1 else {several: found}

    return rule


def _list(name: str, operand: Any, leaf: FieldClass, way: Way) -> dict[str, Any]:
    new = [way.change.renewed(each, leaf) for each in operand]
    return {name: new if way.width is Width.NEW else both(operand, new)}


def _all(name: str, operand: Any, leaf: FieldClass, way: Way) -> dict[str, Any]:
    new = [way.change.renewed(each, leaf) for each in operand]
    if way.width is Width.WIDE and both(operand, new) != list(operand):
        raise Lost(f"{name} on the path")
    return {name: new}


def _type(name: str, operand: Any, leaf: FieldClass, way: Way) -> dict[str, Any]:
    old = [type_name(each) for each in (operand if isinstance(operand, list) else [operand])]
    if leaf.value_type is None and way.is_strict and not EMPTY_TYPES.issuperset(old):
        raise Lost("a negation, and one type stands for all in envelopes")
    new = way.change.types(operand, leaf)
    if new == old:
        return {name: operand}
    types = new if way.width is Width.NEW else both(old, new)
    return {name: types[0] if len(types) == 1 else types}


def _not(name: str, operand: Any, leaf: FieldClass, way: Way) -> dict[str, Any]:
    if not isinstance(operand, Mapping):
        raise Lost("$regex on the path")
    return {name: _operators(operand, leaf, way.negated())}


def _elem_match(name: str, operand: Any, leaf: FieldClass, way: Way) -> dict[str, Any]:
    if leaf.value_type is None or not is_operators(operand):
        raise Lost(f"{name} on the path")
    return {name: _operators(operand, leaf, way)}


_RULES: Final[Mapping[Conversion, _Rule]] = {
    Conversion.EQUAL: _equality("$in"),
    Conversion.UNEQUAL: _equality("$nin"),
    Conversion.LISTED: _list,
    Conversion.EVERY: _all,
    Conversion.TYPES: _type,
    Conversion.NEGATED: _not,
    Conversion.ELEMENT: _elem_match,
}
"""Conditions on a path that moves."""


def names_a_path(expression: Any, node: PathNode) -> bool:
    """Whether an expression reads one of the paths, or what holds it. Cost: O(expression x paths)."""
    if isinstance(expression, Mapping):
        return any(names_a_path(each, node) for each in expression.values())
    if isinstance(expression, list):
        return any(names_a_path(each, node) for each in expression)
    if not isinstance(expression, str) or not expression.startswith("$"):
        return False
    if expression.startswith("$$"):
        name, _, path = expression[2:].partition(".")
        if name not in {"ROOT", "CURRENT"}:
            return False
    else:
        path = expression[1:]
    return not path or any(touches(path, each.path) for each in leaves(node))
