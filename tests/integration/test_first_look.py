"""A newcomer's path: each block of docs/first-look.md, in its order, while the demo's application works."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bson import json_util
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.examples.clinic_app import STEPS
from sealwire.testbed.child import free_port
from tests.build_context import ROOT
from tests.integration.outside.chosen import own_server
from tests.support.doc_commands import run_document
from tests.support.private import private
from tests.support.reasons import failing
from tests.support.secantus import secantus

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow(minutes=2),
    own_server("it encrypts a database from its first policy on"),
]

PAGE = ROOT / "docs" / "first-look.md"


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server without data; where Sealwire listens, which ends with the test."""
    with secantus(tmp_path, transaction_s=5) as database:
        private(tmp_path / "server.uri", database.uri())
        yield {
            "SEALWIRE_UPSTREAM_ADDRESS": f"127.0.0.1:{database.port}",
            "SEALWIRE_LISTEN_ADDRESS": f"127.0.0.1:{free_port()}",
            "SEALWIRE_ADMIN_ADDRESS": f"127.0.0.1:{free_port()}",
            "SEALWIRE_KEYS_REFRESH_S": "1",  # a move waits for it, once a class
            "SEALWIRE_LIMITS_DRAIN_S": "1",
            "COLUMNS": "200",
        }
        end(tmp_path / "sealwire.pid")


def end(pid_file: Path) -> None:
    """Stop the proxy, and wait until it has ended: nothing of it outlives the test."""
    if not pid_file.exists():
        return
    pid, deadline = int(pid_file.read_text()), time.monotonic() + 60
    os.kill(pid, signal.SIGTERM)
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)


def test_from_a_first_look_to_protected_and_back(tmp_path: Path, environ: dict[str, str]) -> None:
    def step(name: str) -> str:
        return run_document(PAGE, tmp_path, name, environ)

    def day(name: str) -> list[tuple[str, Any]]:
        """What each step of the application's day saw."""
        lines = map(json_util.loads, step(name).splitlines())
        return [(line["step"], line["result"]) for line in lines]

    with (
        MongoClient[Any]((tmp_path / "server.uri").read_text()) as direct,
        MongoClient[Any](f"mongodb://{environ['SEALWIRE_LISTEN_ADDRESS']}/?directConnection=true") as through,
    ):
        raw, clinic = direct["clinic"], through["clinic"]
        expected = day("application")
        assert [name for name, _ in expected] == [each.__name__ for each in STEPS]
        said = step("suggest")
        assert "policy.yaml: 2 collections" in said
        covered = yaml.safe_load((tmp_path / "policy.yaml").read_text())["collections"]
        assert covered["clinic.appointments"]["patient_nhs"] == covered["clinic.patients"]["nhs_number"]
        raw.command("profile", 2)
        assert day("application") == expected
        raw.command("profile", 0)
        said = step("recorded")
        for refused in ("random-equality at postcode", "range $gte at date_of_birth"):
            assert f"refused: {refused}" in said
        assert "refused: pattern $regex at name" in said
        assert "0 refused, 0 not-judged" in step("fixed")
        assert "2 commands, 0 not as expected" in step("expected")
        assert '"reason": "pattern"' in (tmp_path / "commands.jsonl").read_text()
        step("begin")
        step("serve")
        assert day("work") == expected
        one = raw["patients"].find_one({"name": {"$exists": True}}, {"_id": 0, "nhs_number": 1})
        pattern = {"nhs_number": {"$regex": "^9"}}
        assert clinic["patients"].find_one(pattern) == raw["patients"].find_one(pattern)
        said = step("observed")
        assert "NOT PROTECTED" in said
        assert "1 refused" in said
        step("protect")
        assert day("work") == expected
        with pytest.raises(OperationFailure, match="pattern"):
            clinic["patients"].find_one(pattern)
        assert raw["patients"].find_one(one) is not None
        assert "nothing of another form is left" in step("encrypt")
        assert clinic["patients"].find_one(one) is not None
        assert raw["patients"].find_one(one) is None
        assert day("work") == expected
        said = step("prove")
        for words in ("installed", "no field needs somebody", "lines in 1 file: whole"):
            assert words in said
        assert "<html" in (tmp_path / "page.html").read_text()
        with failing(121):
            raw["patients"].insert_one({"nhs_number": "plaintext"})
        said = step("back")
        assert "removed" in said
        assert "0 values left" in said
        assert raw["patients"].find_one(one) is not None
        assert day("work") == expected
