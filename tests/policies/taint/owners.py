"""Commands on documents whose classes have a key for each context, in which every value says whose it is.

The text of each marker ends with the label of the context that it has to be encrypted for, as the document or
the filter around it says that; `nobody` where nothing says it. So whoever opens the envelopes that leave sees
whether each is under the right key, and a marker of nobody in one is a finding.
"""

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Any, Final

from bson import Regex

from sealwire.policies.file.loader import load_policy
from tests.policies.taint.beside import DOTTED, PLACES, at_place, conditions, several
from tests.policies.taint.labels import MARK, NOBODY, Labels
from tests.policies.taint.values import Pairs

_PEOPLE: Final = """ssn: ssn, other.ssn: ssn, list.ssn: ssn, tags: ssn, code: code,
    list.code: code, notes: notes, own: own, ward: ward, line: part, visits.code: part, visits.note: text,
    deep.list.code: part, deep.list.note: text"""
RULES: Final = f"""
version: 1
classes:
  ssn: {{mode: deterministic, type: string, key: {{per: tenant}}}}
  code: {{mode: deterministic, type: string, key: {{per: owner.id}}}}
  notes: {{mode: random, key: {{per: tenant}}}}
  own: {{mode: random, key: {{per: _id}}}}
  ward: {{mode: deterministic, type: string, key: {{per: "$database"}}}}
  part: {{mode: deterministic, type: string, key: {{per: ./pid}}}}
  text: {{mode: random, key: {{per: ./pid}}}}
collections:
  clinic.people: {{{_PEOPLE}}}
  tenant_*.people: {{{_PEOPLE}}}
  clinic.rooms: {{ward: ward, notes: notes}}
"""
POLICY = load_policy(RULES.encode(), "policy.yaml")

_TEXTS: Final = frozenset({"ann", "Ann"})
_NO_CONTEXT: Final = (None, 5.0, True, Regex("a"), {"x": 5}, Pairs((("x", 1), ("$eq", 5))))
"""Values that say no context, and are none that is refused by itself."""

FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("ssn", "other.ssn", "list.ssn", "tags", "notes"), "tenant"),
        **dict.fromkeys(("code", "list.code"), "owner.id"),
        "own": "_id",
        "ward": "$database",
        "line": "pid",
    }
)
"""Covered paths of `people`, and which field says the context of each."""
STORED: Final = tuple(FIELDS)
COMPARED: Final = tuple(path for path in FIELDS if path not in ("notes", "own"))
_SAYING: Final = ("tenant", "owner.id", "_id", "pid")

Known = Mapping[str, str]
"""By field the label of the context that it says here."""


class Owners(Labels):
    """Draws one command."""

    def __init__(self, random: Random, database: str, labels: Sequence[str]) -> None:
        super().__init__(random, labels)
        self.unknown: dict[str, str] = {"$database": database}
        """What is known of contexts where nothing is said yet."""

    def owned(self, path: str, known: Known) -> str:
        """A marker for a covered path."""
        return f"{MARK}{known.get(FIELDS[path], NOBODY)}"


def nested(path: str, value: Any) -> tuple[str, Any]:
    """A name at the top and what lies in it, so that `value` is at `path`."""
    first, *rest = path.split(".")
    for part in reversed(rest):
        value = {part: value}
    return first, value


def document(d: Owners, *, identity: Known | None = None) -> Any:
    """A document to store; `identity` is what is known of the `_id` that a replacement keeps."""
    known = dict(d.unknown) | dict(identity or {})
    pairs: list[tuple[str, Any]] = []
    for field in _SAYING:
        share = d.random.random()
        if share < 0.75:
            known[field] = d.label()
            pairs.append(nested(field, d.value(known[field])))
        elif share < 0.85:
            known.pop(field, None)
            pairs.append(nested(field, d.pick(_NO_CONTEXT)))
        elif share < 0.88:
            pairs += [nested(field, d.value(d.label())), nested(field, d.value(d.label()))]
            d.refused = "a context that stands twice"
        elif share < 0.9:
            pairs.append(nested(field, [d.value(d.label())]))
            d.refused = "a context in an array"
    for place in PLACES if d.chance(0.3) else ():
        pairs.append(at_place(place, several(d)))
    elements: list[Any] = []
    for path in _few(d, STORED):
        marker: Any = d.owned(path, known)
        if path.startswith("list."):
            elements.append({path[5:]: marker, "tenant": d.value(d.label())})
        elif path == "tags":
            pairs.append((path, d.pick((marker, [marker], [[marker], None]))))
        else:
            pairs.append(nested(path, marker))
    if elements:
        pairs.append(("list", d.pick((elements, elements[0], {"0": elements[0]}, [elements]))))
    return d.arranged(pairs)


def _few(d: Owners, choices: tuple[str, ...]) -> list[str]:
    return d.random.sample(choices, d.pick((1, 1, 2, 3)))


def condition(d: Owners, known: Known, *, seeds: bool = False, depth: int = 2) -> tuple[Any, Known]:
    """A filter, and what is known of contexts in it: what was, and what it fixes."""
    known = dict(known)
    atoms: list[tuple[str, Any]] = []
    for field in _SAYING:
        share = d.random.random()
        if share < 0.75:
            label = d.label()
            value = d.value(label)
            known[field] = label
            d.is_text = d.is_text or label in _TEXTS
            among = {} if seeds else {"in": {"$in": [value]}}
            atoms.append((field, d.pick((value, value, {"$eq": value}, *among.values()))))
        elif share < 0.78 and field not in known:
            # whoever reads the first of two, or the last
            atoms += [(field, d.value(label)) for label in d.random.sample(tuple(d.labels), 2)]
        elif share < 0.9:
            atoms.append(_open(d, field))
    atoms += conditions(d)
    if depth and d.chance(0.3):
        known[DOTTED] = d.label()
        atoms = [atom for atom in atoms if atom[0] != "visits.pid"]
        atoms.append(("visits.pid", d.value(known[DOTTED])))
    atoms += [_compared(d, path, known, depth) for path in _few(d, COMPARED)]
    if depth and d.chance(0.4):
        branches = [condition(d, known, seeds=seeds, depth=depth - 1)[0] for _ in range(d.pick((1, 2)))]
        atoms.append((d.pick(("$or", "$nor")), branches))
    while d.chance(0.25):
        # what stands in an `$and` holds for what is beside it as well
        taken = [atoms.pop() for _ in range(min(len(atoms), d.pick((1, 2))))]
        if taken:
            atoms.append(("$and", [d.arranged([atom]) for atom in taken]))
        d.random.shuffle(atoms)
    return d.arranged(atoms), known


def _open(d: Owners, field: str) -> tuple[str, Any]:
    """A condition that speaks of a context and does not fix it."""
    value, other = d.value(d.label()), d.value(d.label())
    same = {field: value}
    return d.pick(
        (
            (field, {d.pick(("$gt", "$ne", "$gte", "$lt")): value}),
            (field, {"$in": [value, other]}),
            (field, {"$in": []}),
            (field, {"$nin": [value]}),
            (field, {"$not": {"$eq": value}}),
            (field, {"$all": [value]}),
            (field, {"$exists": True}),
            (field, [value]),
            (field, {"$elemMatch": {"$eq": value}}),
            (field, d.pick(_NO_CONTEXT)),
            (field, {"x": 1, "$eq": value}),
            (field, {"$eq": {"x": value}}),
            (f"{field}.0", value),
            (f"{field}.x", value),
            ("list", {"$elemMatch": same}),
            ("$or", [same, {"x": 1}]),
            ("$or", [same]),
            ("$nor", [same]),
            ("$nor", [{field: {"$ne": value}}]),
            ("$expr", {"$eq": [f"${field}", value]}),
            ("x", same),
        )
    )


def _compared(d: Owners, path: str, known: Known, depth: int) -> tuple[str, Any]:
    """A condition on a covered path."""
    marker = d.owned(path, known)
    operators: tuple[Any, ...] = (
        *(marker, {"$eq": marker}, {"$ne": marker}, {"$in": [marker]}, {"$nin": [marker, None]}),
        *({"$not": {"$eq": marker}}, {"$all": [marker]}, {"$eq": marker, "$exists": True}),
    )
    found = d.pick(operators)
    above, _, name = path.rpartition(".")
    if above and d.chance(0.5):
        inner: Any = {name: found}
        if depth and d.chance(0.5):
            # an element's field of that name is not the document's
            inner = d.arranged([(name, found), ("tenant", d.value(d.label()))])
        if d.chance(0.3):
            inner = {d.pick(("$and", "$or")): [inner]}
        matched = {"$elemMatch": inner}
        return above, d.pick((matched, {"$not": matched}, {"$all": [matched]}))
    if path == "line" and d.chance(0.2):
        return "$expr", {"$eq": ["$line", f"{MARK}{NOBODY}"]}
    if d.chance(0.15) and path != "line":
        return "$expr", {d.pick(("$eq", "$ne")): [f"${path}", marker]}
    return path, found
