"""Disks fill up, descriptors run out, certificates expire, clocks jump: Sealwire recovers by itself."""

import json
import os
import resource
import signal
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, ServerSelectionTimeoutError

from sealwire.audit.files import files_of
from sealwire.audit.line import read_line
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.child import LOOPBACK
from sealwire.testbed.proxy_process import ProxyProcess
from tests.faults.scene import POLICY_TEXT, Document, faulty, figure, open_files, small_disk
from tests.support.audit_log import assert_whole
from tests.support.proxied import proxied
from tests.support.secantus import CLINIC, USERS, secantus
from tests.support.skips import skip_or_fail
from tests.support.waiting import until
from tools.debian_programs import unpack

pytestmark = [*faulty, pytest.mark.slow]

FAR = timedelta(days=2)
UNREACHED = "sealwire_upstream_connect_failures_total"


def patient(number: int) -> Document:
    return {"_id": number, "nhs_number": f"nhs-{number}", "notes": f"notes of {number}"}


def client_of(proxy: ProxyProcess, patience_ms: int = 5_000) -> MongoClient[Document]:
    options: dict[str, Any] = {"directConnection": True, "retryWrites": False}
    return MongoClient(proxy.uri(), serverSelectionTimeoutMS=patience_ms, **options)


def stores(client: MongoClient[Document], number: int) -> None:
    """A write and a read of what the policy covers, on record with a purpose."""
    patients = client["clinic"].patients
    patients.insert_one(patient(number), comment={"sealwire": {"purpose": f"purpose-{number}"}})
    assert patients.find_one({"nhs_number": f"nhs-{number}"}) == patient(number)


def readiness(proxy: ProxyProcess) -> dict[str, Any]:
    try:
        with urlopen(f"http://{LOOPBACK}:{proxy.admin_port}/readyz", timeout=5) as answer:
            return dict(json.load(answer))
    except HTTPError as error:
        with error:
            return dict(json.load(error))


def test_a_full_disk_holds_audit_lines_up_and_loses_none(tmp_path: Path) -> None:
    with secantus(tmp_path) as database, small_disk(tmp_path / "small", 512) as disk:
        log = disk.folder / "audit.jsonl"
        settings = {"audit": {"path": str(log)}}
        before = proxied(tmp_path, POLICY_TEXT, database.address, settings=settings)
        with before as proxy, client_of(proxy) as client:
            stores(client, 1)
            until(lambda: log.stat().st_size > 0)
            disk.fill()
            for number in range(2, 60):
                stores(client, number)
            until(lambda: readiness(proxy)["audit"] == "waiting")
            until(lambda: figure(proxy, "sealwire_audit_failures_total") > 0)
            disk.make_room()
            until(lambda: readiness(proxy)["audit"] != "waiting")
            stores(client, 60)
        purposes = {
            str(read_line(line).fields.get("purpose"))
            for file in files_of(log)
            for line in file.read_bytes().splitlines(keepends=True)
        }
        assert purposes >= {f"purpose-{number}" for number in range(1, 61)}
        assert_whole(log)


def test_a_full_disk_for_logs_keeps_nobody_from_working(tmp_path: Path) -> None:
    with secantus(tmp_path) as database, small_disk(tmp_path / "small", 512) as disk:
        settings = {"log": {"level": "debug"}}
        with proxied(disk.folder, POLICY_TEXT, database.address, settings=settings) as proxy:
            with client_of(proxy) as client:
                stores(client, 1)
            disk.fill()
            for number in range(2, 30):
                with client_of(proxy) as client:
                    stores(client, number)
            before = proxy.log.stat().st_size
            disk.make_room()
            with client_of(proxy) as client:
                stores(client, 30)
            until(lambda: proxy.log.stat().st_size > before)
            assert figure(proxy, "sealwire_bugs_total") == 0
            assert proxy.stop() == 0


def test_without_descriptors_open_connections_work_and_new_ones_do_when_others_have_gone(
    tmp_path: Path,
) -> None:
    with secantus(tmp_path) as database:
        with proxied(tmp_path, POLICY_TEXT, database.address) as proxy, client_of(proxy) as client:
            stores(client, 1)
            _, hard = resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (open_files(proxy.pid) + 7, hard))
            crowd = [client_of(proxy, 500) for _ in range(8)]
            for each in crowd:
                with suppress(AutoReconnect):
                    each.admin.command("ping")
            stores(client, 2)
            for each in crowd:
                each.close()
            until(lambda: _is_served(proxy, 3))
            stores(client, 4)
            assert figure(proxy, "sealwire_bugs_total") == 0
        assert "Too many open files" in proxy.log.read_text()


def _is_served(proxy: ProxyProcess, number: int) -> bool:
    try:
        with client_of(proxy) as client:
            client["clinic"].patients.delete_one({"_id": number})
            stores(client, number)
    except AutoReconnect:
        return False
    return True


def soon() -> datetime:
    """When a certificate ends that is to be used for a start, and no longer."""
    return datetime.now(UTC) + timedelta(seconds=30)


def has_passed(when: datetime) -> None:
    until(lambda: datetime.now(UTC) > when, 90)


def tls_client(proxy: ProxyProcess, **options: Any) -> MongoClient[Document]:
    return MongoClient(proxy.uri(CLINIC, "clinic"), directConnection=True, retryWrites=False, **options)


def test_a_listeners_certificate_expires_and_is_replaced_while_clients_work(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "authority")
    with secantus(tmp_path, users=USERS, authority=authority) as database:
        end = soon()
        issued = authority.issue("sealwire", valid_until=end)
        before = proxied(tmp_path, POLICY_TEXT, database.address, authority, certificate=issued)
        with before as proxy, tls_client(proxy) as client:
            stores(client, 1)
            has_passed(end)
            stores(client, 2)  # on the connection that it has
            with (
                tls_client(proxy, serverSelectionTimeoutMS=1_000) as late,
                pytest.raises(ServerSelectionTimeoutError),
            ):
                stores(late, 3)
            authority.issue("sealwire")
            os.kill(proxy.pid, signal.SIGHUP)
            until(lambda: figure(proxy, "sealwire_certificate_reloads_total", outcome="loaded") > 0)
            with tls_client(proxy) as late:
                stores(late, 4)
            stores(client, 5)


def test_a_servers_certificate_expires_and_no_new_connection_trusts_it(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "authority")
    with secantus(tmp_path, users=USERS, authority=authority) as database:
        end = soon()
        authority.issue("database", valid_until=end)
        database.stop()
        database.start()
        with proxied(tmp_path, POLICY_TEXT, database.address, authority) as proxy:
            with tls_client(proxy) as client:
                stores(client, 1)
                has_passed(end)
                stores(client, 2)  # on the connection that it has
            with tls_client(proxy, serverSelectionTimeoutMS=1_000) as client, pytest.raises(AutoReconnect):
                stores(client, 3)
            # the client gives up by its own time, perhaps before the proxy has tried
            until(lambda: figure(proxy, UNREACHED, reason="upstream-tls-verify") > 0)
            database.stop()
            authority.issue("database")
            database.start()
            with tls_client(proxy) as client:
                stores(client, 4)


def test_a_clock_that_jumps_costs_nobody_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = unpack("faketime/libfaketime.so.1", "libfaketime")
    if library is None:
        skip_or_fail("libfaketime cannot be unpacked with apt")
    clock, log = tmp_path / "clock", tmp_path / "audit.jsonl"
    clock.write_text("+0")
    with secantus(tmp_path) as database:
        monkeypatch.setenv("LD_PRELOAD", str(library))
        monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(clock))
        monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
        monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        settings = {"audit": {"path": str(log)}, "keys": {"max_age_s": 3600, "refresh_s": 1}}
        with proxied(tmp_path, POLICY_TEXT, database.address, settings=settings) as proxy:
            for name in ("LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE", "FAKETIME_NO_CACHE"):
                monkeypatch.delenv(name)
            with client_of(proxy) as client:
                for number, jump in enumerate(("+0", "+2d", "-2d", "+0")):
                    # at once: libfaketime ends a process that finds the file empty
                    clock.with_suffix(".next").write_text(jump)
                    clock.with_suffix(".next").replace(clock)
                    stores(client, 2 * number)
                    with client_of(proxy) as another:
                        stores(another, 2 * number + 1)
                    assert readiness(proxy)["policy"]
            assert figure(proxy, "sealwire_keyring_expired") == 0
            assert figure(proxy, "sealwire_bugs_total") == 0
    assert_whole(log)
    times = [
        datetime.fromisoformat(str(read_line(line).fields["time"]))
        for line in log.read_bytes().splitlines(keepends=True)
    ]
    assert max(times) - min(times) > FAR
