"""Generated documents and operations for the differential test: few values, so that things match."""

from datetime import datetime
from typing import Any

from bson import Int64
from hypothesis import strategies as st

Document = dict[str, Any]

_numbers = st.sampled_from(["1", "2", "3", "4", ""])
_phones = st.sampled_from(["10", "20", "30"])
_days = st.sampled_from([datetime(1950, 1, 1), datetime(1960, 1, 1)])
_stored_visits = st.sampled_from([0, 1, 2, Int64(1), 2.0])
_visits = _stored_visits | st.just(-0.0)
_wards = st.sampled_from(["a", "b", None, 1, ["a", "b"]])
_null = st.none()

_address = st.fixed_dictionaries({}, optional={"postcode": _numbers | _null, "city": _wards})
_contact = st.fixed_dictionaries({}, optional={"phone": _phones | _null, "kind": st.sampled_from(["h", "w"])})

# What each covered path may hold when a document is stored.
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "nhs_number": _numbers | _null,
    "address": _address | _null | st.lists(_address, max_size=2),
    "contacts": st.lists(_contact, max_size=3) | _null,
    "phones": st.lists(_phones | _null, max_size=3)
    | _phones
    | st.lists(st.lists(_phones, max_size=2), max_size=1),
    "date_of_birth": _days | _null,
    "visits": _stored_visits,
    "notes": st.sampled_from(["n", 5, None]) | _address,
    "ward": _wards,
}

documents = st.lists(st.fixed_dictionaries({}, optional=_FIELDS), min_size=1, max_size=6).map(
    lambda found: [{"_id": number, **document} for number, document in enumerate(found)]
)

# Values that a path is compared with: those that may be there, and some that cannot.
_OPERANDS: dict[str, st.SearchStrategy[Any]] = {
    "nhs_number": _numbers | _null | st.sampled_from([1, True, ["1"], {"a": 1}]),
    "address.postcode": _numbers | _null | st.just(["1"]),
    "address.0.postcode": _numbers | _null,
    "contacts.phone": _phones | _null,
    "contacts.1.phone": _phones | _null,
    "phones": _phones | _null | st.lists(_phones, max_size=2),
    "phones.0": _phones | _null,
    "date_of_birth": _days | _null,
    "visits": _visits | st.sampled_from([1.5, 7, "1", None]),
    "notes": _null,
    "ward": _wards,
    "ward.x": _wards,
}
_BOUNDS: dict[str, st.SearchStrategy[Any]] = {
    "date_of_birth": _days
    | st.sampled_from([datetime(1955, 6, 1, 12), datetime(1, 1, 1), datetime(9999, 1, 1), 5]),
    "visits": _visits | st.sampled_from([1.5, -7, 1e300, float("nan"), "1", Int64(2**60)]),
}
_paths = st.sampled_from(sorted(_OPERANDS))


def _operators(path: str) -> st.SearchStrategy[Any]:
    operand = _OPERANDS[path]
    simple = st.one_of(
        operand,
        operand.map(lambda value: {"$eq": value}),
        operand.map(lambda value: {"$ne": value}),
        st.lists(operand, max_size=3).map(lambda values: {"$in": values}),
        st.lists(operand, max_size=3).map(lambda values: {"$nin": values}),
        st.booleans().map(lambda value: {"$exists": value}),
        st.integers(0, 2).map(lambda value: {"$size": value}),
    )
    ranges = _ranges(path)
    negated = st.lists(operand, max_size=2).map(lambda values: {"$not": {"$in": values}})
    return simple | negated | ranges | ranges.map(lambda condition: {"$not": condition})


def _ranges(path: str) -> st.SearchStrategy[Document]:
    """One or two bounds, on and off the grid, of the field's type and of others."""
    bounds = _BOUNDS.get(path)
    if bounds is None:
        return st.just({"$gte": "2"})  # refused on covered paths, and answered on others
    return st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), bounds, min_size=1, max_size=2)


_leaf: st.SearchStrategy[Document] = _paths.flatmap(
    lambda path: _operators(path).map(lambda condition: {path: condition})
)
_sub_documents: st.SearchStrategy[Document] = st.one_of(
    _address.map(lambda value: {"address": value}),
    _contact.map(lambda value: {"contacts": value}),
    _contact.map(lambda value: {"contacts": {"$elemMatch": value}}),
    _phones.map(lambda value: {"phones": {"$elemMatch": {"$eq": value}}}),
    _phones.map(lambda value: {"phones": {"$elemMatch": {"$in": [value, "10"]}}}),
)
_refused: st.SearchStrategy[Document] = st.sampled_from(
    [
        {"nhs_number": {"$gt": "1"}},
        {"contacts.phone": {"$regex": "^1"}},
        {"visits": {"$mod": [2, 0]}},
        {"notes": "n"},
        {"nhs_number": {"$type": "string"}},
    ]
)
filters: st.SearchStrategy[Document] = st.recursive(
    _leaf | _sub_documents | st.just({}) | _refused,
    lambda inner: st.builds(
        lambda word, parts: {word: parts},
        st.sampled_from(["$and", "$or", "$nor"]),
        st.lists(inner, min_size=1, max_size=2),
    ),
    max_leaves=3,
)

updates: st.SearchStrategy[Document] = st.one_of(
    (_numbers | _null).map(lambda value: {"$set": {"nhs_number": value}}),
    _address.map(lambda value: {"$set": {"address": value}}),
    _numbers.map(lambda value: {"$set": {"address.postcode": value, "ward": "a"}}),
    _phones.map(lambda value: {"$set": {"contacts.0.phone": value}}),
    _phones.map(lambda value: {"$set": {"contacts.$[].phone": value}}),
    _phones.map(lambda value: {"$push": {"phones": value}}),
    st.lists(_phones, max_size=2).map(lambda values: {"$push": {"phones": {"$each": values, "$slice": -2}}}),
    _phones.map(lambda value: {"$addToSet": {"phones": value}}),
    _contact.map(lambda value: {"$addToSet": {"contacts": value}}),
    _contact.map(lambda value: {"$push": {"contacts": value}}),
    _phones.map(lambda value: {"$pull": {"phones": value}}),
    _phones.map(lambda value: {"$pull": {"contacts": {"phone": value}}}),
    st.lists(_phones, max_size=2).map(lambda values: {"$pullAll": {"phones": values}}),
    st.just({"$pop": {"phones": 1}}),
    st.just({"$unset": {"address.postcode": "", "nhs_number": ""}}),
    _stored_visits.map(lambda value: {"$set": {"visits": value}}),
    st.sampled_from([{"$rename": {"nhs_number": "ward"}}, {"$rename": {"phones": "contacts.phone"}}]),
    st.just({"$inc": {"visits": 1}}),
    _numbers.map(lambda value: {"$setOnInsert": {"nhs_number": value}, "$set": {"ward": "b"}}),
)

_stored = st.one_of(
    (_numbers | _null).map(lambda value: {"nhs_number": value}),
    _numbers.map(lambda value: {"nhs_number": {"$ifNull": ["$nhs_number", value]}}),
    _numbers.map(lambda value: {"address.postcode": value, "ward": "$ward"}),
    _address.map(lambda value: {"address": {"$mergeObjects": ["$address", value]}}),
    _contact.map(lambda value: {"contacts": {"$concatArrays": [{"$ifNull": ["$contacts", []]}, [value]]}}),
    _phones.map(lambda value: {"phones": {"$cond": [{"$eq": ["$ward", "a"]}, [value, None], "$phones"]}}),
    _numbers.map(
        lambda value: {"nhs_number": {"$cond": [{"$eq": ["$nhs_number", value]}, "4", "$nhs_number"]}}
    ),
    _visits.map(lambda value: {"visits": value}),
    st.sampled_from(
        [
            {"notes": "$notes", "phones": {"$slice": ["$phones", 1]}},
            {"notes": ["n", {"a": 1}]},
            {"contacts": {"phone": "10"}},
            {"nhs_number": "$$REMOVE"},
            {"size": {"$size": {"$ifNull": ["$contacts", []]}}},
            {"copy": "$nhs_number"},
            {"nhs_number": "$ward"},
            {"date_of_birth": "$$NOW"},
        ]
    ),
)
_update_stages = st.one_of(
    _stored.map(lambda change: {"$set": change}),
    st.sampled_from(
        [
            {"$unset": ["address.postcode", "phones"]},
            {"$project": {"nhs_number": 1, "contacts.phone": 1, "ward": "$address.city"}},
            {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"nhs_number": "3", "ward": "c"}]}},
            {"$replaceWith": {"_id": "$_id", "nhs_number": "$nhs_number", "notes": "m"}},
            {"$replaceWith": "$address"},
        ]
    ),
)
update_pipelines: st.SearchStrategy[list[Document]] = st.lists(_update_stages, min_size=1, max_size=3)

_groups = st.sampled_from(
    [
        {"_id": "$nhs_number", "n": {"$sum": 1}},
        {"_id": {"code": "$address.postcode", "ward": "$ward"}, "n": {"$sum": 1}},
        {"_id": "$ward", "numbers": {"$addToSet": "$nhs_number"}},
        {"_id": "$date_of_birth", "all": {"$push": "$phones"}},
        {"_id": None, "n": {"$max": "$nhs_number"}},
    ]
)
_stages = st.one_of(
    filters.map(lambda query: {"$match": query}),
    st.sampled_from(
        [
            {"$project": {"nhs_number": 1, "address.postcode": 1}},
            {"$project": {"phones": 0}},
            {"$project": {"ward": 1, "copy": "$nhs_number"}},
            {"$project": {"address": {"city": 1}, "contacts.phone": 1, "_id": 0}},
            {"$project": {"nhs_number": "$address.postcode", "moved": "$nhs_number"}},
            {"$addFields": {"copy": "$nhs_number", "size": {"$size": {"$ifNull": ["$contacts", []]}}}},
            {"$unwind": "$phones"},
            {"$unset": ["address", "notes"]},
            {"$match": {"copy": "1"}},
            {"$match": {"moved": {"$in": ["1", None]}}},
            {"$sort": {"_id": -1}},
            {"$sort": {"nhs_number": 1}},
            {"$limit": 3},
            {"$project": {"same": {"$eq": ["$nhs_number", "1"]}, "upper": {"$toUpper": "$ward"}}},
        ]
    ),
)
pipelines: st.SearchStrategy[list[Document]] = st.builds(
    lambda stages, group: [*stages, *group],
    st.lists(_stages, max_size=3),
    st.lists(_groups.map(lambda group: {"$group": group}), max_size=1),
)
