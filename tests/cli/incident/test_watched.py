"""What the page of the admin address is told of the watch, read from the watch's real file."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sealwire.cli.incident.watched import read_watch
from sealwire.proxy.server.page.panels import WatchedNow
from tests.cli.runs import Outcome, Run


def test_alerts_and_incidents_are_told_until_somebody_has_seen_them(
    watched: Callable[[], Outcome], config: Path, run: Run
) -> None:
    watched()
    aware = (datetime.now(UTC) - timedelta(hours=60)).isoformat()
    run("incident", "open", "--alert", "a1", "--title", "bulk read", "--aware", aware)
    told = read_watch(config)
    assert told.problem == ""
    assert {each.rule for each in told.alerts} == {"bulk-read"}
    (incident,) = told.incidents
    assert (incident.id, incident.title, incident.state) == ("i1", "bulk read", "open")
    assert incident.is_pressing
    assert incident.left
    for each in told.alerts:
        run("incident", "acknowledge", each.id)
    assert read_watch(config).alerts == ()


def test_a_watch_that_has_not_begun_is_told_and_no_file_is_made(config: Path) -> None:
    before = sorted(config.parent.iterdir())
    assert read_watch(config).problem == "it has not begun"
    assert sorted(config.parent.iterdir()) == before


def test_what_cannot_be_read_is_told_in_its_place(
    watched: Callable[[], Outcome], config: Path, tmp_path: Path
) -> None:
    watched()
    state = next(tmp_path.rglob("*.sqlite"))
    state.write_bytes(b"no database at all" * 100)
    told = read_watch(config)
    assert told == WatchedNow(problem=told.problem, hint=told.hint)
    assert told.problem
    assert told.hint
    config.write_text("version: 9")
    assert str(config) in read_watch(config).problem
    config.unlink()
    assert read_watch(config).problem
