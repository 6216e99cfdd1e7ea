"""What `serve` and `--check` find out about the logins of a real server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwire.proxy.server.findings import (
    CLIENTS_UNKNOWN,
    LOGIN_WANTED,
    NO_ACCESS_CONTROL,
    REVEALED_EVERYWHERE,
)
from sealwire.testbed.database import DatabaseProcess
from tests.proxy.server.config_texts import EVERYWHERE
from tests.proxy.server.site import Site, make_site, serving
from tests.support.secantus import USERS, secantus

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    with secantus(tmp_path_factory.mktemp("without")) as process:
        yield process


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    with secantus(tmp_path_factory.mktemp("guarded"), users=USERS) as process:
        yield process


def site_for(folder: Path, database: DatabaseProcess, setting: str | None) -> Site:
    site = make_site(folder, int(database.address.rpartition(":")[2]))
    if setting is not None:
        site.config["upstream"]["access_control"] = setting
    return site


def warnings_of(stderr: str) -> list[str]:
    """All but that the server's side has no TLS here, and that nobody may look for stored plaintext."""
    said = [line.partition(": warning: ")[2] for line in stderr.splitlines() if ": warning: " in line]
    assert said.pop(0).startswith("upstream.tls.mode")
    return [each for each in said if not each.startswith("whether values in clear are stored")]


@pytest.mark.parametrize("setting", [None, "required"])
def test_logins_that_nobody_asks_for_are_an_error(
    tmp_path: Path, without: DatabaseProcess, setting: str | None
) -> None:
    site = site_for(tmp_path, without, setting)
    done = site.serve("--check")
    assert done.returncode == 78
    told = [line for line in done.stderr.splitlines() if line.startswith("sealwire: ")]
    assert [line.split(": ")[1] for line in told] == ["warning", "hint", "error", "hint"]
    assert "access_control" in told[3]
    done = site.serve()
    assert done.returncode == 78
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert "ready" not in {line["event"] for line in lines}
    (fatal,) = [line for line in lines if line["event"] == "the proxy cannot run"]
    assert "access_control" in fatal["hint"]


def test_a_server_without_logins_is_served_when_that_was_said(
    tmp_path: Path, without: DatabaseProcess
) -> None:
    site = site_for(tmp_path, without, "none")
    done = site.serve("--check")
    assert done.returncode == 0
    assert warnings_of(done.stderr) == [NO_ACCESS_CONTROL.problem]
    with serving(site) as proxy:
        said = proxy.events[NO_ACCESS_CONTROL.event]
        assert (said["level"], said["hint"]) == ("warning", NO_ACCESS_CONTROL.hint)


def test_a_server_with_logins_is_as_it_should_be(tmp_path: Path, guarded: DatabaseProcess) -> None:
    site = site_for(tmp_path, guarded, None)
    done = site.serve("--check")
    assert (done.returncode, warnings_of(done.stderr)) == (0, [])
    with serving(site) as proxy:
        assert NO_ACCESS_CONTROL.event not in proxy.events


def test_a_door_that_was_opened_without_need_is_mentioned(tmp_path: Path, guarded: DatabaseProcess) -> None:
    site = site_for(tmp_path, guarded, "none")
    site.config["reveal"] = "everywhere"
    site.config["listen"]["address"] = f"{EVERYWHERE}:0"
    done = site.serve("--check")
    assert done.returncode == 0
    found = [NO_ACCESS_CONTROL, REVEALED_EVERYWHERE, CLIENTS_UNKNOWN, LOGIN_WANTED]
    assert warnings_of(done.stderr) == [finding.problem for finding in found]
    with serving(site) as proxy:
        assert {finding.event for finding in found} <= set(proxy.events)


def test_who_asks_nothing_is_told_nothing(tmp_path: Path, without: DatabaseProcess) -> None:
    site = site_for(tmp_path, without, "required")
    site.config["upstream"]["probe"] = False
    done = site.serve("--check")
    assert (done.returncode, warnings_of(done.stderr)) == (0, [])
