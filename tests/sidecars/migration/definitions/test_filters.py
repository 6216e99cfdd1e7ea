"""What a filter says of a document, before the move, while it goes on, and after it."""

from dataclasses import replace
from typing import Any

import pytest

from sealwire.policies.file.schema import FieldClass, Mode, PathNode, ValueType
from sealwire.sidecars.migration.definitions.constants import ClassChange, Width, both
from sealwire.sidecars.migration.definitions.conversions import TABLE, Judgement, Trait, judge_index
from sealwire.sidecars.migration.definitions.filters import Way, convert_filter, names_a_path
from tests.sidecars.migration.definitions.samples import (
    DECRYPTING,
    ENCRYPTING,
    HIDING,
    NAME,
    NOTES,
    NOTES_TREE,
    RESEALING,
    SHOWING,
    TREE,
    TURNING,
    Document,
    form,
    holds,
    index,
    moved,
)


def converted(chosen: Document, width: Width, change: ClassChange = ENCRYPTING) -> Document:
    way = Way(change, width)
    found = convert_filter(chosen, TREE if change.versions else NOTES_TREE, way)
    assert way.lost == []
    return found


def lost(chosen: Document, change: ClassChange = ENCRYPTING) -> list[str]:
    way = Way(change, Width.NEW)
    convert_filter(chosen, TREE if change.versions else NOTES_TREE, way)
    return way.lost


DOCUMENTS: list[Document] = [
    {},
    {"name": None},
    {"name": "ann", "age": 5, "ward": "a"},
    {"name": "bob", "kin": [{"name": "ann"}, {"name": "cyd", "ward": 1}]},
    {"name": ["ann", "cyd"], "ward": "b"},
    {"kin": {"name": "bob"}, "age": 70},
    {"kin": [], "name": "cyd"},
]
FILTERS: list[Document] = [
    {"name": "ann"},
    {"name": {"$eq": "ann"}, "ward": "a"},
    {"name": {"$ne": "ann"}},
    {"name": {"$in": ["ann", None]}},
    {"name": {"$nin": ["ann", "bob"]}},
    {"name": {"$type": "string"}},
    {"name": {"$exists": True, "$type": ["string", "null"]}},
    {"name": {"$not": {"$eq": "bob"}}},
    {"name": {"$size": 2}},
    {"kin.name": "cyd"},
    {"kin": {"$elemMatch": {"name": "cyd", "ward": 1}}},
    {"age": {"$in": [5, 70.0]}},
    {"$and": [{"name": "bob"}, {"kin.name": "ann"}]},
    {"$or": [{"name": "cyd"}, {"age": 70}]},
    {"$nor": [{"name": "cyd"}, {"age": {"$type": "number"}}]},
    {"ward": {"$gt": "a"}, "kin": {"$exists": True}},
]


@pytest.mark.parametrize("chosen", FILTERS, ids=str)
def test_a_filter_says_the_same_of_each_document_at_any_moment(chosen: Document) -> None:
    wide, new = converted(chosen, Width.WIDE), converted(chosen, Width.NEW)
    for document in DOCUMENTS:
        expected = holds(document, chosen)
        for paths in ((), ("name",), ("kin",), ("name", "age"), ("name", "kin", "age")):
            assert holds(moved(document, paths), wide) == expected, (document, paths)
        assert holds(moved(document), new) == expected, document


def test_a_constant_moves_from_key_to_key() -> None:
    old = form("ann")
    new = form(old, TURNING)
    assert (old != new, form("ann") == old) == (True, True)
    assert converted({"name": old}, Width.WIDE, TURNING) == {"name": {"$in": [old, new]}}
    assert converted({"name": {"$ne": old}}, Width.NEW, TURNING) == {"name": {"$ne": new}}
    assert converted({"name": {"$type": "binData"}}, Width.WIDE, TURNING) == {"name": {"$type": "binData"}}


def test_what_no_value_of_the_class_equals_stays() -> None:
    assert converted({"name": 5}, Width.WIDE) == {"name": 5}
    assert converted({"age": {"$in": [5.5]}}, Width.NEW) == {"age": {"$in": [5.5]}}
    assert converted({"name": form("ann")}, Width.NEW) == {"name": form("ann")}


def test_a_random_class_keeps_whether_there_is_a_value() -> None:
    for chosen in ({"notes": {"$exists": True}}, {"notes": None}, {"visits": {"$size": 2}}):
        assert converted(chosen, Width.NEW, HIDING) == chosen
    typed = {"notes": {"$type": ["string", "null"]}}
    assert converted(typed, Width.WIDE, HIDING) == {"notes": {"$type": ["string", "null", "binData"]}}
    assert converted(typed, Width.NEW, HIDING) == {"notes": {"$type": ["binData", "null"]}}


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"name": {"$regex": "^a"}}, "name: $regex on the path"),
        ({"name": {"$gt": "a"}, "ward": 1}, "name: $gt on the path"),
        ({"name": {"$not": {"$gt": "a"}}}, "name: $gt on the path"),
        ({"$nor": [{"name": {"$gt": "a"}}]}, "$gt on the path"),
        ({"kin": {"name": "ann"}}, "kin: a constant that is a document or an array"),
        ({"kin": {"$gt": 1}}, "kin: $gt on what holds one of the paths"),
        ({"$expr": {"$gt": ["$kin", 1]}}, "$expr with one of the paths"),
        ({"name": {"$elemMatch": {"ward": 1}}}, "name: $elemMatch on the path"),
        (
            {"name": {"$eq": "a", "$in": ["a"], "$all": [["x"]]}},
            "name: a constant that is a document or an array",
        ),
    ],
)
def test_what_has_no_meaning_for_ciphertext_is_named(chosen: Document, named: str) -> None:
    assert lost(chosen) == [named]


@pytest.mark.parametrize(
    "chosen",
    [
        {"notes": "x"},
        {"notes": {"$in": ["x"]}},
        {"notes": {"$size": 1}},
        {"notes.deeper": 1},
        {"$nor": [{"notes": {"$type": "string"}}]},
    ],
)
def test_a_random_class_loses_what_looks_at_values(chosen: Document) -> None:
    assert len(lost(chosen, HIDING)) == 1


def test_expressions_name_paths_by_themselves_and_by_the_whole_document() -> None:
    assert names_a_path({"$gt": ["$name", 1]}, TREE)
    assert names_a_path(["$$ROOT.kin.name"], TREE)
    assert names_a_path("$$ROOT", TREE)
    assert not names_a_path({"$gt": ["$ward", "name"]}, TREE)
    assert not names_a_path("$$NOW", TREE)


def test_equal_numbers_of_two_types_are_two_constants() -> None:
    assert both([1, 1.0], [1, True]) == [1, 1.0, True]


def test_a_class_with_a_key_for_each_context_has_no_one_form_of_a_constant() -> None:
    tree = PathNode("", {b"name": PathNode("name", leaf=replace(NAME, per=b"tenant"))})
    way = Way(ENCRYPTING, Width.NEW)
    convert_filter({"name": "ann"}, tree, way)
    assert way.lost == ["name: a constant, and the class has a key for each context"]


# The table of what indexes keep, and how an index is read for it.


KEPT, USELESS, LOST, IN_THE_WAY = (
    Judgement.KEPT,
    Judgement.USELESS,
    Judgement.LOST,
    Judgement.IN_THE_WAY,
)


def judged(change: ClassChange, leaf: FieldClass = NAME, **options: Any) -> Judgement:
    found, _, _ = judge_index(index("i", **options).content, {"a.b": leaf}, change)
    return found


@pytest.mark.parametrize(
    ("options", "deterministic", "random"),
    [
        ({"key": {"a.b": 1}}, (KEPT, KEPT, KEPT), (USELESS, KEPT, KEPT)),
        ({"key": {"x": 1, "a.b": -1}, "sparse": True}, (KEPT, KEPT, KEPT), (USELESS, KEPT, KEPT)),
        ({"key": {"a": 1}}, (KEPT, KEPT, KEPT), (USELESS, KEPT, KEPT)),
        ({"key": {"a.b": 1}, "unique": True}, (KEPT, KEPT, KEPT), (LOST, KEPT, LOST)),
        ({"key": {"a.b": 1}, "expireAfterSeconds": 9}, (LOST, KEPT, LOST), (LOST, KEPT, LOST)),
        ({"key": {"_fts": "text"}, "weights": {"a.b": 1}}, (LOST, KEPT, KEPT), (LOST, KEPT, KEPT)),
        ({"key": {"_fts": "text"}, "weights": {"$**": 1}}, (LOST, KEPT, KEPT), (LOST, KEPT, KEPT)),
        ({"key": {"a.b": "2dsphere"}}, (IN_THE_WAY, IN_THE_WAY, KEPT), (IN_THE_WAY, IN_THE_WAY, KEPT)),
        ({"key": {"a.b": "hashed"}}, (KEPT, KEPT, KEPT), (USELESS, KEPT, KEPT)),
        ({"key": {"$**": 1}}, (KEPT, KEPT, KEPT), (USELESS, KEPT, KEPT)),
        ({"key": {"a.$**": 1}}, (KEPT, KEPT, KEPT), (USELESS, KEPT, KEPT)),
        ({"key": {"a.b": 1}, "collation": {"locale": "en"}}, (LOST, KEPT, KEPT), (USELESS, KEPT, KEPT)),
        ({"key": {"x": 1}, "unique": True, "expireAfterSeconds": 9}, (KEPT,) * 3, (KEPT,) * 3),
    ],
    ids=str,
)
def test_every_kind_of_index(
    options: dict[str, Any], deterministic: tuple[Judgement, ...], random: tuple[Judgement, ...]
) -> None:
    for change, expected in zip((ENCRYPTING, TURNING, DECRYPTING), deterministic, strict=True):
        assert judged(change, **options) is expected
    for change, expected in zip((HIDING, RESEALING, SHOWING), random, strict=True):
        assert judged(change, NOTES, **options) is expected


def test_a_collation_means_nothing_to_numbers() -> None:
    number = FieldClass("n", Mode.DETERMINISTIC, ValueType.LONG)
    assert judged(ENCRYPTING, number, key={"a.b": 1}, collation={"locale": "en"}) is KEPT


@pytest.mark.parametrize(
    ("per", "key", "expected"),
    [
        (b"tenant", {"a.b": 1}, LOST),
        (b"tenant", {"tenant": 1, "a.b": 1}, KEPT),
        (b"./tenant", {"tenant": 1, "a.b": 1}, LOST),
        (b"./tenant", {"a.b": 1, "a.tenant": 1}, KEPT),
        (b"$database", {"a.b": 1}, KEPT),
    ],
)
def test_a_unique_index_is_about_contexts_too(per: bytes, key: dict[str, int], expected: Judgement) -> None:
    """Else it would take what it refused: equal values of two contexts."""
    keyed = FieldClass("n", Mode.DETERMINISTIC, ValueType.STRING, per=per)
    assert judged(ENCRYPTING, keyed, key=key, unique=True) is expected
    assert judged(TURNING, keyed, key=key, unique=True) is KEPT


def test_the_paths_and_each_reason_are_named_once() -> None:
    content = index("i", key={"a.b": 1, "a.c": 1, "x": 1}, unique=True).content
    judgement, paths, why = judge_index(content, {"a.b": NOTES, "a.c": NOTES, "z": NOTES}, HIDING)
    assert (judgement, paths) == (LOST, ("a.b", "a.c"))
    assert why == (TABLE[Trait.PLAIN].why, TABLE[Trait.UNIQUE].why)


def test_every_trait_has_a_row() -> None:
    assert set(TABLE) == set(Trait)
