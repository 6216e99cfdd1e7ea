"""No write that was acknowledged is lost while a class moves to another key, whatever stops or is cut off.

Lost means: readable by _id, not found by its value, and the unique index takes a second one. A command may
wait or fail instead. Tests of transactions come last.
"""

import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from bson.binary import Binary
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, PyMongoError

from sealwire.keys.frontier.record import DATABASE, FRONTIERS
from sealwire.testbed.child import LOOPBACK
from sealwire.testbed.errors import TestbedError
from tests.faults.moving_clinic import (
    NHS,
    PATIENCE_S,
    PATIENTS,
    POLICY,
    Document,
    Door,
    assert_nothing_lost,
    by_number,
    ended,
    filled,
    lost,
    moving_clinic,
    number_of,
)
from tests.faults.scene import faulty
from tests.support.relay import relay
from tests.support.rows import rows
from tests.support.secantus import secantus
from tests.support.waiting import until

pytestmark = faulty

WAITING = 24
"""Commands at a time, as those in the sockets of a proxy that is stopped."""
LOADED_S = 2.5
"""Every proxy has loaded the keyring by then."""
LATE: Document = {"_id": "late", NHS: number_of(1000)}


# -- what waits in sockets ---------------------------------------------------------------------------------


@pytest.mark.slow(minutes=3)
@pytest.mark.parametrize("loses_leases", [False, True])
def test_a_proxy_that_was_stopped_while_nothing_moved(tmp_path: Path, *, loses_leases: bool) -> None:
    """Also if the job cannot know of its lease, and would be done before that has run out."""
    with (
        secantus(tmp_path, transaction_s=2) as database,
        filled(database, tmp_path) as clinic,
        database.connect() as raw,
        ExitStack() as opened,
        ThreadPoolExecutor(WAITING) as pool,
    ):
        clients = [opened.enter_context(clinic.a.client(retryWrites=False)) for _ in range(WAITING)]
        for client in clients:
            client["clinic"]["patients"].find_one()
        clinic.a.signal(signal.SIGSTOP)
        asked = [pool.submit(_QUESTIONS[n % 3], client, n) for n, client in enumerate(clients)]
        clinic.rotate()
        if loses_leases:
            clinic.b.stop()
            raw.drop_database(DATABASE)
        with clinic.moving() as job:
            assert ended(job) == 0
        clinic.a.signal(signal.SIGCONT)
        if loses_leases:
            clinic.b.start()
        assert "wrong" not in Counter(each.result(60) for each in asked)
        assert_nothing_lost(clinic)


def find(client: MongoClient[Document], patient: int) -> str:
    """Whether the answer is right, wrong or none."""
    return said(
        lambda: [each["_id"] for each in client["clinic"]["patients"].find(by_number(patient))] == [patient]
    )


def update(client: MongoClient[Document], patient: int) -> str:
    change = {"$inc": {"times": 1}}
    return said(
        lambda: client["clinic"]["patients"].update_one(by_number(patient), change).matched_count == 1
    )


def insert_again(client: MongoClient[Document], patient: int) -> str:
    def is_refused() -> bool:
        try:
            client["clinic"]["patients"].insert_one({"_id": f"again {patient}", **by_number(patient)})
        except DuplicateKeyError:
            return True
        return False

    return said(is_refused)


_QUESTIONS: tuple[Callable[[MongoClient[Document], int], str], ...] = (find, update, insert_again)


def said(ask: Callable[[], bool]) -> str:
    try:
        return "right" if ask() else "wrong"
    except PyMongoError:
        return "failed"


def all_said(door: Door) -> Counter[str]:
    """What a proxy answers of all patients, `WAITING` at a time."""
    with door.client(retryWrites=False) as client, ThreadPoolExecutor(WAITING) as pool:
        asked = [
            pool.submit(question, client, patient) for patient in range(PATIENTS) for question in _QUESTIONS
        ]
        return Counter(each.result(120) for each in asked)


@pytest.mark.slow(minutes=3)
def test_an_update_that_waits_in_a_socket_behind_a_partition(tmp_path: Path) -> None:
    """Its connection is reset before the class has moved, so that it is never carried out."""
    narrow = {"piece_bytes": 1024, "buffer_bytes": 1024}
    with (
        secantus(tmp_path, transaction_s=2) as database,
        filled(database, tmp_path, **narrow) as clinic,
        clinic.a.client(retryWrites=False) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        patients = client["clinic"]["patients"]
        clinic.rotate()
        time.sleep(LOADED_S)
        patients.find_one(by_number(1))
        clinic.a.line.freeze()
        # more than the line takes, and less than the kernel holds
        change = {"$set": {NHS: LATE[NHS], "letter": "x" * 50_000}}
        sent = pool.submit(said, lambda: patients.update_one({"_id": 1}, change).matched_count == 1)
        with clinic.moving() as job:
            assert ended(job) == 0
        clinic.a.line.thaw()
        assert sent.result(60) != "wrong"
        time.sleep(LOADED_S)
        assert_nothing_lost(clinic)


# -- what a proxy cannot see -------------------------------------------------------------------------------


@pytest.mark.slow(minutes=3)
@pytest.mark.parametrize("is_fresh", [True, False])
def test_an_old_keyring_where_the_frontier_cannot_be_reached(tmp_path: Path, *, is_fresh: bool) -> None:
    """The server of `frontier.uri_file` is away from one proxy, which has the keyring of before the move."""
    with (
        secantus(tmp_path, transaction_s=2) as database,
        relay(database.address) as away,
        filled(database, tmp_path) as clinic,
    ):
        clinic.a.stop()
        clinic.a.keyring = tmp_path / "old.json"
        shutil.copy(clinic.keyring, clinic.a.keyring)
        clinic.a.lead_frontier_to(away.address)
        if not is_fresh:
            clinic.a.start()
            assert all_said(clinic.a) == {"right": 3 * PATIENTS}
        away.freeze()
        away.cut()
        clinic.rotate()
        with clinic.moving() as job:
            if not is_fresh:
                assert all_said(clinic.a)["wrong"] == 0
            assert ended(job) == 0
        if is_fresh:
            clinic.a.start()
        assert all_said(clinic.a) == {"failed": 3 * PATIENTS}
        assert clinic.a.readiness() == 503
        assert lost(clinic.b) == []


@pytest.mark.slow(minutes=3)
def test_an_old_keyring_is_refused(tmp_path: Path) -> None:
    """Of a proxy that sees the database in which the frontiers lie."""
    with secantus(tmp_path, transaction_s=2) as database, filled(database, tmp_path) as clinic:
        clinic.a.stop()
        clinic.a.keyring = tmp_path / "old.json"
        shutil.copy(clinic.keyring, clinic.a.keyring)
        clinic.rotate()
        with clinic.moving() as job:
            assert ended(job) == 0
        with suppress(TestbedError):
            clinic.a.start()
            assert all_said(clinic.a) == {"failed": 3 * PATIENTS}
        assert lost(clinic.b) == []


@pytest.mark.slow(minutes=3)
def test_a_frontier_that_is_missing_in_the_middle_of_a_move(tmp_path: Path) -> None:
    with secantus(tmp_path) as database, filled(database, tmp_path) as clinic, database.connect() as raw:
        clinic.rotate()
        with clinic.moving() as job:
            until(lambda: clinic.versions() == {2, 3}, PATIENCE_S)
            job.send_signal(signal.SIGSTOP)
            assert clinic.versions() == {2, 3}
            raw[DATABASE][FRONTIERS].delete_many({})
            time.sleep(LOADED_S)
            running = all_said(clinic.a)
            clinic.b.stop()
            clinic.b.start()
            fresh = all_said(clinic.b)
        assert (running["wrong"], fresh["wrong"]) == (0, 0)
        assert running["failed"]
        assert fresh["failed"]


# -- what holds a move up ----------------------------------------------------------------------------------


@pytest.mark.slow(minutes=3)
def test_two_classes_move_beside_an_open_change_stream(tmp_path: Path) -> None:
    policy = POLICY.replace("classes: {", "classes: {ward: {mode: deterministic, type: string}, ").replace(
        "former: nhs_number", "ward: ward"
    )
    classes = (NHS, "ward")
    with (
        secantus(tmp_path) as database,
        moving_clinic(database, tmp_path, policy=policy, classes=classes, plaintext=classes) as clinic,
        clinic.b.client() as client,
    ):
        patients = client["clinic"]["patients"]
        patients.insert_many({"_id": n, NHS: number_of(n), "ward": f"ward {n}"} for n in range(100))
        closing = threading.Event()

        def watch() -> None:
            with patients.watch(max_await_time_ms=500) as stream:
                while not closing.is_set():
                    stream.try_next()

        with ThreadPoolExecutor(1) as pool:
            watching = pool.submit(watch)
            try:
                with clinic.job("encrypt", "policy.yaml", "--proxies", "2") as job:
                    assert ended(job, 75) == 0
                assert not watching.done()
            finally:
                closing.set()
        with database.connect() as raw:
            stored = raw["clinic"]["patients"].find()
            assert {type(each[name]) for each in stored for name in classes} == {Binary}


# No write of a transaction is lost while its class moves to another key, whoever ends meanwhile.
#
# Tests of what waits in sockets and of what a proxy cannot see are in test_lost_writes.py.


LIFETIME_S = 27
"""Of a transaction that a test leaves open for less."""


def is_committed(session: Any) -> bool:
    """Whether a commit is acknowledged. A refusal has the label with which drivers run it all again."""
    deadline_s = time.monotonic() + 60
    while True:
        try:
            session.commit_transaction()
        except PyMongoError as error:
            if error.has_error_label("TransientTransactionError"):
                return False
            if not error.has_error_label("UnknownTransactionCommitResult") or time.monotonic() > deadline_s:
                raise
            time.sleep(0.5)
        else:
            return True


@pytest.mark.slow(minutes=4)
def test_a_transaction_that_began_before_its_class_moved(tmp_path: Path) -> None:
    with (
        secantus(tmp_path) as database,
        filled(database, tmp_path) as clinic,
        clinic.a.client() as client,
        client.start_session() as session,
    ):
        session.start_transaction()
        client["clinic"]["patients"].insert_one(LATE, session=session)
        clinic.rotate()
        with clinic.moving() as job:
            time.sleep(8)
            committed = is_committed(session)
            assert ended(job) == 0
        assert_nothing_lost(clinic, committed=committed)


@pytest.mark.slow(minutes=4)
def test_a_transaction_reads_from_before_its_class_moved(tmp_path: Path) -> None:
    """Its first command names no value, and fixes what all its commands see."""
    with (
        secantus(tmp_path) as database,
        filled(database, tmp_path) as clinic,
        clinic.a.client() as client,
        client.start_session() as session,
    ):
        patients = client["clinic"]["patients"]
        session.start_transaction()
        assert patients.find_one({"_id": 0}, session=session)
        clinic.rotate()
        with clinic.moving() as job:
            with suppress(subprocess.TimeoutExpired):
                job.wait(15)
            try:
                assert patients.count_documents(by_number(1), session=session) == 1
                changed = patients.update_one(by_number(2), {"$inc": {"times": 1}}, session=session)
                assert changed.matched_count == 1
            except PyMongoError as error:
                if not error.has_error_label("TransientTransactionError"):
                    raise
            session.abort_transaction()
            assert ended(job) == 0
        assert_nothing_lost(clinic)


@pytest.mark.slow(minutes=4)
@rows("end, by", ("killed", "a"), ("killed", "b"), ("ended", "a"), ("ended", "b"), ("stopped", "a"))
def test_a_proxy_that_ends_with_a_transaction_open(tmp_path: Path, end: str, by: str) -> None:
    """The driver tries its commit again, at the same proxy or at another one."""
    with (
        secantus(tmp_path, transaction_s=LIFETIME_S) as database,
        filled(database, tmp_path) as clinic,
        relay(clinic.a.address) as front,
        MongoClient[Document](f"mongodb://{front.address}/?directConnection=true") as client,
        client.start_session() as session,
    ):
        clinic.rotate()
        time.sleep(LOADED_S)
        session.start_transaction()
        client["clinic"]["patients"].insert_one(LATE, session=session)
        with clinic.moving() as job:
            if end == "stopped":
                clinic.a.signal(signal.SIGSTOP)
                time.sleep(23)
                clinic.a.signal(signal.SIGCONT)
            else:
                clinic.a.crash() if end == "killed" else clinic.a.stop()
                with suppress(subprocess.TimeoutExpired):
                    job.wait(15)
                clinic.a.start()
                front.upstream = (LOOPBACK, getattr(clinic, by).port)
            committed = is_committed(session)
            assert ended(job) == 0
        assert_nothing_lost(clinic, committed=committed)
