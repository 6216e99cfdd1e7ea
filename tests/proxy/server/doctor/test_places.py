"""Ports, room, and who else may change what a proxy reads."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.proxy.server.config.settings import Address
from sealwire.proxy.server.doctor.diagnosis import Grade
from sealwire.proxy.server.doctor.places import (
    FEW_BYTES,
    LEAST_BYTES,
    judge_folder,
    judge_room,
    look_at_folders,
    look_at_ports,
    look_at_room,
    look_at_sources,
)
from sealwire.proxy.server.observability.audit import AuditSettings
from tests.proxy.server.harness import LOOPBACK, make_config

CONFIG = make_config(1)


def test_a_port_is_free_in_use_or_not_of_this_machine() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        member = CONFIG.members[0]
        hosts = [(LOOPBACK, 0), (LOOPBACK, taken.getsockname()[1]), ("192.0.2.1", 27018)]
        members = tuple(replace(member, listen=Address(*host)) for host in hosts)
        found = list(look_at_ports(replace(CONFIG, members=members, admin=Address(LOOPBACK, 0))))
    assert [each.grade for each in found] == [Grade.GOOD, Grade.DOUBTFUL, Grade.WRONG, Grade.GOOD]


@pytest.mark.parametrize(
    ("free", "grade"),
    [
        (0, Grade.WRONG),
        (LEAST_BYTES - 1, Grade.WRONG),
        (LEAST_BYTES, Grade.DOUBTFUL),
        (FEW_BYTES, Grade.GOOD),
    ],
)
def test_an_audit_log_needs_room(free: int, grade: Grade) -> None:
    assert judge_room(Path("/var/log"), free).grade is grade


def test_room_is_looked_at_where_the_log_and_its_checkpoints_lie(tmp_path: Path) -> None:
    assert list(look_at_room(CONFIG)) == []
    audit = AuditSettings(LogPlace(tmp_path / "audit.jsonl"), None, LogPace())
    assert all(str(tmp_path) in each.about for each in look_at_room(replace(CONFIG, audit=audit)))
    gone = AuditSettings(LogPlace(tmp_path / "none" / "audit.jsonl"), None, LogPace())
    assert list(look_at_room(replace(CONFIG, audit=gone))) == []


@pytest.mark.parametrize(
    ("mode", "grade"),
    [
        (0o755, Grade.GOOD),
        (0o700, Grade.GOOD),
        (0o1777, Grade.GOOD),
        (0o775, Grade.WRONG),
        (0o777, Grade.WRONG),
    ],
)
def test_a_folder_that_others_may_write_to_is_wrong(tmp_path: Path, mode: int, grade: Grade) -> None:
    tmp_path.chmod(mode)
    assert judge_folder(tmp_path, tmp_path.stat()).grade is grade
    tmp_path.chmod(0o755)


def test_a_folder_of_somebody_else_is_wrong(tmp_path: Path) -> None:
    status = list(tmp_path.stat())
    status[4] = os.geteuid() + 1
    assert judge_folder(tmp_path, os.stat_result(status)).grade is Grade.WRONG


def test_who_may_change_the_policy_says_what_is_encrypted(tmp_path: Path) -> None:
    path, policy = tmp_path / "sealwire.yaml", tmp_path / "policy.yaml"
    path.touch(0o600)
    policy.touch()
    policy.chmod(0o664)
    config = replace(CONFIG, policy=policy, keyring=tmp_path / "keyring.json")
    assert [each.grade for each in look_at_sources(path, config)] == [Grade.GOOD, Grade.WRONG]
    assert [each.about for each in look_at_folders(path, config)] == [f"folder {tmp_path}"]
