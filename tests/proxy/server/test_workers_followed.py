"""`sealwire serve` with two workers before a set that changes: one port for a member, in both of them."""

import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.proxy.server.harness import DEADLINE_S, LOOPBACK, UNAUTHORIZED
from tests.proxy.server.site import Running, Site, make_site, serving
from tests.support.free_ports import free_ports
from tests.support.played_set import PlayedServer, PlayedSet, played_set

pytestmark = pytest.mark.integration


def site_before(played: PlayedSet, folder: Path, ports: range) -> Site:
    site = make_site(folder, 1)
    site.config["listen"] = {
        "address": LOOPBACK,
        "ports": f"{ports[0]}-{ports[-1]}",
        "ports_file": "ports.json",
        "tls": {"mode": "plaintext"},
    }
    site.config["upstream"] = {
        "uri": played.uri,
        "access_control": "none",
        "heartbeat_s": 0.3,
        "tls": {"mode": "plaintext"},
    }
    site.config["workers"] = 2
    return site


def hellos(port: int, count: int = 8) -> list[dict[str, Any]]:
    """What as many connections are told; the system hands them to one worker or the other."""
    found = []
    for _ in range(count):
        with MongoClient[dict[str, Any]](LOOPBACK, port, directConnection=True) as client:
            found.append(client.admin.command("hello"))
    return found


def until(holds: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < ends_at, "the deadline has passed"
        time.sleep(0.05)


def all_tell(port: int, hosts: list[str]) -> bool:
    return all(sorted(hello["hosts"]) == hosts for hello in hellos(port))


def is_refused(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port)).close()
    except ConnectionRefusedError:
        return True
    return False


def said(proxy: Running, event: str, **fields: Any) -> dict[str, Any]:
    return next(line for line in proxy.said if line["event"] == event and fields.items() <= line.items())


def down_of(proxy: Running) -> tuple[str, list[str]]:
    """What /readyz says of servers; workers have told of them a second or two after a change."""
    with urllib.request.urlopen(f"http://{proxy.admin}/readyz", timeout=DEADLINE_S) as answer:
        ready = json.load(answer)
    return ready.get("upstream", ""), ready.get("upstreams_down", [])


def test_both_workers_follow_members_that_come_and_go(tmp_path: Path) -> None:
    ports = free_ports(4)
    names = [f"{LOOPBACK}:{port}" for port in ports]
    with played_set("", "", "") as played:
        last = max(played.members, key=lambda member: member.name)
        played.remove(last)
        first = min(played.members, key=lambda member: member.name)
        played.elect(first)
        with serving(site_before(played, tmp_path, ports)) as proxy:
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
    with played_set("") as played, serving(site_before(played, tmp_path, ports)) as proxy:
        played.add(PlayedServer())
        until(lambda: all_tell(ports[0], [f"{LOOPBACK}:{port}" for port in ports[:2]]))
        pid = proxy.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        said(proxy, "worker ended")
        said(proxy, "worker ready")
        assert all_tell(ports[1], [f"{LOOPBACK}:{port}" for port in ports[:2]])


@pytest.mark.slow
def test_workers_come_up_beside_a_member_that_may_not_be_used(tmp_path: Path) -> None:
    ports = free_ports(3)
    with played_set("", "") as played:
        good, bad = sorted(played.members, key=lambda member: member.name)
        played.elect(good)
        good.play = bad.play = lambda name, _command: UNAUTHORIZED if name == "listDatabases" else None
        site = site_before(played, tmp_path, ports)
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
        site = site_before(played, tmp_path, free_ports(2))
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
        site = site_before(played, tmp_path, ports)
        site.config["workers"] = workers
        with serving(site) as proxy:
            name = played.add(PlayedServer(f"{LOOPBACK}:{ports[0]}")).name
            assert said(proxy, "member is left out", reason="upstream-itself")["upstream"] == name
            assert all_tell(ports[0], [f"{LOOPBACK}:{ports[0]}"])
            assert is_refused(ports[1])
