"""The requests are those of drivers, differ from one another, and cover what they say."""

import os
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import yaml
from bson import decode, encode
from pymongocrypt.mongocrypt import MongoCryptOptions
from pymongocrypt.synchronous.auto_encrypter import AutoEncrypter

from bench.api import DIRECT, THROUGH, Timing, measure, servers
from bench.dataset import (
    ASKED,
    COVERED,
    NAMES,
    SIZED_BYTES,
    documents,
    people,
    policy,
    sized_documents,
    wide_documents,
)
from bench.parts.core import (
    VALUES,
    Inputs,
    KeyVault,
    UnexpectedRequest,
    inputs,
    pymongocrypt_works,
    run,
    sealwire_works,
)
from bench.pymongo_driver import zipfian
from bench.report.figures import Metric
from bench.routes.canned_server import shape
from bench.routes.load import Used, sample_of
from bench.routes.processes import pack, unpack
from bench.workloads import BATCH, INSERT_MANY, INSERT_ONE, MIXES, Pool, stored, workloads
from sealwire.policies.file.loader import load_policy
from sealwire.wire.op_msg import parse_op_msg, sequence_documents

POOL = Pool(singles=32, groups=2, batches=2)


def test_the_policy_loads_and_covers_as_many_fields_as_it_says() -> None:
    loaded = load_policy(yaml.safe_dump(policy()).encode(), "policy.yaml")
    rules = policy()["collections"]
    assert set(loaded.class_names) == {*COVERED, "text", "surname"}
    assert set(rules["bench.patients"]) == set(COVERED)
    assert len(rules["bench.wide"]) == 1500
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
    for name in (INSERT_ONE, "find-one", "update-one"):
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


def test_sized_documents_have_about_their_size() -> None:
    assert abs(len(encode(next(sized_documents(1)))) - SIZED_BYTES) < 200


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


def test_a_work_is_done_until_its_time_is_over_and_at_least_twice() -> None:
    assert run(lambda: 0.3, 1.0) == (4, 1.2)
    assert run(lambda: 5.0, 1.0) == (2, 10.0)


def test_mixes_are_for_drivers_only() -> None:
    assert not set(MIXES) & set(workloads(POOL))


def test_both_sides_do_every_work_that_is_compared() -> None:
    made = inputs(1)
    ours, theirs = sealwire_works(made), pymongocrypt_works(made)
    assert set(theirs) == set(VALUES) <= set(ours)
    assert all(work() > 0 for work in (*ours.values(), *theirs.values()))


def test_a_libmongocrypt_that_would_encrypt_by_itself_is_stopped() -> None:
    options = MongoCryptOptions({"local": {"key": os.urandom(96)}}, bypass_encryption=False)
    encrypter = AutoEncrypter(KeyVault(), options)
    try:
        with pytest.raises(UnexpectedRequest):
            encrypter.encrypt("clinic", encode({"find": "patients", "filter": {}, "$db": "clinic"}))
    finally:
        encrypter.close()


def test_a_libmongocrypt_that_would_ask_a_key_service_is_stopped() -> None:
    with pytest.raises(UnexpectedRequest):
        KeyVault().kms_request(None)


def test_figures_of_a_slice() -> None:
    latencies = [0.001] * 98 + [0.002, 0.009]
    sample = sample_of(latencies, 0.5, Used(operations=125, generator=0.1, server=0.2, between=0.05))
    assert sample == {
        Metric.OPERATIONS: 200.0,
        Metric.P50: pytest.approx(1000.0),
        Metric.P99: pytest.approx(9000.0),
        Metric.GENERATOR_CPU: pytest.approx(800.0),
        Metric.SERVER_CPU: pytest.approx(1600.0),
        Metric.CPU: pytest.approx(400.0),
    }


def test_a_route_with_nothing_between_has_no_processor_time_between() -> None:
    assert Metric.CPU not in sample_of([0.001], 1.0, Used(1, 0.1, 0.1, None))


def test_a_process_that_is_counted_apart_is_part_of_the_whole() -> None:
    sample = sample_of([0.001] * 10, 1.0, Used(10, 0.1, 0.1, between=0.05, apart=0.002))
    assert sample[Metric.CPU] == pytest.approx(5000.0)
    assert sample[Metric.APART_CPU] == pytest.approx(200.0)


def test_a_slice_without_answers_is_no_figure() -> None:
    with pytest.raises(RuntimeError):
        sample_of([], 1.0, Used(1, 0.1, 0.1, None))


def test_latencies_survive_the_pipe() -> None:
    assert list(unpack(pack(unpack("")))) == []
    assert unpack(pack(unpack("AACAPwAAAEA="))).tolist() == [1.0, 2.0]


def test_zipfian_keys_are_few_and_far_between() -> None:
    keys = zipfian(1000, seed=3)
    drawn = [next(keys) for _ in range(20_000)]
    counts = sorted((drawn.count(key) for key in set(drawn)), reverse=True)
    assert all(0 <= key < 1000 for key in drawn)
    # 1 / (sum of 1/n**0.99 for 1,000) is 0.13
    assert counts[0] / len(drawn) == pytest.approx(0.13, abs=0.02)
    assert sum(counts[:100]) / len(drawn) > 0.6
    again = zipfian(1000, seed=3)
    assert drawn[:50] == [next(again) for _ in range(50)]


def test_names_of_people_come_equally_often() -> None:
    for count in NAMES[:2]:
        found = list(people(2_000, count))
        for kind in ASKED:
            names = Counter(each[kind] for each in found)
            assert set(names.values()) == {2_000 // count}
            assert len(names) == count
        assert {*COVERED, *ASKED} == set(policy()["collections"][f"bench.people_{count}"])


# What is measured of an API: each request both ways, and how the two compare.


def test_the_ratio_is_the_median_through_sealwire_by_the_direct_one() -> None:
    timing = Timing("GET /", {DIRECT: [0.002, 0.001, 0.5], THROUGH: [0.003, 0.7, 0.002]})
    assert timing.median_ms(DIRECT) == 2.0
    assert timing.ratio() == 1.5


@pytest.mark.integration
@pytest.mark.usefixtures("asynchronous_driver")
async def test_each_request_is_answered_both_ways_as_often(tmp_path: Path) -> None:
    with servers(tmp_path) as uris:
        timings = await measure(uris, 3)
    assert {timing.request.split()[0] for timing in timings} == {"POST"}
    assert len(timings) == 5
    for timing in timings:
        assert [len(seconds) for seconds in timing.seconds.values()] == [3, 3]
