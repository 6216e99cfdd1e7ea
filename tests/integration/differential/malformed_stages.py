"""Stages of `aggregate` that MongoDB rejects, or that only look like ones; those that write apart."""

from typing import Any

from tests.integration.differential.shapes import KEPT, VISITS


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
