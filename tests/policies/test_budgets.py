"""What planning costs: linear in the size of a command within its budget, refused beyond it.

Work is counted in function calls, never in time.
"""

import gc
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest
from bson import Binary, encode
from bson.raw_bson import RawBSONDocument

from sealwire.policies.commands.planner import plan_command
from sealwire.policies.commands.views import MAX_NAMES, ViewCatalog
from sealwire.policies.commands.write_errors import CODES, MAX_STATEMENTS
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.constants import MAX_MENTIONS
from sealwire.policies.file.ranges import DEFAULT_MAX_VALUES, MAX_MAX_VALUES
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning import walk
from sealwire.policies.questions import MAX_LISTED_VALUES
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import MAX_DEPTH
from tests.policies.planning.test_contexts_beside import POLICY as CONTEXTS
from tests.policies.range_policy import POLICY as RANGES
from tests.policies.support import POLICY, Command, find, insert, plan_of, reason, refusal_of, run, update
from tests.support.reasons import raising
from tests.support.rows import rows

pytestmark = pytest.mark.plain_core(reason="counts the calls of Python functions")

Shape = Callable[[int], Command]

_LEAST = 50
# twice the size costs twice the work, and a little more where something is sorted or searched
_MOST_FOR_TWICE = 2.6


def calls(command: bytes, policies: PolicySet = POLICY) -> int:
    """How many functions are called while a command is planned, or refused."""
    count = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        del frame, argument
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    gc.disable()  # hypothesis has functions that the collector calls
    sys.setprofile(profile)
    try:
        plan_command(policies, command, 0)
    except (Refusal, BsonError):
        pass
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


def _fields(n: int, value: Any, prefix: str = "f") -> dict[str, Any]:
    return {f"{prefix}{i}": value for i in range(n)}


def _nested(n: int, innermost: list[Any], width: int) -> list[Any]:
    pipeline = innermost
    for _ in range(20):
        pipeline = [{"$match": {"x": i}} for i in range(n * width // 20)] + [
            {"$unionWith": {"coll": "wards", "pipeline": pipeline}}
        ]
    return pipeline


SHAPES: dict[str, Shape] = {
    "branches of a filter": lambda n: find({"$or": [{"nhs_number": "a"}] * n}),
    "fields of a filter": lambda n: find(_fields(n, "a")),
    "items of $in": lambda n: find({"nhs_number": {"$in": ["a"] * n}}),
    "items of $in, elsewhere": lambda n: find({"x": {"$in": ["a"] * n}}),
    "documents": lambda n: {"insert": "patients", "documents": [{"nhs_number": "a"}] * n},
    "items of a covered array": lambda n: insert({"tags": ["a"] * n}),
    "fields of a document": lambda n: insert(_fields(n, "a")),
    "statements of an update": lambda n: {
        "update": "patients",
        "updates": [{"q": {"nhs_number": "a"}, "u": {"$set": {"x": 1}}}] * n,
    },
    "statements of a delete": lambda n: {"delete": "patients", "deletes": [{"q": {"nhs_number": "a"}}] * n},
    "paths of an update": lambda n: update({"$set": _fields(n, "a")}),
    "covered paths of an update": lambda n: update({"$set": _fields(n, "a", "contacts.0.")}),
    "items of $push": lambda n: update({"$push": {"tags": {"$each": ["a"] * n}}}),
    "operations": lambda n: {
        "bulkWrite": 1,
        "ops": [{"insert": i % 2, "document": {"nhs_number": "a"}} for i in range(n)],
        "nsInfo": [{"ns": "clinic.wards"}, {"ns": "clinic.patients"}],
        "$db": "admin",
    },
    "collections": lambda n: {
        "bulkWrite": 1,
        "ops": [],
        "nsInfo": [{"ns": f"tenant_{i}.patients"} for i in range(n)],
        "$db": "admin",
    },
    "fields of an index": lambda n: {
        "createIndexes": "patients",
        "indexes": [{"key": {"nhs_number": 1, **_fields(n, 1)}, "name": "x"}],
    },
    "indexes": lambda n: {
        "createIndexes": "patients",
        "indexes": [{"key": {"nhs_number": 1}, "name": "x"}] * n,
    },
    "arguments that nobody knows": lambda n: {"find": "patients", **_fields(n, 1)},
    "arguments of another command": lambda n: {"currentOp": 1, **_fields(n, 1)},
    "arguments of a collection without protection": lambda n: {"aggregate": "wards", **_fields(n, 1)},
    "stages": lambda n: run(*[{"$match": {"nhs_number": "a"}}] * n),
    "stages of a collection without protection": lambda n: run(
        *[{"$match": {"x": 1}}] * n, {"$unionWith": "patients"}, on="wards"
    ),
    "unions": lambda n: run(*[{"$unionWith": "wards"}] * n, on="wards"),
    "unions before a protected one": lambda n: run(
        *[{"$unionWith": "wards"}] * n, {"$unionWith": "appointments"}, on="wards"
    ),
    "pipelines in pipelines": lambda n: run(*_nested(n, [{"$unionWith": "patients"}], 4), on="wards"),
    "pipelines in pipelines without protection": lambda n: run(
        *_nested(n, [{"$unionWith": "wards"}], 4), on="wards"
    ),
    "stages that name a collection inside each other": lambda n: run(
        {"$facet": {f"f{i}": [{"$lookup": {"from": "wards", "as": "z"}}] for i in range(n)}}, on="wards"
    ),
    "fields of a view": lambda n: {
        "create": "v",
        "viewOn": "patients",
        "pipeline": [{"$match": {"nhs_number": "a"}}] * n,
    },
    "fields of a sort": lambda n: find({}, sort=_fields(n, 1)),
    "fields of a projection": lambda n: find({}, projection=_fields(n, 1)),
    "branches of a filter on the server's own": lambda n: {
        "find": "oplog.rs",
        "filter": {"$or": [{"ns": "a"}] * n},
        "$db": "local",
    },
    "branches of currentOp": lambda n: {"currentOp": 1, "$or": [{"ns": "x"}] * n},
    "parts of a path": lambda n: find({".".join(["contacts", *["a"] * n]): 1}),
    "variables of let that are used": lambda n: find(
        {"$expr": {"$and": [{"$eq": ["$nhs_number", f"$$f{i}"]} for i in range(n)]}}, let=_fields(n, "a")
    ),
    "variables of a join": lambda n: run(
        {
            "$lookup": {
                "from": "appointments",
                "let": _fields(n, "$nhs_number"),
                "pipeline": [{"$match": {"$expr": {"$eq": ["$patient_nhs", f"$$f{i}"]}}} for i in range(n)],
                "as": "z",
            }
        }
    ),
    "variables of $let": lambda n: run(
        {"$set": {"x": {"$let": {"vars": _fields(n, "$nhs_number"), "in": 1}}}}
    ),
    "array filters": lambda n: update(
        {"$set": {f"contacts.$[a{i}].x": 1 for i in range(n)}},
        arrayFilters=[{f"a{i}.phone": "a"} for i in range(n)],
    ),
    "variables of let": lambda n: find({}, let=_fields(n, "a")),
    "fields of $addFields": lambda n: run({"$addFields": _fields(n, 1)}),
    "covered fields of $addFields": lambda n: run({"$addFields": _fields(n, "$nhs_number")}),
    "covered fields of $project": lambda n: run({"$project": _fields(n, "$nhs_number")}),
    "fields of $project": lambda n: run({"$project": _fields(n, 1)}),
    "accumulators": lambda n: run({"$group": {"_id": "$ward", **_fields(n, {"$first": "$nhs_number"})}}),
    "names of $unset": lambda n: run({"$unset": [f"f{i}" for i in range(n)]}),
    "pipelines of $facet": lambda n: run({"$facet": _fields(n, [{"$match": {"nhs_number": "a"}}])}),
    "operands": lambda n: run({"$match": {"$expr": {"$and": [{"$eq": ["$nhs_number", "a"]}] * n}}}),
    "branches of $switch": lambda n: run(
        {"$set": {"x": {"$switch": {"branches": [{"case": True, "then": "$nhs_number"}] * n}}}}
    ),
}


def _wards(query: Any) -> Command:
    return {"find": "wards", "filter": query}


def _change(update: Any, *filters: Any) -> Command:
    more = {"arrayFilters": list(filters)} if filters else {}
    return {"update": "wards", "updates": [{"q": {"visits.patient": 5}, "u": update, **more}]}


_VISIT = {"patient": 5, "code": "a"}
WITH_CONTEXTS: dict[str, Shape] = {
    "sub-documents": lambda n: {"insert": "wards", "documents": [{"visits": [_VISIT] * n}]},
    "documents": lambda n: {"insert": "wards", "documents": [{"tenant": 1, "ward": "a"}] * n},
    "branches": lambda n: _wards({"$or": [{"tenant": 1, "ward": "a"}] * n}),
    "equalities": lambda n: _wards({"$and": [{"tenant": 1}] * n, "ward": "a"}),
    "branches for an element": lambda n: _wards({"visits": {"$elemMatch": {"$or": [_VISIT] * n}}}),
    "equalities of an element": lambda n: _wards({"visits": {"$elemMatch": {"$and": [_VISIT] * n}}}),
    "elements asked for": lambda n: _wards({"$or": [{"visits": {"$elemMatch": _VISIT}}] * n}),
    "paths of an update": lambda n: _change({"$set": {f"visits.{i}": _VISIT for i in range(n)}}),
    "array filters": lambda n: _change(
        {"$set": {f"visits.$[e{i}].code": "a" for i in range(n)}}, *({f"e{i}.patient": 5} for i in range(n))
    ),
    "branches of an array filter": lambda n: _change(
        {"$set": {f"visits.$[e{i}].x": 1 for i in range(n)}},
        {"$or": [{f"e{i}.patient": 5, f"e{i}.code": "a"} for i in range(n)]},
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_twice_the_command_is_twice_the_work(name: str) -> None:
    sizes = [_LEAST, 2 * _LEAST, 4 * _LEAST, 8 * _LEAST]
    work = [calls(message(name, size)) for size in sizes]
    assert max(after / before for before, after in pairwise(work)) < _MOST_FOR_TWICE, work


@pytest.mark.parametrize("name", WITH_CONTEXTS)
def test_the_same_holds_where_classes_have_a_key_for_each_context(name: str) -> None:
    sizes = [_LEAST, 2 * _LEAST, 4 * _LEAST, 8 * _LEAST]
    work = [calls(encode({**WITH_CONTEXTS[name](size), "$db": "clinic"}), CONTEXTS) for size in sizes]
    assert max(after / before for before, after in pairwise(work)) < _MOST_FOR_TWICE, work


def message(name: str, size: int) -> bytes:
    """A command of one shape, of some size."""
    command = SHAPES[name](size)
    return encode({**command, "$db": command.get("$db", "clinic")})


def _years(count: int) -> Command:
    """Ranges of 7,305 values each, in 40 bytes."""
    years = {"b": {"$gte": datetime(1980, 1, 1, tzinfo=UTC), "$lt": datetime(2000, 1, 1, tzinfo=UTC)}}
    return {"find": "c", "filter": {"$or": [years] * count}, "$db": "db"}


def test_all_ranges_of_a_command_together_list_no_more_values_than_one_may_cost() -> None:
    assert len(plan_of(_years(34), RANGES).edits) == 34
    assert MAX_LISTED_VALUES // 7305 == 34
    for count in (35, 150):
        assert refusal_of(_years(count), RANGES).reason is Reason.RANGE_SIZE


def test_a_range_that_a_class_allows_is_within_the_budget_of_a_command() -> None:
    assert MAX_MAX_VALUES <= MAX_LISTED_VALUES
    assert MAX_LISTED_VALUES * walk.LISTED_BYTES <= walk.MAX_MADE_BYTES


def test_a_plan_ends_where_no_message_could_carry_it(monkeypatch: pytest.MonkeyPatch) -> None:
    value = len(encode({"a": "a"})) - len(encode({"a": None}))
    monkeypatch.setattr(walk, "MAX_MADE_BYTES", 3 * (walk.ENVELOPE_BYTES + value))
    assert len(plan_of(insert({"tags": ["a"] * 3})).edits) == 3
    refusal = refusal_of(insert({"tags": ["a"] * 4}))
    assert refusal.reason is Reason.TOO_LARGE


def test_the_budget_counts_no_byte_that_is_not_made() -> None:
    envelope = Binary(bytes(13 + 16), 0x80)
    assert len(encode({"a": envelope})) - len(encode({"a": None})) == walk.ENVELOPE_BYTES
    listed = len(encode({"a": [Binary(bytes(13 + 16 + 4), 0x80)]})) - len(encode({"a": []}))
    assert listed == walk.LISTED_BYTES


@pytest.mark.parametrize("key", ["into", "from", "coll"])
def test_names_nested_without_end_are_refused(key: str) -> None:
    inner: Any = "patients"
    for _ in range(150):
        inner = {key: inner}
    assert reason(run({"$merge": inner}, on="wards")) is not None
    for _ in range(100):
        inner = {key: inner}
    assert reason(run({"$merge": inner}, on="wards")) is Reason.SHAPE


# ----------------------------------------------------------------------------------------------------- limits


@rows(
    "limit, number",
    (MAX_NAMES, 64),
    # maxWriteBatchSize of every MongoDB server
    (MAX_STATEMENTS, 100_000),
    (MAX_MENTIONS, 500_000),
    (DEFAULT_MAX_VALUES, 40_000),
    (MAX_MAX_VALUES, 200_000),
    # maxMessageSizeBytes of every MongoDB server
    (walk.MAX_MADE_BYTES, 48_000_000),
    (MAX_LISTED_VALUES, 250_000),
    (walk.ENVELOPE_BYTES, 34),
    (walk.LISTED_BYTES, 41),
)
def test_a_limit_is_what_it_was(limit: int, number: int) -> None:
    assert limit == number


def test_a_write_error_has_the_number_of_a_failed_validation() -> None:
    assert CODES[Reason.TYPE] == CODES[Reason.GRID] == 121


def test_a_command_may_lead_to_so_many_names() -> None:
    catalog = ViewCatalog(POLICY)
    for number in range(64):
        assert catalog.room == 64 - number
        catalog.learn(f"clinic.v{number}", None)
    assert catalog.room == 0


@pytest.mark.parametrize(
    ("stage", "least"), [("$limit", 1), ("$skip", 0), ("$sample", 0)], ids=["$limit", "$skip", "$sample"]
)
def test_a_stage_takes_numbers_from_its_least_on(stage: str, least: int) -> None:
    def run(number: int) -> Command:
        argument = {"size": number} if stage == "$sample" else number
        return {"aggregate": "patients", "pipeline": [{stage: argument}], "cursor": {}}

    assert plan_of(run(least)).edits == []
    assert reason(run(least - 1)) is Reason.SHAPE


@pytest.mark.parametrize("key", ["into", "from", "coll"])
def test_names_nested_deeper_than_python_could_follow_are_refused(key: str) -> None:
    name = key.encode() + b"\0"
    value = encode({"x": 1})
    for _ in range(5000):
        value = (len(value) + len(name) + 6).to_bytes(4, "little") + b"\x03" + name + value + b"\0"
    command = {"aggregate": "wards", "pipeline": [{"$merge": RawBSONDocument(value)}], "cursor": {}}
    with pytest.raises((Refusal, BsonError)):
        plan_of(command)


def test_a_constant_may_be_nested_as_deep_as_documents_and_no_deeper() -> None:
    def finding(depth: int) -> Command:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return find({}, let={"v": value})

    assert plan_of(finding(MAX_DEPTH)).edits == []
    assert refusal_of(finding(MAX_DEPTH + 1)).rule == "nesting"


def test_the_values_that_were_handed_over_are_counted() -> None:
    handed: list[int] = []

    def settler(_buf: bytes, edits: Sequence[object], *_: object) -> None:
        handed.append(len(edits))

    documents = [{"nhs_number": "a", "visits": 1}] * 3000
    body = encode({"insert": "patients", "documents": documents, "$db": "clinic"})
    plan = plan_command(POLICY, body, 0, settler=settler)
    assert len(handed) == 5
    assert plan.settled == sum(handed)
    assert plan.settled + len(plan.edits) == 6000


def test_a_budget_is_spent_to_the_last_and_no_further() -> None:
    listed, made = walk.Budget(), walk.Budget()
    listed.spend(0, 249_999)
    listed.spend(0, 1)
    listed.spend(1)
    with raising(Refusal, Reason.RANGE_SIZE):
        listed.spend(0, 1)
    made.spend(47_999_999)
    made.spend(1, 250_000)
    with raising(Refusal, Reason.TOO_LARGE):
        made.spend(1)
