"""What the doctor makes of what a system says of itself."""

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.doctor.diagnosis import (
    FEW_BYTES,
    LEAST_BYTES,
    Grade,
    examine,
    judge_clock,
    judge_core,
    judge_dumps,
    judge_folder,
    judge_room,
    judge_swap,
    judge_user,
    look_at_folders,
    look_at_host,
    look_at_ports,
    look_at_room,
    look_at_sources,
    tried,
)
from sealwire.proxy.server.observability.audit_settings import AuditSettings
from tests.proxy.server.harness import LOOPBACK, make_config
from tests.proxy.server.site import Site, hello_thread, make_site
from tests.support import warm
from tests.support.rows import rows

SWAPS = "Filename Type Size Used Priority\n"


@rows(
    "state, grade",
    (0, Grade.GOOD),
    (1, Grade.GOOD),
    (5, Grade.DOUBTFUL),
    (-1, Grade.UNSEEN),
    (None, Grade.UNSEEN),
)
def test_a_clock_that_nothing_keeps_right_is_named(state: int | None, grade: Grade) -> None:
    assert judge_clock(state).grade is grade


@rows(
    "swaps, grade",
    (SWAPS, Grade.GOOD),
    (SWAPS + "/dev/zram0 partition 1 0 100\n", Grade.GOOD),
    (SWAPS + "/dev/zram0 partition 1 0 100\n/swapfile file 1 0 -2\n", Grade.DOUBTFUL),
    (None, Grade.UNSEEN),
)
def test_swap_on_a_disk_is_named(swaps: str | None, grade: Grade) -> None:
    found = judge_swap(swaps)
    assert found.grade is grade
    assert ("/swapfile" in found.text) is (grade is Grade.DOUBTFUL)


@rows(
    "limit, pattern, grade",
    (0, "core", Grade.GOOD),
    (0, None, Grade.GOOD),
    (0, "|/lib/systemd/systemd-coredump %P", Grade.DOUBTFUL),
    (1, "core", Grade.DOUBTFUL),
    (-1, "core", Grade.DOUBTFUL),
)
def test_a_crash_must_not_write_keys(limit: int, pattern: str | None, grade: Grade) -> None:
    assert judge_dumps(limit, pattern).grade is grade


def test_root_sees_what_the_proxy_does_not() -> None:
    assert (judge_user(0).grade, judge_user(10127).grade) == (Grade.DOUBTFUL, Grade.GOOD)


def test_this_host_says_something_of_everything() -> None:
    assert len(list(look_at_host())) == 5
    assert "Python" in judge_core().text


CONFIG = make_config(1)


def test_a_port_is_free_in_use_or_not_of_this_machine() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        member = CONFIG.members[0]
        hosts = [(LOOPBACK, 0), (LOOPBACK, taken.getsockname()[1]), ("192.0.2.1", 27018)]
        members = tuple(replace(member, listen=Address(*host)) for host in hosts)
        found = list(look_at_ports(replace(CONFIG, members=members, admin=Address(LOOPBACK, 0))))
    assert [each.grade for each in found] == [Grade.GOOD, Grade.DOUBTFUL, Grade.WRONG, Grade.GOOD]


@rows(
    "free, grade",
    (0, Grade.WRONG),
    (LEAST_BYTES - 1, Grade.WRONG),
    (LEAST_BYTES, Grade.DOUBTFUL),
    (FEW_BYTES, Grade.GOOD),
)
def test_an_audit_log_needs_room(free: int, grade: Grade) -> None:
    assert judge_room(Path("/var/log"), free).grade is grade


def test_room_is_looked_at_where_the_log_and_its_checkpoints_lie(tmp_path: Path) -> None:
    assert list(look_at_room(CONFIG)) == []
    audit = AuditSettings(LogPlace(tmp_path / "audit.jsonl"), None, LogPace())
    (found,) = look_at_room(replace(CONFIG, audit=audit))
    assert str(tmp_path) in found.about
    gone = AuditSettings(LogPlace(tmp_path / "none" / "audit.jsonl"), None, LogPace())
    assert list(look_at_room(replace(CONFIG, audit=gone))) == []


@rows(
    "mode, grade",
    (0o755, Grade.GOOD),
    (0o700, Grade.GOOD),
    (0o1777, Grade.GOOD),
    (0o775, Grade.WRONG),
    (0o777, Grade.WRONG),
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


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with hello_thread() as port:
        yield make_site(tmp_path, port)


def graded(site: Site) -> dict[str, Grade]:
    return {found.about: found.grade for found in examine(site.write(), site.environ)}


def the_wrong(site: Site) -> set[str]:
    return {about for about, grade in graded(site).items() if grade is Grade.WRONG}


def test_a_site_in_order_has_nothing_wrong(site: Site) -> None:
    found = graded(site)
    assert Grade.WRONG not in found.values()
    assert Grade.UNSEEN not in {found[about] for about in ("keys", "servers", "policy", "configuration")}
    assert found["servers"] is found["keys"] is Grade.GOOD
    assert found["no TLS on this side"] is found["audit log"] is Grade.DOUBTFUL


def test_each_fault_is_named_and_hides_no_other(site: Site) -> None:
    policy = site.folder / "policy.yaml"
    policy.chmod(0o666)
    Path(site.config["listen"]["tls"]["key"]).chmod(0o644)
    site.config["audit"] = {"path": "none/audit.jsonl"}
    found = graded(site)
    wrong = {about for about, grade in found.items() if grade is Grade.WRONG}
    assert wrong == {"policy's file", "certificates for clients", "audit log"}
    assert found["keys and servers"] is Grade.UNSEEN
    assert found["policy"] is Grade.GOOD


def test_an_expired_certificate_is_wrong(site: Site) -> None:
    now = datetime.now(UTC)
    site.authority.issue("proxy", valid_from=now - timedelta(days=9), valid_until=now - timedelta(days=1))
    (found,) = (each for each in examine(site.write(), site.environ) if each.grade is Grade.WRONG)
    assert (found.about, found.reason) == ("certificates for clients", "certificate-expired")
    assert found.hint


def test_a_wrong_key_and_a_server_that_is_away(site: Site) -> None:
    site.config["upstream"]["address"] = "127.0.0.1:9"
    assert the_wrong(site) == {"servers"}
    site.environ["SEALWIRE_KEK"] = "bm90IDMyIGJ5dGVz"
    assert the_wrong(site) == {"keys"}
    assert "bm90" not in repr(list(examine(site.write(), site.environ)))


@pytest.mark.parametrize("harm", ["policy.yaml", "sealwire.yaml", "server"])
def test_a_misspelt_variable_is_told_whatever_else_is_wrong(site: Site, harm: str) -> None:
    site.environ["SEALWIRE_UPSTREAM_ADRESS"] = "secret.example:1"
    site.config["upstream"]["address"] = "127.0.0.1:9"
    path = site.write()
    if harm != "server":
        (site.folder / harm).write_text("version: 2\n")
    found = list(examine(path, site.environ))
    (variable,) = [each for each in found if each.about == "environment variable names no key"]
    assert (variable.grade, variable.hint) == (Grade.DOUBTFUL, "did you mean SEALWIRE_UPSTREAM_ADDRESS?")
    assert found.index(variable) < [each.about for each in found].index("configuration")
    assert "secret" not in repr(found)


def test_an_error_has_its_reason_and_those_of_a_file_are_all_told(site: Site) -> None:
    site.config["upstream"]["address"] = "127.0.0.1:9"
    reasons = {each.about: each.reason for each in examine(site.write(), site.environ)}
    assert reasons["servers"] == "upstream-refused"
    assert "no TLS on this side" in reasons
    policy = site.folder / "policy.yaml"
    policy.write_bytes(policy.read_bytes().replace(b"type: string", b"type: strin, rang: 1"))
    told = [each for each in examine(site.write(), site.environ) if each.about == "policy"]
    assert {each.grade for each in told} == {Grade.WRONG}
    assert all(each.hint for each in told)


def test_a_folder_on_the_way_that_is_a_file_is_a_diagnosis(site: Site) -> None:
    (site.folder / "file").touch()
    site.config["audit"] = {"path": "file/below/audit.jsonl"}
    assert the_wrong(site) == {"audit log"}


def test_a_path_that_the_system_does_not_take_is_no_bug_of_a_check(site: Site) -> None:
    site.config["audit"] = {"path": f"{'x' * 300}/audit.jsonl"}
    assert the_wrong(site) == {"audit log"}
    done = site.serve("--check")
    assert (done.returncode, "Traceback" in done.stderr) == (78, False)


def test_who_may_not_look_into_a_folder_gets_a_hint() -> None:
    def look() -> str:
        raise PermissionError(errno.EACCES, "", "/etc/sealwire/audit")

    (found,) = tried("audit log", look)
    assert (found.grade, str(os.geteuid()) in found.hint) == (Grade.WRONG, True)
    assert found.text.startswith("/etc/sealwire/audit: ")


def test_a_configuration_that_cannot_be_read_ends_it_there(site: Site) -> None:
    site.config["kek"] = {"provider": "none"}
    found = graded(site)
    assert found["configuration"] is Grade.WRONG
    assert found["what the configuration names"] is Grade.UNSEEN


def test_the_command_says_what_to_do_and_ends_with_1_where_something_is_wrong(site: Site) -> None:
    def run(*more: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "sealwire", "doctor", "--config", str(site.write()), *more]
        return warm.run(command, env=site.environ, capture_output=True, text=True, check=False)

    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    site.keyring.chmod(0o644)
    done = run("--json")
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr, document["ok"], document["exit_code"]) == (1, "", False, 1)
    (wrong,) = [check for check in document["checks"] if check["grade"] == "wrong"]
    assert wrong["about"] == "keys"
    assert "chmod" in wrong["hint"]
    assert site.environ["SEALWIRE_KEK"] not in done.stdout
