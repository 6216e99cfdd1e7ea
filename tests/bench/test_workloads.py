"""The requests are those of drivers, differ from one another, and cover what they say."""

from itertools import islice

import yaml
from bson import decode

from bench.dataset import (
    COVERED,
    COVERED_FIELDS,
    SIZES_KIB,
    documents,
    policy,
    sized_documents,
    wide_documents,
)
from bench.parts.core_worker import run
from bench.parts.core_works import COMPARED, VALUES, Inputs, inputs
from bench.routes.canned_server import shape
from bench.workloads import BATCH, INSERT_MANY, INSERT_ONE, MIXES, Pool, stored, workloads
from sealwire.policies.file.loader import load_policy
from sealwire.wire.op_msg import parse_op_msg, sequence_documents

POOL = Pool(singles=32, groups=2, batches=2, sized_kib=64)


def test_the_policy_loads_and_covers_as_many_fields_as_it_says() -> None:
    loaded = load_policy(yaml.safe_dump(policy()).encode(), "policy.yaml")
    rules = policy()["collections"]
    assert set(loaded.class_names) == {*COVERED, "text"}
    for covered in COVERED_FIELDS:
        assert len(rules[f"bench.fields_{covered}"]) == max(1, covered)
    assert "bench.wards" not in rules


def test_every_request_of_a_workload_has_the_same_shape_and_no_other_workload_has_it() -> None:
    shapes = {name: {shape(request) for request in each.requests} for name, each in workloads(POOL).items()}
    assert all(len(found) == 1 for found in shapes.values())
    names = [next(iter(found)) for name, found in shapes.items() if name != INSERT_MANY]
    assert len(set(names)) == len(names)
    # both insert into the same collection, and get the same kind of answer
    assert shapes[INSERT_MANY] == shapes[INSERT_ONE]


def test_requests_do_not_repeat_within_the_pool() -> None:
    made = workloads(POOL)
    for name in (INSERT_ONE, "find-one", "update-one", "fields-4"):
        assert len(set(made[name].requests)) == len(made[name].requests)
    assert len(made[INSERT_ONE].requests) == POOL.singles


def test_inserts_carry_their_documents_as_a_sequence() -> None:
    request = workloads(POOL)[INSERT_MANY].requests[0]
    sequence = parse_op_msg(request).sequences[0]
    assert sequence.identifier == b"documents"
    assert len(list(sequence_documents(request, sequence))) == BATCH


def test_what_is_read_is_stored_before() -> None:
    collections = {each.collection: len(each.contents) for each in stored(POOL)}
    for name, workload in workloads(POOL).items():
        command = decode(workload.requests[0][21:]) if not name.startswith("insert") else {}
        if "find" in command or "aggregate" in command:
            assert collections[command.get("find") or command["aggregate"]] > 0


def test_documents_have_about_the_size_that_they_are_named_for() -> None:
    from bson import encode

    for size in SIZES_KIB:
        found = len(encode(next(sized_documents(1, size))))
        assert abs(found - size * 1024) < 200


def test_values_are_unique_where_the_kind_allows_it() -> None:
    numbers = [each["nhs_number"] for each in islice(documents(1), 2000)]
    assert len(set(numbers)) == len(numbers)
    wide = next(wide_documents(1))
    assert len(set(wide.values())) == len(wide) == 1500


def test_the_core_gets_as_many_values_in_every_work() -> None:
    made: Inputs = inputs(30)
    assert len(made.replies) * VALUES["decrypt-100"] == 12_000
    assert len(made.batches) * VALUES["encrypt-1000"] == 12_000
    assert len(made.wide) * VALUES["decrypt-1500-fields"] == 12_000
    assert set(COMPARED) == set(VALUES)


def test_a_work_is_done_until_its_time_is_over_and_at_least_twice() -> None:
    assert run(lambda: 0.3, 1.0) == (4, 1.2)
    assert run(lambda: 5.0, 1.0) == (2, 10.0)


def test_mixes_are_for_drivers_only() -> None:
    assert not set(MIXES) & set(workloads(POOL))
