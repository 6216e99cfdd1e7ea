"""A deterministic class gets another key while an application goes on by two proxies; the job is killed."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from sealwire.crypto.envelope import parse_header
from sealwire.keys.frontier.record import DATABASE as FRONTIER_DATABASE
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.file import open_record, read_record
from sealwire.keys.keyring.turning import rotate
from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Document
from tests.integration.rotating_clinic import FIXED, NHS, VISITS, Application, fill, number_of
from tests.integration.running_site import client_of, first_move, moving_site
from tests.proxy.server.site import Site, serving
from tests.support import warm

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TRANSACTIONS_S = 5
"""How long they may last on the server of these tests."""

KILLS = 2
PATIENCE_S = 120.0
LONGEST_S = 600.0
CANNOT_WAIT = 262
"""The code for a command that has waited for a window as long as one may."""
LATE_S = 8
"""Far longer than the job takes to ask for the leases."""


@pytest.fixture(autouse=True)
def emptied(database: DatabaseProcess) -> Iterator[None]:
    """Both tests share a server, and each begins without a collection or a frontier."""
    yield
    with database.connect() as client:
        for name in ("clinic", FRONTIER_DATABASE):
            client.drop_database(name)


@pytest.fixture
def site(database: DatabaseProcess, tmp_path: Path) -> Site:
    return moving_site(database, tmp_path)


def migrate(site: Site, *words: str) -> "subprocess.Popen[str]":
    line = [sys.executable, "-m", "sealwire", "migrate", *words, "--json"]
    return warm.WarmProcess(line, env=site.environ, cwd=site.folder, stdout=subprocess.PIPE, text=True)


def job_of(site: Site) -> dict[str, Any]:
    """The one job, as soon as it is written down: a process may take long to begin."""
    until = time.monotonic() + PATIENCE_S
    while True:
        with migrate(site, "status") as process:
            said, _ = process.communicate(timeout=PATIENCE_S)
        jobs = json.loads(said)["jobs"]
        if jobs or time.monotonic() > until:
            (job,) = jobs
            return dict(job)


def versions(client: MongoClient[Document]) -> set[int]:
    """Under which versions of the key the values lie."""
    patients = [each[NHS] for each in client["clinic"]["patients"].find()]
    visits = [each["patient"] for each in client["clinic"]["visits"].find()]
    return {parse_header(bytes(value)).key_version for value in patients + visits}


def move_with_kills(site: Site) -> int:
    """Work on the move to its end, killed again and again; how often it was killed in the middle."""
    chance = random.Random(5)
    pace = [*first_move(site), "--share", "0.5"]
    words, killed = ["reencrypt", "policy.yaml", NHS, *pace], 0
    while killed < 2 * KILLS:
        with migrate(site, *words) as process:
            try:
                wait_s = 3.5 + chance.random() if killed < KILLS else PATIENCE_S
                said, _ = process.communicate(timeout=wait_s)
            except subprocess.TimeoutExpired:
                job = job_of(site)
                process.kill()
                killed += 1
            else:
                assert process.returncode == 0, said
                return killed
        words = ["resume", "policy.yaml", job["job"], *pace]
    raise AssertionError("the move does not end")


def test_a_move_waits_for_a_proxy_that_loads_the_new_key_late(
    database: DatabaseProcess, tmp_path: Path
) -> None:
    site = moving_site(database, tmp_path, refresh_s=LATE_S)
    with serving(site, LONGEST_S) as running, client_of(running) as one, client_of(running) as two:
        fill(one)
        application = Application((one, two))
        with application.at_work():
            time.sleep(0.5)
            rotate(site.keyring, EnvironmentKek(environ=site.environ), {NHS: True}, datetime.now(UTC))
            with migrate(site, "reencrypt", "policy.yaml", NHS, *first_move(site)) as process:
                said, _ = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, said
        assert (application.wrong, application.failed) == ([], [])
        assert application.asked > 20
    with database.connect() as raw:
        assert versions(raw) == {2}


def test_every_answer_is_right_while_a_class_moves_to_another_key(
    site: Site, database: DatabaseProcess
) -> None:
    kek = EnvironmentKek(environ=site.environ)
    with (
        serving(site, LONGEST_S) as first,
        serving(site, LONGEST_S) as second,
        client_of(first) as one,
        client_of(second) as two,
    ):
        fill(one)
        application = Application((one, two))
        with application.at_work():
            time.sleep(0.5)
            rotate(site.keyring, kek, {NHS: True}, datetime.now(UTC))
            killed = move_with_kills(site)
            time.sleep(2.5)  # both proxies load the keyring in which the new key is active
        # a command waits for ten seconds at most for a window that a killed process has left
        waited = [each for each in application.failed if each.endswith(f" {CANNOT_WAIT}")]
        assert (application.wrong, application.failed) == ([], waited)
        assert len(waited) <= 2 * killed
        assert application.asked > 200
        assert killed
        assert {name: won for name, won in application.races.items() if won != 1} == {}
        patients = one["clinic"]["patients"]
        assert {each[NHS] for each in patients.find({"fixed": True})} == set(map(number_of, range(FIXED)))
        assert one["clinic"]["visits"].count_documents({"fixed": True}) == FIXED * VISITS
        names = [each[NHS] for each in patients.find({}, {NHS: 1})]
        assert len(names) == len(set(names))
    with database.connect() as client:
        assert versions(client) == {2}
    states = [key.state for key in open_record(read_record(site.keyring), kek, site.keyring)]
    assert states == [KeyState.DECRYPT_ONLY, KeyState.ACTIVE]
