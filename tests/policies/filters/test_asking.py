"""Conditions that the server is asked about: where, what is asked, and what takes their place."""

import math
import re
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, MinKey, ObjectId, encode
from bson.raw_bson import RawBSONDocument

from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.filters import asking, filters
from sealwire.policies.planning.plan import Compared, ListPlace, Plan, RangeEdit
from sealwire.policies.questions.asked import Answers, ValuesJudgement, ValuesQuestion, ValuesUnknown
from sealwire.policies.questions.conditions import HeldValue, SortOrder
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import enclosed
from tests.policies.questions.test_conditions import value
from tests.policies.support import find, run
from tests.support.policies import policy_of
from tests.support.reasons import raising
from tests.support.rows import rows

POLICY = policy_of("""
version: 1
classes:
  surname: {mode: deterministic, type: string, ask: true}
  visits: {mode: deterministic, type: long, ask: true}
  year: {mode: deterministic, type: int, range: {from: 1900, to: 2100}, ask: true}
  mute: {mode: deterministic, type: string}
  notes: {mode: random}
collections:
  clinic.patients:
    {surname: surname, visits: visits, year: year, mute: mute, notes: notes, kin.surname: surname}
  clinic.staff: {surname: surname, mute: mute}
  clinic.wards: {head: mute}
""")
STORED = ["Sabine", "Sabatini", "Smith", "Jones"]


def plan(
    command: dict[str, Any], stored: list[Any], *, is_single: bool = True, policy: PolicySet = POLICY
) -> tuple[Plan, list[ValuesQuestion]]:
    """The plan once all questions are answered by these values, and the questions."""
    answers = Answers()
    questions: list[ValuesQuestion] = []
    while True:
        try:
            buf = encode({**command, "$db": "clinic"})
            return plan_command(policy, buf, 0, answers=answers), questions
        except ValuesUnknown as unknown:
            questions.append(unknown.question)
            for each in stored:
                unknown.judgement.take(HeldValue(value(each), value(each)))
            if not is_single:
                unknown.judgement.take_several()
            answers.learn(unknown.question, unknown.judgement.answer())


def lists(made: Plan) -> list[tuple[ListPlace, list[Any]]]:
    return [
        (edit.place, [text[4:-1].decode() if kind == 2 else text for kind, text in edit.values()])
        for edit in made.edits
        if isinstance(edit, RangeEdit)
    ]


IN, BESIDE, VALUE, ITEM = ListPlace.OPERATOR, ListPlace.BESIDE, ListPlace.VALUE, ListPlace.ITEM


@rows(
    "condition, found",
    ({"$regex": "^Sab"}, [(IN, ["Sabine", "Sabatini"])]),
    ({"$regex": "^sab", "$options": "i"}, [(IN, ["Sabine", "Sabatini"])]),
    ({"$regex": re.compile("^S")}, [(IN, ["Sabine", "Sabatini", "Smith"])]),
    (re.compile("ith$"), [(VALUE, ["Smith"])]),
    ({"$in": [re.compile("^J"), "Smith"]}, [(ITEM, ["Jones"])]),
    ({"$gt": "Sab", "$lte": "Sabine"}, [(IN, ["Sabine", "Sabatini"])]),
    ({"$gt": "Sab", "$regex": "h$"}, [(IN, ["Smith"])]),
    ({"$gt": "Sc", "$in": ["Smith"]}, [(BESIDE, ["Smith"])]),
    ({"$gt": "Sc", "$not": {"$in": ["Smith"]}}, [(IN, ["Smith"])]),
    ({"$gt": 5}, [(IN, [])]),
)
def test_a_list_takes_the_place_of_what_ciphertext_cannot_answer(
    condition: Any, found: list[tuple[ListPlace, list[str]]]
) -> None:
    made, questions = plan(find({"surname": condition}), STORED)
    assert lists(made) == found
    assert [(each.namespace, each.path) for each in questions] == [("clinic.patients", "surname")]


def test_an_explained_command_asks_as_well() -> None:
    made, questions = plan({"explain": find({"surname": {"$regex": "^Sab"}})}, STORED)
    assert lists(made) == [(IN, ["Sabine", "Sabatini"])]
    assert [each.path for each in questions] == ["surname"]


@rows(
    "condition, count",
    ({"$mod": [20, 0]}, 2),
    ({"$bitsAllSet": 2}, 2),
    ({"$bitsAnySet": [1, 2]}, 3),
    ({"$bitsAllClear": Binary(b"\x02")}, 2),
    ({"$gte": 10, "$lt": Decimal128("30")}, 2),
)
def test_numbers_are_asked_about_as_well(condition: Any, count: int) -> None:
    made, _ = plan(find({"visits": condition}), [Int64(number) for number in (0, 10, 20, 30)])
    assert [len(listed) for _, listed in lists(made)] == [count]


def test_operators_on_values_in_arrays_get_lists_of_their_own() -> None:
    between = find({"surname": {"$gt": "Sabine", "$lt": "Sabz"}})
    made, _ = plan(between, STORED, is_single=False)
    assert lists(made) == [(IN, ["Smith"]), (BESIDE, ["Sabine", "Sabatini", "Jones"])]
    between["filter"]["surname"]["$in"] = ["Smith"]
    with raising(Refusal, Reason.QUESTION):
        plan(between, STORED, is_single=False)


@rows(
    "command",
    find({"$or": [{"surname": {"$regex": "^S"}}, {"visits": 1}]}),
    find({"kin": {"$elemMatch": {"surname": {"$regex": "^S"}}}}),
    {"count": "patients", "query": {"surname": {"$regex": "^S"}}},
    {"distinct": "patients", "key": "mute", "query": {"surname": {"$regex": "^S"}}},
    {"aggregate": "patients", "cursor": {}, "pipeline": [{"$match": {"surname": {"$regex": "^S"}}}]},
    {
        "aggregate": "patients",
        "cursor": {},
        "pipeline": [{"$limit": 5}, {"$match": {"surname": {"$regex": "^S"}}}],
    },
    {**find({"surname": {"$regex": "^S"}}), "readConcern": {"level": "majority"}},
    {**find({"surname": {"$regex": "^S"}}), "readConcern": {"level": "snapshot"}},
    {**find({"surname": {"$regex": "^S"}}), "readConcern": {"afterClusterTime": 1}},
)
def test_a_read_asks_wherever_its_filter_is_on_stored_documents(command: dict[str, Any]) -> None:
    made, questions = plan(command, STORED)
    assert [len(listed) for _, listed in lists(made)] == [3]
    assert len(questions) == 1


@rows(
    "command, reason",
    (Reason.PATTERN, find({"mute": {"$regex": "^S"}})),
    (Reason.PATTERN, find({"notes": {"$regex": "^S"}})),
    (Reason.PATTERN, find({"surname": {"$all": [re.compile("^S")]}})),
    (Reason.PATTERN, find({"surname": {"$eq": re.compile("^S")}})),
    (Reason.PATTERN, find({"surname": {"$regex": "(?R)"}})),
    (Reason.SHAPE, find({"surname": {"$regex": 5}})),
    (Reason.SHAPE, find({"surname": {"$regex": re.compile("S", re.I), "$options": "i"}})),
    (Reason.RANGE, find({"surname": {"$gt": MinKey()}})),
    (Reason.SHAPE, find({"visits": {"$mod": [4]}})),
    (Reason.SHAPE, find({"visits": {"$bitsAllSet": -1}})),
    (Reason.SHAPE, find({"visits": {"$bitsAllSet": [-1]}})),
    (Reason.SHAPE, find({"visits": {"$bitsAllSet": Binary(bytes(4096))}})),
    (Reason.SHAPE, find({"visits": {"$bitsAllSet": "x"}})),
    (Reason.COLLATION, {**find({"surname": {"$gt": "S"}}), "collation": {"locale": "sv", "strength": 2}}),
    (Reason.RANGE, {**find({"surname": {"$gt": "S"}}), "tailable": True}),
    (Reason.RANGE, {**find({"surname": {"$gt": "S"}}), "readConcern": {"level": "linearizable"}}),
    (Reason.RANGE, {"explain": {**find({"surname": {"$gt": "S"}}), "tailable": True}}),
    (
        Reason.RANGE,
        {
            "aggregate": "patients",
            "cursor": {},
            "pipeline": [{"$set": {"surname": "$kin.surname"}}, {"$match": {"surname": {"$gt": "S"}}}],
        },
    ),
    # what leads into arrays in arrays is not asked
    (Reason.RANGE, find({"kin.0.surname": {"$gt": "S"}})),
    (Reason.RANGE, find({"surname.0": {"$gt": "S"}})),
    (Reason.RANGE, find({"kin": {"$elemMatch": {"0.surname": {"$gt": "S"}}}})),
    (Reason.RANGE, find({"kin.0": {"$elemMatch": {"surname": {"$gt": "S"}}}})),
    (Reason.RANGE, find({"kin": {"$elemMatch": {"$elemMatch": {"surname": {"$gt": "S"}}}}})),
)
def test_anything_else_is_refused_as_ever(command: Reason, reason: Any) -> None:
    with raising(Refusal, command):
        plan(reason, STORED)


NULL, ARRAY = (10, b""), (4, b"\5\0\0\0\0")
LATER, EARLIER = ["Smith"], ["Sabine", "Sabatini", "Jones"]
NAME = "$surname"


@rows(
    "expression, found, said",
    ({"$gt": [NAME, "Sc"]}, LATER, Compared((ARRAY,), is_negated=False)),
    ({"$lt": [NAME, "Sc"]}, EARLIER, Compared((NULL,), is_negated=False)),
    ({"$gte": ["Sc", NAME]}, EARLIER, Compared((NULL,), is_negated=False)),
    ({"$lt": [{"$literal": "Sc"}, NAME]}, LATER, Compared((ARRAY,), is_negated=False)),
    ({"$gte": [NAME, Int64(5)]}, STORED, Compared((ARRAY,), is_negated=False)),
    ({"$lt": [NAME, ObjectId("a" * 24)]}, STORED, Compared((NULL, ARRAY), is_negated=False)),
    ({"$not": [{"$gt": [NAME, "Sc"]}]}, EARLIER, Compared((NULL,), is_negated=True)),
    ({"$not": {"$lt": [NAME, "Sc"]}}, LATER, Compared((ARRAY,), is_negated=True)),
    ({"$not": [{"$not": [{"$gt": [NAME, "Sc"]}]}]}, LATER, Compared((ARRAY,), is_negated=False)),
    ({"$and": [{"$or": [True, {"$gt": [NAME, "Sc"]}]}]}, LATER, Compared((ARRAY,), is_negated=False)),
)
def test_an_expression_compares_a_field_across_types(
    expression: Any, found: list[str], said: Compared
) -> None:
    """Null and missing values come before all others, and arrays behind strings."""
    made, questions = plan(find({"$expr": expression}), STORED)
    assert lists(made) == [(ListPlace.EXPRESSION, found)]
    assert [edit.compared for edit in made.edits if isinstance(edit, RangeEdit)] == [said]
    assert [each.is_outside for each in questions] == [said.is_negated]
    negated, _ = plan(find({"$nor": [{"$expr": expression}]}), STORED)
    turned = [edit.compared for edit in negated.edits if isinstance(edit, RangeEdit)]
    others = tuple(each for each in (NULL, ARRAY) if each not in said.others)
    assert turned == [Compared(others, not said.is_negated)]
    assert lists(negated) == [(ListPlace.EXPRESSION, [each for each in STORED if each not in found])]


@rows(
    "expression, reason",
    ({"$gt": [NAME, ["a"]]}, Reason.COMPUTE),
    ({"$gt": [NAME, {"a": 1}]}, Reason.COMPUTE),
    ({"$gt": [NAME, MinKey()]}, Reason.COMPUTE),
    ({"$gt": [NAME, "$$n"]}, Reason.COMPUTE),
    ({"$gt": [NAME, {"$toLower": "A"}]}, Reason.COMPUTE),
    ({"$gt": [NAME, "$kin.surname"]}, Reason.COMPUTE),
    ({"$gt": ["$$ROOT.surname", "a"]}, Reason.COMPUTE),
    ({"$gt": ["$mute", "a"]}, Reason.COMPUTE),
    ({"$gt": ["$notes", "a"]}, Reason.COMPUTE),
    ({"$gt": ["$visits", math.nan]}, Reason.RANGE),
    ({"$gt": [{"$let": {"vars": {"a": NAME}, "in": "$$a"}}, "a"]}, Reason.COMPUTE),
    ({"$cmp": [NAME, "a"]}, Reason.COMPUTE),
    ({"$eq": [{"$gt": [NAME, "a"]}, True]}, Reason.COMPUTE),
    ({"$cond": [{"$gt": [NAME, "a"]}, True, False]}, Reason.COMPUTE),
    ({"$and": [NAME]}, Reason.COMPUTE),
    ({"$not": [{"$gt": [NAME, "a"]}, True]}, Reason.SHAPE),
    ({"$gt": [NAME]}, Reason.SHAPE),
    ({"$gt": [NAME, "a"], "$lt": [NAME, "b"]}, Reason.SHAPE),
)
def test_what_an_expression_computes_is_refused_as_ever(expression: Any, reason: Reason) -> None:
    command = {**find({"$expr": expression}), "let": {"n": "a"}}
    with pytest.raises(Refusal) as caught:
        plan(command, STORED)
    assert caught.value.reason is reason


@pytest.mark.plain_core(reason="it lowers a constant")
def test_an_expression_lists_so_many_values_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "_MOST_COMPARED", 2)
    assert len(plan(find({"$expr": {"$gt": [NAME, "Sc"]}}), STORED)[1]) == 1
    with pytest.raises(Refusal) as caught:
        plan(find({"$expr": {"$lt": [NAME, "Sc"]}}), STORED)
    assert caught.value.reason is Reason.QUESTION_SIZE


def test_what_needs_no_question_asks_none() -> None:
    for condition in ({"$gte": ""}, "Smith", {"$in": ["Smith"]}, {"$exists": True}):
        assert plan(find({"surname": condition}), STORED)[1] == []
    made, questions = plan(find({"year": {"$gte": 1990, "$lt": 2000}}), [])
    assert questions == []
    assert [edit.listed for edit in made.edits if isinstance(edit, RangeEdit)] == [range(1990, 2000)]


def test_without_answers_nothing_is_asked() -> None:
    with pytest.raises(Refusal):
        plan_command(POLICY, encode({**find({"surname": {"$gt": "S"}}), "$db": "clinic"}), 0)


def test_a_list_is_paid_for() -> None:
    answers = Answers()
    command = {**find({"visits": {"$gt": 0}}), "$db": "clinic"}
    with pytest.raises(ValuesUnknown) as unknown:
        plan_command(POLICY, encode(command), 0, answers=answers)
    judgement = ValuesJudgement(unknown.value.question)
    for number in range(1, 100_001):
        judgement.take(HeldValue(value(Int64(1)), (5, number.to_bytes(4, "little"))))
    answers.learn(unknown.value.question, judgement.answer())
    command["filter"] = {"$or": [{"visits": {"$gt": 0}}] * 3}
    with raising(Refusal, Reason.RANGE_SIZE):
        plan_command(POLICY, encode(command), 0, answers=answers)


ALIKE = policy_of("""
version: 1
classes:
  surname: {mode: deterministic, type: string, ask: true}
collections:
  clinic.*: {surname: surname}
""")
MATCH = {"$match": {"surname": {"$gt": "S"}}}
GRAPH = {"startWith": "$a", "connectFromField": "b", "connectToField": "c", "as": "x"}


@rows(
    "pipeline",
    [{"$unionWith": "staff"}, MATCH],
    [{"$facet": {"all": [{"$unionWith": "staff"}, MATCH]}}],
    [{"$lookup": {"from": "staff", "as": "x", "pipeline": [{"$unionWith": "patients"}, MATCH]}}],
    [{"$graphLookup": {"from": "staff", **GRAPH, "restrictSearchWithMatch": MATCH["$match"]}}],
)
def test_a_collection_that_one_pattern_covers_as_well_is_not_taken_for_the_commands_own(
    pipeline: list[dict[str, Any]],
) -> None:
    with raising(Refusal, Reason.RANGE):
        plan({"aggregate": "patients", "cursor": {}, "pipeline": pipeline}, STORED, policy=ALIKE)


EQUAL = {"$expr": {"$eq": ["$q", "$$m"]}, "surname": {"$gt": "S"}}
LOOKUP = {"from": "staff", "as": "x", "let": {"m": "$q"}}
INNER = {"$lookup": {**LOOKUP, "pipeline": [MATCH]}}


@pytest.mark.parametrize("of", ["patients", "staff", "wards"])
@rows(
    "stage",
    {"$unionWith": {"coll": "staff", "pipeline": [MATCH]}},
    {"$lookup": {"from": "staff", "as": "x", "pipeline": [MATCH]}},
    {"$lookup": {**LOOKUP, "pipeline": [{"$match": EQUAL}]}},
    {"$lookup": {**LOOKUP, "pipeline": [{"$match": {"$expr": {"$lt": ["S", "$surname"]}}}]}},
    {"$lookup": {**LOOKUP, "pipeline": [{"$limit": 5}, {"$facet": {"a": [MATCH]}}]}},
    {"$lookup": {"from": "wards", "as": "x", "pipeline": [INNER]}},
    {"$lookup": {"from": "elsewhere", "as": "x", "pipeline": [INNER]}},
    {"$facet": {"a": [{"$unionWith": {"coll": "staff", "pipeline": [{"$limit": 9}, MATCH]}}]}},
)
def test_in_a_pipeline_on_another_collection_that_one_is_asked(of: str, stage: dict[str, Any]) -> None:
    command = {"aggregate": of, "cursor": {}, "pipeline": [{"$match": {"x": 1}}, stage]}
    made, questions = plan(command, STORED)
    assert [(each.namespace, each.path) for each in questions] == [("clinic.staff", "surname")]
    assert [found for _, found in lists(made)] == [["Sabine", "Sabatini", "Smith"]]


def test_a_collection_without_a_policy_is_joined_with_what_is_asked_for() -> None:
    made, questions = plan({"aggregate": "elsewhere", "cursor": {}, "pipeline": [INNER]}, STORED)
    assert [(each.namespace, each.path) for each in questions] == [("clinic.staff", "surname")]
    assert made.reveals


def test_each_collection_is_asked_about_its_own_documents() -> None:
    union = {"$unionWith": {"coll": "staff", "pipeline": [MATCH]}}
    command = {"aggregate": "patients", "cursor": {}, "pipeline": [MATCH, union]}
    for policy in (POLICY, ALIKE):
        made, questions = plan(command, STORED, policy=policy)
        assert [each.namespace for each in questions] == ["clinic.patients", "clinic.staff"]
        assert len(lists(made)) == 2


@rows(
    "stages",
    [{"$sort": {"surname": 1}}],
    [MATCH, {"$sort": {"surname": 1}}, {"$limit": 1}],
    [{"$group": {"_id": None, "x": {"$max": "$surname"}}}],
)
def test_the_documents_of_another_collection_are_ordered_by_all_its_values(
    stages: list[dict[str, Any]],
) -> None:
    for stage in (
        {"$lookup": {"from": "staff", "as": "x", "pipeline": stages}},
        {"$unionWith": {"coll": "staff", "pipeline": stages}},
    ):
        made, questions = plan({"aggregate": "patients", "cursor": {}, "pipeline": [stage]}, STORED)
        orders = [(each.namespace, each.order) for each in questions if each.order is not None]
        assert orders == [
            ("clinic.staff", SortOrder(False, None, None, takes_arrays="$group" not in stages[0]))
        ]
        ranked = [found for place, found in lists(made) if place is ListPlace.RANKS]
        assert ranked == [sorted(STORED)]


def test_a_command_that_may_not_ask_does_not_ask_in_a_join_either() -> None:
    lookup = {"$lookup": {"from": "staff", "as": "x", "pipeline": [MATCH]}}
    for more in ({"readConcern": {"level": "linearizable"}}, {"collation": {"locale": "sv"}}):
        with pytest.raises(Refusal) as caught:
            plan({"aggregate": "wards", "cursor": {}, "pipeline": [lookup], **more}, STORED)
        assert caught.value.reason in (Reason.RANGE, Reason.COLLATION)


def test_beside_a_join_the_commands_own_documents_are_asked_about() -> None:
    lookup = {"$lookup": {"from": "staff", "as": "x", "pipeline": [{"$match": {"surname": "Smith"}}]}}
    command = {"aggregate": "patients", "cursor": {}, "pipeline": [{"$facet": {"a": [lookup], "b": [MATCH]}}]}
    assert len(plan(command, STORED, policy=ALIKE)[1]) == 1


def test_a_range_beside_a_question_keeps_its_list() -> None:
    made, _ = plan(find({"year": {"$gte": 1990, "$lt": 1992, "$mod": [2, 0]}}), [1990])
    places = [edit.place for edit in made.edits if isinstance(edit, RangeEdit)]
    assert places == [BESIDE, IN]


def test_a_long_range_is_asked_about_and_becomes_the_stored_values() -> None:
    made, questions = plan(find({"year": {"$gte": 1949, "$lt": 2000, "$mod": [2, 0]}}), [1948, 1990, 1991])
    assert [each.path for each in questions] == ["year"]
    assert [edit.values() for edit in made.edits if isinstance(edit, RangeEdit)] == [[value(1990)]]


def test_a_long_range_keeps_its_list_where_nothing_may_be_asked() -> None:
    update = {"q": {"year": {"$gte": 1900}}, "u": {"$set": {"mute": "x"}}, "upsert": True}
    made, questions = plan({"update": "patients", "updates": [update]}, [1990])
    assert questions == []
    assert [edit.listed for edit in made.edits if isinstance(edit, RangeEdit)] == [range(1900, 2101)]


@rows(
    "condition",
    {"$in": [1990], "$gte": 1990, "$lt": 1999, "$mod": [2, 0]},
    {"$not": {"$in": [1990]}, "$gte": 1990, "$lt": 1999, "$mod": [2, 0]},
    {"$eq": 1990, "$mod": [2, 0]},
)
def test_no_operator_is_put_into_a_document_twice(condition: dict[str, Any]) -> None:
    with raising(Refusal, Reason.QUESTION):
        plan(find({"year": condition}), [1990])


def test_a_name_that_is_not_utf_8_is_not_asked_for() -> None:
    buf = encode({**find({"surname": {"$gt": "S"}}), "$db": "clinic"}).replace(b"patients", b"patient\xff")
    with raising(Refusal, Reason.RANGE):
        plan_command(ALIKE, buf, 0, answers=Answers())


BEGINS = {"surname": {"$regex": "^S"}}


def names_beside(command: dict[str, Any]) -> list[bytes]:
    """The names of the conditions that documents have to meet of which the first question asks."""
    with pytest.raises(asking.CandidatesUnknown) as caught:
        plan_command(POLICY, encode({**command, "$db": "clinic"}), 0, answers=Answers())
    return [each.buf[each.part[0] + 1 : each.part[1]].split(b"\0")[0] for each in caught.value.among]


@rows(
    "query, names",
    (BEGINS, []),
    ({"ward": 1, **BEGINS, "born": {"$gt": 1}}, [b"ward", b"born"]),
    ({"ward": {"$eq": 1}, **BEGINS}, [b"ward"]),
    ({"ward": {"$in": [1, "a"], "$ne": 2}, **BEGINS}, [b"ward"]),
    ({"address": {"city": "x"}, **BEGINS}, [b"address"]),
    ({"$and": [{"ward": 1}, BEGINS]}, [b"ward"]),
    ({"mute": "x", **BEGINS}, [b"mute"]),
    ({"surname": {"$not": re.compile("^S")}, "ward": 1}, [b"ward"]),
    ({"$nor": [BEGINS], "ward": 1}, [b"ward"]),
    ({"ward": 1, "year": {"$gte": 1990, "$lt": 1995}, **BEGINS}, [b"ward"]),
    ({"ward": None, **BEGINS}, []),
    ({"ward": True, **BEGINS}, []),
    ({"ward": re.compile("x"), **BEGINS}, []),
    ({"ward": {"$in": [1, None]}, **BEGINS}, []),
    ({"ward": {"$in": []}, **BEGINS}, []),
    ({"ward": {"$gt": 1}, **BEGINS}, []),
    ({"$or": [{"ward": 1}, {"bed": 2}], **BEGINS}, []),
    ({"$or": [{"ward": 1, **BEGINS}]}, []),
    ({"ward": {"$in": 5}, **BEGINS}, [b"ward"]),
)
def test_a_question_looks_at_the_documents_that_an_equality_beside_it_says(
    query: dict[str, Any], names: list[bytes]
) -> None:
    assert names_beside(find(query)) == names
    assert names_beside({"delete": "patients", "deletes": [{"q": query, "limit": 0}]}) == names


def test_each_question_is_about_the_documents_of_its_own_filter_and_few_are() -> None:
    statements = [{"q": {"ward": ward, **BEGINS}, "limit": 1} for ward in range(20)]
    made, questions = plan({"delete": "patients", "deletes": statements}, STORED)
    assert len({each.among for each in questions}) == len(questions) == 5
    assert questions[-1].among == b""
    assert len(lists(made)) == 20


def test_a_question_does_not_hold_the_filter_that_each_condition_of_it_is_looked_up_by() -> None:
    query = {"ward": 1, "$or": [BEGINS] * 300}
    _, questions = plan(find(query), STORED)
    assert [len(each.among) for each in questions] == [32]


def nested(name: bytes, levels: int) -> bytes:
    """`{surname: {$gt: "S"}, $and: [{$and: [...]}]}`, so deep that no parser goes there."""
    inner = b"\5\0\0\0\0"
    for _ in range(levels):
        inner = enclosed(b"\4%b\0%b" % (name, enclosed(b"\x030\0" + inner)))
    return encode({"surname": {"$gt": "S"}})[:-1] + inner[4:]


@pytest.mark.parametrize("name", [b"$and", b"$or"])
def test_a_filter_that_is_too_deep_is_refused(name: bytes) -> None:
    found = nested(name, 2000)
    query: Any = RawBSONDocument(len(found).to_bytes(4, "little") + found[4:])
    match: dict[str, Any] = run({"$match": query})
    update: list[dict[str, Any]] = [
        {"updateMods": {"$set": {"a": 1}}, "filter": {"_id": 1}},
        {"updateMods": [], "filter": query},
    ]
    written = {"bulkWrite": 1, "ops": [{"update": 0, **each} for each in update]}
    for command in (find(query), match, {**written, "nsInfo": [{"ns": "clinic.patients"}]}):
        with pytest.raises((Refusal, BsonError)):
            plan_command(POLICY, encode({**command, "$db": "clinic"}), 0, answers=Answers())


def test_a_second_question_does_not_send_the_list_of_the_first() -> None:
    query = {"ward": 1, **BEGINS, "kin.surname": {"$gt": "J"}}
    _, questions = plan(find(query), STORED)
    assert [each.path for each in questions] == ["surname", "kin.surname"]
    answers = Answers()
    for number in range(2):
        with pytest.raises(asking.CandidatesUnknown) as caught:
            plan_command(POLICY, encode({**find(query), "$db": "clinic"}), 0, answers=answers)
        unknown = caught.value
        assert [each.edits for each in unknown.among] == [[]], number
        answers.learn(unknown.question, unknown.judgement.answer())


@pytest.mark.parametrize(("update", "count"), [({"$set": {"ward": 1}}, 0), ({"$set": {"bed": 1}}, 1)])
def test_a_statement_asks_everywhere_if_an_earlier_one_may_let_documents_in(
    update: dict[str, Any], count: int
) -> None:
    statements = [{"q": {"_id": 1}, "u": update}, {"q": {"ward": 1, **BEGINS}, "u": {"$set": {"x": 1}}}]
    assert len(names_beside({"update": "patients", "updates": statements})) == count
