"""The server in memory does what a job asks of one, as a real one would."""

import json
import random
import subprocess
import sys
from pathlib import Path

import bson
import pytest
from bson.binary import Binary

from bench.migration import beside
from bench.migration.alone import WORKS
from bench.migration.held import BATCH_DOCUMENTS, BinaryIndex, Entry, Held
from bench.migration.subject import DETERMINISTIC, FIELDS, RANDOM, keyring_of, patients
from sealwire.keys.keyring.data_key import KeyState
from sealwire.sidecars.direct import identity_of

COUNT = 40


def held() -> Held:
    return Held(patients(COUNT, keyring_of((KeyState.ACTIVE,)), FIELDS), DETERMINISTIC)


def identity(number: int) -> bytes:
    return identity_of(bson.encode({"_id": number}))


def test_it_reads_by_id() -> None:
    server = held()
    raws, ended = server.read(b"", b"", 10)
    assert ([bson.decode(raw)["_id"] for raw in raws], ended) == (list(range(10)), False)
    raws, ended = server.read(identity(35), b"", 10)
    assert ([bson.decode(raw)["_id"] for raw in raws], ended) == (list(range(35, COUNT)), True)
    raws, ended = server.read(identity(3), identity(5), 10)
    assert ([bson.decode(raw)["_id"] for raw in raws], ended) == ([3, 4], True)
    assert server.again([identity(7)]) == server.read(identity(7), identity(8), 10)[0]


def test_it_changes_only_what_still_has_the_value_that_is_named() -> None:
    server = held()
    before = bson.decode(server.again([identity(7)])[0])
    new = Binary(b"another", 128)
    update = bson.encode(
        {"q": {"_id": 7, "mrn": {"$eq": before["mrn"]}}, "u": {"$set": {"mrn": new}}},
    )
    assert [server.update([update]), server.update([update])] == [1, 0]
    assert bson.decode(server.again([identity(7)])[0]) == before | {"mrn": new}
    found, more = server.between("mrn", bytes(new), bytes(new), None)
    assert ([bson.decode(each)["_id"] for each in found], more) == ([7], None)
    assert server.between("mrn", bytes(before["mrn"]), bytes(before["mrn"]), None) == ([], None)


def test_it_counts_what_is_stored_by_version() -> None:
    found = held().versions()
    assert all(found[f"{name} 1"] == COUNT for name in FIELDS)
    assert found["sex 0"] == COUNT


@pytest.mark.parametrize("seed", range(5))
def test_a_range_has_every_binary_between_its_ends_in_the_order_of_a_server(seed: int) -> None:
    chance = random.Random(seed)
    size = BATCH_DOCUMENTS * 2
    values = [b"SW" + bytes(12) + chance.randbytes(chance.choice((1, 3, 20))) for _ in range(size)]
    index = BinaryIndex()
    for number, value in enumerate(values):
        index.add(value, number)
    for number in range(0, size, 3):
        index.remove(values[number], number)
    low, high = sorted(chance.sample(values, 2), key=lambda value: (len(value), value))
    found: list[Entry] = []
    behind = None
    while page := index.page(low, high, behind):
        found += page
        behind = page[-1]
    assert found == sorted(
        (len(value), value, number)
        for number, value in enumerate(values)
        if number % 3 and (len(low), low) <= (len(value), value) <= (len(high), high)
    )
    everything = index.page(bytes(1), None, None)
    assert len(everything) == BATCH_DOCUMENTS


ALONE = 700
JOBS = {
    "encrypt": ("encrypt random", ALONE * len(RANDOM)),
    "reencrypt": ("reencrypt random", ALONE * len(RANDOM)),
    "rotate": (f"reencrypt {DETERMINISTIC[0]}", ALONE),
    "decrypt": (f"decrypt {DETERMINISTIC[0]}", ALONE),
}


@pytest.mark.parametrize("work", WORKS)
def test_a_work_moves_every_value_and_is_measured(work: str) -> None:
    line = [sys.executable, "-m", "bench.migration.alone", work, "--documents", str(ALONE)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(done.stdout)
    assert (found["work"], found["values"]) == JOBS[work]
    assert found["documents"] == ALONE
    assert found["cpu_s"] > 0
    assert 0 < found["update_cpu_s"] <= found["server_cpu_s"]
    assert 0 < found["idle_kib"] <= found["peak_kib"]


BESIDE = 1500


@pytest.mark.integration
@pytest.mark.slow
def test_an_application_is_measured_while_jobs_move_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "REST_S", 1.0)
    told: list[str] = []
    found = beside.measure_beside(tmp_path, BESIDE, told.append)
    turns = [f"{verb} {DETERMINISTIC[0]}" for verb in ("reencrypt", "decrypt", "encrypt")]
    assert [each.work for each in found] == ["encrypt random", *turns]
    assert len(told) == len(found) + 1
    for each in found:
        assert each.documents_s > 0
        assert each.peak_kib > 0
        assert each.questions > 0
        assert set(each.ratio) == {"find-one", "update-one"}
