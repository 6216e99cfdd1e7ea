"""A command gets each alert on its standard input, and nothing of it outlives its time."""

import json
import sys
import time
from pathlib import Path

import pytest

from sealwire.sidecars.detection.errors import DeliveryFailed
from sealwire.sidecars.detection.program import ProgramChannel
from sealwire.sidecars.detection.rules_file import ProgramSettings

ALERT = {"id": "a1", "about": {"user": "$(touch x)"}}


def channel(code: str, *words: str, timeout_s: int = 20) -> ProgramChannel:
    return ProgramChannel(ProgramSettings((sys.executable, "-c", code, *words), timeout_s))


def test_it_reads_the_alert_and_no_variable_that_is_not_its_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALWIRE_KEK", "secret")
    code = "import os,sys; open(sys.argv[1],'w').write(sys.stdin.read() + repr(sorted(os.environ)))"
    channel(code, str(tmp_path / "got")).tell(ALERT)
    text, _, names = (tmp_path / "got").read_text().partition("\n")
    assert json.loads(text) == ALERT
    assert "SEALWIRE_KEK" not in names


def test_one_that_does_not_read_is_no_failure() -> None:
    channel("pass").tell({"id": "a1", "detail": "x" * 1_000_000})


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "import os; os.kill(os.getpid(), 9)"])
def test_one_that_fails_has_not_told(code: str) -> None:
    with pytest.raises(DeliveryFailed):
        channel(code).tell(ALERT)


def test_one_that_is_not_there_has_not_told() -> None:
    with pytest.raises(DeliveryFailed):
        ProgramChannel(ProgramSettings(("/no/such/program",), 1)).tell(ALERT)


def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    child = "import time; time.sleep(600)"
    code = (
        "import subprocess,sys,time\n"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "open(sys.argv[1],'w').write(str(p.pid))\n"
        "time.sleep(600)"
    )
    pid = tmp_path / "pid"
    with pytest.raises(DeliveryFailed):
        channel(code, str(pid), timeout_s=6).tell(ALERT)
    number = int(pid.read_text())
    while is_running(number):
        # it is killed, and may need a moment to be gone
        time.sleep(0.01)


def is_running(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
