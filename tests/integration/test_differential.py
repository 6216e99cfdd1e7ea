"""The same operations on a plaintext collection and through Sealwire: the same answers, or a refusal.

Both collections lie on the same server. What Sealwire refuses is left out on both sides; everything else must
agree in results, counts, error codes and, in the end, in the whole collection.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from bson import Decimal128
from bson.json_util import dumps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.collection import Collection
from pymongo.errors import OperationFailure, WriteError

from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PathNode
from tests.integration.conftest import POLICY, Document, Record, Stack
from tests.integration.operations import documents, filters, pipelines, update_pipelines, updates
from tests.integration.outside.chosen import named
from tests.integration.test_drivers import is_envelope

pytestmark = pytest.mark.integration

COVERED = load_policy(POLICY.read_bytes(), POLICY.name).covered(named("clinic.patients"))
Answer = tuple[str, Any]
Operation = tuple[str, Callable[[Collection[Document]], Any]]
answered: Counter[str] = Counter()


def _find(query: Document) -> Operation:
    return "find", lambda found: sorted(found.find(query), key=lambda document: document["_id"])


def _count(query: Document) -> Operation:
    return "count", lambda found: found.count_documents(query)


def _distinct(path: str, query: Document) -> Operation:
    return "distinct", lambda found: sorted(map(canonical, found.distinct(path, query)))


def _aggregate(pipeline: list[Document]) -> Operation:
    def run(found: Collection[Document]) -> Any:
        rows = list(found.aggregate(pipeline))
        for row in rows:
            for name in ("numbers", "all"):
                if isinstance(row.get(name), list):
                    row[name] = sorted(map(canonical, row[name]))
        return sorted(map(canonical, rows))

    return "aggregate", run


def _update(query: Document, change: Document, *, upsert: bool) -> Operation:
    def run(found: Collection[Document]) -> Any:
        # an upsert needs the same _id on both sides
        changed = change
        if upsert:
            changed = change | {"$setOnInsert": change.get("$setOnInsert", {}) | {"_id": 100}}
        result = found.update_one(query, changed, upsert=upsert)
        # not modified_count: where a class brings 2.0 to the 2 that is stored, nothing changes for the server
        return result.matched_count, result.upserted_id

    return "update", run


def _update_by_pipeline(query: Document, stages: list[Document]) -> Operation:
    def run(found: Collection[Document]) -> Any:
        # not modified_count: a random class gives an equal value other bytes, and that is a change
        return found.update_many(query, stages).matched_count

    return "pipeline update", run


def _delete(query: Document) -> Operation:
    return "delete", lambda found: found.delete_one(query).deleted_count


def _modify(query: Document, change: Document | list[Document]) -> Operation:
    return "findAndModify", lambda found: found.find_one_and_update(query, change, sort=[("_id", 1)])


operations: st.SearchStrategy[Operation] = st.one_of(
    filters.map(_find),
    filters.map(_count),
    st.builds(_distinct, st.sampled_from(["nhs_number", "phones", "visits", "ward"]), filters),
    pipelines.map(_aggregate),
    st.builds(_update, filters, updates, upsert=st.booleans()),
    st.builds(_update_by_pipeline, filters, update_pipelines),
    filters.map(_delete),
    st.builds(_modify, filters, updates | update_pipelines),
)


def canonical(value: Any) -> str:
    """Equal as MongoDB compares: 1, 1.0 and NumberLong(1) are one value."""
    return dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, Decimal128):
        return float(value.to_decimal())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) + 0.0
    return value


def run(collection: Collection[Document], operation: Operation) -> Answer:
    """What an operation answers: its result, its error, or that Sealwire refused it."""
    try:
        return "result", canonical(operation[1](collection))
    except OperationFailure as error:
        if str(error).startswith("Sealwire refused"):
            return "refused", error.code
        return "error", error.code if not isinstance(error, WriteError) else ("write", error.code)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(stored=documents, done=st.lists(operations, min_size=1, max_size=6))
def test_the_same_answer_or_a_refusal(stack: Stack, stored: list[Document], done: list[Operation]) -> None:
    plain, covered = stack.direct[named("plain")].patients, stack.clinic.patients
    plain.delete_many({})
    stack.raw.patients.delete_many({})
    plain.insert_many([dict(document) for document in stored])
    covered.insert_many([dict(document) for document in stored])
    for operation in done:
        through = run(covered, operation)
        answered[f"{operation[0]} {through[0]}"] += 1
        if through[0] != "refused":
            assert through == run(plain, operation), operation[0]
    assert canonical(list(covered.find().sort("_id"))) == canonical(list(plain.find().sort("_id")))
    for document in stack.raw.patients.find():
        assert_stored_as_the_policy_has_it(document, COVERED)


def assert_stored_as_the_policy_has_it(value: Any, node: PathNode | None) -> None:
    """Nothing but ciphertext and null at a covered path, no ciphertext elsewhere.

    Paths see through arrays, and through fields whose names are numbers.
    """
    if isinstance(value, list):
        for item in value:
            assert_stored_as_the_policy_has_it(item, node)
    elif node is not None and node.leaf is not None:
        assert value is None or is_envelope(value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            below = node if node is None or name.isdigit() else node.children.get(name.encode())
            assert_stored_as_the_policy_has_it(inner, below)
    else:
        assert not is_envelope(value)


def test_most_operations_were_answered(record_property: Record) -> None:
    """A proxy that refuses everything would agree with everybody; the figures tell that it does not."""
    refused = sum(count for name, count in answered.items() if name.endswith("refused"))
    total = sum(answered.values())
    record_property("operations", dict(sorted(answered.items())))
    assert total > 200
    assert refused < total / 2
