"""Filters of validators, partial indexes and views, for values in both forms or in the new one."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from sealwire.policies.errors import Refusal
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import FieldClass, PathNode, leaves
from sealwire.sidecars.migration.definitions.constants import EMPTY_TYPES, Lost, Width, both, type_name
from sealwire.sidecars.migration.definitions.schemas import Way, convert_schema

Filter = Mapping[str, Any]

_KEPT: Final = frozenset({"$exists", "$comment"})
_OF_ARRAYS: Final = frozenset({"$size"})


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
    if name in {"$and", "$or"}:
        return [convert_filter(each, node, way) for each in value]
    if name == "$nor":
        return [convert_filter(each, node, way.negated()) for each in value]
    if name == "$jsonSchema":
        return convert_schema(value, node, way)
    if name == "$expr":
        if names_a_path(value, node):
            raise Lost("$expr with one of the paths")
        return value
    if name.startswith("$"):
        return value
    try:
        target = follow(node, name.encode())
    except Refusal:
        raise Lost("a path into what is encrypted as a whole") from None
    if target is None:
        return value
    if target.leaf is not None:
        return _condition(value, target.leaf, way)
    return _above(value, target, way)


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
        if name == "$elemMatch":
            out[name] = convert_filter(operand, node, way)
        elif name == "$not":
            out[name] = _above(operand, node, way.negated())
        elif name in {*_KEPT, *_OF_ARRAYS, "$type"}:
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
        rule = _RULES.get(name)
        if name in _KEPT or (name in _OF_ARRAYS and leaf.value_type is not None):
            found = {name: operand}
        elif rule is None:
            raise Lost(f"{name} on the path")
        else:
            found = rule(operand, leaf, way)
        if out.keys() & found.keys():
            raise Lost("two lists of constants for one path")
        out |= found
    return out


def _equality(single: str, several: str) -> Callable[[Any, FieldClass, Way], dict[str, Any]]:
    def rule(operand: Any, leaf: FieldClass, way: Way) -> dict[str, Any]:
        new = way.change.renewed(operand, leaf)
        if way.width is Width.NEW:
            return {single: new}
        found = both([operand], [new])
        return {single: operand} if len(found) == 1 else {several: found}

    return rule


def _list(name: str) -> Callable[[Any, FieldClass, Way], dict[str, Any]]:
    def rule(operand: Any, leaf: FieldClass, way: Way) -> dict[str, Any]:
        new = [way.change.renewed(each, leaf) for each in operand]
        return {name: new if way.width is Width.NEW else both(operand, new)}

    return rule


def _all(operand: Any, leaf: FieldClass, way: Way) -> dict[str, Any]:
    new = [way.change.renewed(each, leaf) for each in operand]
    if way.width is Width.WIDE and both(operand, new) != list(operand):
        raise Lost("$all on the path")
    return {"$all": new}


def _type(operand: Any, leaf: FieldClass, way: Way) -> dict[str, Any]:
    old = [type_name(each) for each in (operand if isinstance(operand, list) else [operand])]
    if leaf.value_type is None and way.is_strict and not EMPTY_TYPES.issuperset(old):
        raise Lost("a negation, and one type stands for all in envelopes")
    new = way.change.types(operand, leaf)
    if new == old:
        return {"$type": operand}
    types = new if way.width is Width.NEW else both(old, new)
    return {"$type": types[0] if len(types) == 1 else types}


def _not(operand: Any, leaf: FieldClass, way: Way) -> dict[str, Any]:
    if not isinstance(operand, Mapping):
        raise Lost("$regex on the path")
    return {"$not": _operators(operand, leaf, way.negated())}


def _elem_match(operand: Any, leaf: FieldClass, way: Way) -> dict[str, Any]:
    if leaf.value_type is None or not is_operators(operand):
        raise Lost("$elemMatch on the path")
    return {"$elemMatch": _operators(operand, leaf, way)}


_RULES: Final[Mapping[str, Callable[[Any, FieldClass, Way], dict[str, Any]]]] = {
    "$eq": _equality("$eq", "$in"),
    "$ne": _equality("$ne", "$nin"),
    "$in": _list("$in"),
    "$nin": _list("$nin"),
    "$all": _all,
    "$type": _type,
    "$not": _not,
    "$elemMatch": _elem_match,
}


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


def touches(field: str, path: str) -> bool:
    """Whether one path is the other, or lies above or below it."""
    return field == path or field.startswith(f"{path}.") or path.startswith(f"{field}.")
