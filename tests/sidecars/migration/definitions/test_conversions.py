"""Definitions are widened before a move and narrowed after it, whatever ends a step; and go back."""

from dataclasses import replace
from typing import Any

import pytest

from sealwire.policies.file.schema import FieldClass, Mode, PathNode, PolicySet, ValueType
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.definitions.constants import ClassChange, Width, both
from sealwire.sidecars.migration.definitions.conversions import (
    TABLE,
    WIDE_PREFIX,
    Conversions,
    Judgement,
    Trait,
    ViewPaths,
    judge_index,
)
from sealwire.sidecars.migration.definitions.filters import Way, convert_filter, convert_schema, names_a_path
from sealwire.sidecars.migration.definitions.server import (
    Definition,
    DefinitionKind,
    MemoryRecords,
    opened,
    sealed,
)
from tests.sidecars.migration.definitions.samples import (
    CIPHER,
    DECRYPTING,
    ENCRYPTING,
    HIDING,
    KEYRING,
    MOVED,
    MOVED_NOTES,
    NAME,
    NOTES,
    NOTES_TREE,
    PATIENTS,
    RESEALING,
    SHOWING,
    TREE,
    TURNING,
    Document,
    MemoryDefinitions,
    form,
    holds,
    index,
    moved,
    validator,
    view,
)
from tests.support.reasons import raising

SCHEMA: Document = {"$jsonSchema": {"properties": {"name": {"bsonType": "string", "enum": ["ann"]}}}}
PARTIAL = index("some", key={"ward": 1}, unique=True, partialFilterExpression={"name": "ann"})
SEEN = view("seen", [{"$match": {"name": {"$ne": "ann"}}}, {"$project": {"ward": 1}}])


def conversions(
    server: MemoryDefinitions, records: MemoryRecords, change: ClassChange = ENCRYPTING, *accepted: str
) -> Conversions:
    return Conversions(
        server, records, (MOVED if change.versions else MOVED_NOTES).collections, change, accepted
    )


def everything() -> MemoryDefinitions:
    plain = index("plain", key={"name": 1}, unique=True)
    return MemoryDefinitions([validator(SCHEMA), PARTIAL, SEEN, plain, view("other", [{"$limit": 1}])])


def content(server: MemoryDefinitions, name: str) -> Document:
    return dict(next(each for each in server.found if each.name == name).content)


def test_each_is_widened_and_narrowed_and_a_unique_index_always_stands() -> None:
    server, records = everything(), MemoryRecords()
    move = conversions(server, records)
    assert {each.name: each.judgement for each in move.judged()} == {
        "validator": Judgement.CONVERTED,
        "some": Judgement.CONVERTED,
        "seen": Judgement.CONVERTED,
        "plain": Judgement.KEPT,
    }
    move.widen()
    wide = f"{WIDE_PREFIX}some"
    assert content(server, wide)["partialFilterExpression"] == {"name": {"$in": ["ann", form("ann")]}}
    assert content(server, "seen")["pipeline"][0] == {"$match": {"name": {"$nin": ["ann", form("ann")]}}}
    assert server.steps.index(f"make {wide}") < server.steps.index("drop some")
    assert move.narrow() == []
    assert content(server, "some")["partialFilterExpression"] == {"name": form("ann")}
    assert content(server, "seen")["pipeline"][0] == {"$match": {"name": {"$ne": form("ann")}}}
    narrow = content(server, "validator")["$jsonSchema"]["properties"]["name"]
    assert narrow == {"bsonType": "binData", "enum": [form("ann")]}
    assert server.steps.index("make some") < server.steps.index(f"drop {wide}")
    assert content(server, "plain")["unique"]


def test_every_step_may_be_the_last_of_a_process() -> None:
    whole = everything()
    records = MemoryRecords()
    conversions(whole, records).widen()
    conversions(whole, records).narrow()
    expected = sorted(map(repr, map(dict, (each.content for each in whole.found))))
    for step in range(len(whole.steps)):
        server, records = everything(), MemoryRecords()
        server.die_at = step
        for _ in range(2):
            try:
                conversions(server, records).widen()
                conversions(server, records).narrow()
            except InterruptedError:
                continue
        assert sorted(map(repr, map(dict, (each.content for each in server.found)))) == expected, step
        assert any(each.name.endswith("some") for each in server.found)


def test_the_way_back_restores_what_was_there_to_the_letter() -> None:
    schema = {"$jsonSchema": {"properties": {"name": {"type": "string", "pattern": "^a"}}}}
    server, records = MemoryDefinitions([validator(schema), PARTIAL]), MemoryRecords()
    there = conversions(server, records, ENCRYPTING, "validator")
    there.widen()
    there.narrow()
    assert content(server, "validator") != schema
    back = conversions(server, records, ClassChange.of_versions(KEYRING, *DECRYPTING.versions or ()))
    back.widen()
    assert back.narrow() == []
    assert content(server, "validator") == schema
    assert content(server, "some") == PARTIAL.content


def test_a_job_that_was_aborted_leaves_the_wide_form_and_the_other_way_ends_it() -> None:
    server, records = MemoryDefinitions([validator(SCHEMA)]), MemoryRecords()
    conversions(server, records).widen()
    wide = content(server, "validator")
    back = conversions(server, records, DECRYPTING)
    back.widen()
    assert content(server, "validator") == wide
    back.narrow()
    assert content(server, "validator") == SCHEMA


def test_a_wide_definition_is_in_the_way_of_another_job() -> None:
    server, records = MemoryDefinitions([validator(SCHEMA)]), MemoryRecords()
    conversions(server, records).widen()
    with raising(Unusable, MigrationReason.OBSTACLE):
        conversions(server, records, TURNING).check()
    orphan = MemoryDefinitions([index(f"{WIDE_PREFIX}some", key={"ward": 1})])
    assert conversions(orphan, MemoryRecords()).judged()[0].judgement is Judgement.IN_THE_WAY


def test_from_key_to_key_constants_move_as_well() -> None:
    server, records = everything(), MemoryRecords()
    conversions(server, records).widen()
    conversions(server, records).narrow()
    turn = conversions(server, records, TURNING)
    turn.widen()
    turn.narrow()
    assert content(server, "seen")["pipeline"][0]["$match"]["name"] == {"$ne": form(form("ann"), TURNING)}
    back = conversions(server, records, DECRYPTING)
    back.widen()
    back.narrow()
    assert content(server, "seen") == SEEN.content
    assert content(server, "validator") == SCHEMA


def test_what_somebody_changed_meanwhile_stays_and_is_named() -> None:
    server, records = MemoryDefinitions([validator(SCHEMA)]), MemoryRecords()
    move = conversions(server, records)
    move.widen()
    server.found = [validator({"ward": 1})]
    assert move.narrow() == [f"validator {PATIENTS} validator"]
    assert content(server, "validator") == {"ward": 1}


@pytest.mark.parametrize(
    "definition",
    [
        index("lost", key={"name": 1}, expireAfterSeconds=5),
        index("lost", key={"ward": 1}, partialFilterExpression={"name": {"$gt": "a"}}),
        view("lost", [{"$match": {"name": {"$regex": "^a"}}}]),
        view("lost", [{"$project": {"is": {"$eq": ["$name", "ann"]}}}]),
        view("lost", [{"$project": {"is": {"$toUpper": "$name"}}}]),
        validator({"name": {"$gt": "a"}}),
    ],
    ids=repr,
)
def test_a_loss_is_refused_until_it_is_accepted(definition: Definition) -> None:
    server, records = MemoryDefinitions([definition]), MemoryRecords()
    with raising(Unusable, MigrationReason.OBSTACLE) as caught:
        conversions(server, records).widen()
    assert "ann" not in str(caught.value)
    assert (server.steps, records.names()) == ([], [])
    conversions(server, records, ENCRYPTING, definition.name).widen()
    stays = definition.kind is not DefinitionKind.VALIDATOR
    assert (server.found == [definition]) == stays


def test_what_the_server_would_refuse_cannot_be_accepted() -> None:
    server = MemoryDefinitions([index("geo", key={"name": "2dsphere"})])
    with pytest.raises(Unusable):
        conversions(server, MemoryRecords(), ENCRYPTING, "geo").check()


def test_a_view_of_a_view_is_followed_and_others_are_not() -> None:
    renamed = view("renamed", [{"$project": {"who": "$name"}}])
    nested = view("nested", [{"$match": {"who": "ann"}}], on="renamed")
    lookup = view(
        "joined",
        [{"$lookup": {"from": "patients", "as": "p", "pipeline": [{"$match": {"name": "a"}}]}}],
        on="x",
    )
    server = MemoryDefinitions([renamed, nested, lookup, view("far", [{"$match": {"name": "a"}}], on="x")])
    found = {each.name: each.judgement for each in conversions(server, MemoryRecords()).judged()}
    assert found == {"nested": Judgement.CONVERTED, "joined": Judgement.LOST}


def test_random_classes_change_definitions_only_from_and_to_plaintext() -> None:
    schema = {"$jsonSchema": {"properties": {"notes": {"bsonType": "string"}}}}
    server, records = MemoryDefinitions([validator(schema)]), MemoryRecords()
    hide = conversions(server, records, HIDING)
    hide.widen()
    hide.narrow()
    assert content(server, "validator")["$jsonSchema"]["properties"]["notes"] == {"bsonType": "binData"}
    again = conversions(server, records, RESEALING)
    again.widen()
    assert (again.judged(), again.narrow()) == ([], [])
    show = conversions(server, records, SHOWING)
    show.widen()
    show.narrow()
    assert content(server, "validator") == schema


def test_forms_are_kept_sealed_and_only_their_key_opens_them() -> None:
    server, records = MemoryDefinitions([validator(SCHEMA)]), MemoryRecords()
    conversions(server, records).widen()
    (name,) = records.names()
    forms = records.load(name)
    assert forms is not None
    document = sealed(name, forms, CIPHER)
    assert b"ann" not in bytes(document["sealed"])
    assert "ann" not in repr(forms)
    assert opened(document, KEYRING) == forms
    assert opened({**document, "_id": "another"}, KEYRING) is None
    assert opened({**document, "version": 9}, KEYRING) is None


@pytest.mark.parametrize(
    ("stages", "is_lost"),
    [
        ([{"$group": {"_id": "$name"}}], True),
        ([{"$match": {"ward": {"$gt": 5}}}, {"$group": {"_id": "$name"}}], True),
        ([{"$unwind": {"path": "$x", "includeArrayIndex": "ward"}}, {"$sortByCount": "$name"}], True),
        ([{"$match": {"ward": 5}}, {"$group": {"_id": "$name"}}], False),
        ([{"$sort": {"x": 1}}, {"$group": {"_id": {"w": "$ward", "n": "$name"}}}], False),
    ],
    ids=repr,
)
def test_a_view_that_compares_several_contexts_is_lost(stages: list[dict[str, Any]], is_lost: bool) -> None:
    name = replace(NAME, per=b"ward")
    policies = PolicySet({"name": name}, {PATIENTS: PathNode("", {b"name": PathNode("name", leaf=name)})})
    paths, way = ViewPaths(policies, "clinic", {}), Way(ENCRYPTING, Width.NEW)
    paths.converted("patients", stages, way)
    assert bool(way.lost) == is_lost


# What a schema says of a document, before the move, while it goes on, and after it.


def converted(schema: Document, width: Width, change: ClassChange = ENCRYPTING) -> tuple[Document, list[str]]:
    way = Way(change, width)
    return convert_schema(schema, TREE if change.versions else NOTES_TREE, way), way.lost


def name(schema: Document) -> Document:
    return {"properties": {"name": schema}}


DOCUMENTS: list[Document] = [
    {},
    {"name": None},
    {"name": 5},
    {"name": "ann", "age": 5},
    {"name": "bob", "kin": [{"name": "ann"}, {"name": "cyd", "ward": 1}]},
    {"name": ["ann", "cyd"], "ward": "b"},
    {"kin": {"name": "bob"}, "age": 70},
]
SCHEMAS: list[Document] = [
    name({"bsonType": "string", "description": "who it is"}),
    name({"type": ["string", "null"]}),
    name({"enum": ["ann", None]}),
    name({"bsonType": ["string", "array"], "items": {"enum": ["ann", "cyd"]}, "maxItems": 2}),
    name({"anyOf": [{"bsonType": "string"}, {"bsonType": "null"}], "bsonType": ["string", "null"]}),
    name({"not": {"enum": ["bob"]}}),
    {"not": name({"enum": ["bob"]})},
    {"oneOf": [name({"enum": ["ann"]}), {"required": ["kin"]}]},
    {"required": ["name"], "properties": {"age": {"bsonType": "number"}, "ward": {"minLength": 1}}},
    {"properties": {"kin": {"bsonType": "array", "items": {"properties": {"name": {"bsonType": "string"}}}}}},
    {"properties": {"kin": {"properties": {"name": {"enum": ["bob"]}}}}},
    {"patternProperties": {"^na": {"bsonType": "string"}}},
    {"dependencies": {"kin": name({"bsonType": "string"}), "ward": ["name"]}},
    {"allOf": [name({"bsonType": "string"}), {"properties": {"age": {"enum": [5, 70]}}}]},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_a_schema_says_the_same_of_each_document_at_any_moment(schema: Document) -> None:
    (wide, lost), (new, _) = converted(schema, Width.WIDE), converted(schema, Width.NEW)
    assert lost == []
    for document in DOCUMENTS:
        expected = holds(document, {"$jsonSchema": schema})
        for paths in ((), ("name",), ("kin",), ("name", "kin", "age")):
            assert holds(moved(document, paths), {"$jsonSchema": wide}) == expected, (document, paths)
        assert holds(moved(document), {"$jsonSchema": new}) == expected, document


def test_what_says_nothing_of_the_paths_stays_as_it_is() -> None:
    schema = {"title": "t", "required": ["name"], "properties": {"ward": {"pattern": "^a"}}}
    assert converted(schema, Width.WIDE) == (schema, [])
    assert converted(name({"description": "d"}), Width.NEW) == (name({"description": "d"}), [])


@pytest.mark.parametrize(
    ("schema", "left", "named"),
    [
        (name({"bsonType": "string", "pattern": "^a"}), name({"bsonType": "binData"}), "name: pattern"),
        (name({"minLength": 2}), name({}), "name: minLength"),
        (name({"not": {"pattern": "^a"}}), name({}), "name: not"),
        ({"not": name({"pattern": "^a"})}, {}, "not"),
        ({"additionalProperties": {"bsonType": "string"}}, {}, "additionalProperties"),
        ({"patternProperties": {"a": {"bsonType": "string"}}}, {}, "patternProperties"),
        ({"enum": [{"name": "ann"}]}, {}, "enum"),
    ],
)
def test_what_is_lost_is_named_and_left_out(schema: Document, left: Document, named: str) -> None:
    new, lost = converted(schema, Width.NEW)
    assert new == left
    assert [each[: len(named)] for each in lost] == [named]
    wide, _ = converted(schema, Width.WIDE)
    for document in DOCUMENTS:
        if holds(document, {"$jsonSchema": schema}):
            assert holds(document, {"$jsonSchema": wide})
            assert holds(moved(document), {"$jsonSchema": wide})
            assert holds(moved(document), {"$jsonSchema": new})


def test_a_random_class_keeps_that_there_is_a_value() -> None:
    schema = {"properties": {"notes": {"bsonType": ["string", "null"]}, "visits": {"minItems": 1}}}
    new, lost = converted(schema, Width.NEW, HIDING)
    assert (new["properties"]["notes"], lost) == ({"bsonType": ["binData", "null"]}, [])
    _, lost = converted({"properties": {"notes": {"enum": ["x"], "items": {}}}}, Width.NEW, HIDING)
    assert len(lost) == 2
    _, lost = converted({"properties": {"notes": {"not": {"bsonType": "int"}}}}, Width.NEW, HIDING)
    assert len(lost) == 1


def test_back_in_clear_a_class_has_its_type_again() -> None:
    sealed = name({"bsonType": "binData", "enum": [form("ann")], "minLength": 1})
    # what the third version made of it
    assert converted(sealed, Width.NEW, DECRYPTING)[0] == name(
        {"bsonType": "string", "enum": ["ann"], "minLength": 1}
    )
    hidden = {"properties": {"notes": {"bsonType": "binData"}}}
    new, lost = converted(hidden, Width.NEW, SHOWING)
    assert (new["properties"]["notes"], len(lost)) == ({}, 1)


# What a filter says of a document, before the move, while it goes on, and after it.


def converted_filter(chosen: Document, width: Width, change: ClassChange = ENCRYPTING) -> Document:
    way = Way(change, width)
    found = convert_filter(chosen, TREE if change.versions else NOTES_TREE, way)
    assert way.lost == []
    return found


def lost(chosen: Document, change: ClassChange = ENCRYPTING) -> list[str]:
    way = Way(change, Width.NEW)
    convert_filter(chosen, TREE if change.versions else NOTES_TREE, way)
    return way.lost


FILTERED_DOCUMENTS: list[Document] = [
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
    wide, new = converted_filter(chosen, Width.WIDE), converted_filter(chosen, Width.NEW)
    for document in FILTERED_DOCUMENTS:
        expected = holds(document, chosen)
        for paths in ((), ("name",), ("kin",), ("name", "age"), ("name", "kin", "age")):
            assert holds(moved(document, paths), wide) == expected, (document, paths)
        assert holds(moved(document), new) == expected, document


def test_a_constant_moves_from_key_to_key() -> None:
    old = form("ann")
    new = form(old, TURNING)
    assert (old != new, form("ann") == old) == (True, True)
    assert converted_filter({"name": old}, Width.WIDE, TURNING) == {"name": {"$in": [old, new]}}
    assert converted_filter({"name": {"$ne": old}}, Width.NEW, TURNING) == {"name": {"$ne": new}}
    assert converted_filter({"name": {"$type": "binData"}}, Width.WIDE, TURNING) == {
        "name": {"$type": "binData"}
    }


def test_what_no_value_of_the_class_equals_stays() -> None:
    assert converted_filter({"name": 5}, Width.WIDE) == {"name": 5}
    assert converted_filter({"age": {"$in": [5.5]}}, Width.NEW) == {"age": {"$in": [5.5]}}
    assert converted_filter({"name": form("ann")}, Width.NEW) == {"name": form("ann")}


def test_a_random_class_keeps_whether_there_is_a_value() -> None:
    for chosen in ({"notes": {"$exists": True}}, {"notes": None}, {"visits": {"$size": 2}}):
        assert converted_filter(chosen, Width.NEW, HIDING) == chosen
    typed = {"notes": {"$type": ["string", "null"]}}
    assert converted_filter(typed, Width.WIDE, HIDING) == {"notes": {"$type": ["string", "null", "binData"]}}
    assert converted_filter(typed, Width.NEW, HIDING) == {"notes": {"$type": ["binData", "null"]}}


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


KEPT, USELESS, LOST, IN_THE_WAY = (Judgement.KEPT, Judgement.USELESS, Judgement.LOST, Judgement.IN_THE_WAY)


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
