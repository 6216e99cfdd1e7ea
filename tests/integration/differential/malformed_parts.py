"""Filters, expressions, updates, projections and sorts that MongoDB rejects, or that only look like ones.

Lists of them rather than strategies: each is drawn as it stands, with a value that may be stored there.
"""

from typing import Any

from bson import Decimal128, Int64, Regex

from tests.integration.differential.shapes import KEPT
from tests.integration.differential.values import Document
from tests.policies.taint.values import Pairs

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
