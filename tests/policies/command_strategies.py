"""Hypothesis strategies of commands: about the right shape, with operators and covered paths in any place."""

from collections.abc import Iterable
from typing import Any

from bson import Decimal128, Int64, Regex
from bson.binary import Binary
from hypothesis import strategies as st

from sealwire.policies.aggregation.grouping import ACCUMULATORS
from sealwire.policies.aggregation.stages import STAGES
from sealwire.policies.expressions.operators import OPERATORS as EXPRESSIONS
from sealwire.policies.filters.filters import OPERATORS as FILTER_OPERATORS
from sealwire.policies.filters.filters import TOP_LEVEL
from sealwire.policies.updates.updates import OPERATORS as UPDATE_OPERATORS
from tests.policies.support import COVERED_PATHS

Document = dict[str, Any]

_OPERATOR_NAMES = sorted(
    {
        *(
            name.decode()
            for table in (FILTER_OPERATORS, TOP_LEVEL, UPDATE_OPERATORS, EXPRESSIONS, ACCUMULATORS, STAGES)
            for name in table
        ),
        *("$each", "$sort", "$slice"),
        *("$gt", "$regex", "$top", "$", "$$", "$ref", "$id", "$unheardOf"),
    }
)
PARTS = [
    "nhs_number",
    "address",
    "postcode",
    "contacts",
    "phone",
    "note",
    "tags",
    "notes",
    "visits",
    "deep",
    "a",
    "b",
]
_WORDS = [
    "if",
    "then",
    "else",
    "vars",
    "in",
    "branches",
    "case",
    "default",
    "input",
    "sortBy",
    "output",
    "newRoot",
]
_WORDS += [
    "from",
    "into",
    "coll",
    "db",
    "pipeline",
    "path",
    "q",
    "u",
    "upsert",
    "key",
    "locale",
    "_id",
    "name",
]

odd_paths = st.lists(st.sampled_from([*PARTS, "0", "$", "$[]", "$[x]", "x", ""]), min_size=1, max_size=3)
paths = st.one_of(
    st.sampled_from(COVERED_PATHS),
    st.sampled_from(["name", "address", "contacts.0.phone"]),
    odd_paths.map(".".join),
)
names = st.one_of(paths, st.sampled_from(_OPERATOR_NAMES), st.sampled_from(_WORDS))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.floats(),
    st.text(max_size=4),
    st.binary(min_size=16, max_size=16).map(Decimal128.from_bid),
    st.binary(max_size=4).map(lambda data: Binary(data, 6)),
    paths.map("$".__add__),
    st.sampled_from(["$$ROOT", "$$ROOT.nhs_number", "$$x", "patients", "wards", "$", "$$", "$."]),
    st.builds(Regex, st.just("x"), st.just("i")),
)
operators = st.sampled_from(_OPERATOR_NAMES)
junk = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(names, inner, max_size=2),
        st.dictionaries(operators, inner, min_size=1, max_size=1),
    ),
    max_leaves=6,
)
operands = st.one_of(
    scalars, st.lists(scalars, max_size=2), st.dictionaries(paths, scalars, max_size=2), junk
)


def _applied(of: Iterable[str]) -> st.SearchStrategy[Document]:
    """{path: {$operator: operand}}, or the operand itself."""
    applied = st.dictionaries(st.sampled_from(sorted(of)), operands, min_size=1, max_size=1)
    return st.dictionaries(paths, st.one_of(operands, applied, applied), min_size=1, max_size=2)


conditions = _applied(name.decode() for name in FILTER_OPERATORS)
filters = st.one_of(
    conditions,
    st.dictionaries(
        st.sampled_from(["$and", "$or"]), st.lists(conditions, max_size=2), min_size=1, max_size=1
    ),
    st.dictionaries(st.sampled_from(["$expr", "name", "$nor"]), junk, min_size=1, max_size=1),
)
expressions = st.one_of(
    st.dictionaries(st.sampled_from(sorted(name.decode() for name in EXPRESSIONS)), operands, max_size=1),
    operands,
)
changes = st.dictionaries(
    st.sampled_from(sorted(name.decode() for name in UPDATE_OPERATORS)),
    _applied(["$each", "$position", "$in", "$sort"]),
    max_size=2,
)
_STAGE_OPERANDS = {
    **{
        "$match": filters,
        "$project": st.dictionaries(paths, st.one_of(st.integers(0, 1), expressions), max_size=2),
    },
    **dict.fromkeys(("$set", "$addFields"), st.dictionaries(paths, expressions, max_size=2)),
    "$group": st.builds(
        lambda key, name, value: {"_id": key, "x": {name: value}},
        *(expressions, st.sampled_from(["$first", "$push", "$sum", "$addToSet", "$top"]), operands),
    ),
    **{"$unwind": paths.map("$".__add__), "$replaceWith": expressions, "$sortByCount": expressions},
    "$limit": st.just(1),
}
stages = st.one_of(
    *(st.fixed_dictionaries({name: operand}) for name, operand in _STAGE_OPERANDS.items()),
    st.dictionaries(st.sampled_from(sorted(name.decode() for name in STAGES)), operands, max_size=1),
)
pipelines = st.lists(stages, max_size=4)
projections = st.dictionaries(paths, st.one_of(st.integers(0, 1), expressions), max_size=2)
sorts = st.dictionaries(paths, st.just(1), max_size=1)
collations = st.sampled_from([None, {"locale": "simple"}, {"locale": "en"}])
_STORED = ["$literal", "$ifNull", "$cond", "$switch", "$mergeObjects", "$concatArrays", "$slice"]
stored_expressions = st.one_of(
    expressions, st.dictionaries(st.sampled_from(_STORED), operands, min_size=1, max_size=1)
)
update_pipelines = st.lists(
    st.one_of(
        st.fixed_dictionaries({"$set": st.dictionaries(paths, stored_expressions, max_size=2)}),
        st.fixed_dictionaries({"$project": st.dictionaries(paths, stored_expressions, max_size=2)}),
        st.fixed_dictionaries({"$replaceWith": stored_expressions}),
        st.fixed_dictionaries({"$unset": paths}),
        stages,
    ),
    max_size=2,
)
_update = {
    "q": filters,
    "u": st.one_of(changes, update_pipelines, _applied(["$set"])),
    "upsert": st.booleans(),
}
_update |= {"arrayFilters": st.lists(filters, max_size=1), "collation": collations}
_numbers = st.integers(-1, 2)
_bulk_operations = st.one_of(
    st.fixed_dictionaries({"insert": _numbers, "document": _applied(["$x"])}),
    st.fixed_dictionaries(
        {"update": _numbers, "filter": filters, "updateMods": changes},
        optional={"upsert": st.booleans(), "collation": collations},
    ),
    st.fixed_dictionaries({"delete": _numbers, "filter": filters}, optional={"collation": collations}),
)
_index = {"key": sorts, "partialFilterExpression": filters, "collation": collations}
_ARGUMENTS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "find": {"filter": filters, "projection": projections, "sort": sorts, "collation": collations},
    "count": {"query": filters},
    "distinct": {"key": paths, "query": filters},
    "insert": {"documents": st.lists(_applied(["$x"]), max_size=2)},
    "update": {"updates": st.lists(st.fixed_dictionaries({}, optional=_update), min_size=1, max_size=2)},
    "delete": {"deletes": st.lists(st.fixed_dictionaries({"q": filters}), max_size=2)},
    "findAndModify": {
        "query": filters,
        "update": st.one_of(changes, update_pipelines),
        "fields": projections,
        "upsert": st.booleans(),
    },
    "aggregate": {"pipeline": pipelines, "collation": collations},
    "createIndexes": {"indexes": st.lists(st.fixed_dictionaries(_index), max_size=2)},
    "create": {"validator": filters, "collation": collations},
    "collMod": {"validator": filters, "viewOn": junk, "pipeline": pipelines},
    "bulkWrite": {
        "ops": st.lists(st.one_of(_bulk_operations, junk), max_size=3),
        "nsInfo": st.lists(st.sampled_from([{"ns": "clinic.patients"}, {"ns": "clinic.wards"}]), max_size=2),
    },
    "mapReduce": {"out": junk},
    "renameCollection": {"to": junk},
    "getMore": {"collection": junk},
}
targets = st.one_of(st.sampled_from(["wards", "appointments", 1, "clinic.patients"]), junk)


@st.composite
def commands(draw: st.DrawFn) -> Document:
    """A command with arguments of about the right shape, and once in a while one of another's."""
    name = draw(st.sampled_from(sorted(_ARGUMENTS)))
    odd = draw(st.integers(0, 15))
    command = {name: draw(targets) if odd == 1 else "patients"}
    shaped = _ARGUMENTS[name]
    command |= draw(st.fixed_dictionaries(shaped) if odd > 3 else st.fixed_dictionaries({}, optional=shaped))
    if odd == 2:
        command |= draw(st.dictionaries(names, junk, max_size=1))
    return {"explain": command} if odd == 3 else command
