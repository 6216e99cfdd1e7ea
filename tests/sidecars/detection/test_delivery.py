"""Everybody is told of every alert, and whoever cannot be reached holds up nobody else."""

import io
import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealwire.sidecars.detection import delivery
from sealwire.sidecars.detection.alerts import Alerts, Cause
from sealwire.sidecars.detection.delivery import (
    MAX_ATTEMPTS,
    Courier,
    LogChannel,
    ProgramChannel,
    deliver,
    wait_after,
)
from sealwire.sidecars.detection.rules import DEFAULTS, ProgramSettings, RuleName, Urgency
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.errors import DeliveryFailed
from tests.sidecars.detection.logs import START, Told


def kept(folder: Path, alerts: int, *channels: str) -> StateFile:
    state = StateFile(folder / "watch.sqlite")
    for number in range(alerts):
        cause = Cause((("user", f"ann{number}@admin"),), 1, 1, "", "", number)
        Alerts(state, channels).raise_alert(DEFAULTS[RuleName.REFUSED], cause, 0, START)
    return state


def nothing(_document: dict[str, Any]) -> None:
    pass


def test_nobody_is_told_of_what_is_still_learnt_and_it_takes_in_no_alarm(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "watch.sqlite")
    rule, cause = DEFAULTS[RuleName.SUBJECTS], Cause((("user", "ann@admin"),), 1, 1, "", "", 0)
    alerts = Alerts(state, ["one"])
    assert alerts.raise_alert(replace(rule, urgency=Urgency.LEARNING), cause, 0, START) == 1
    assert alerts.untold() == {}
    assert alerts.raise_alert(replace(rule, urgency=Urgency.LEARNING), cause, 0, START) is None
    assert alerts.raise_alert(rule, cause, 0, START) == 2
    assert alerts.untold() == {"one": {"waiting": 1}}
    state.close()


def test_each_channel_is_told_once_of_each(tmp_path: Path) -> None:
    state, one, other = kept(tmp_path, 90, "one", "other"), Told("one"), Told("other")
    assert deliver(state, one, nothing)
    assert deliver(state, one, nothing)
    assert [alert["id"] for alert in one.alerts] == [f"a{number}" for number in range(1, 91)]
    assert Alerts(state).untold() == {"other": {"waiting": 90}}
    assert deliver(state, other, nothing)
    assert Alerts(state).untold() == {}
    state.close()


def test_one_that_fails_is_tried_again_and_those_that_failed_most_come_last(tmp_path: Path) -> None:
    state, told, notes = kept(tmp_path, 3, "told"), Told(failures=2), list[dict[str, Any]]()
    assert not deliver(state, told, notes.append)
    assert not deliver(state, told, notes.append)
    assert deliver(state, told, notes.append)
    assert [alert["id"] for alert in told.alerts] == ["a3", "a1", "a2"]
    assert [(note["event"], note["alert"], note["reason"]) for note in notes] == [
        ("alert-not-told", "a1", "unreachable"),
        ("alert-not-told", "a2", "unreachable"),
    ]
    state.close()


def test_it_is_given_up_some_day_and_that_is_said(tmp_path: Path) -> None:
    state, told, notes = kept(tmp_path, 1, "told"), Told(failures=MAX_ATTEMPTS), list[dict[str, Any]]()
    for _ in range(MAX_ATTEMPTS):
        assert not deliver(state, told, notes.append)
    assert deliver(state, told, notes.append)
    assert notes[-1]["event"] == "alert-given-up"
    assert Alerts(state).untold() == {"told": {"failed": 1}}
    state.close()


def test_waits_grow_up_to_a_bound() -> None:
    assert [wait_after(failures) for failures in (0, 1, 2, 3, 9, 1000)] == [0.0, 1.0, 2.0, 4.0, 256.0, 300.0]


def test_the_log_has_a_line_for_each() -> None:
    stream = io.StringIO()
    LogChannel(stream).tell({"id": "a1", "about": {"user": "x\ny"}})
    assert json.loads(stream.getvalue()) == {"event": "alert", "id": "a1", "about": {"user": "x\ny"}}
    assert stream.getvalue().count("\n") == 1


def test_a_courier_tells_in_a_thread_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_WAIT_S", 0.001)
    kept(tmp_path, 2, "told").close()
    told = Told()
    courier = Courier(tmp_path / "watch.sqlite", told, nothing)
    courier.start()
    while len(told.alerts) < 2:
        pass
    courier.stop(60)
    assert [alert["id"] for alert in told.alerts] == ["a1", "a2"]


def test_one_that_hangs_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_WAIT_S", 0.001)
    kept(tmp_path, 2, "hangs", "told").close()
    over, told = threading.Event(), Told()

    class Hangs:
        name = "hangs"

        def tell(self, alert: dict[str, Any]) -> None:
            over.wait()

    couriers = [Courier(tmp_path / "watch.sqlite", channel, nothing) for channel in (Hangs(), told)]
    for courier in couriers:
        courier.start()
    while len(told.alerts) < 2:
        pass
    couriers[0].stop(0.01)
    over.set()
    for courier in couriers:
        courier.stop(60)


def test_a_courier_says_it_cannot_read_and_retries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_WAIT_S", 0.001)
    monkeypatch.setattr(delivery, "wait_after", lambda _failures: 0.001)
    path = tmp_path / "watch.sqlite"
    path.touch(0o600)
    path.write_bytes(b"no database" * 100)
    notes: list[dict[str, Any]] = []
    courier = Courier(path, Told(), notes.append)
    courier.start()
    while len(notes) < 2:
        pass
    courier.stop(60)
    assert {(note["event"], note["reason"]) for note in notes} == {("alerts-unreadable", "state-damaged")}


# A command gets each alert on its standard input, and nothing of it outlives its time.

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
