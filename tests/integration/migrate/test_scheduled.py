"""`sealwire keys rotate --due` where a policy says how often a class is rotated: its data moves as well."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sealwire.cli.groups import keys as command
from sealwire.crypto.envelope import parse_header
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.file import load_keyring
from sealwire.keys.keyring.schedule import QuietHours
from sealwire.sidecars.direct import connected
from sealwire.sidecars.migration import engine
from sealwire.sidecars.migration.forms import WrongType
from sealwire.sidecars.migration.job import Job, Standing
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.moves import Direction, Move
from sealwire.sidecars.migration.windows.workers import Workers
from sealwire.testbed.database import DatabaseProcess
from tests.integration.migrate.clinics import (
    NHS,
    PATIENTS,
    POLICY,
    Clinic,
    envelopes,
    fill,
    new_clinic,
    opened,
)

pytestmark = pytest.mark.integration

QUARTERLY = POLICY.replace("type: string}", "type: string, rotate: quarterly}").replace(
    "mode: random}", "mode: random, rotate: quarterly}"
)
WHOLE_DAY = ("--quiet", "00:00-23:59")


@pytest.fixture
def due(database: DatabaseProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    """One whose keys are older than a quarter, but not by the days of grace."""
    monkeypatch.setattr(engine, "SLOWER", 1000.0)
    long_ago = datetime.now(UTC) - timedelta(days=95)
    with new_clinic(database, tmp_path, QUARTERLY, (NHS, "notes"), created=long_ago) as clinic:
        yield clinic


def calendar(clinic: Clinic, *words: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """What the timer says of each class."""
    line = ["rotate", "--due", "--policy", str(clinic.policy_file), "--json", *words]
    done = CliRunner().invoke(command, line, env=clinic.environ)
    assert done.exit_code == code, done.output
    return {each["class"]: each for each in json.loads(done.stdout)["plan"]}


def states(clinic: Clinic, name: str = NHS) -> list[KeyState]:
    return [key.state for key in clinic.data_keys() if key.class_name == name]


def test_a_class_that_is_due_gets_a_key_and_its_data_moves_to_it(due: Clinic, tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    due.environ["SEALWIRE_AUDIT_PATH"] = str(log)
    with due.database.connect() as client:
        names = fill(due, client, 40)
        dry = calendar(due, "--proxies", "0", "--dry-run")
        assert (dry[NHS]["outcome"], states(due)) == ("planned", [KeyState.ACTIVE])
        assert due.jobs() == []
        done = calendar(due, "--proxies", "0")
        assert {name: each["outcome"] for name, each in done.items()} == {NHS: "done", "notes": "done"}
        assert (done[NHS]["job"]["state"], done[NHS]["job"]["values"]) == ("done", 160)
        assert {parse_header(bytes(each)).key_version for each in envelopes(client)} == {2}
        keyring = load_keyring(due.keyring, due.kek)
        assert {opened(keyring, each) for each in envelopes(client)} == set(names)
    assert states(due) == states(due, "notes") == [KeyState.DECRYPT_ONLY, KeyState.ACTIVE]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["outcome"] for line in lines if line["event"] == "rotation"] == ["done", "done"]
    assert calendar(due) == {}


def test_a_move_pauses_at_the_end_of_the_quiet_hours_and_the_next_run_goes_on(
    due: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--proxies", "0", *WHOLE_DAY)
    with due.database.connect() as client:
        fill(due, client, 60)
        with monkeypatch.context() as patched:
            patched.setattr(QuietHours, "has", lambda *_: True)
            patched.setattr(QuietHours, "left", lambda *_: timedelta(0))
            paused = calendar(due, *words)[NHS]
            assert (paused["outcome"], paused["job"]["state"]) == ("paused", "paused")
            assert states(due) == [KeyState.ACTIVE, KeyState.PENDING]
            patched.setattr(QuietHours, "left", lambda *_: timedelta(hours=1))
            done = calendar(due, *words)[NHS]
        assert (done["outcome"], done["job"]["job"]) == ("done", paused["job"]["job"])
        assert (done["version"], done["new_version"]) == (2, False)
        assert {parse_header(bytes(each)).key_version for each in envelopes(client)} == {2}
    assert len(due.jobs()) == 1


def test_a_class_waits_while_something_else_moves(due: Clinic) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    moves = (Move(PATIENTS, "notes", "notes"),)
    job = Job("other", Direction.REENCRYPT, WrongType.SKIP, moves, (), now, now)
    with due.database.connect() as client, connected(due.database.uri()) as direct:
        fill(due, client, 5)
        ledger = Ledger(direct, load_keyring(due.keyring, due.kek))
        ledger.create(job)
        assert calendar(due, "--proxies", "0")[NHS]["outcome"] == "waits"
        ledger.save(job.stopped(Standing.ABORTED, now))
        elsewhere = replace(job, moves=(Move("clinic.others", "x", "others"),))
        with Workers(direct).at_work(elsewhere, 77, 2):
            assert calendar(due, "--proxies", "0")[NHS]["outcome"] == "waits"
        assert states(due) == [KeyState.ACTIVE]
        assert calendar(due, "--proxies", "0")[NHS]["outcome"] == "done"


def test_a_job_is_taken_over_once_its_process_has_said_nothing_for_long(
    due: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--proxies", "0", *WHOLE_DAY)
    monkeypatch.setattr(QuietHours, "has", lambda *_: True)
    with due.database.connect() as client, connected(due.database.uri()) as direct:
        fill(due, client, 5)
        with monkeypatch.context() as patched:
            patched.setattr(QuietHours, "left", lambda *_: timedelta(0))
            name = calendar(due, *words)[NHS]["job"]["job"]
        job, _ = Ledger(direct, load_keyring(due.keyring, due.kek)).load(name)
        (pending,) = (key for key in due.data_keys() if key.state is KeyState.PENDING)
        with Workers(direct).at_work(job, pending.class_id, pending.version):
            assert calendar(due, *words)[NHS]["outcome"] == "waits"
            monkeypatch.setattr("sealwire.cli.keys.calendar._SILENT_S", 0)
            done = calendar(due, *words)[NHS]
    assert (done["outcome"], done["job"]["job"]) == ("done", name)


@pytest.mark.parametrize("words", [(), ("--proxies", "2")])
def test_no_key_is_made_before_the_sealwires_are_counted(due: Clinic, words: tuple[str, ...]) -> None:
    with due.database.connect() as client:
        fill(due, client, 5)
        refused = calendar(due, *words, code=78)
    assert (refused[NHS]["outcome"], refused["notes"]["outcome"]) == ("refused", "done")
    assert states(due) == [KeyState.ACTIVE]
    assert due.jobs() == []


def test_values_that_cannot_move_stop_the_job_and_fail_the_run(due: Clinic) -> None:
    with due.database.connect() as client:
        fill(due, client, 5)
        (value, *_) = envelopes(client)
        client["clinic"]["visits"].insert_one({"_id": "odd", "patient": [[value]]})
        assert calendar(due, "--proxies", "0", code=1)[NHS]["outcome"] == "refused"
        client["clinic"]["visits"].delete_one({"_id": "odd"})
        assert calendar(due, "--proxies", "0")[NHS]["outcome"] == "done"
