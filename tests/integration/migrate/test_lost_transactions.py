"""No write of a transaction is lost while its class moves to another key, whoever ends meanwhile.

Tests of what waits in sockets and of what a proxy cannot see are in test_lost_writes.py.
"""

import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from sealwire.testbed.child import LOOPBACK
from tests.faults.moving_clinic import NHS, Document, assert_nothing_lost, by_number, ended, filled, number_of
from tests.faults.scene import faulty
from tests.support.relay import relay
from tests.support.secantus import secantus

pytestmark = [*faulty, pytest.mark.slow(minutes=4)]

LOADED_S = 2.5
"""Every proxy has loaded the keyring by then."""
LATE: Document = {"_id": "late", NHS: number_of(1000)}
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


@pytest.mark.parametrize(
    ("end", "by"), [("killed", "a"), ("killed", "b"), ("ended", "a"), ("ended", "b"), ("stopped", "a")]
)
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
