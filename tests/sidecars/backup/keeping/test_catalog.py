"""Tests."""

import gzip
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sealwire.sidecars.backup.keeping.catalog import (
    LEFTOVER_AGE,
    CatalogEntry,
    RetentionPolicy,
    decide,
    kept_until,
    plan_prune,
    prune,
    read_catalog,
)
from sealwire.sidecars.backup.keeping.schedule import (
    CRONJOB,
    PROGRAM,
    SERVICE,
    TIMER,
    Schedule,
    check_transition,
    kubernetes_cron_job,
    systemd_units,
    write_metrics,
)
from sealwire.sidecars.backup.keeping.verification import verify_backup
from sealwire.sidecars.backup.sealed.key_slots import KeySlot
from sealwire.sidecars.backup.sealed.sidecar import Sidecar
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.errors import BackupReason, Missing, Unsound, Unusable
from tests.build_context import ROOT
from tests.keys.samples import NOW
from tests.sidecars.backup.samples import KEK, change, local, make_manifest, make_tar, seal
from tests.support.debian import systemd_analyze
from tests.support.reasons import raising

START = datetime(2026, 1, 5, 3, tzinfo=UTC)  # a Monday


def entry(days: float, *, verified: bool = False, problem: BackupReason | None = None) -> CatalogEntry:
    created = START + timedelta(days=days)
    sidecar = Sidecar(
        bytes(16),
        (KeySlot("k", b"w"),),
        1,
        "0" * 64,
        created if verified else None,
        make_manifest((), created),
    )
    return CatalogEntry(f"b{days:08.2f}", 1, created, sidecar, problem)


def kept(entries: list[CatalogEntry], policy: RetentionPolicy) -> list[CatalogEntry]:
    return [decision.entry for decision in decide(entries, policy) if decision.kept]


def test_days_weeks_and_months_keep_their_newest() -> None:
    entries = [entry(day + hour / 24) for day in range(60) for hour in (0, 12)]
    entries[-1] = entry(59.5, verified=True)
    assert kept(entries, RetentionPolicy(last=2)) == entries[-2:]
    assert kept(entries, RetentionPolicy(daily=3)) == [entries[index] for index in (-5, -3, -1)]
    weekly = kept(entries, RetentionPolicy(weekly=3))
    assert [item.created.isoweekday() for item in weekly] == [7, 7, 7, 4]
    monthly = kept(entries, RetentionPolicy(monthly=12))
    assert [(item.created.month, item.created.day) for item in monthly] == [(1, 31), (2, 28), (3, 5)]


def test_24_months_are_24_calendar_months() -> None:
    entries = [entry(day, verified=True) for day in range(1000)]
    end_of_january = entries[26]
    last_day = datetime(2028, 1, 31, 3, tzinfo=UTC)
    policy = RetentionPolicy(monthly=24)
    there = [each for each in entries if each.created <= last_day]
    assert kept(there, policy)[0] == end_of_january
    assert kept(entries[: len(there) + 1], policy)[0].created.month == 2


def test_a_verified_one_is_kept_rather_than_a_newer_one_of_the_same_period() -> None:
    verified = (0, 8, 9, 15)
    entries = [entry(day, verified=day in verified) for day in range(17)]
    assert [each.created for each in kept(entries, RetentionPolicy(weekly=9))] == [
        START + timedelta(days=day) for day in (0, 9, 15, 16)
    ]
    newest = decide(entries, RetentionPolicy(weekly=9))[-1]
    assert newest.reasons == ("newest",)
    assert kept([entry(0), entry(0.5)], RetentionPolicy(daily=1)) == [entry(0.5)]


def test_the_last_verified_one_stays_whatever_the_policy_says() -> None:
    entries = [entry(0), entry(1, verified=True), entry(2), entry(3)]
    decisions = decide(entries, RetentionPolicy(last=1))
    assert [decision.reasons for decision in decisions] == [(), ("last verified",), (), ("last",)]


def test_while_none_is_verified_the_newest_stays() -> None:
    decisions = decide([entry(0), entry(1)], RetentionPolicy(monthly=1))
    assert decisions[1].reasons == ("monthly", "newest, none is verified")


def test_what_cannot_be_read_is_never_removed_and_is_not_the_last_good_one() -> None:
    broken = entry(5, verified=True, problem=BackupReason.TRUNCATED)
    entries = [entry(0, verified=True), entry(1), broken]
    decisions = decide(entries, RetentionPolicy(last=1))
    assert [decision.reasons for decision in decisions] == [("last verified",), ("last",), ("not readable",)]


@given(
    days=st.lists(st.floats(0, 800).map(lambda day: round(day, 2)), min_size=1, unique=True),
    verified=st.sets(st.integers(0, 30)),
    numbers=st.tuples(*[st.integers(0, 5)] * 4).filter(any),
)
def test_something_good_is_always_kept(
    days: list[float], verified: set[int], numbers: tuple[int, int, int, int]
) -> None:
    entries = [entry(day, verified=index in verified) for index, day in enumerate(days)]
    left = kept(entries, RetentionPolicy(*numbers))
    good = [item for item in entries if item.sidecar is not None and item.sidecar.verified is not None]
    newest = max(good or entries, key=lambda item: item.created)
    assert newest in left
    assert max(entries, key=lambda item: item.created) in left
    running = sum(number > 0 for number in numbers[2:])
    assert len(left) <= sum(numbers) + running + 2


@pytest.mark.parametrize("numbers", [(0, 0, 0, 0), (1, -1, 0, 0)])
def test_a_policy_that_keeps_nothing_is_refused(numbers: tuple[int, int, int, int]) -> None:
    with raising(Unusable, BackupReason.RETENTION):
        RetentionPolicy(*numbers)


def test_prune_removes_pairs_orphans_and_leftovers_and_nothing_else(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for day in range(4):
        seal(store, f"d{day}", created=NOW + timedelta(days=day))
    verify_backup(store, "d1", [KEK], NOW)
    (tmp_path / "gone.tar.gz.enc.json").write_bytes(b"{}")
    (tmp_path / ".dead.tar.gz.enc.partial").touch()
    (tmp_path / "notes.txt").touch()
    plan = plan_prune(store, RetentionPolicy(last=1), datetime.now(UTC) + 2 * LEFTOVER_AGE)
    assert plan.removed == ["d0", "d2"]
    assert plan.orphans == ("gone.tar.gz.enc.json",)
    assert plan.leftovers == (".dead.tar.gz.enc.partial",)
    prune(store, plan)
    left = sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock"))
    assert left == sorted(
        ["d1.tar.gz.enc", "d1.tar.gz.enc.json", "d3.tar.gz.enc", "d3.tar.gz.enc.json", "notes.txt"]
    )


def test_young_orphans_and_leftovers_may_belong_to_a_writer(tmp_path: Path) -> None:
    (tmp_path / "new.tar.gz.enc.json").write_bytes(b"{}")
    (tmp_path / ".new.tar.gz.enc.partial").touch()
    plan = plan_prune(LocalStore(tmp_path), RetentionPolicy(last=1), datetime.now(UTC))
    assert (plan.orphans, plan.leftovers) == ((), ())


def test_the_catalog_says_what_is_wrong_without_a_key(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for name in ("a", "b", "c", "d"):
        seal(store, name)
    (tmp_path / "b.tar.gz.enc.json").unlink()
    change(tmp_path / "c.tar.gz.enc.json", lambda content: content[:-2])
    change(tmp_path / "d.tar.gz.enc", lambda content: content[:-1])
    entries = {item.name: item for item in read_catalog(store).entries}
    assert {name: item.problem for name, item in entries.items()} == {
        "a": None,
        "b": BackupReason.SIDECAR_MISSING,
        "c": BackupReason.SIDECAR,
        "d": BackupReason.TRUNCATED,
    }
    assert entries["a"].created == NOW


@pytest.mark.parametrize(
    "policy",
    [
        RetentionPolicy(last=3),
        RetentionPolicy(daily=5),
        RetentionPolicy(weekly=2),
        RetentionPolicy(monthly=1),
        RetentionPolicy(monthly=2),
        RetentionPolicy(last=2, daily=9, weekly=1),
    ],
)
def test_no_backup_is_kept_beyond_its_last_day(policy: RetentionPolicy) -> None:
    """One is made and verified each day."""
    for day in range(100):
        now = START + timedelta(days=day)
        for each in kept([entry(number, verified=True) for number in range(day + 1)], policy):
            assert now <= kept_until(each.created, policy)


# What is written for systemd and Kubernetes: least privilege, no secret, nothing smuggled in.


# The same as the examples in deploy/, which a test holds to this.
EXAMPLE = Schedule(RetentionPolicy(daily=7, weekly=5, monthly=12))
SCHEDULED_SINCE = date(2026, 11, 25)


def job(schedule: Schedule) -> dict[str, Any]:
    document = yaml.safe_load(kubernetes_cron_job(schedule)[CRONJOB])
    assert isinstance(document, dict)
    return document


def test_the_examples_in_deploy_are_what_is_written() -> None:
    units = systemd_units(EXAMPLE)
    for name in (SERVICE, TIMER):
        assert (ROOT / "deploy" / "systemd" / name).read_text(encoding="utf-8") == units[name]
    written = (ROOT / "deploy" / "kubernetes" / CRONJOB).read_text(encoding="utf-8")
    assert written == kubernetes_cron_job(EXAMPLE)[CRONJOB]


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    program = tmp_path / "sealwire"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name, text in systemd_units(replace(EXAMPLE, plaintext_since=SCHEDULED_SINCE)).items():
        (tmp_path / name).write_text(text.replace(PROGRAM, str(program)))
    done = systemd_analyze("verify", "--man=no", tmp_path / SERVICE, tmp_path / TIMER)
    assert done.returncode == 0, done.stderr
    assert "sealwire-backup" not in done.stderr


def test_the_steps_come_in_order_and_the_alarm_last() -> None:
    service = systemd_units(replace(EXAMPLE, plaintext_since=SCHEDULED_SINCE))[SERVICE]
    steps = [line for line in service.splitlines() if line.startswith("ExecStart")]
    assert [step.split(" backup ")[1].split()[0] for step in steps] == ["create", "prune", "transition"]
    assert "--keep-daily 7 --keep-weekly 5 --keep-monthly 12" in steps[1]
    assert steps[2].endswith("--directory /var/backups/mongodb --since 2026-11-25")
    assert "transition" not in systemd_units(EXAMPLE)[SERVICE]


@pytest.mark.parametrize("since", [None, SCHEDULED_SINCE])
def test_the_job_runs_the_same_steps_without_privileges(since: date | None) -> None:
    document = job(replace(EXAMPLE, plaintext_since=since))
    spec = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    containers = [*spec["initContainers"], *spec["containers"]]
    expected = ["create", "prune", *(["transition"] if since else [])]
    assert [container["args"][1] for container in containers] == expected
    assert len({container["name"] for container in containers}) == len(containers)
    assert (document["spec"]["schedule"], document["spec"]["timeZone"]) == ("15 3 * * *", "Etc/UTC")
    assert document["spec"]["concurrencyPolicy"] == "Forbid"
    assert spec["securityContext"]["runAsNonRoot"] is True
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    user, group = spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]
    assert f"\nUSER {user}:{group}\n" in dockerfile
    for container in containers:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize(
    "change",
    [
        {"at": "24:00"},
        {"at": "3:15"},
        {"at": "03:15\n"},
        {"directory": "relative"},
        {"directory": "/a/../b"},
        {"directory": "/a\nExecStart=/bin/sh"},
        {"directory": "/with blank"},
        {"directory": "/etc/$(id)"},
    ],
)
def test_what_does_not_belong_into_a_unit_is_refused(change: dict[str, str]) -> None:
    values: dict[str, Any] = {"retention": EXAMPLE.retention, **change}
    with raising(Unusable, BackupReason.SCHEDULE):
        Schedule(**values)


SINCE = date(2026, 11, 25)
IN_TIME = datetime(2026, 12, 1, 23, 59, tzinfo=UTC)
LATE = datetime(2026, 12, 2, tzinfo=UTC)

PLAINTEXT = {
    "dump.tar.gz": gzip.compress(b"x"),
    "renamed.enc": gzip.compress(b"x"),
    "dump.tar": make_tar([("a", b"b")]),
    "archive": bytes.fromhex("6de29981") + bytes(8),
    "old/clinic/patients.bson": b"",
    "old/clinic/patients.metadata.json": b"{}",
    "old.zip": b"PK\x03\x04",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Encrypted backups and other files, none of them a dump in plaintext."""
    directory = tmp_path / "backups"
    directory.mkdir()
    seal(local(directory))
    (directory / "README.txt").write_text("what lies here")
    (directory / "empty").touch()
    return directory


@pytest.mark.parametrize("name", PLAINTEXT)
def test_plaintext_is_told_by_what_it_begins_with(directory: Path, name: str) -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(PLAINTEXT[name])
    status = check_transition(directory, SINCE, 7, LATE)
    assert status.files == (path,)
    assert status.size == len(PLAINTEXT[name])
    with raising(Unsound, BackupReason.OVERDUE):
        status.require_in_time()


def test_it_may_stay_for_a_week(directory: Path) -> None:
    (directory / "dump.gz").write_bytes(PLAINTEXT["dump.tar.gz"])
    status = check_transition(directory, SINCE, 7, IN_TIME)
    assert not status.overdue
    status.require_in_time()
    assert check_transition(directory, SINCE, 6, IN_TIME).overdue


def test_encrypted_backups_may_stay_for_ever(directory: Path) -> None:
    status = check_transition(directory, SINCE, 7, datetime(2040, 1, 1, tzinfo=UTC))
    assert (status.files, status.overdue) == ((), False)
    status.require_in_time()


def test_links_are_not_followed(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.gz").write_bytes(PLAINTEXT["dump.tar.gz"])
    (directory / "link").symlink_to(tmp_path / "elsewhere.gz")
    assert check_transition(directory, SINCE, 7, LATE).files == ()


def test_a_directory_is_needed(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        check_transition(tmp_path / "none", SINCE, 7, LATE)


def test_the_metrics_say_the_same(directory: Path, tmp_path: Path) -> None:
    (directory / "dump.gz").write_bytes(PLAINTEXT["dump.tar.gz"])
    path = tmp_path / "sealwire_backup.prom"
    for now, overdue in ((IN_TIME, "0.0"), (LATE, "1.0")):
        write_metrics(check_transition(directory, SINCE, 7, now), path)
        values = dict(line.split() for line in path.read_text().splitlines() if not line.startswith("#"))
        assert values["sealwire_backup_plaintext_files"] == "1.0"
        assert values["sealwire_backup_plaintext_overdue"] == overdue
        assert float(values["sealwire_backup_transition_end_timestamp_seconds"]) == LATE.timestamp()
