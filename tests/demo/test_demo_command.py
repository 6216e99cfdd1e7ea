"""`sealwire demo` as a user runs it: it holds, it ends cleanly however it is ended, it leaves nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from sealwire.crypto.envelope import SUBTYPE
from tests.support import warm

pytestmark = pytest.mark.integration

DEMO = [sys.executable, "-m", "sealwire", "demo", "--patients", "150"]


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = os.environ | {"TMPDIR": str(folder)}
    return warm.WarmProcess(
        [*DEMO, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def children_in(folder: Path) -> list[int]:
    """Processes whose command line names the folder: the databases and Sealwire of this demo."""
    commands = {
        int(entry.name): entry / "cmdline" for entry in Path("/proc").iterdir() if entry.name.isdigit()
    }
    found = []
    for pid, command in commands.items():
        try:
            if str(folder).encode() in command.read_bytes():
                found.append(pid)
        except OSError:
            continue  # it ended meanwhile
    return found


def read_json(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The indented object that --json prints, while the process goes on."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            break
    report: dict[str, Any] = json.loads("".join(lines))
    return report


def test_kept_running_it_can_be_asked_and_ends_on_ctrl_c_without_a_trace(tmp_path: Path) -> None:
    process = start(tmp_path, "--json", "--keep")
    try:
        report = read_json(process)
        assert report["holds"] is True
        assert all(check["passed"] for check in report["checks"])
        assert [step["result"] for step in report["direct"]] == [step["result"] for step in report["guarded"]]
        assert len(children_in(tmp_path)) == 3
        uris = report["connections"]
        with (
            MongoClient[dict[str, Any]](uris["sealwire"]) as client,
            MongoClient[dict[str, Any]](uris["raw"]) as raw,
        ):
            seen = client.clinic.patients.find_one({}, sort=[("registered", 1)])
            stored = raw.clinic.patients.find_one({}, sort=[("registered", 1)])
        assert seen is not None
        assert stored is not None
        assert seen["_id"] == stored["_id"]
        assert seen["nhs_number"].startswith("999")
        assert stored["nhs_number"].subtype == SUBTYPE
        for _ in range(3):
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "Traceback" not in errors
    finally:
        process.kill()
        process.communicate()
    assert children_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_stops_everything_and_removes_the_folder(tmp_path: Path, number: int) -> None:
    process = start(tmp_path)
    try:
        while len(children_in(tmp_path)) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        process.send_signal(signal.SIGINT)  # somebody is impatient
        _, errors = process.communicate(timeout=90)
        assert process.returncode in {128 + number, 1}
        assert "Traceback" not in errors
    finally:
        process.kill()
        process.communicate()
    assert children_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
