"""`make test-server` on servers of this machine: what held is counted, and nothing of it is left there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sealwire.testbed.certificates import create_authority
from sealwire.testbed.database import DatabaseProcess
from tests.build_context import ROOT as REPOSITORY
from tests.integration.outside.chosen import STANDALONE
from tests.support.secantus import ROOT, USERS, secantus

pytestmark = pytest.mark.integration

THEIRS = {"_id": 1, "nhs_number": "not a matter of the tests"}


def run_on(server: DatabaseProcess, *options: str) -> dict[str, Any]:
    """The report of a run in which nothing differed, and which left what the server had as it was."""
    user = ROOT if server.options.users else None
    with server.connect(user) as client:
        client["clinic"].patients.insert_one(dict(THEIRS))
        before = client.list_database_names()
        command = [sys.executable, "-m", "tests.integration.outside", "--json", *options]
        environ = os.environ | {"URI": server.uri(user)}
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
        assert ROOT.password not in done.stderr + done.stdout
        assert client.list_database_names() == before
        assert list(client["clinic"].patients.find()) == [THEIRS]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.slow
def test_a_replica_set_with_logins_and_tls(tmp_path: Path) -> None:
    with secantus(tmp_path, users=USERS, authority=create_authority(tmp_path / "authority")) as server:
        report = run_on(server, "--parts", "enforcement")
    assert report["server"]["logins"]
    assert report["server"]["tls"]
    assert report["server"]["replica_set"]
    (row,) = report["parts"]
    assert row["held"] > 20
    assert sum(row["not_applicable"].values()) < 5


@pytest.mark.slow(minutes=4)
@pytest.mark.parametrize("replica_set", [True, False])
def test_every_part(tmp_path: Path, replica_set: bool) -> None:
    with secantus(tmp_path, replica_set=replica_set) as server:
        report = run_on(server, "--examples", "100")
    rows = {(row["part"], row["counted"]): row for row in report["parts"]}
    assert rows["differential", "commands"]["held"] > 400
    assert rows["differential", "malformed commands"]["refused"]
    assert {part for part, _ in rows} == {"differential", "conversations", "drivers", "enforcement"}
    assert all(row["held"] > 5 for row in rows.values())
    unknown = sum(row["not_applicable"].get(STANDALONE, 0) for row in rows.values())
    assert (unknown == 0) is replica_set
