"""Generated pipelines for the wide differential test: stages that move, copy and take away covered fields."""

from typing import Any

from hypothesis import strategies as st

from tests.integration.wide_operations import Document, conditions, filters

_match = filters.map(lambda query: {"$match": query})

_shapes: list[Document] = [
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
    {"$addFields": {"items.s": "x", "sub.n": "$n"}},
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
    {"$limit": 3},
    {"$skip": 1},
    {"$sort": {"w": 1, "_id": 1}},
    {"$sort": {"s": 1}},
    {"$sort": {"copy": 1, "_id": 1}},
]
_after: list[Document] = [
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
_groups: list[Document] = [
    {"$group": {"_id": "$s", "n": {"$sum": 1}}},
    {"$group": {"_id": {"a": "$sub.s", "w": "$w"}, "n": {"$sum": "$q"}}},
    {"$group": {"_id": ["$s", "$s2"], "n": {"$sum": 1}}},
    {"$group": {"_id": "$list", "first": {"$first": "$s"}, "last": {"$last": "$items"}}},
    {"$group": {"_id": "$w", "all": {"$push": "$s"}, "set": {"$addToSet": "$n"}}},
    {"$group": {"_id": None, "docs": {"$push": {"s": "$s", "t": "$t"}}}},
    {"$group": {"_id": "$b", "docs": {"$push": "$$ROOT"}}},
    {"$group": {"_id": None, "n": {"$sum": "$n"}}},
    {"$group": {"_id": "$r"}},
    {"$group": {"_id": {"$ifNull": ["$s", "$s2"]}, "n": {"$sum": 1}}},
    {"$sortByCount": "$s"},
    {"$sortByCount": "$sub"},
    {"$count": "n"},
    {"$bucket": {"groupBy": "$q", "boundaries": [0, 2, 9], "default": "x"}},
    {"$facet": {"a": [{"$match": {"s": "1"}}], "b": [{"$group": {"_id": "$s"}}], "c": [{"$count": "n"}]}},
]
_after_groups: list[Document] = [
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

_computed = conditions.map(lambda found: {"$set": {"v": found}})
_chosen = conditions.map(lambda found: {"$project": {"x": {"$cond": [found, "$s", "$s2"]}, "w": 1}})

pipelines: st.SearchStrategy[list[Any]] = st.builds(
    lambda stages, group: [{"$sort": {"_id": 1}}, *stages, *group],
    st.lists(
        st.sampled_from(_shapes)
        | st.sampled_from(_shapes)
        | st.sampled_from(_after)
        | _match
        | _computed
        | _chosen,
        max_size=4,
    ),
    st.just([])
    | st.builds(
        lambda group, after: [group, *after],
        st.sampled_from(_groups),
        st.lists(st.sampled_from(_after_groups), max_size=2),
    ),
)
