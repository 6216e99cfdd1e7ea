"""`sealwire migrate reencrypt` of a deterministic class on a server, with proxies that a test stands for."""

import json
import random
import signal
import time
from collections.abc import Sequence

import bson
import pytest
from bson.binary import Binary
from pymongo import MongoClient

from sealwire.crypto.envelope import SUBTYPE, binary, parse_header
from sealwire.keys.frontier.frontier import Form, Frontier, position_of
from sealwire.keys.frontier.record import DATABASE, FRONTIERS, parse_frontier, stated_documents
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.file import load_keyring
from sealwire.policies.file.loader import load_policy
from sealwire.sidecars.direct import connected
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.job import Standing
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.windows.order import FIRST, LAST, EnvelopeOrder, Place, class_paths
from sealwire.sidecars.migration.windows.server import (
    MongoValues,
    Values,
    bounded,
    drop_indexes,
    keeps_bounds,
    make_indexes,
)
from sealwire.wire import kinds
from tests.integration.conftest import Document, found_in
from tests.integration.migrate.clinics import (
    NHS,
    PATIENTS,
    POLICY,
    Clinic,
    Direct,
    envelopes,
    fill,
    opened,
    reencryption,
    sealed,
)
from tests.integration.migrate.stand_in_proxies import StandInProxies
from tests.sidecars.migration.doubles import Fate
from tests.sidecars.migration.windows.doubles import MemoryValues, reached
from tests.support.waiting import until

pytestmark = pytest.mark.integration

DOCUMENTS = 400
WAITING = "waiting for proxies to follow the move, or to let a window go"


def test_a_class_moves_in_two_collections_with_proxies_that_follow(rotating: Clinic) -> None:
    with rotating.database.connect() as client, StandInProxies(rotating) as proxies:
        names = fill(rotating, client, DOCUMENTS)
        job = rotating.job(*reencryption(rotating, proxies=2))
        assert (job["state"], job["left"]) == ("done", [])
        assert job["values"] == 4 * DOCUMENTS
        assert_moved(rotating, client, names)
        told = found_in(client[DATABASE][FRONTIERS], {"new": 2})
        read, of = stated_documents(told)  # with the last frontier, before the last sweep
        assert 0 < read <= of <= job["documents"]["read"]
    assert len(proxies.windows) > 9
    with rotating.database.connect() as client:
        assert rotating.job("verify", str(rotating.policy_file))


def assert_moved(clinic: Clinic, client: MongoClient[Document], names: Sequence[str]) -> None:
    keyring = load_keyring(clinic.keyring, clinic.kek)
    values = envelopes(client)
    assert {parse_header(bytes(each)).key_version for each in values} == {2}
    expected = []
    for number, name in enumerate(names):
        expected += [name, names[number - 1], names[number // 2]]
    expected += [names[number // 3] for number in range(len(names))]
    assert [opened(keyring, each) for each in values] == expected
    states = {key.version: key.state for key in clinic.data_keys() if key.class_name == NHS}
    assert states == {1: KeyState.DECRYPT_ONLY, 2: KeyState.ACTIVE}
    for name in ("patients", "visits"):
        indexes = {each["name"] for each in client["clinic"][name].list_indexes()}
        assert not any(each.startswith("sealwire_move_") for each in indexes)


def test_a_killed_process_is_resumed_at_any_window(rotating: Clinic, client: Direct) -> None:
    chance = random.Random(5)
    with StandInProxies(rotating):
        names = fill(rotating, client, 150)
        words = reencryption(rotating, proxies=2)
        for _ in range(3):
            with rotating.start(*words) as process:
                wait_for_frontier(client)
                time.sleep(chance.random() * 2)
                process.send_signal(signal.SIGKILL)
                process.wait(30)
            assert_one_valid_form(rotating, client)
            words = ["resume", str(rotating.policy_file), rotating.jobs()[0]["job"]]
        assert rotating.job(*words[:3])["state"] == "done"
        assert_moved(rotating, client, names)


def wait_for_frontier(client: MongoClient[Document]) -> None:
    deadline = time.monotonic() + 60
    while client[DATABASE][FRONTIERS].find_one({}) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_one_valid_form(clinic: Clinic, client: MongoClient[Document]) -> None:
    """Each value has the form that the frontier says: what every proxy relies on."""
    keyring = load_keyring(clinic.keyring, clinic.kek)
    cipher = keyring.pending_cipher_for(NHS)
    if cipher is None:
        return
    document = found_in(client[DATABASE][FRONTIERS], {})
    frontier: Frontier = parse_frontier(document, cipher)
    for value in envelopes(client):
        form = frontier.form(position_of(bytes(sealed(keyring, opened(keyring, value)))))
        is_new = parse_header(bytes(value)).key_version == 2
        assert form is Form.MOVING or is_new == (form is Form.NEW)


def test_an_aborted_move_says_what_leads_on_and_that_is_right(rotating: Clinic, client: Direct) -> None:
    names = fill(rotating, client, DOCUMENTS)
    with rotating.start(*reencryption(rotating), "--share", "0.05") as process:
        wait_for_frontier(client)
        name = rotating.jobs()[0]["job"]
        aborted = rotating.job("abort", name)
        assert process.wait(30) in (1, 69)
    assert aborted["state"] == "aborted"
    (way,) = aborted["half_way"]
    assert way == {"class": NHS, "on": f"sealwire migrate reencrypt POLICY {NHS}", "back": None}
    assert way["on"] in rotating.migrate("abort", name).stdout
    assert rotating.job(*reencryption(rotating))["state"] == "done"
    assert rotating.job("abort", name)["half_way"] == []
    assert_moved(rotating, client, names)


def waits_for(clinic: Clinic) -> list[str]:
    """Whom the one process at work says to wait for."""
    (worker,) = json.loads(clinic.migrate("status", "--json").stdout)["workers"]
    named: list[str] = worker["waits_for"]
    return named


def test_a_proxy_that_holds_windows_up_is_named_and_outlived(rotating: Clinic, client: Direct) -> None:
    with StandInProxies(rotating) as proxies:
        names = fill(rotating, client, 30)
        proxies.stubborn.add(proxies.names[0])
        with rotating.start(*reencryption(rotating, proxies=2)) as process:
            assert process.stdout is not None
            output = next(line for line in process.stdout if WAITING in line)
            assert process.poll() is None
            assert {parse_header(bytes(each)).key_version for each in envelopes(client)} == {1}
            # the first look may have met the other proxy too, before it followed; the note is renewed
            until(lambda: waits_for(rotating) == [next(iter(proxies.stubborn))])
            proxies.names.remove(proxies.names[0])
            more = process.stdout.read()
        assert process.returncode == 0
        assert f"{next(iter(proxies.stubborn))}, which has ended" in more
        assert next(iter(proxies.stubborn)) in output
        assert_moved(rotating, client, names)


def test_without_a_pending_key_there_is_nothing_to_do(rotating: Clinic, client: Direct) -> None:
    fill(rotating, client, 3)
    rotating.job(*reencryption(rotating))
    done = rotating.migrate(*reencryption(rotating))
    assert "no key of the class is pending" in str(done.exception)
    rotating.rotate(NHS, pending=True)
    assert rotating.job(*reencryption(rotating))["values"] == 12
    found = found_in(client[DATABASE][FRONTIERS], {})
    assert (found["old"], found["new"]) == (2, 3)
    assert found["generation"] > 3


def test_a_job_that_died_behind_the_activation_ends(rotating: Clinic, client: Direct) -> None:
    names = fill(rotating, client, 3)
    name = rotating.job(*reencryption(rotating))["job"]
    put_back(rotating, name)
    policy = str(rotating.policy_file)
    assert rotating.job("resume", policy, name)["state"] == "done"
    assert rotating.job("resume", policy, name)["state"] == "done"
    assert_moved(rotating, client, names)


def put_back(clinic: Clinic, name: str) -> None:
    """Write a job down as its process did before its last note."""
    with connected(clinic.database.uri()) as client:
        ledger = Ledger(client, load_keyring(clinic.keyring, clinic.kek))
        job, _ = ledger.load(name)
        ledger.save(job.stopped(Standing.RUNNING, job.updated))


def test_a_policy_that_has_lost_a_path_carries_no_job_on(rotating: Clinic, client: Direct) -> None:
    fill(rotating, client, 3)
    name = rotating.job(*reencryption(rotating))["job"]
    put_back(rotating, name)
    less = rotating.policy(POLICY.replace("kin.nhs_number: nhs_number, ", ""))
    done = rotating.migrate("resume", less, name)
    assert isinstance(done.exception, Unusable)
    assert done.exception.reason is MigrationReason.POLICY_CHANGED


def test_a_class_that_nothing_holds_has_nothing_to_move(rotating: Clinic) -> None:
    done = rotating.migrate(*reencryption(rotating))
    assert isinstance(done.exception, Unusable)
    assert done.exception.reason is MigrationReason.NOTHING


def test_a_dry_run_moves_nothing(rotating: Clinic, client: Direct) -> None:
    fill(rotating, client, 3)
    assert rotating.job(*reencryption(rotating), "--dry-run")["values"] == 0
    assert client[DATABASE].list_collection_names() == ["leases"]


def test_a_first_move_needs_the_number_of_proxies_and_a_later_one_does_not(rotating: Clinic) -> None:
    words = reencryption(rotating)[:-2]
    with rotating.database.connect() as client:
        fill(rotating, client, 3)
        with StandInProxies(rotating) as proxies:
            for more in ((), ("--dry-run",)):
                refused = rotating.refused(*words, *more)
                assert refused.reason is MigrationReason.PROXIES
                assert all(name in refused.hint for name in ("--proxies", *proxies.names))
            assert rotating.jobs() == []
            assert client[DATABASE].list_collection_names() == ["leases"]
            assert rotating.job(*words, "--proxies", "2")["state"] == "done"
            rotating.rotate(NHS, pending=True)
            assert rotating.job(*words, "--dry-run")["state"] == "running"


def test_a_first_move_in_clear_makes_no_version_without_the_number_of_proxies(clear: Clinic) -> None:
    for words in (("encrypt", clear.policy(), NHS), ("encrypt", clear.policy())):
        with clear.database.connect() as client:
            client["clinic"]["patients"].insert_one({NHS: "1"})
        assert clear.refused(*words).reason is MigrationReason.PROXIES
    assert {key.version for key in clear.data_keys()} == {1}
    assert clear.jobs() == []


def test_a_first_move_waits_for_proxies_that_are_missing_and_says_so(rotating: Clinic) -> None:
    with rotating.database.connect() as client, StandInProxies(rotating) as proxies:
        names = fill(rotating, client, 3)
        with rotating.start(*reencryption(rotating, proxies=3)) as process:
            assert process.stdout is not None
            said = next(line for line in process.stdout if "2 of 3 proxies have a lease" in line)
            assert all(name in said for name in proxies.names)
            (worker,) = json.loads(rotating.migrate("status", "--json").stdout)["workers"]
            assert worker["waits_for"][0].startswith("2 of 3 proxies have a lease: ")
            assert client[DATABASE][FRONTIERS].find_one({}) is None
            process.send_signal(signal.SIGTERM)
            process.communicate()
        (job,) = rotating.jobs()
        assert job["state"] == "paused"
        resume = ("resume", str(rotating.policy_file), job["job"])
        assert rotating.refused(*resume).reason is MigrationReason.PROXIES
        assert rotating.job(*resume, "--proxies", "2")["state"] == "done"
        assert_moved(rotating, client, names)


# What the reads of a range find of a class: the same on a server and in its double.


def test_the_walked_fields_are_those_of_the_indexes_that_the_server_has_now(rotating: Clinic) -> None:
    where = class_paths(load_policy(POLICY.encode(), "policy"), [PATIENTS], NHS)
    with (
        rotating.database.connect() as plain,
        connected(rotating.database.uri()) as client,
        client.start_session(causal_consistency=True) as session,
    ):
        values = MongoValues(client, session, 7, lambda: where)
        assert values.walked(where) == frozenset()
        plain["clinic"]["patients"].create_index([("ward", 1), (NHS, 1)])
        plain["clinic"]["patients"].create_index([("bed", 1), ("ward", 1)])
        assert values.walked(where) == frozenset({b"ward"})
        plain["clinic"]["patients"].drop_indexes()


@pytest.mark.parametrize("is_indexed", [False, True])
def test_ranges_miss_nothing_on_the_server_nor_in_its_double(rotating: Clinic, *, is_indexed: bool) -> None:
    chance = random.Random(3)
    order = EnvelopeOrder(b"SW\1\1aaaavvvv")
    documents = [{"_id": number, NHS: some_values(chance, order)} for number in range(300)]
    doubles = [MemoryValues({PATIENTS: documents}, Fate(), by_bytes=by_bytes) for by_bytes in (False, True)]
    where = class_paths(load_policy(POLICY.encode(), "policy"), [PATIENTS], NHS)
    with (
        rotating.database.connect() as plain,
        connected(rotating.database.uri()) as client,
        client.start_session(causal_consistency=True) as session,
    ):
        plain["clinic"]["patients"].insert_many(documents)
        if is_indexed:
            made = {(PATIENTS, NHS): "sealwire_move_7_1", (PATIENTS, f"kin.{NHS}"): "sealwire_move_7_2"}
            assert make_indexes(client, where, 7) == made
            assert make_indexes(client, where, 7) == made
        servers: list[Values] = [MongoValues(client, session, 7, lambda: where), *doubles]
        for _ in range(30):
            start, end = sorted([some_place(chance), some_place(chance)])
            wanted = {
                bson.encode(each)
                for each in documents
                for value in reached(each, NHS)
                if bytes(value).startswith(order.prefix) and start <= place_of(order, value) < end
            }
            for server in servers:
                ranges = list(order.ranges(order.position(start), order.position(end)))
                assert wanted <= {raw for each in ranges for raw in server.between(PATIENTS, NHS, each)}
        drop_indexes(client, where, 7)
        assert len(list(plain["clinic"]["patients"].list_indexes())) == 1


def test_ranges_between_keys_are_those_of_values(rotating: Clinic) -> None:
    chance = random.Random(4)
    order = EnvelopeOrder(b"SW\1\1aaaavvvv")
    documents: list[Document] = [
        {"_id": number, NHS: Binary(order.prefix + chance.randbytes(chance.choice((18, 19))), SUBTYPE)}
        for number in range(100)
    ]
    where = class_paths(load_policy(POLICY.encode(), "policy"), [PATIENTS], NHS)
    with rotating.database.connect() as plain, connected(rotating.database.uri()) as client:
        patients = plain["clinic"]["patients"]
        patients.insert_many(documents)
        patients.create_index([(NHS, 1), ("ward", 1)], name="both")
        assert make_indexes(client, where, 7)[PATIENTS, NHS] == "both"
        name = make_indexes(client, where, 7, alone=True)[PATIENTS, NHS]
        assert name == "sealwire_move_7_1"
        for _ in range(20):
            start, end = sorted([some_place(chance), some_place(chance)])
            wanted = {each["_id"] for each in documents if start <= place_of(order, each[NHS]) < end}
            ranges = order.ranges(order.position(start), order.position(end))
            found = [
                each["_id"] for within in ranges for each in patients.find({}, **bounded(name, NHS, within))
            ]
            assert set(found) == wanted
            assert len(found) == len(wanted)


def test_a_server_is_tried_before_its_bounds_are_relied_on(rotating: Clinic) -> None:
    with rotating.database.connect() as plain, connected(rotating.database.uri()) as client:
        # this test server does not find elements between two keys of an index
        assert not keeps_bounds(client)
        assert not [name for name in plain[DATABASE].list_collection_names() if name.startswith("tried_")]


def test_updates_are_counted_and_their_faults_named(rotating: Clinic) -> None:
    with (
        rotating.database.connect() as plain,
        connected(rotating.database.uri()) as client,
        client.start_session(causal_consistency=True) as session,
    ):
        patients = plain["clinic"]["patients"]
        patients.create_index("value", unique=True)
        patients.insert_many({"_id": number, "value": number} for number in range(60))
        values = MongoValues(client, session, 7, list)
        # all but two to values that nobody has; 41 is not there any more, and 25 would be a second 1000
        news = {number: 1000 + number for number in range(60)} | {25: 1000}
        patients.update_one({"_id": 41}, {"$set": {"value": -1}})
        updates = [
            bson.encode({"q": {"_id": number, "value": number}, "u": {"$set": {"value": new}}})
            for number, new in news.items()
        ]
        written = values.update(PATIENTS, updates)
        assert (written.matched, written.errors) in [(58, ((25, 11000),)), (58, ((0, 11000),))]
        assert patients.count_documents({"value": {"$gte": 1000}}) == 58


def place_of(order: EnvelopeOrder, value: Binary) -> Place:
    position = order.place(kinds.BIN_DATA, binary(bytes(value)))
    assert position is not None
    return order.place_of(position)


def some_values(chance: random.Random, order: EnvelopeOrder) -> Binary | list[Binary]:
    """One, or an array of three, of this class and of another, and of a few lengths."""
    values = [
        Binary(chance.choice((order.prefix, b"SW\1\1aaaavvvw")) + chance.randbytes(size), SUBTYPE)
        for size in chance.choices((18, 19, 40), k=3)
    ]
    return chance.choice((values[0], values))


def some_place(chance: random.Random) -> Place:
    key = chance.choice((0, chance.randrange(1 << 72)))
    return chance.choice((FIRST, LAST, *(Place(length, key) for length in (30, 31, 35, 52, 60))))
