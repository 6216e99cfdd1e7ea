"""As `test_differential`, over every covered type, nested arrays, and most operators and stages.

The collection is named by a pattern of the policy. In `make test` a few hundred examples, in `make test-slow`
thousands; a failure prints the example and how to repeat it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient, ReturnDocument
from pymongo.collection import Collection

from sealwire.demo.proxy_process import ProxyOptions, ProxyProcess
from tests.integration.conftest import Document
from tests.integration.test_differential import Answer, canonical, run
from tests.integration.wide_operations import (
    ORDERS,
    PATHS,
    documents,
    filtered_updates,
    filters,
    positional,
    projections,
    replacements,
    updates,
)
from tests.integration.wide_pipelines import pipelines
from tests.support.secantus import secantus

pytestmark = pytest.mark.integration

FEW_EXAMPLES, MANY_EXAMPLES = 150, 5_000

Operation = tuple[str, Callable[[Collection[Document]], Any]]


@dataclass(frozen=True, slots=True)
class Pair:
    """The same collection twice: plain, and covered as it is seen through Sealwire and as it is stored."""

    plain: Collection[Document]
    covered: Collection[Document]
    stored: Collection[Document]
    answered: Counter[str] = field(default_factory=Counter, repr=False)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("wide")
    policy = Path(__file__).with_name("wide.yaml")
    with secantus(folder) as database:
        options = ProxyOptions(folder / "sealwire", policy, database.address)
        with (
            ProxyProcess(options) as proxy,
            database.connect() as direct,
            MongoClient[Document](proxy.uri()) as client,
        ):
            name = "wide_a"
            yield Pair(direct["plain"].people, client[name].people, direct[name].people)


def _find(query: Document, projection: Document | None, order: Document, limit: int) -> Operation:
    def find(found: Collection[Document]) -> Any:
        return list(found.find(query, projection, sort=list(order.items()), limit=limit))

    return "find", find


def _count(query: Document, limit: int) -> Operation:
    # the command itself: `count_documents` is an aggregation
    def count(found: Collection[Document]) -> Any:
        return found.database.command({"count": found.name, "query": query, "limit": limit})["n"]

    return "count", count


def _distinct(path: str, query: Document) -> Operation:
    return "distinct", lambda found: sorted(map(canonical, found.distinct(path, query)))


def _aggregate(pipeline: list[Document]) -> Operation:
    def aggregate(found: Collection[Document]) -> Any:
        rows = list(found.aggregate(pipeline))
        for row in rows:
            if isinstance(row.get("set"), list):
                row["set"] = sorted(map(canonical, row["set"]))
        return sorted(map(canonical, rows))

    return "aggregate", aggregate


def _update(query: Document, change: Document, *, many: bool, upsert: bool) -> Operation:
    def update(found: Collection[Document]) -> Any:
        if upsert:
            # the same _id on both sides
            changed = change | {"$setOnInsert": change.get("$setOnInsert", {}) | {"_id": 100}}
            result = found.update_one(query, changed, upsert=True)
        else:
            result = (found.update_many if many else found.update_one)(query, change)
        # not modified_count: a random value set again is another ciphertext, and 2.0 brought to a 2 is none
        return result.matched_count, result.upserted_id

    return "upsert" if upsert else "update", update


def _by_filters(pair: tuple[Document, list[Document]], query: Document) -> Operation:
    def update(found: Collection[Document]) -> Any:
        result = found.update_many(query, pair[0], array_filters=pair[1])
        return result.matched_count

    return "arrayFilters", update


def _by_position(pair: tuple[Document, Document]) -> Operation:
    return "positional", lambda found: found.update_many(*pair).matched_count


def _replace(query: Document, document: Document) -> Operation:
    return "replace", lambda found: found.replace_one(query, document).matched_count


def _modify(query: Document, change: Document, projection: Document, *, after: bool) -> Operation:
    when = ReturnDocument.AFTER if after else ReturnDocument.BEFORE

    def modify(found: Collection[Document]) -> Any:
        return found.find_one_and_update(query, change, projection, sort=[("_id", -1)], return_document=when)

    return "findAndModify", modify


def _delete(query: Document, *, many: bool) -> Operation:
    def delete(found: Collection[Document]) -> Any:
        return (found.delete_many if many else found.delete_one)(query).deleted_count

    return "delete", delete


_orders = st.sampled_from(ORDERS)
_projections = st.none() | projections
_flag = st.booleans()

operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(_find, filters, _projections, _orders | st.just({"_id": 1}), st.integers(0, 2)),
    st.builds(_find, filters, st.none(), st.just({"_id": 1}), st.just(0)),
    st.builds(_count, filters, st.integers(0, 1)),
    st.builds(_distinct, st.sampled_from(PATHS), filters),
    pipelines.map(_aggregate),
    pipelines.map(_aggregate),
    st.builds(_update, filters, updates, many=_flag, upsert=st.just(False)),
    st.builds(_update, st.just({}), updates, many=_flag, upsert=st.just(False)),
    st.builds(_update, filters, updates, many=st.just(False), upsert=st.just(True)),
    st.builds(_by_filters, filtered_updates, filters | st.just({})),
    positional.map(_by_position),
    st.builds(_replace, filters, replacements),
    st.builds(_modify, filters, updates, st.just({}) | projections, after=_flag),
    st.builds(_delete, filters, many=_flag),
)


def _compare(pair: Pair, stored: list[Document], done: list[Operation]) -> None:
    pair.plain.delete_many({})
    pair.stored.delete_many({})
    pair.plain.insert_many([dict(document) for document in stored])
    pair.covered.insert_many([dict(document) for document in stored])
    for operation in done:
        through: Answer = run(pair.covered, operation)
        pair.answered[f"{operation[0]} {through[0]}"] += 1
        if through[0] != "refused":
            assert through == run(pair.plain, operation), operation[0]
            assert _all(pair.covered) == _all(pair.plain), f"after {operation[0]}"


def _all(collection: Collection[Document]) -> str:
    return canonical(list(collection.find().sort("_id")))


def _profile(examples: int) -> settings:
    return settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )


@_profile(FEW_EXAMPLES)
@given(stored=documents, done=st.lists(operations, min_size=1, max_size=6))
def test_the_same_answer_or_a_refusal(pair: Pair, stored: list[Document], done: list[Operation]) -> None:
    _compare(pair, stored, done)


@pytest.mark.slow
@_profile(MANY_EXAMPLES)
@given(stored=documents, done=st.lists(operations, min_size=1, max_size=8))
def test_the_same_answer_or_a_refusal_many_times(
    pair: Pair, stored: list[Document], done: list[Operation]
) -> None:
    _compare(pair, stored, done)


def test_most_operations_were_answered(pair: Pair, record_property: Callable[[str, object], None]) -> None:
    record_property("operations", dict(sorted(pair.answered.items())))
    refused = sum(count for name, count in pair.answered.items() if name.endswith("refused"))
    total = pair.answered.total()
    assert total > FEW_EXAMPLES
    assert refused < total / 2
