"""What is written for systemd and Kubernetes: least privilege, no secret, nothing smuggled in."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from sealwire.sidecars.backup.errors import BackupReason, BackupSettingError
from sealwire.sidecars.backup.keeping.retention import RetentionPolicy
from sealwire.sidecars.backup.keeping.schedule import (
    CRONJOB,
    PROGRAM,
    SERVICE,
    TIMER,
    Schedule,
    kubernetes_cron_job,
    systemd_units,
)
from tests.build_context import ROOT
from tests.support.systemd_analyze import systemd_analyze

# The same as the examples in deploy/, which a test holds to this.
EXAMPLE = Schedule(RetentionPolicy(daily=7, weekly=5, monthly=12))
SINCE = date(2026, 11, 25)


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
    for name, text in systemd_units(replace(EXAMPLE, plaintext_since=SINCE)).items():
        (tmp_path / name).write_text(text.replace(PROGRAM, str(program)))
    done = systemd_analyze("verify", "--man=no", tmp_path / SERVICE, tmp_path / TIMER)
    assert done.returncode == 0, done.stderr
    assert "sealwire-backup" not in done.stderr


def test_the_steps_come_in_order_and_the_alarm_last() -> None:
    service = systemd_units(replace(EXAMPLE, plaintext_since=SINCE))[SERVICE]
    steps = [line for line in service.splitlines() if line.startswith("ExecStart")]
    assert [step.split(" backup ")[1].split()[0] for step in steps] == ["create", "prune", "transition"]
    assert "--keep-daily 7 --keep-weekly 5 --keep-monthly 12" in steps[1]
    assert steps[2].endswith("--directory /var/backups/mongodb --since 2026-11-25")
    assert "transition" not in systemd_units(EXAMPLE)[SERVICE]


@pytest.mark.parametrize("since", [None, SINCE])
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
    with pytest.raises(BackupSettingError) as caught:
        Schedule(**values)
    assert caught.value.reason is BackupReason.SCHEDULE
