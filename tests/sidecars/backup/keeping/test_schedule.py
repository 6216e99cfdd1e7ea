"""What is written for systemd and Kubernetes: least privilege, no secret, nothing smuggled in."""

import gzip
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from sealwire.sidecars.backup.keeping.catalog import RetentionPolicy
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
from sealwire.sidecars.errors import BackupReason, Missing, Unsound, Unusable
from tests.build_context import ROOT
from tests.sidecars.backup.samples import local, make_tar, seal
from tests.support.debian import systemd_analyze

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
    with pytest.raises(Unusable) as caught:
        Schedule(**values)
    assert caught.value.reason is BackupReason.SCHEDULE


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
    with pytest.raises(Unsound) as caught:
        status.require_in_time()
    assert caught.value.reason is BackupReason.OVERDUE


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
