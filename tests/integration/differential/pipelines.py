"""Pipelines: stages that move, copy, group and drop covered fields, and that reach other collections."""

from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.integration.differential.asking import asked_conditions, ordered_groups
from tests.integration.differential.computed import computing_stages
from tests.integration.differential.documents import fields
from tests.integration.differential.filters import expressions, filters, operand
from tests.integration.differential.shapes import KEPT, PEOPLE, VISITS, Shape
from tests.integration.differential.values import Document, Values, weighted

# what is no array would be an error
_LIST: Document = {"$cond": [{"$isArray": "$list"}, "$list", []]}

_SHAPES: list[Document] = [
    {"$project": {"s": 1, "sub.s": 1, "items.s": 1, "w": 1}},
    {"$project": {"items.sub": 0, "list": 0}},
    {"$project": {"s": "$s2", "s2": "$s", "w": 1}},
    {"$project": {"s": "$w", "list": "$items.s", "n": {"$size": {"$ifNull": ["$nums", []]}}}},
    {"$project": {"sub": {"s": "$s", "n": 1}, "items": {"sub": 1}}},
    {"$project": {"is": {"$isArray": "$list"}, "eq": {"$eq": ["$s", "$s2"]}, "s": 1}},
    {"$project": {"x": {"$cond": {"if": {"$eq": ["$w", "a"]}, "then": "$s", "else": "$s2"}}}},
    {"$addFields": {"copy": "$s", "items.t": "$w"}},
    {"$addFields": {"copy": {"a": "$s", "b": "$n"}, "s": "$$REMOVE"}},
    {"$addFields": {"sub": {"extra": "$s"}}},
    {"$addFields": {"s": "x", "d": "$n"}},  # not below an array: see defects
    {"$set": {"s": {"$switch": {"branches": [{"case": {"$eq": ["$q", 1]}, "then": "$s"}], "default": None}}}},
    {"$set": {"v": {"$let": {"vars": {"a": "$s"}, "in": {"$eq": ["$$a", "1"]}}}}},
    {"$set": {"copy": ["$s", "$s2"]}},
    {"$set": {"w": {"$literal": "$s"}}},
    {"$unset": ["s", "items.s"]},
    {"$unset": "sub"},
    {"$unwind": "$list"},
    {"$unwind": {"path": "$items", "includeArrayIndex": "at", "preserveNullAndEmptyArrays": True}},
    {"$unwind": {"path": "$items.list", "includeArrayIndex": "s"}},
    {"$unwind": "$items.sub"},
    {"$replaceRoot": {"newRoot": {"_id": "$_id", "s": "$s", "sub": "$sub", "all": "$$ROOT"}}},
    {"$replaceWith": {"_id": "$_id", "copy": "$items", "s": "$w"}},
    {"$replaceWith": {"$ifNull": ["$missing", {"_id": "$_id", "list": "$list"}]}},
    {"$set": {"v": {"$arrayElemAt": [_LIST, 0]}}},
    {"$set": {"v": {"$first": _LIST}, "x": {"$last": _LIST}}},
    {"$set": {"list": {"$reverseArray": _LIST}}},
    {"$set": {"list": {"$slice": [_LIST, 1]}}},
    {"$set": {"list": {"$concatArrays": [_LIST, ["2"]]}}},
    {"$set": {"v": {"$map": {"input": _LIST, "as": "e", "in": {"$eq": ["$$e", "1"]}}}}},
    {"$set": {"list": {"$filter": {"input": _LIST, "as": "e", "cond": {"$ne": ["$$e", "1"]}}}}},
    {"$set": {"v": {"$in": ["1", _LIST]}, "x": {"$in": ["$s", ["1", "2"]]}}},
    {"$set": {"v": {"$indexOfArray": [_LIST, "1"]}}},
    {"$set": {"v": {"$setEquals": [_LIST, ["1"]]}, "x": {"$setIsSubset": [["1"], _LIST]}}},
    {"$set": {"set": {"$setUnion": [_LIST, ["2"]]}}},
    {"$set": {"set": {"$setIntersection": [_LIST, ["1", "2"]]}}},
    {"$set": {"set": {"$setDifference": [_LIST, ["1"]]}}},
    {"$set": {"v": {"$firstN": {"input": _LIST, "n": 1}}, "copy": {"$lastN": {"input": _LIST, "n": 2}}}},
    {"$set": {"sub": {"$mergeObjects": ["$sub", {"s": "1"}]}}},
    {"$match": {"$alwaysTrue": 1, "$comment": "seen"}},
    {"$limit": 3},
    {"$skip": 1},
    {"$sort": {"w": 1, "_id": 1}},
    {"$sort": {"s": 1}},
    {"$sort": {"copy": 1, "_id": 1}},
]
_AFTER: list[Document] = [
    {"$match": {"copy": "1"}},
    {"$match": {"copy.a": {"$in": ["1", None]}}},
    {"$match": {"copy.s": "1"}},
    {"$match": {"copy.0.s": "1"}},
    {"$match": {"x": "1"}},
    {"$match": {"v": True, "s": "1"}},
    {"$match": {"is": True}},
    {"$match": {"all.s": "1", "all.items.n": 1}},
    {"$match": {"list": "1"}},
    {"$match": {"at": 0}},
    {"$match": {"s": 0}},
    {"$match": {"s": "a"}},
    {"$match": {"sub.extra": "1"}},
    {"$match": {"items.t": "a", "items.s": "x"}},
    {"$match": {"0.s": "1"}},
]
_GROUPS: list[Document] = [
    {"$group": {"_id": "$s", "n": {"$sum": 1}}},
    {"$group": {"_id": {"a": "$sub.s", "w": "$w"}, "n": {"$sum": "$q"}}},
    {"$group": {"_id": ["$s", "$s2"], "n": {"$sum": 1}}},
    {"$group": {"_id": "$list", "first": {"$first": "$s"}, "last": {"$last": "$items"}}},
    {"$group": {"_id": "$w", "all": {"$push": "$s"}, "set": {"$addToSet": "$n"}}},
    {"$group": {"_id": None, "docs": {"$push": {"s": "$s", "t": "$t"}}}},
    {"$group": {"_id": "$b", "docs": {"$push": "$$ROOT"}}},
    {"$group": {"_id": "$w", "first": {"$top": {"sortBy": {"_id": 1}, "output": "$s"}}}},
    {"$group": {"_id": "$q", "first": {"$bottom": {"sortBy": {"_id": 1}, "output": ["$s", "$n"]}}}},
    {"$group": {"_id": "$s", "all": {"$topN": {"n": 2, "sortBy": {"_id": 1}, "output": "$t"}}}},
    {"$group": {"_id": None, "all": {"$bottomN": {"n": 2, "sortBy": {"_id": 1}, "output": "$items"}}}},
    {"$group": {"_id": "$w", "all": {"$firstN": {"n": 2, "input": "$s"}}}},
    {"$group": {"_id": "$w", "all": {"$lastN": {"n": 2, "input": "$sub"}}}},
    {"$group": {"_id": None, "n": {"$sum": "$n"}}},
    {"$group": {"_id": "$r"}},
    {"$group": {"_id": {"$ifNull": ["$s", "$s2"]}, "n": {"$sum": 1}}},
    {"$sortByCount": "$s"},
    {"$sortByCount": "$sub"},
    {"$count": "n"},
    {"$bucket": {"groupBy": "$q", "boundaries": [0, 2, 9], "default": "x"}},
    {"$facet": {"a": [{"$match": {"s": "1"}}], "b": [{"$group": {"_id": "$s"}}], "c": [{"$count": "n"}]}},
]
_AFTER_GROUPS: list[Document] = [
    {"$match": {"_id": "1"}},
    {"$match": {"_id.a": {"$ne": "1"}}},
    {"$match": {"_id": ["1", "2"]}},
    {"$match": {"all": "1"}},
    {"$match": {"docs.s": "1"}},
    {"$match": {"docs.0.items.s": {"$in": ["1", "2"]}}},
    {"$match": {"first": "1", "last.s": "1"}},
    {"$match": {"a.s": "1"}},
    {"$match": {"n": {"$gt": 1}}},
    {"$unwind": "$docs"},
    {"$unwind": "$all"},
    {"$project": {"s": "$_id", "_id": 0}},
    {"$replaceRoot": {"newRoot": "$_id"}},
]

_BY_FIELD = {"from": VISITS, "localField": "s", "foreignField": "person", "as": "z"}
_EQUAL = {"$match": {"$expr": {"$eq": ["$person", "$$n"]}}}

_JOINS: list[Document] = [
    {"$lookup": _BY_FIELD},
    {"$lookup": {**_BY_FIELD, "pipeline": [{"$match": {"person": {"$in": ["1", None]}}}]}},
    {"$lookup": {**_BY_FIELD, "localField": "w", "foreignField": "w"}},
    {"$lookup": {**_BY_FIELD, "localField": "sub.s"}},
    {"$lookup": {**_BY_FIELD, "localField": "items.s"}},
    {"$lookup": {**_BY_FIELD, "from": PEOPLE, "foreignField": "s2"}},
    {"$lookup": {"from": VISITS, "let": {"n": "$s"}, "pipeline": [_EQUAL], "as": "z"}},
    {
        "$lookup": {
            "from": VISITS,
            "let": {"n": "$s"},
            "pipeline": [
                {"$match": {"$expr": {"$ne": ["$$n", "1"]}}},
                {"$project": {"copy": "$$n", "same": {"$eq": ["$$n", "$person"]}}},
            ],
            "as": "z",
        }
    },
    {"$lookup": {"from": VISITS, "pipeline": [{"$match": {"person": "2"}}], "as": "z"}},
    {
        "$graphLookup": {
            **{"from": VISITS, "startWith": "$s", "as": "z"},
            **{"connectFromField": "person", "connectToField": "person"},
        }
    },
    {
        "$graphLookup": {
            **{"from": VISITS, "startWith": "$_id", "as": "z", "depthField": "depth"},
            **{"connectFromField": "q", "connectToField": "_id"},
            "restrictSearchWithMatch": {"person": {"$ne": "1"}},
        }
    },
    {"$unionWith": VISITS},
    {"$unionWith": {"coll": PEOPLE, "pipeline": [{"$match": {"s": "1"}}]}},
    {"$unionWith": {"coll": VISITS, "pipeline": [{"$project": {"s": "$person"}}]}},
    {
        "$setWindowFields": {
            **{"partitionBy": "$s", "sortBy": {"_id": 1}},
            "output": {"n": {"$sum": "$q", "window": {"documents": ["unbounded", "current"]}}},
        }
    },
    {
        "$setWindowFields": {
            **{"partitionBy": "$w", "sortBy": {"_id": 1}},
            "output": {"copy": {"$shift": {"output": "$s", "by": 1}}, "first": {"$first": "$t"}},
        }
    },
    {"$setWindowFields": {"sortBy": {"_id": 1}, "output": {"s": {"$locf": "$s"}}}},
    {"$setWindowFields": {"sortBy": {"_id": 1}, "output": {"n": {"$documentNumber": {}}}}},
    {"$setWindowFields": {"partitionBy": "$s", "sortBy": {"_id": 1}, "output": {"n": {"$rank": {}}}}},
    {"$setWindowFields": {"partitionBy": "$s", "sortBy": {"_id": 1}, "output": {"n": {"$denseRank": {}}}}},
    {"$fill": {"sortBy": {"_id": 1}, "output": {"s": {"method": "locf"}}}},
    {"$fill": {"output": {"s": {"value": "$s2"}, "missing": {"value": 1}}}},
    {"$fill": {"partitionByFields": ["s"], "sortBy": {"_id": 1}, "output": {"r": {"method": "locf"}}}},
    {"$fill": {"partitionBy": "$s", "sortBy": {"_id": 1}, "output": {"sub.s": {"method": "locf"}}}},
    {"$densify": {"field": "_id", "partitionByFields": ["s"], "range": {"step": 1, "bounds": [0, 3]}}},
    {"$setWindowFields": {"output": {"all": {"$push": "$s"}, "set": {"$addToSet": "$n"}}}},
    {"$redact": {"$cond": [{"$eq": ["$w", "a"]}, "$$PRUNE", "$$KEEP"]}},
    {"$documents": [{"s": "1"}]},
]
"""Stages that bring in other collections, or that not every release answers; refusals count like others."""

_WRITES: list[Document] = [
    {"$out": KEPT},
    {"$merge": {"into": KEPT}},
    {"$merge": {"into": KEPT, "whenMatched": "keepExisting"}},
    {"$merge": {"into": KEPT, "whenMatched": "replace", "whenNotMatched": "discard"}},
    {"$merge": {"into": PEOPLE, "whenMatched": "merge"}},
    *(
        {"$merge": {"into": into, "whenMatched": stages} | more}
        for into in (KEPT, PEOPLE)
        for more in ({}, {"whenNotMatched": "discard"})
        for stages in (
            [{"$set": {"w": "b"}}],
            [{"$set": {"w": "$$new.w", "s": {"$ifNull": ["$s", "$$new.s"]}}}],
            [{"$set": {"s": "$$new.s2"}}, {"$unset": "r"}],
            [{"$replaceWith": {"$mergeObjects": ["$$ROOT", "$$new"]}}],
            [{"$replaceWith": "$$new"}],
            [{"$set": {"s": "1", "same": {"$eq": ["$s", "$$new.s"]}}}],
        )
    ),
    *(
        {"$merge": {"into": PEOPLE, "let": {"v": value}, "whenMatched": [{"$set": {"s": "$$v"}}]}}
        for value in ("$s2", "$w", "$sub.s", "$s")
    ),
]
_UNCHANGED: list[Document] = [
    {"$limit": 2},
    {"$set": {"w": "b"}},
    {"$project": {"s": 1, "w": 1}},
    {"$project": {"w": 1, "s2": "$s"}},
    {"$replaceWith": {"_id": "$_id", "s": "$s", "w": "$w"}},
    {"$project": {"s": "$s2", "w": "$q"}},
]
"""Stages after which the documents may still be what a collection wants."""

_AFTER_JOINS: list[Document] = [
    {"$match": {"z.person": "1"}},
    {"$match": {"z.copy": {"$in": ["1", "2"]}}},
    {"$match": {"s": {"$ne": "1"}}},
    {"$unwind": "$z"},
    {"$unwind": {"path": "$z", "preserveNullAndEmptyArrays": True}},
    {"$project": {"z": 1, "s": 1}},
    {"$group": {"_id": "$s", "n": {"$sum": 1}}},
    {"$addFields": {"n": {"$size": {"$ifNull": ["$z", []]}}}},
]

_FIRST: Document = {"$sort": {"_id": 1}}
_ARRAYS = frozenset({"list", "nums", "items.s", "items.n", "items.list"})
"""Paths that often lead to several values."""


def _match(shape: Shape) -> st.SearchStrategy[Document]:
    return filters(shape).map(lambda query: {"$match": query})


@cache
def pipelines(shape: Shape) -> st.SearchStrategy[list[Any]]:
    """Pipelines over `people` alone; sorted at first, so that `$limit` and `$push` have one answer."""
    computed = expressions(shape).map(lambda found: {"$set": {"v": found}})
    chosen = expressions(shape).map(
        lambda found: {"$project": {"x": {"$cond": [found, "$s", "$s2"]}, "w": 1}}
    )
    copied = operand(shape, "s").map(lambda value: {"$match": {"copy": value}})
    shapes, after = st.sampled_from(_SHAPES), st.sampled_from(_AFTER)
    stages = weighted((4, shapes), (2, after), (2, _match(shape)), (1, computed), (1, chosen), (1, copied))
    grouped = st.builds(
        lambda group, behind: [group, *behind],
        st.sampled_from(_GROUPS),
        st.lists(st.sampled_from(_AFTER_GROUPS), max_size=2),
    )
    usual: Values = st.builds(
        lambda found, group: [_FIRST, *found, *group],
        st.lists(stages, max_size=3),
        weighted((1, st.just([])), (1, grouped)),
    )
    if not shape.ordered:
        return usual
    ordered: Values = st.builds(
        lambda first, found, group: [*first, *found, *group],
        st.sampled_from([[], [_FIRST]]),
        st.lists(_match(shape), max_size=1),
        ordered_groups(shape.ordered),
    )
    pages = _pages(shape, shape.ordered)
    paths = [path for path in shape.ordered if path in _ARRAYS] or shape.ordered
    path = weighted((2, st.sampled_from(paths)), (1, st.sampled_from(shape.ordered)))
    reshaped = path.flatmap(lambda path: _reshaped(shape, path))
    return weighted((4, usual), (1, ordered), (1, pages), (3, reshaped))


@cache
def _reshaped(shape: Shape, path: str) -> Values:
    """Pipelines that sort, group or choose by values at a path behind stages that change what is there."""
    name = st.sampled_from(["copy", "copy", "v", "list"])
    moved = st.builds(_moved, st.just(path), name, st.integers(0, 13))
    by = st.sampled_from([path, path, "copy", "copy", "v", "list", "_id"])
    sorts: Values = st.builds(
        lambda by, way, window: [{"$sort": {by: way, "_id": 1}}, *window],
        by,
        st.sampled_from([1, -1]),
        st.sampled_from([[], [], [{"$limit": 2}], [{"$skip": 1}, {"$limit": 3}]]),
    )
    facets: Values = st.builds(lambda sort: [{"$facet": {"a": sort}}], sorts)
    return st.builds(
        lambda found, reshaping, last: [*found, *reshaping, *last],
        weighted((3, st.just([])), (1, st.lists(_match(shape), min_size=1, max_size=1))),
        weighted(
            (3, st.lists(moved, min_size=1, max_size=2)),
            (1, st.builds(lambda first, second: [first, second], moved, st.sampled_from(_SHAPES))),
        ),
        weighted(
            (5, sorts),
            (1, facets),
            (2, ordered_groups((path, "copy"))),
            (1, _match(shape).map(lambda match: [match])),
        ),
    )


def _moved(path: str, name: str, way: int) -> Document:
    """A stage that takes the values at a path apart, moves them, or puts others in their place."""
    listed: Document = {"$cond": [{"$isArray": f"${path}"}, f"${path}", []]}
    top = path.partition(".")[0]
    stages: tuple[Document, ...] = (
        {"$unwind": f"${path}"},
        {"$unwind": {"path": f"${top}", "preserveNullAndEmptyArrays": True}},
        {"$unwind": {"path": f"${top}", "includeArrayIndex": "at"}},
        {"$set": {name: f"${path}"}},
        {"$project": {name: f"${path}", "w": 1}},
        {"$set": {name: {"$arrayElemAt": [listed, 0]}}},
        {"$set": {name: {"$slice": [listed, 1]}}},
        {"$set": {name: {"$reverseArray": listed}}},
        {"$set": {name: {"$filter": {"input": listed, "as": "e", "cond": {"$ne": ["$$e", None]}}}}},
        {"$replaceRoot": {"newRoot": {"_id": "$_id", name: f"${path}", "w": "$w"}}},
        {"$group": {"_id": "$_id", name: {"$first": f"${path}"}}},
        {"$group": {"_id": "$_id", name: {"$push": f"${path}"}}},
        {"$redact": {"$cond": [{"$eq": ["$w", "a"]}, "$$PRUNE", "$$KEEP"]}},
        {"$fill": {"output": {path: {"value": f"${name}"}}}},
    )
    return stages[way]


def _pages(shape: Shape, asked: tuple[str, ...]) -> Values:
    """Pipelines that sort by the values at a path, perhaps behind a stage that keeps or adds fields."""
    return st.builds(
        lambda found, path, direction, add, more, window: [
            *found,
            *([{"$addFields": {path.partition(".")[0]: f"${path.partition('.')[0]}"}}] if add == 1 else []),
            *([{"$project": {path.partition(".")[0]: 1, **more}}] if add == 2 else []),
            {"$sort": {path: direction, "_id": 1}},
            *window,
        ],
        st.lists(_match(shape), max_size=1),
        st.sampled_from(asked),
        st.sampled_from([1, -1]),
        st.integers(0, 2),
        st.sampled_from([{}, {"w": 1}, {"_id": 0}, {"q": 1.5, "v": 1}, {"t": 0}]),
        st.sampled_from([[], [{"$limit": 2}], [{"$skip": 1}, {"$limit": 3}], [{"$limit": 5}, {"$skip": 1}]]),
    )


@cache
def joining_pipelines(shape: Shape) -> st.SearchStrategy[list[Any]]:
    """Pipelines that bring in other collections."""
    joins: Values = st.sampled_from(_JOINS)
    return st.builds(
        lambda before, join, after: [*before, join, *after],
        st.lists(_match(shape), max_size=1),
        weighted((2, joins), (1, _asking_joins(shape))) if shape.asks else joins,
        st.lists(st.sampled_from(_AFTER_JOINS), max_size=2),
    )


def _asking_joins(shape: Shape) -> Values:
    """Joins in whose pipelines conditions need a question about the other collection."""
    persons = asked_conditions("string", fields(shape).value("s")).map(lambda found: {"person": found})
    chosen: Values = persons.map(lambda query: (VISITS, query)) | filters(shape).map(
        lambda query: (PEOPLE, query)
    )
    ways: tuple[Document, ...] = (
        {"$lookup": {"as": "z"}},
        {"$lookup": {"as": "z", "localField": "w", "foreignField": "w"}},
        {"$lookup": {"as": "z", "let": {"n": "$q"}}},
        {"$unionWith": {}},
    )

    def join(
        found: tuple[str, Document], way: Document, before: list[Document], page: list[Document]
    ) -> Document:
        ((name, said),) = way.items()
        of, query = found
        equal = {"$expr": {"$eq": ["$q", "$$n"]}} if "let" in said else {}
        stages = [*before, {"$match": {"$and": [query, equal]}}, *(page if of == VISITS else [_FIRST])]
        return {name: {**said, "coll" if name == "$unionWith" else "from": of, "pipeline": stages}}

    before = st.sampled_from([[], [], [_FIRST, {"$limit": 3}], [{"$match": {"w": "a"}}]])
    by_person: Values = st.sampled_from([1, -1]).map(lambda way: {"$sort": {"person": way, "_id": 1}})
    pages = st.one_of(st.just([_FIRST]), by_person.map(lambda sort: [sort, {"$limit": 2}]))
    return st.builds(join, chosen, st.sampled_from(ways), before, pages)


@cache
def writing_pipelines(shape: Shape) -> st.SearchStrategy[list[Any]]:
    """Pipelines that write to a collection."""
    return st.builds(
        lambda before, write: [_FIRST, *before, write],
        weighted(
            (2, st.lists(_match(shape), max_size=1)),
            (3, st.lists(st.sampled_from(_UNCHANGED), min_size=1, max_size=1)),
            (1, st.lists(_match(shape) | st.sampled_from(_SHAPES[:12]), max_size=2)),
            (1, st.lists(computing_stages(shape), min_size=1, max_size=2)),
        ),
        st.sampled_from(_WRITES),
    )
