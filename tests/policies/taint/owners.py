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
from tests.policies.taint.labels import MARK, NOBODY, Labels
from tests.policies.taint.values import Document, Pairs

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


# Sub-documents that say the contexts of the values that they hold, and filters and updates that reach
# these.
#
# A value in an element belongs to what its element says. A filter knows that by one `$elemMatch`, an update
# by an array filter; a number, a path through an array or an expression may lead into any element.


PLACES: Final = ("visits", "deep.list")
"""Where the sub-documents are, with `code` and `note`, and `pid` that says their context."""
DOTTED: Final = "visits by its path"
"""What a filter says of the one sub-document at `visits`, if that is none of several."""


def element(d: Labels) -> Any:
    """A sub-document with a value or two, and mostly with what says whose they are."""
    share = d.random.random()
    label = NOBODY
    pairs: list[tuple[str, Any]] = []
    if share < 0.9:
        label = d.label()
        pairs.append(("pid", d.value(label)))
    elif share < 0.96:
        pairs.append(("pid", d.pick((None, 5.0, {"x": 5}, {"x": 1, "$eq": 5}))))
    elif share < 0.98:
        pairs.append(("pid", [d.value(d.label())]))
    for name in d.pick((("code",), ("note",), ("code", "note"), ("code",))):
        pairs.append((name, f"{MARK}{label}"))
    if d.chance(0.1):
        pairs.append((d.pick(("0", "7")), element(d)))
    return d.arranged(pairs)


def compared_element(d: Labels) -> Any:
    """The same with what can be compared."""
    label = d.label()
    return d.arranged([("pid", d.value(label)), ("code", f"{MARK}{label}")])


def several(d: Labels) -> Any:
    """What may lie at a place: one, several, several in an array, under a number."""
    one = element(d)
    return d.pick((one, [one], [one, element(d)], [[one], element(d)], {"0": one}, [{"x": 1}, one]))


def at_place(place: str, value: Any) -> tuple[str, Any]:
    """The field at the top and what lies in it."""
    first, _, rest = place.partition(".")
    return first, {rest: value} if rest else value


def element_filter(d: Labels, label: str = NOBODY, depth: int = 1) -> Any:
    """A filter for one element; `label` is what the filter around it says of the same one."""
    pairs: list[tuple[str, Any]] = []
    share = d.random.random()
    if share < 0.75:
        label = d.label()
        value = d.value(label)
        d.is_text = d.is_text or isinstance(value, str)
        pairs.append(("pid", d.pick((value, {"$eq": value}, {"$in": [value]}))))
    elif share < 0.9:
        value, other = d.value(d.label()), d.value(d.label())
        pairs.append(
            d.pick(
                (
                    *(
                        ("pid", {"$gt": value}),
                        ("pid", {"$in": [value, other]}),
                        ("pid", {"x": 1, "$eq": value}),
                    ),
                    *(("0.pid", value), ("x.pid", value), ("x", {"pid": value}), ("$or", [{"pid": value}])),
                    *(("$nor", [{"pid": value}]), ("pid", {"$ne": value}), ("pid", [value])),
                )
            )
        )
    marker = f"{MARK}{label}"
    pairs.append(
        ("code", d.pick((marker, {"$ne": marker}, {"$in": [marker, None]}, {"$not": {"$eq": marker}})))
    )
    if d.chance(0.1):
        # a number leads into another document
        pairs.append(
            d.pick(
                (
                    ("0.code", f"{MARK}{NOBODY}"),
                    ("0", {"$elemMatch": element_filter(d, depth=0)}),
                    ("7", compared_element(d)),
                )
            )
        )
    if depth and d.chance(0.3):
        pairs.append((d.pick(("$or", "$nor")), [element_filter(d, label, 0) for _ in range(d.pick((1, 2)))]))
    if depth and d.chance(0.3):
        d.random.shuffle(pairs)
        pairs.append(("$and", [d.arranged([pairs.pop()])]))
    return d.arranged(pairs)


def conditions(d: Labels) -> list[tuple[str, Any]]:
    """Conditions on what sub-documents hold; mostly none."""
    if d.chance(0.7):
        return []
    place = d.pick(PLACES)
    first, _, rest = place.partition(".")
    nobody = f"{MARK}{NOBODY}"
    if d.chance(0.6):
        matched: Any = {"$elemMatch": element_filter(d)}
        if rest and d.chance(0.5):
            matched = {"$elemMatch": {rest: matched, "pid": d.value(d.label())}}
            place = first
        return [(place, d.pick((matched, matched, {"$not": matched}, {"$all": [matched]})))]
    one = compared_element(d)
    if d.chance(0.5):
        return [
            (place, d.pick((one, {"$eq": one}, {"$in": [one, None]}, {"$ne": one}, [one], {"$all": [one]})))
        ]
    said = (f"{place}.pid", d.value(d.label()))
    return d.pick(
        (
            *(
                [said, (f"{place}.code", nobody)],
                [(f"{place}.0.code", nobody)],
                [said, (f"{place}.0.code", nobody)],
            ),
            [said, (place, {"$elemMatch": {"code": nobody}})],
            [("pid", d.value(d.label())), (f"{place}.code", {"$in": [nobody]})],
            [said, ("$expr", {"$eq": [f"${place}.code", nobody]})],
            [("$expr", {"$in": [{"$literal": {"pid": 5, "code": nobody}}, f"${place}"]})],
            [("$expr", {"$eq": [{"$ifNull": ["$line", f"${place}.code"]}, nobody]})],
            [("$expr", {"$eq": [{"$mergeObjects": [f"${place}", {"pid": 5}]}, {"pid": 5, "code": nobody}]})],
            [(first, {"$elemMatch": {"list.pid": d.value(d.label()), "list.code": nobody}})]
            if rest
            else [(place, {"$elemMatch": {"x": {"$elemMatch": {"pid": 1}}, "code": nobody}})],
        )
    )


def update(d: Labels, dotted: str) -> tuple[Document, list[Any] | None]:
    """An update of sub-documents; `dotted` is whose the one at `visits` is, if the filter says that."""
    share = d.random.random()
    place, name = d.pick(PLACES), d.pick(("code", "code", "note"))
    nobody = f"{MARK}{NOBODY}"
    if share < 0.3:
        return _filtered(d, place, name)
    if share < 0.4:
        return _changing(d, place)
    one, compared = element(d), compared_element(d)
    found: Document = d.pick(
        (
            *({"$set": {place: one}}, {"$set": {f"{place}.0": one}}, {"$push": {place: one}}),
            *({"$set": {place: several(d)}}, {"$setOnInsert": {place: [one]}}, {"$set": {f"{place}.$": one}}),
            *(
                {"$push": {place: {"$each": [one, element(d)], "$slice": 5}}},
                {"$addToSet": {place: compared}},
            ),
            *(
                {"$pull": {place: element_filter(d)}},
                {"$pullAll": {place: [compared]}},
                {"$pull": {place: compared}},
            ),
            *({"$set": {f"{place}.{way}.{name}": nobody}} for way in ("0", "$", "$[]", "0.1")),
            *({"$set": {f"visits.{name}": f"{MARK}{dotted}"}}, {"$set": {f"deep.list.{name}": nobody}}),
            *(
                {"$setOnInsert": {f"visits.{name}": f"{MARK}{dotted}"}},
                {"$set": {f"visits.0.1.{name}": nobody}},
            ),
        )
    )
    return found, None


def _filtered(d: Labels, place: str, name: str) -> tuple[Document, list[Any]]:
    """An update of the elements that an array filter chooses."""
    label, pairs = NOBODY, []
    share = d.random.random()
    if share < 0.7:
        label = d.label()
        value = d.value(label)
        d.is_text = d.is_text or isinstance(value, str)
        pairs.append(("e.pid", d.pick((value, {"$eq": value}, {"$in": [value]}))))
    elif share < 0.9:
        value = d.value(d.label())
        pairs.append(
            d.pick((("e.pid", {"$gte": value}), ("e.0.pid", value), ("e", {"$elemMatch": {"pid": value}})))
        )
    if d.chance(0.5):
        pairs.append(("e.code", f"{MARK}{label}"))
    if d.chance(0.1):
        pairs.append(("e.0.code", f"{MARK}{NOBODY}"))
    if d.chance(0.2):
        other = d.label()
        pairs.append(("$or", [{"e.pid": d.value(other), "e.code": f"{MARK}{other}"}]))
    if d.chance(0.2):
        pairs.append(("e", compared_element(d)))
    if not pairs or d.chance(0.2):
        pairs.append(("e.x", 1))
    d.random.shuffle(pairs)
    if d.chance(0.3):
        pairs.append(("$and", [d.arranged([pairs.pop()])]))
    way, whose = d.pick(
        (("$[e]", label), ("$[e]", label), ("$[].$[e]", label), ("$[e].0", NOBODY), ("$[e].$[]", NOBODY))
    )
    filters: list[Any] = [d.arranged(pairs)]
    if d.chance(0.05):
        filters.append({"e.pid": d.value(d.label())})
        d.refused = "two filters of one identifier" if label != NOBODY else d.refused
        whose = NOBODY if label == NOBODY else whose
        if label == NOBODY:
            return {"$unset": {f"{place}.$[e].x": 1}}, [{"e.x": 1}]
    return {d.pick(("$set", "$set", "$setOnInsert")): {f"{place}.{way}.{name}": f"{MARK}{whose}"}}, filters


def _changing(d: Labels, place: str) -> tuple[Document, list[Any] | None]:
    d.refused = "what a sub-document says of its context is written to"
    value = d.value(d.label())
    path = f"{place}.{d.pick(('0.', '$.', '$[].', '', '$[e].', '0.0.'))}pid"
    found: Document = d.pick(
        (
            *({"$unset": {path: 1}}, {"$inc": {path: 1}}, {"$rename": {f"{place}.pid": "x"}}),
            *({"$rename": {"x": f"{place}.pid"}}, {"$push": {path: 1}}, {"$set": {f"{path}.x": 1}}),
            *(
                {"$rename": {f"{place}.code": "line"}},
                {"$rename": {"line": f"{place}.code"}},
                {"$min": {path: value}},
            ),
            *({"$rename": {f"{place}.code": f"{place}.code2"}}, {"$currentDate": {path: True}}),
        )
    )
    return found, [{"e.x": 1}] if "$[e]" in path and "$rename" not in found else None
