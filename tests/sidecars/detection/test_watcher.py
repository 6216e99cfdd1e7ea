"""The watch reads, judges, keeps and has others told, and goes on where it stopped."""

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sealwire.audit.verification import Flaw, FlawKind
from sealwire.sidecars.detection import delivery, watcher
from sealwire.sidecars.detection.alerts import Alerts
from sealwire.sidecars.detection.delivery import LogChannel
from sealwire.sidecars.detection.incidents import IncidentBook
from sealwire.sidecars.detection.rules import WatchSettings
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.detection.watcher import AuditWatch, Recheck, channels_of, machine_clocks
from tests.audit.logs import KEY, place
from tests.sidecars.detection.logs import START, Clocks, Told, append, line, names, settings


def nothing(_document: dict[str, Any]) -> None:
    pass


def watch(said: WatchSettings, state: StateFile, told: Told, clocks: Clocks | None = None) -> AuditWatch:
    return AuditWatch(said, state, [told], nothing, clocks or Clocks())


def test_one_goes_on_where_another_has_stopped(tmp_path: Path) -> None:
    said, told = settings(tmp_path), Told()
    for number in range(3):
        append(tmp_path, [line(number, read={"nhs_number": 400})])
        state = StateFile(said.state)
        assert watch(said, state, told).run_once()
        state.close()
    assert [alert["amount"] for alert in told.alerts] == [1200]


def test_a_log_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    said, told = settings(tmp_path), Told()
    state = StateFile(said.state)
    reader = watch(said, state, told)
    assert reader.look()
    append(tmp_path, [line(0, glass="unconscious")])
    assert reader.run_once()
    assert [alert["rule"] for alert in told.alerts] == ["break-glass"]
    state.close()


def test_that_the_hours_of_an_incident_pass_is_an_alert_that_is_told_once(tmp_path: Path) -> None:
    said, told, clocks = settings(tmp_path), Told(), Clocks(START)
    append(tmp_path, [line(0)])
    state = StateFile(said.state)
    IncidentBook(state).open_incident("list", [], START, START, "ann")
    reader = watch(said, state, told, clocks)
    for hours in (1, 48, 2, 48):
        reader.run_once()
        clocks.forward(hours=hours)
    reader.run_once()
    assert [(alert["rule"], alert["about"]["stage"]) for alert in told.alerts] == [
        ("deadline", "soon"),
        ("deadline", "overdue"),
    ]
    state.close()


def run_until_told(said: WatchSettings, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "LOOK_S", 0.001)
    monkeypatch.setattr(delivery, "_WAIT_S", 0.001)
    stop = threading.Event()

    def run() -> None:
        state = StateFile(said.state)
        watch(said, state, told).run(stop)
        state.close()

    thread = threading.Thread(target=run)
    thread.start()
    while not told.alerts:
        pass
    stop.set()
    thread.join()


def test_it_runs_and_tells_until_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, told = settings(tmp_path), Told()
    append(tmp_path, [line(0, glass="unconscious")])
    run_until_told(said, told, monkeypatch)
    state = StateFile(said.state)
    assert names(Alerts(state).latest(9, only_open=True)) == ["break-glass"]
    state.close()


def test_lines_that_were_changed_after_they_were_read_are_an_alert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, told = settings(tmp_path), Told()
    append(tmp_path, [line(0), line(1)])
    state = StateFile(said.state)
    watch(said, state, told).run_once()
    state.close()
    said.place.path.write_bytes(said.place.path.read_bytes().replace(b"ann@", b"eve@", 1))
    run_until_told(said, told, monkeypatch)
    assert {alert["rule"] for alert in told.alerts} == {"audit-gap"}


def test_the_file_says_who_is_told(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n")
    tell = f"webhook: {{url: https://example.org/, secret: {secret}}}\n  command: {{run: [/bin/true]}}"
    said = settings(tmp_path, tell=tell)
    state = StateFile(said.state)
    found = channels_of(said, state, LogChannel())
    assert [channel.name for channel in found] == ["log", "webhook", "command"]
    again = channels_of(settings(tmp_path, tell="log: off"), state, LogChannel())
    assert again == []
    state.close()


def test_the_clocks_are_those_of_the_machine() -> None:
    first, then = machine_clocks(), machine_clocks()
    assert then.monotonic >= first.monotonic
    assert first.wall.utcoffset() == timedelta()


# What was changed after it was read is found by reading all of it again.


def kinds(flaws: list[Flaw]) -> list[FlawKind]:
    return [flaw.kind for flaw in flaws]


def test_a_log_that_nobody_changed_has_none(tmp_path: Path) -> None:
    check = Recheck(place(tmp_path), KEY.verification, 60)
    assert check.look() == []
    append(tmp_path, [line(0), line(1)])
    assert check.look() == []
    with place(tmp_path).path.open("ab") as file:
        file.write(b'{"half')
    assert check.look() == []


def test_an_edited_line_is_found(tmp_path: Path) -> None:
    append(tmp_path, [line(0), line(1)])
    path = place(tmp_path).path
    path.write_bytes(path.read_bytes().replace(b"ann@", b"eve@"))
    for key in (KEY.verification, None):
        assert FlawKind.EDITED in kinds(Recheck(place(tmp_path), key, 60).look())


def test_one_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    append(tmp_path, [line(0)])
    place(tmp_path).checkpoints[0].unlink()
    place(tmp_path).checkpoints[0].mkdir()
    assert kinds(Recheck(place(tmp_path), KEY.verification, 60).look()) == [FlawKind.NOT_A_FILE]


def test_it_looks_in_a_thread_and_ends_with_it(tmp_path: Path) -> None:
    append(tmp_path, [line(0), line(1)])
    path = place(tmp_path).path
    path.write_bytes(path.read_bytes().replace(b"ann@", b"eve@"))
    check = Recheck(place(tmp_path), KEY.verification, 3600)
    check.start()
    found: list[Flaw] = []
    while not found:
        found = check.flaws()
    check.stop()
    assert FlawKind.EDITED in kinds(found)
    assert check.flaws() == []
