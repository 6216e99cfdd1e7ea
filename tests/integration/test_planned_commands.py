"""What a policy would do to an application's commands, told before, is what Sealwire then does to them."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo.errors import OperationFailure

from tests.build_context import ROOT
from tests.integration.conftest import Stack
from tests.integration.outside.chosen import own_server
from tests.support import warm
from tests.support.doc_commands import run_document
from tests.support.private import private
from tests.support.secantus import ROOT as ADMIN

pytestmark = [pytest.mark.integration, own_server("it switches the profiler on")]

PAGE = ROOT / "docs" / "policies.md"
POLICY = Path(__file__).with_name("policy.yaml")
NUMBER = "943 476 5919"
COMMANDS: list[dict[str, Any]] = [
    {"find": "patients", "filter": {"nhs_number": NUMBER}},
    {"find": "patients", "filter": {"nhs_number": {"$gt": NUMBER}}},
    {"update": "patients", "updates": [{"q": {"nhs_number": NUMBER}, "u": {"$set": {"ward": "north"}}}]},
    {"aggregate": "patients", "pipeline": [{"$group": {"_id": "$nhs_number"}}], "cursor": {}},
    {"count": "patients", "query": {"nhs_number": {"$regex": "^9"}}},
]
VERDICTS = ["answered", "refused", "answered", "answered", "refused"]


@pytest.fixture
def folder(clean: Stack, tmp_path: Path) -> Iterator[Path]:
    """A policy, and the address of a server that records commands, in which nothing is encrypted."""
    (tmp_path / "policy.yaml").write_text(POLICY.read_text())
    private(tmp_path / "server.uri", clean.database.uri(ADMIN))
    clean.raw.command("profile", 2)
    yield tmp_path
    clean.raw.command("profile", 0)


def test_recorded_commands_get_the_verdicts_that_sealwire_gives(clean: Stack, folder: Path) -> None:
    for command in COMMANDS:
        clean.raw.command(command)
    clean.raw.command("profile", 0)
    done = warm.run(
        [
            *(sys.executable, "-m", "sealwire", "policy", "explain", "policy.yaml"),
            *("--from-profile", "server.uri", "--db", "clinic", "--json"),
        ],
        cwd=folder,
        text=True,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    found = {each["command"]: each for each in json.loads(done.stdout)["shapes"]}
    assert (found["count"]["reason"], found["count"]["path"]) == ("pattern", "nhs_number")
    finds = [each["verdict"] for each in json.loads(done.stdout)["shapes"] if each["command"] == "find"]
    assert sorted(finds) == ["answered", "refused"]
    assert NUMBER not in done.stdout
    for command, verdict in zip(COMMANDS, VERDICTS, strict=True):
        assert found[next(iter(command))]["verdict"] == verdict or "find" in command
        if verdict == "refused":
            with pytest.raises(OperationFailure, match="Sealwire refused"):
                clean.clinic.command(command)
        else:
            clean.clinic.command(command)
    said = run_document(PAGE, folder, "from-profile")
    assert "2 refused" in said
    assert NUMBER not in said


def test_verdicts_that_a_test_records_are_those_that_sealwire_gives(clean: Stack, folder: Path) -> None:
    entries = [{"db": "clinic", "command": each} for each in COMMANDS]
    (folder / "all.yaml").write_text(yaml.safe_dump(entries, sort_keys=False))
    warm.sealwire("policy", "test", "policy.yaml", "all.yaml", "--record", cwd=folder, check=True)
    recorded = yaml.safe_load((folder / "all.yaml").read_text())
    assert [each["expect"] for each in recorded] == VERDICTS
    for entry in recorded:
        if entry["expect"] == "answered":
            clean.clinic.command(entry["command"])
        else:
            with pytest.raises(OperationFailure, match=rf"\[{entry['reason']}\]"):
                clean.clinic.command(entry["command"])
    assert "0 not as expected" in run_document(PAGE, folder, "expected")
