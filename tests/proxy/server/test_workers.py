"""`sealwire serve` with two workers: one proxy from outside, whatever happens to one of them."""

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import bson
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pymongo import MongoClient

from sealwire.audit.verification import LogReport, verify
from sealwire.wire.op_msg import build_op_msg
from tests.proxy.server.harness import DEADLINE_S, LOOPBACK, POLICY, UNAUTHORIZED
from tests.proxy.server.site import Running, Site, followed, hello_thread, make_site, readiness, serving
from tests.support import warm
from tests.support.played_set import PlayedServer, played_set
from tests.support.skips import free_ports
from tests.support.waiting import until

pytestmark = pytest.mark.integration

WORKERS = 2


@pytest.fixture(scope="module")
def server_port() -> Iterator[int]:
    with hello_thread() as port:
        yield port


@pytest.fixture
def site(tmp_path: Path, server_port: int) -> Site:
    site = make_site(tmp_path, server_port)
    site.config["listen"]["tls"] = {"mode": "plaintext"}
    site.config["workers"] = WORKERS
    return site


def said(proxy: Running, event: str, **fields: Any) -> dict[str, Any]:
    """The next line of the log with this event and these fields."""
    return next(line for line in proxy.said if line["event"] == event and fields.items() <= line.items())


def status_of(proxy: Running, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{proxy.admin}{path}", timeout=DEADLINE_S) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def figure(proxy: Running, name: str, **labels: str) -> float:
    with urllib.request.urlopen(f"http://{proxy.admin}/metrics", timeout=DEADLINE_S) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    found = [s.value for family in families for s in family.samples if s.name == name and s.labels == labels]
    return sum(found)


def pids(proxy: Running) -> list[int]:
    """The workers' processes."""
    pid = proxy.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def greeted(proxy: Running, stack: ExitStack) -> socket.socket:
    """A client that has its answer to hello."""
    client = stack.enter_context(socket.create_connection(proxy.address, DEADLINE_S))
    client.sendall(build_op_msg(7, 0, bson.encode({"hello": 1, "$db": "admin"})))
    assert len(client.recv(16, socket.MSG_WAITALL)) == 16
    return client


# The system hands them out by a hash: that one of two workers gets none of them happens once in 10^12 runs.
CLIENTS = 40


def test_two_workers_are_one_proxy_with_one_set_of_figures(site: Site) -> None:
    with serving(site) as proxy, ExitStack() as stack:
        assert proxy.events["ready"]["workers"] == WORKERS
        assert len(pids(proxy)) == WORKERS
        for _ in range(CLIENTS):
            greeted(proxy, stack)
        until(lambda: figure(proxy, "sealwire_client_connections") == CLIENTS)
        until(lambda: figure(proxy, "sealwire_connections_accepted_total") == CLIENTS)
        until(lambda: figure(proxy, "sealwire_workers_ready") == WORKERS)
        assert (status_of(proxy, "/healthz"), status_of(proxy, "/readyz")) == (200, 200)


def test_a_killed_worker_takes_its_clients_along_and_is_replaced(site: Site) -> None:
    with serving(site) as proxy, ExitStack() as stack:
        for _ in range(CLIENTS):
            greeted(proxy, stack)
        until(lambda: figure(proxy, "sealwire_connections_accepted_total") == CLIENTS)
        victim, survivor = pids(proxy)
        os.kill(victim, signal.SIGKILL)
        assert said(proxy, "worker ended")["signal"] == signal.SIGKILL
        greeted(proxy, stack)  # while one is missing
        assert status_of(proxy, "/readyz") == 200
        said(proxy, "worker ready")
        assert survivor in pids(proxy)
        assert len(pids(proxy)) == WORKERS
        until(lambda: 0 < figure(proxy, "sealwire_client_connections") < CLIENTS)
        until(lambda: figure(proxy, "sealwire_connections_accepted_total") == CLIENTS + 1)
        until(lambda: figure(proxy, "sealwire_worker_exits_total", how="signal") == 1)


def test_a_reload_reaches_every_worker(site: Site) -> None:
    with serving(site) as proxy:
        proxy.process.send_signal(signal.SIGHUP)
        reloaded = {said(proxy, "certificates loaded")["worker"] for _ in range(WORKERS)}
        assert reloaded == set(range(1, WORKERS + 1))
        until(lambda: figure(proxy, "sealwire_certificate_reloads_total", outcome="loaded") == WORKERS)


def test_a_changed_policy_counts_in_every_worker(site: Site) -> None:
    policy = site.folder / "policy.yaml"
    wider = POLICY + b"    phone: nhs_number\n"
    with serving(site) as proxy:
        before = readiness(proxy)["policy"]
        policy.write_bytes(wider)
        proxy.process.send_signal(signal.SIGHUP)
        shown = sha256(wider).hexdigest()[:12]
        assert {said(proxy, "policy loaded", policy=shown)["worker"] for _ in range(WORKERS)} == {1, 2}
        until(lambda: readiness(proxy)["policy"] == shown != before)
        until(lambda: figure(proxy, "sealwire_policy_info", digest=shown) == 1)
        until(lambda: figure(proxy, "sealwire_policy_info", digest=before) == 0)
        until(lambda: figure(proxy, "sealwire_reloads_total", outcome="loaded") == WORKERS)


def test_workers_that_differ_are_shown(site: Site) -> None:
    policy = site.folder / "policy.yaml"
    with serving(site) as proxy:
        before = readiness(proxy)["policy"]
        policy.write_bytes(POLICY + b"    phone: nhs_number\n")
        os.kill(pids(proxy)[0], signal.SIGHUP)
        until(lambda: readiness(proxy)["policy"] == "mixed")
        assert before in readiness(proxy)["policies"]
        assert len(readiness(proxy)["policies"]) == WORKERS


def test_a_broken_policy_is_refused_by_each_and_a_broken_configuration_once(site: Site) -> None:
    with serving(site) as proxy:
        before = readiness(proxy)["policy"]
        (site.folder / "policy.yaml").write_bytes(POLICY.replace(b"deterministic", b"deterministc"))
        proxy.process.send_signal(signal.SIGHUP)
        refused = "reload refused, nothing changed"
        assert {said(proxy, refused)["worker"] for _ in range(WORKERS)} == {1, 2}
        file = site.folder / "sealwire.yaml"
        file.write_text(file.read_text() + "lisen: {}\n")
        proxy.process.send_signal(signal.SIGHUP)
        line = said(proxy, refused)
        assert "worker" not in line
        assert line["hint"] == "did you mean 'listen'?"
        assert readiness(proxy)["policy"] == before
        until(lambda: figure(proxy, "sealwire_reloads_total", outcome="failed") == WORKERS + 1)


def test_what_needs_a_restart_is_named_once_and_the_log_level_counts_for_all(site: Site) -> None:
    with serving(site) as proxy, ExitStack() as stack:
        site.config["workers"] = WORKERS + 1
        site.config["log"]["level"] = "debug"
        site.write()
        proxy.process.send_signal(signal.SIGHUP)
        line = said(proxy, "new values wait for a restart, the old ones count")
        assert line["keys"] == "workers"
        assert "worker" not in line
        assert {said(proxy, "policy loaded")["worker"] for _ in range(WORKERS)} == {1, 2}
        greeted(proxy, stack)
        assert said(proxy, "connection opened")["worker"] in (1, 2)
        assert len(pids(proxy)) == WORKERS


def test_a_storm_of_reloads_while_workers_start_ends_in_the_newest_policy(site: Site) -> None:
    policy = site.folder / "policy.yaml"
    with serving(site) as proxy:
        os.kill(pids(proxy)[0], signal.SIGKILL)
        for number in range(20):
            policy.write_bytes(POLICY + b"# %d\n" % number)
            proxy.process.send_signal(signal.SIGHUP)
        shown = sha256(policy.read_bytes()).hexdigest()[:12]
        until(lambda: len(pids(proxy)) == WORKERS and readiness(proxy)["policy"] == shown)


def test_a_signal_to_the_whole_group_drains_and_does_not_cut(site: Site) -> None:
    with serving(site) as proxy, ExitStack() as stack:
        client = greeted(proxy, stack)
        for pid in [*pids(proxy), proxy.process.pid]:
            os.kill(pid, signal.SIGTERM)
        events = [line["event"] for line in proxy.said]
        assert events[-1] == "stopped"
        assert events.count("stopped") == WORKERS + 1
        assert proxy.process.wait(DEADLINE_S) == 0
        assert client.recv(4096)  # the rest of the answer
        assert client.recv(1) == b""  # and a proper end


def test_a_worker_that_is_told_to_end_is_replaced(site: Site) -> None:
    with serving(site) as proxy:
        told, _ = pids(proxy)
        os.kill(told, signal.SIGTERM)
        ended = said(proxy, "worker ended")
        assert ended["exit"] == 0
        said(proxy, "worker ready", worker=ended["worker"])
        until(lambda: len(pids(proxy)) == WORKERS and told not in pids(proxy))


def test_workers_without_a_supervisor_end(site: Site) -> None:
    with serving(site) as proxy:
        orphans = pids(proxy)
        proxy.process.kill()
        until(lambda: not any(_is_running(pid) for pid in orphans))


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_what_keeps_workers_from_starting_is_said_once_with_its_exit_code(site: Site) -> None:
    site.keyring.unlink()
    done = site.serve()
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 78
    (fatal,) = [line for line in told if line["event"] == "the proxy cannot run"]
    assert (fatal["exit_code"], fatal["worker"]) == (78, 1)


def test_two_proxies_cannot_share_a_port(site: Site, tmp_path: Path, server_port: int) -> None:
    with serving(site) as proxy:
        (tmp_path / "other").mkdir()
        other = make_site(tmp_path / "other", server_port)
        other.config["listen"]["address"] = f"{LOOPBACK}:{proxy.address[1]}"
        for workers in (1, WORKERS):
            other.config["workers"] = workers
            assert other.serve().returncode == 71


def test_a_worker_that_never_gets_ready_ends_the_proxy(site: Site) -> None:
    with subprocess.Popen(site.command(), env=site.environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr)
            assert json.loads(next(lines))["event"] == "admin address"
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            until(lambda: bool(children.read_text().split()))
            os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
            assert process.wait(DEADLINE_S) == 70
            assert "signal 9" in "".join(lines)
        finally:
            process.kill()


def refusals(log: Path) -> list[dict[str, Any]]:
    # the last line may be on its way
    records = [
        json.loads(line) for line in log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")
    ]
    return [record for record in records if record["event"] == "refused"]


REFUSED = build_op_msg(
    9, 0, bson.encode({"find": "patients", "filter": {"nhs_number": {"$regex": "943"}}, "$db": "clinic"})
)


@pytest.fixture
def log(site: Site) -> Path:
    """The audit log, of a site whose server has no access control."""
    site.config["audit"] = {"path": "audit.jsonl"}
    site.config["upstream"]["access_control"] = "none"
    return site.folder / "audit.jsonl"


def is_whole(log: Path) -> bool:
    report = LogReport()
    verify([log], {}, report)
    return report.is_whole


def test_audit_lines_of_all_workers_are_whole_and_bear_their_number(site: Site, log: Path) -> None:
    with serving(site) as proxy, ExitStack() as stack:
        clients = [greeted(proxy, stack) for _ in range(CLIENTS)]
        for client in clients:
            client.sendall(REFUSED)
        until(lambda: len(refusals(log)) == len(clients))
        records = refusals(log)
    assert is_whole(log)
    assert {record["worker"] for record in records} == set(range(1, WORKERS + 1))
    assert {record["reason"] for record in records} == {"pattern"}


def writer_of(proxy: Running) -> int:
    """The process that writes the audit log."""
    (found,) = (pid for pid in pids(proxy) if b"audit_writer" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return found


@pytest.mark.parametrize("everything", [False, True], ids=["workers", "supervisor too"])
def test_what_was_answered_is_on_record_though_all_are_killed(
    site: Site, log: Path, everything: bool
) -> None:
    with serving(site) as proxy, ExitStack() as stack:
        until(lambda: log.read_bytes().count(b'"started"') == WORKERS)
        writer = writer_of(proxy)
        os.kill(writer, signal.SIGSTOP)
        clients = [greeted(proxy, stack) for _ in range(CLIENTS)]
        for client in clients:
            client.recv(4096)
            client.sendall(REFUSED)
            assert len(client.recv(16, socket.MSG_WAITALL)) == 16
        for pid in pids(proxy):
            if pid != writer:
                os.kill(pid, signal.SIGKILL)
        if everything:
            proxy.process.kill()
        assert refusals(log) == []
        os.kill(writer, signal.SIGCONT)
        until(lambda: len(refusals(log)) == CLIENTS)
        if everything:
            until(lambda: not Path(f"/proc/{writer}").exists())
    assert is_whole(log)


def test_an_audit_log_that_was_changed_keeps_the_proxy_from_starting(site: Site) -> None:
    site.config["audit"] = {"path": "audit.jsonl"}
    (site.folder / "audit.jsonl").write_text("not a line\n")
    done = site.serve()
    assert done.returncode == 65
    assert "audit.jsonl" in done.stderr


def test_the_workers_share_the_limit_of_connections(site: Site) -> None:
    site.config["limits"] = {"connections": 4}
    with serving(site) as proxy, ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(socket.create_connection(proxy.address, DEADLINE_S))
        until(lambda: figure(proxy, "sealwire_connections_rejected_total", reason="limit") == 56)
        until(lambda: figure(proxy, "sealwire_client_connections") == 4)


def test_the_workers_option_is_not_for_people(site: Site) -> None:
    done = site.serve("--worker", "1")
    assert done.returncode == 2
    assert "supervisor" in done.stderr
    shown = warm.run([*warm.SEALWIRE, "serve", "--help"], capture_output=True, text=True, check=True)
    assert "--worker" not in shown.stdout


# ----------------------------------------------------------------------------------------------------
# `sealwire serve` with two workers before a set that changes: one port for a member, in both of them.


def hellos(port: int, count: int = 8) -> list[dict[str, Any]]:
    """What as many connections are told; the system hands them to one worker or the other."""
    found = []
    for _ in range(count):
        with MongoClient[dict[str, Any]](LOOPBACK, port, directConnection=True) as client:
            found.append(client.admin.command("hello"))
    return found


def all_tell(port: int, hosts: list[str]) -> bool:
    return all(sorted(hello["hosts"]) == hosts for hello in hellos(port))


def is_refused(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port)).close()
    except ConnectionRefusedError:
        return True
    return False


def down_of(proxy: Running) -> tuple[str, list[str]]:
    """What /readyz says of servers; workers have told of them a second or two after a change."""
    ready = readiness(proxy)
    return ready.get("upstream", ""), ready.get("upstreams_down", [])


def test_both_workers_follow_members_that_come_and_go(tmp_path: Path) -> None:
    ports = free_ports(4)
    names = [f"{LOOPBACK}:{port}" for port in ports]
    with played_set("", "", "") as played:
        last = max(played.members, key=lambda member: member.name)
        played.remove(last)
        first = min(played.members, key=lambda member: member.name)
        played.elect(first)
        with serving(followed(make_site(tmp_path, 1), played.uri, ports, workers=2)) as proxy:
            assert all_tell(ports[0], names[:2])
            played.add(last)
            until(lambda: all_tell(ports[0], names[:3]))
            assert {hello["me"] for hello in hellos(ports[2])} == {names[2]}
            assert json.loads((tmp_path / "ports.json").read_text())["ports"][last.name] == ports[2]

            gone = next(member for member in played.members if member not in {first, last})
            played.remove(gone)
            until(lambda: all_tell(ports[0], [names[0], names[2]]))
            until(lambda: is_refused(ports[1]))
            assert said(proxy, "member left")["upstream"] == gone.name

            # no client tries it: whoever follows the members tells workers of who does not answer
            last.stop()
            said(proxy, "server is down", upstream=last.name)

            proxy.process.send_signal(signal.SIGTERM)
            assert proxy.process.wait(DEADLINE_S) == 0
        gone.stop()


@pytest.mark.slow
def test_a_worker_that_is_started_anew_has_the_listeners_of_the_others(tmp_path: Path) -> None:
    ports = free_ports(3)
    names = [f"{LOOPBACK}:{port}" for port in ports[:2]]
    with (
        played_set("") as played,
        serving(followed(make_site(tmp_path, 1), played.uri, ports, workers=2)) as proxy,
    ):
        played.add(PlayedServer())
        until(lambda: all_tell(ports[0], names))
        os.kill(pids(proxy)[0], signal.SIGKILL)
        said(proxy, "worker ended")
        said(proxy, "worker ready")
        assert all_tell(ports[1], names)


@pytest.mark.slow
def test_workers_come_up_beside_a_member_that_may_not_be_used(tmp_path: Path) -> None:
    ports = free_ports(3)
    with played_set("", "") as played:
        good, bad = sorted(played.members, key=lambda member: member.name)
        played.elect(good)
        good.play = bad.play = lambda name, _command: UNAUTHORIZED if name == "listDatabases" else None
        site = followed(make_site(tmp_path, 1), played.uri, ports, workers=2)
        site.config["upstream"]["access_control"] = "required"
        with serving(site) as proxy:
            bad.play = lambda _name, _command: None
            bad.cut()
            assert said(proxy, "member is left out")["upstream"] == bad.name
            until(lambda: is_refused(ports[1]))
            pid = proxy.process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            os.kill(int(children[0]), signal.SIGKILL)
            said(proxy, "worker ready")
            assert all_tell(ports[0], [f"{LOOPBACK}:{ports[0]}"])
            until(lambda: down_of(proxy) == ("partly", [bad.name]))
            good.play = bad.play
            proxy.process.send_signal(signal.SIGHUP)
            assert good.name in said(proxy, "reload refused, nothing changed")["problem"]
            assert all_tell(ports[0], [f"{LOOPBACK}:{ports[0]}"])
        good.play = lambda name, _command: UNAUTHORIZED if name == "listDatabases" else None
        checked = site.serve("--check", "--json")
        events = [warning["event"] for warning in json.loads(checked.stdout)["warnings"]]
        assert (checked.returncode, "member is left out" in events) == (0, True)


@pytest.mark.slow
def test_check_says_what_keeps_it_from_starting(tmp_path: Path) -> None:
    with played_set("") as played:
        site = followed(make_site(tmp_path, 1), played.uri, free_ports(2), workers=2)
        assert site.serve("--check").returncode == 0
        assert not (tmp_path / "ports.json").exists()
        site.config["upstream"]["uri"] = played.uri.replace("rs0", "other")
        checked = site.serve("--check")
        assert checked.returncode != 0
        assert "other" in checked.stderr
        site.config["upstream"]["uri"] = played.uri
        site.config["listen"]["ports_file"] = "missing/ports.json"
        assert site.serve("--check").returncode == site.serve().returncode != 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_member_that_leads_back_to_the_proxy_has_no_listener(tmp_path: Path, workers: int) -> None:
    ports = free_ports(3)
    with played_set("") as played:
        site = followed(make_site(tmp_path, 1), played.uri, ports, workers=2)
        site.config["workers"] = workers
        with serving(site) as proxy:
            name = played.add(PlayedServer(f"{LOOPBACK}:{ports[0]}")).name
            assert said(proxy, "member is left out", reason="upstream-itself")["upstream"] == name
            assert all_tell(ports[0], [f"{LOOPBACK}:{ports[0]}"])
            assert is_refused(ports[1])
