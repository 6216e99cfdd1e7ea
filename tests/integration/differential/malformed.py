"""Commands that MongoDB rejects: none of them may do anything through Sealwire, whoever rejects it.

Not each is rejected by the test server, which is laxer: then what it does must be the same both ways, or
Sealwire refuses.
"""

from functools import cache
from typing import Any

from bson import Decimal128, Int64, Regex
from hypothesis import strategies as st

from tests.integration.differential.compare import DATABASE, WRITING_PIPELINE, Command, Commands
from tests.integration.differential.documents import document, fields, numbered, visit
from tests.integration.differential.filters import operand
from tests.integration.differential.sequences import Sequence
from tests.integration.differential.shapes import KEPT, PEOPLE, VISITS, Shape
from tests.integration.differential.values import NULL, Document, Values, sampled, weighted
from tests.policies.taint.values import Pairs

MOST_STEPS = 8
_PATHS = (
    *("s", "s", "s2", "n", "l", "t", "o", "b", "r", "list", "list", "nums", "w", "q"),
    *("sub", "sub.s", "sub.n", "items", "items.s", "items.0.s", "items.sub.s"),
)


class _Malformed:
    """The parts of commands for one shape, each drawn from a list of bad ones."""

    def __init__(self, shape: Shape) -> None:
        known = fields(shape)
        paths = st.sampled_from(_PATHS)
        word = known.value("s", NULL)
        pairs = paths.flatmap(lambda path: st.tuples(st.just(path), operand(shape, path)))
        self.expressions = _one(st.builds(expressions, word, _odd))
        wrong = pairs.flatmap(
            lambda pair: st.tuples(st.just(pair[0]), _one(st.builds(conditions, st.just(pair[1]), _odd)))
        )
        self.filters = _one(
            st.builds(lambda pair, inner: filters(pair[0], pair[1], inner), wrong, self.expressions)
        )
        self.updates = _one(
            st.builds(lambda pair, bad, odd: updates(pair[0], pair[1], bad[1], odd), pairs, wrong, _odd)
        )
        self.projections = _one(st.builds(projections, self.expressions, _odd))
        self.stages = _one(st.builds(stages, self.filters, self.expressions, sampled(SORTS), _odd))
        self.sound: Values = st.sampled_from([{}, {"w": "a"}, {"_id": {"$gte": 0}}])
        self.harmless: Values = st.sampled_from([{"$set": {"w": "changed"}}, {"$unset": {"s": ""}}])
        self.document = document(shape)


def _one(several: st.SearchStrategy[list[Any]]) -> Values:
    return several.flatmap(st.sampled_from)


def _made(kind: str, body: Document) -> Command:
    return Command(f"malformed {kind}", body, malformed=True)


@cache
def _reads(shape: Shape) -> Commands:
    made = _Malformed(shape)
    finds = st.one_of(
        made.filters.map(lambda query: {"filter": query}),
        st.builds(lambda query, shown: {"filter": query, "projection": shown}, made.sound, made.projections),
        st.builds(lambda query, order: {"filter": query, "sort": order}, made.sound, sampled(SORTS)),
        st.builds(
            lambda name, value: {name: value},
            st.sampled_from(["limit", "skip", "batchSize", "hint", "unheard", "let", "min", "collation"]),
            _odd,
        ),
        made.expressions.map(lambda found: {"filter": {}, "let": {"v": found}}),
    ).map(lambda said: _made("find", {"find": PEOPLE, **said}))
    counts = made.filters.map(lambda query: _made("count", {"count": PEOPLE, "query": query}))
    distinct = st.builds(
        lambda key, query: _made("distinct", {"distinct": PEOPLE, "key": key, "query": query}),
        st.sampled_from(["w", "s", "", 5, None, "$s"]),
        made.filters,
    )
    return weighted((4, finds), (2, counts), (1, distinct), (4, _pipelines(made)))


def _pipelines(made: _Malformed) -> Commands:
    before: Values = st.lists(st.sampled_from([{"$sort": {"_id": 1}}, {"$match": {"w": "a"}}]), max_size=1)
    ends: Values = st.one_of(
        st.just([]),
        st.just([]),
        sampled(WRITES).map(lambda last: [last]),
        st.just([WRITES[-3], {"$limit": 1}]),
    )
    found = st.builds(lambda first, stage, last: [*first, stage, *last], before, made.stages, ends)
    bad = st.builds(lambda stages, last: [*stages, last], before, sampled(WRITES[:-3]))
    return weighted((4, found), (1, bad)).map(_aggregate)


def _aggregate(stages: list[Any]) -> Command:
    writes = any(name in repr(stages) for name in ("$out", "$merge'"))  # inside $facet as well
    body: Document = {"aggregate": PEOPLE, "pipeline": stages, "cursor": {}}
    return Command(WRITING_PIPELINE if writes else "malformed aggregate", body, malformed=True)


@cache
def _writes(shape: Shape) -> Commands:
    made = _Malformed(shape)
    flags: Values = st.fixed_dictionaries({"multi": st.booleans()}, optional={"upsert": st.booleans()})
    changes = weighted((2, st.tuples(made.filters, made.harmless)), (3, st.tuples(made.sound, made.updates)))
    statements: Values = st.builds(lambda pair, said: {"q": pair[0], "u": pair[1], **said}, changes, flags)
    # without an `_id` each way would make one of its own
    statements = statements.map(_with_id)
    bad_statements: Values = st.one_of(
        statements,
        st.builds(lambda found, other: found | other, statements, _statement_options(made)),
    )
    updates = bad_statements.map(lambda said: _made("update", {"update": PEOPLE, "updates": [said]}))
    deletes = st.one_of(
        made.filters.map(lambda query: {"q": query, "limit": 0}),
        made.filters.map(lambda query: {"q": query, "limit": 1}),
        st.builds(lambda query, odd: {"q": query, "limit": odd}, made.sound, _odd),
        st.sampled_from([{}, {"limit": 0}, {"q": {}}, {"q": {}, "limit": 2}, {"q": {}, "limit": 0, "x": 1}]),
    ).map(lambda said: _made("delete", {"delete": PEOPLE, "deletes": [said]}))
    modifies = st.one_of(
        changes.map(lambda pair: {"query": pair[0], "update": pair[1], "sort": {"_id": 1}}),
        made.filters.map(lambda query: {"query": query, "remove": True, "sort": {"_id": 1}}),
        st.builds(lambda order: {"remove": True, "sort": order}, sampled(SORTS)),
        st.builds(lambda change: {"query": {}, "update": change, "remove": True}, made.harmless),
        st.sampled_from([{}, {"query": {}}, {"remove": True, "new": True}, {"remove": True, "upsert": True}]),
    ).map(lambda said: _made("findAndModify", {"findAndModify": PEOPLE, **said}))
    return weighted((5, updates), (3, deletes), (2, modifies), (1, _inserts(made)), (2, _bulk(made, changes)))


def _with_id(said: Document) -> Document:
    if not said.get("upsert"):
        return said
    query = said["q"]
    if isinstance(query, dict):
        query = {"_id": 100, **{name: value for name, value in query.items() if name != "_id"}}
    elif isinstance(query, tuple):
        # pairs, for a name may stand twice
        query = (("_id", 100), *(pair for pair in query if pair[0] != "_id"))
    return {**said, "q": query, "multi": False}


def _statement_options(made: _Malformed) -> Values:
    return st.one_of(
        made.filters.map(lambda query: {"arrayFilters": [query]}),
        st.sampled_from(
            [{"arrayFilters": 5}, {"arrayFilters": [{}]}, {"x": 1}, {"hint": 5}, {"collation": 5}, {"c": 5}]
        ),
    )


def _inserts(made: _Malformed) -> Commands:
    said: Values = st.one_of(
        st.builds(
            lambda found, taken: [{"_id": taken, **found}], made.document, st.sampled_from([[1], {"$x": 1}])
        ),
        st.sampled_from([[], [{"_id": [1]}], [{"_id": 60, "": 1}]]),
        made.document.map(lambda found: [Pairs((("_id", 50), *found.items(), ("_id", 51)))]),
    )
    return said.map(lambda found: _made("insert", {"insert": PEOPLE, "documents": found}))


def _bulk(made: _Malformed, changes: Values) -> Commands:
    operations: Values = st.one_of(
        changes.map(lambda pair: {"update": 0, "filter": pair[0], "updateMods": pair[1], "multi": True}),
        made.filters.map(lambda query: {"delete": 0, "filter": query, "multi": True}),
        st.sampled_from(
            [{}, {"delete": 0}, {"delete": 5, "filter": {}}, {"update": 0, "filter": {}}, {"insert": 0}]
        ),
        st.sampled_from(
            [{"delete": 0, "filter": {}, "insert": 0}, {"delete": "x", "filter": {}}, {"unheard": 0}]
        ),
    )
    spaces: list[Document] = [{"ns": f"{DATABASE}.{PEOPLE}"}, {"ns": f"{DATABASE}.{VISITS}"}]
    return operations.map(lambda said: _made("bulkWrite", {"bulkWrite": 1, "ops": [said], "nsInfo": spaces}))


def malformed_sequences(shapes: tuple[Shape, ...]) -> st.SearchStrategy[Sequence]:
    """Documents on any of the shapes, and commands that should leave them as they are."""
    return st.sampled_from(shapes).flatmap(_sequences)


@cache
def _sequences(shape: Shape) -> st.SearchStrategy[Sequence]:
    step = weighted((2, _reads(shape)), (3, _writes(shape)))
    steps = st.integers(1, MOST_STEPS).flatmap(lambda size: st.lists(step, min_size=size, max_size=size))
    people = numbered(document(shape), most=4)
    visits = numbered(visit(shape), most=2)
    return st.builds(Sequence, st.just(shape), people, visits, st.just([]), steps)


# Filters, expressions, updates, projections and sorts that MongoDB rejects, or that only look like ones.


NO_NUMBERS: tuple[Any, ...] = (
    "x",
    None,
    [],
    {},
    {"$gt": 1},
    -1,
    1.5,
    float("nan"),
    Int64(2**62),
    Decimal128("NaN"),
)
_odd: Values = sampled(NO_NUMBERS)
"""What stands where a small whole number belongs."""


def conditions(value: Any, odd: Any) -> list[Any]:
    """What may stand behind a path in a filter and should not."""
    nested: list[Any] = [
        *({"$in": [{"$gt": value}]}, {"$nin": [{"$gt": value}]}, {"$nin": [{"$eq": value}, value]}),
        *(
            {"$in": [value, {"$in": [value]}]},
            {"$nin": [{"$exists": True}]},
            {"$in": [{"$not": {"$eq": value}}]},
        ),
        *(
            {"$all": [{"$gt": value}]},
            {"$all": [{"$eq": value}]},
            {"$all": [value, {"$elemMatch": {"$eq": value}}]},
        ),
        *({"$elemMatch": {"$in": [{"$gt": value}]}}, {"$not": {"$nin": [{"$gt": value}]}}),
        *({"$elemMatch": {"$nin": [{"$eq": value}]}}, {"$in": [{"$ref": "c", "x": value}]}),
        *({"$in": [{"$elemMatch": {"$eq": value}}]}, {"$nin": [{"$unheard": value}]}),
    ]
    kinds: list[Any] = [
        *(
            {"$in": value},
            {"$nin": value},
            {"$all": value},
            {"$in": {"0": value}},
            {"$not": value},
            {"$not": {}},
        ),
        *(
            {"$not": []},
            {"$not": {"x": value}},
            {"$not": {"$not": {}}},
            {"$elemMatch": value},
            {"$elemMatch": []},
        ),
        *(
            {"$size": odd},
            {"$size": -1},
            {"$mod": [1]},
            {"$mod": [0, 1]},
            {"$mod": odd},
            {"$type": "nothing"},
        ),
        *(
            {"$type": -7},
            {"$type": []},
            {"$regex": 1},
            {"$options": "i"},
            {"$ne": Regex("1")},
            {"$gt": Regex("1")},
        ),
        *({"$exists": {"$gt": value}}, {"$where": "true"}, {"$expr": {"$eq": ["$s", value]}}),
    ]
    names: list[Any] = [
        *({"$unheard": value}, {"$EQ": value}, {"eq": value}, {"$eq": value, "x": 1}, {"x": 1, "$eq": value}),
        *({"$eq": value, "$unheard": 1}, {"$or": [{"$eq": value}]}, {"$and": [{"s": value}]}, {"$": value}),
        Pairs((("$eq", value), ("$eq", "other"))),
        Pairs((("$in", [value]), ("$in", [{"$gt": value}]))),
    ]
    return nested + kinds + names


def filters(path: str, condition: Any, expression: Any) -> list[Any]:
    """Filters around a bad condition or expression, and those that are bad themselves."""
    return [
        *[{path: condition}] * 8,
        *(
            {"$and": [{path: condition}]},
            {"$or": [{"w": "a"}, {path: condition}]},
            {"$nor": [{path: condition}]},
        ),
        *({"$and": []}, {"$or": {}}, {"$or": {path: "1"}}, {"$nor": [1]}, {"$and": [[]]}, {"$or": "x"}),
        *(
            {"$unheard": [{path: "1"}]},
            {"$not": {path: "1"}},
            {"$in": ["1"]},
            {"$eq": "1"},
            {"$alwaysTrue": "x"},
        ),
        *(
            {"$sampleRate": "x"},
            {"$expr": expression},
            {"$expr": expression},
            {"$expr": {"$and": [True, expression]}},
        ),
        *(5, "x", [{path: "1"}], Pairs(((path, "1"), (path, condition)))),
    ]


def expressions(value: Any, odd: Any) -> list[Any]:
    """Expressions with too few arguments, too many, misnamed or doubled ones, and unknown names."""
    same: Document = {"$eq": ["$s", value]}
    counts: list[Any] = [
        *(
            {"$eq": ["$s"]},
            {"$eq": "$s"},
            {"$eq": []},
            {"$eq": ["$s", value, value]},
            {"$ne": ["$s", value, same]},
        ),
        *({"$in": ["$s"]}, {"$in": ["$s", [value], same]}, {"$in": [value, "$w"]}, {"$ifNull": ["$s"]}),
        *({"$cond": [True, "$s"]}, {"$cond": [True, "$w", "$w", same]}, {"$cond": []}, {"$cond": "$s"}),
        *(
            {"$first": ["$list", 1]},
            {"$size": ["$list", 1]},
            {"$slice": ["$list"]},
            {"$arrayElemAt": ["$list"]},
        ),
        *({"$slice": ["$list", 1, 2, same]}, {"$indexOfArray": ["$list"]}, {"$setEquals": ["$list"]}),
        *(
            {"$setIsSubset": ["$list", [value], [value]]},
            {"$setDifference": ["$list"]},
            {"$not": [True, same]},
        ),
    ]
    named: list[Any] = [
        *(
            {"$cond": {"if": True, "then": "$s"}},
            {"$cond": {"if": True, "then": 1, "else": 2, "extra": same}},
        ),
        *({"$switch": {}}, {"$switch": {"branches": []}}, {"$switch": {"branches": [{"case": same}]}}),
        *({"$switch": {"branches": [{"case": True, "then": 1, "else": same}]}}, {"$let": {"vars": {}}}),
        *({"$let": {"vars": {"V": same}, "in": 1}}, {"$let": {"vars": {"v": 1}, "in": 1, "x": same}}),
        *(
            {"$map": {"input": "$list"}},
            {"$filter": {"input": "$list"}},
            {"$map": {"in": "$$this", "x": same}},
        ),
        *({"$filter": {"input": "$list", "cond": True, "limit": odd}}, {"$getField": {}}, {"$getField": 5}),
        *({"$firstN": {"input": "$list", "n": odd}}, {"$firstN": {"input": "$list"}}),
        {"$cond": Pairs((("if", True), ("then", 1), ("then", same), ("else", 2)))},
    ]
    others: list[Any] = [
        *({"$unheard": ["$s", value]}, {"$EQ": ["$s", value]}, {"$eq": ["$s", value], "$ne": ["$s", value]}),
        *({"$eq": ["$s", value], "x": 1}, "$$nope", "$", "$$", "$s.", "$s..x", {"$eq": ["$$nope", "$s"]}),
        *({"$arrayElemAt": ["$list", odd]}, {"$slice": ["$list", odd]}, {"$mergeObjects": 5}, {"x.y": "$s"}),
        *({"$literal": value, "x": same}, {"$concatArrays": ["$list", 5]}, {"x": {"$unheard": same}}),
    ]
    return counts + named + others


def updates(path: str, value: Any, condition: Any, odd: Any) -> list[Any]:
    """Updates by operators, and documents that are neither these nor replacements."""
    arrays: list[Any] = [
        *({"$push": {"list": {"$slice": odd}}}, {"$push": {"list": {"$slice": value}}}),
        *({"$push": {"list": {"$position": 0}}}, {"$push": {"list": {"$sort": 1}}}, {"$push": {path: value}}),
        *({"$push": {"list": {"$each": value}}}, {"$push": {"list": {"$each": [value], "$slice": odd}}}),
        *(
            {"$push": {"list": {"$each": [value], "$position": odd}}},
            {"$push": {"list": {"$each": [value], "x": 1}}},
        ),
        *(
            {"$push": {"items": {"$each": [{"s": value}], "$sort": odd}}},
            {"$push": {"list": {"$unheard": value}}},
        ),
        *(
            {"$addToSet": {"list": {"$each": value}}},
            {"$addToSet": {"list": {"$each": [value], "$slice": 1}}},
        ),
        *({"$addToSet": {"list": {"$slice": value}}}, {"$pop": {"list": odd}}, {"$pop": {"list": value}}),
        *(
            {"$pull": {"list": condition}},
            {"$pull": {"items": {"s": condition}}},
            {"$pullAll": {"list": value}},
        ),
        *({"$pull": {"list": {"$nin": [{"$eq": value}]}}}, {"$pull": {"list": {"$in": [{"$gt": value}]}}}),
        *({"$set": {"list.$": value}}, {"$set": {"list.$[e]": value}}, {"$set": {"list.$[": value}}),
    ]
    paths: list[Any] = [
        *({"$set": {path: value}, "$unset": {path: ""}}, {"$set": {"sub": {}, "sub.s": value}}),
        *({"$set": {"sub.s": value, "sub": {}}}, {"$set": {path: value}, "$rename": {"w": path}}),
        *(
            {"$rename": {path: path}},
            {"$rename": {path: 5}},
            {"$rename": {path: f"{path}.x"}},
            {"$rename": {path: ""}},
        ),
        *(
            {"$set": {"": value}},
            {"$set": {f"{path}.": value}},
            {"$set": {f"{path}..x": value}},
            {"$set": {"$s": value}},
        ),
        *({"$set": {"_id": 99}}, {"$unset": {"_id": ""}}, {"$set": {f"{path}.x.y": value}}),
        {"$set": Pairs(((path, value), (path, "other")))},
    ]
    shapes: list[Any] = [
        *({"$set": value}, {"$set": []}, {"$unset": value}, {"$push": "list"}, {"$unheard": {path: value}}),
        *({"$set": {path: value}, "w": 1}, {"w": 1, "$set": {path: value}}, {"$SET": {path: value}}, {}),
        *(
            {"$inc": {"q": "x"}},
            {"$mul": {"q": {}}},
            {"$currentDate": {"w": 5}},
            {"$bit": {"q": {"and": "x"}}},
        ),
        Pairs((("$set", {path: value}), ("$set", {"w": 1}))),
        *(
            5,
            "x",
            None,
            [5],
            [{}],
            [{"$set": value}],
            [{"$match": {path: value}}],
            [{"$set": {path: value}, "$unset": "w"}],
        ),
        *(
            [{"$project": {}}],
            [{"$unset": 5}],
            [{"$replaceWith": value}],
            [{"$set": {path: {"$unheard": value}}}],
        ),
        *(
            [{"$set": {path: {"$cond": [True, value, value, value]}}}],
            [{"$replaceRoot": {"x": {}}}],
            [{"$out": KEPT}],
        ),
        [{"$set": {"list": {"$slice": [[value], 1, 2, 3]}}}],
    ]
    return arrays + paths + shapes


def projections(expression: Any, odd: Any) -> list[Any]:
    """Projections of `find`."""
    return [
        *(
            {"s": 1, "w": 0},
            {"list": {"$slice": odd}},
            {"list": {"$slice": [1]}},
            {"list": {"$slice": [0, odd]}},
        ),
        *(
            {"list": {"$slice": [0, -1]}},
            {"items": {"$elemMatch": 5}},
            {"items.$": 1},
            {"": 1},
            {"$x": 1},
            {"s.": 1},
        ),
        *(
            {"sub": 1, "sub.s": 1},
            {"sub.s": 1, "sub": 1},
            {"x": expression},
            {"s": {"$unheard": 1}},
            {"s": {}},
        ),
        *(
            {"s": {"$slice": 1, "$elemMatch": {}}},
            {"items": {"$elemMatch": {"s": {"$in": [{"$gt": "1"}]}}}},
            5,
        ),
    ]


SORTS: tuple[Any, ...] = (
    *(
        {"w": 2},
        {"w": "x"},
        {"w": None},
        {"w": 0},
        {"": 1},
        {"$x": 1},
        {"w": {"$meta": "x"}},
        {"w": {"$eq": 1}},
    ),
    *({"w": -0.0}, {"w": 1.5}, {"w": []}, {"s": "x"}, 5, [["w", 1]], Pairs((("w", 1), ("w", -1)))),
)


# Stages of `aggregate` that MongoDB rejects, or that only look like ones; those that write apart.


def stages(query: Any, expression: Any, sort: Any, odd: Any) -> list[Any]:
    """Stages of `aggregate`, alone and with others around them."""
    simple: list[Any] = [
        *(
            {"$match": query},
            {"$match": query},
            {"$set": {"x": expression}},
            {"$set": {"s": expression}},
            {},
            5,
        ),
        *(
            {"$limit": odd},
            {"$limit": 0},
            {"$limit": -0.0},
            {"$skip": odd},
            {"$sample": {"size": odd}},
            {"$sample": 1},
        ),
        *({"$sort": sort}, {"$sort": {}}, {"$count": ""}, {"$count": "$x"}, {"$count": 5}, {"$count": "a.b"}),
        *({"$unset": []}, {"$unset": 5}, {"$unset": [5]}, {"$set": {}}, {"$set": 5}, {"$set": {"": 1}}),
        *(
            {"$project": {}},
            {"$project": {"s": 1, "w": 0}},
            {"$project": {"sub": 1, "sub.s": 1}},
            {"$project": 5},
        ),
        *(
            {"$project": {"s": {}}},
            {"$project": {"x": expression}},
            {"$replaceWith": 5},
            {"$replaceRoot": {}},
        ),
        *({"$replaceRoot": {"newRoot": 5}}, {"$replaceRoot": {"newRoot": "$sub", "x": 1}}, {"$redact": 5}),
        *(
            {"$unwind": "list"},
            {"$unwind": {"path": "$list", "x": 1}},
            {"$unwind": 5},
            {"$unwind": {"path": "$list", "includeArrayIndex": "$x"}},
        ),
        *(
            {"$unheard": {}},
            {"$match": {}, "$limit": 1},
            {"match": {}},
            {"$sortByCount": "s"},
            {"$sortByCount": 5},
        ),
    ]
    larger: list[Any] = [
        *(
            {"$group": {}},
            {"$group": {"x": {"$sum": 1}}},
            {"$group": {"_id": 1, "x": 5}},
            {"$group": {"_id": expression}},
        ),
        *({"$group": {"_id": 1, "x": {"$sum": 1, "$min": 1}}}, {"$group": {"_id": 1, "x": {"$unheard": 1}}}),
        *(
            {"$group": {"_id": 1, "x.y": {"$sum": 1}}},
            {"$group": {"_id": 1, "x": {"$firstN": {"input": "$s", "n": odd}}}},
        ),
        *(
            {"$bucket": {}},
            {"$bucket": {"groupBy": "$q", "boundaries": [1]}},
            {"$bucketAuto": {"groupBy": "$q", "buckets": odd}},
        ),
        *({"$lookup": {"from": VISITS}}, {"$lookup": {"from": VISITS, "localField": "s", "as": "z"}}),
        {"$lookup": {"from": VISITS, "localField": "s", "foreignField": "person", "as": 5}},
        {"$lookup": {"from": VISITS, "pipeline": [{"$match": query}], "as": "z"}},
        {"$lookup": {"from": VISITS, "localField": "$s", "foreignField": "person", "as": "z"}},
        *(
            {"$unionWith": 5},
            {"$unionWith": {"coll": VISITS, "pipeline": 5}},
            {"$facet": {}},
            {"$facet": {"x": 5}},
        ),
        *({"$facet": {"x": [{"$out": KEPT}]}}, {"$facet": {"x": [{"$match": query}]}}, {"$fill": {}}),
        *({"$setWindowFields": {}}, {"$setWindowFields": {"output": {"x": {"$sum": 1, "$min": 1}}}}),
    ]
    return simple + larger


WRITES: tuple[Any, ...] = (
    *({"$out": 5}, {"$out": ""}, {"$out": {"db": 5, "coll": KEPT}}, {"$merge": {}}, {"$merge": {"into": 5}}),
    *(
        {"$merge": {"into": KEPT, "whenMatched": "x"}},
        {"$merge": {"into": KEPT, "on": []}},
        {"$merge": {"into": KEPT, "x": 1}},
    ),
    *(
        {"$merge": {"into": KEPT, "whenMatched": [{"$match": {}}]}},
        {"$merge": {"into": KEPT, "whenNotMatched": "x"}},
    ),
    *({"$out": KEPT}, {"$merge": KEPT}, {"$merge": {"into": KEPT, "let": {"v": 1}}}),
)
"""Stages that write; the last row of them is sound, so that what stands before it decides."""
