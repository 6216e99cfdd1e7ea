"""What each section says, with much to say and with nothing."""

import shlex
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import click
import pytest

from sealwire.audit.files import LogPlace
from sealwire.audit.log import AuditLog, LogPace
from sealwire.audit.signing import make_key
from sealwire.cli import sealwire
from sealwire.files.html.frame import Mark, Tone
from sealwire.proxy.server.health import Following, Freshness, Health, Keeping, ProxyPhase
from sealwire.proxy.server.page.door import PANELS
from sealwire.proxy.server.page.facts import OBSERVED, PageFacts
from sealwire.proxy.server.page.panels import (
    MAX_ALERTS,
    Cell,
    Code,
    Lamp,
    LastHour,
    Panel,
    PanelTable,
    SeenNow,
    WatchedAlert,
    WatchedNow,
)
from sealwire.proxy.server.page.standing import (
    alerts,
    audit,
    certificates,
    coverage,
    explain_command,
    keys,
    lamps,
    meaning,
    moves,
    observed,
    overview,
    plots,
    rate_text,
    refusals,
    traffic,
    verdict,
)
from tests.proxy.server.page.pages import (
    ADDED_US,
    FINDS,
    METRICS,
    NOW,
    RANGES,
    FixedFeed,
    HandClock,
    a_health,
    nothing_seen,
    seen,
    some_facts,
)
from tests.support.rows import rows


def marks(panel: Panel) -> dict[str, Cell]:
    return dict(panel.marks)


def levels(panel: Panel) -> set[Tone]:
    cells = [cell for table in panel.tables for row in table.rows for cell in row]
    return {cell.tone for cell in (*cells, *marks(panel).values()) if isinstance(cell, Mark)}


def with_health(page: SeenNow, health: Health) -> SeenNow:
    return replace(page, health=health)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.__name__)
def test_a_section_says_something_before_anything_has_happened(tmp_path: Path, panel: object) -> None:
    said = panel(nothing_seen(tmp_path))  # type: ignore[operator]
    assert said.texts or said.marks
    assert not said.tables


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.__name__)
def test_rows_have_as_many_cells_as_there_are_columns(tmp_path: Path, panel: object) -> None:
    for table in panel(seen(tmp_path)).tables:  # type: ignore[operator]
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_a_proxy_that_serves_is_ready(tmp_path: Path) -> None:
    state = marks(overview(seen(tmp_path)))["State"]
    assert state == Mark("ready: clients are served", Tone.FINE)


@rows(
    "health, why",
    (replace(a_health(), phase=ProxyPhase.DRAINING), "draining"),
    (replace(a_health(), keyring=Freshness.EXPIRED), "the keys are too old"),
    (replace(a_health(), audit=Keeping.FULL), "the audit log takes no more"),
    (replace(a_health(), frontier=Following.LOST), "there is no lease, or a class is refused"),
    (replace(a_health(), clock=lambda: 100.0), "an event loop is stuck"),
)
def test_one_that_does_not_serve_says_why(tmp_path: Path, health: Health, why: str) -> None:
    state = marks(overview(with_health(seen(tmp_path), health)))["State"]
    assert isinstance(state, Mark)
    assert state.tone is Tone.ACT
    assert why in state.text


def test_workers_that_are_missing_are_noticed(tmp_path: Path) -> None:
    text = METRICS.replace("sealwire_workers_ready 2", "sealwire_workers_ready 1")
    assert marks(overview(seen(tmp_path, text=text)))["Workers that serve"] == Mark("1 of 2", Tone.ACT)


def test_what_needs_somebody_is_said_first(tmp_path: Path) -> None:
    health = replace(a_health(), keyring=Freshness.STALE, audit=Keeping.WAITING, frontier=Following.LOST)
    panel = overview(with_health(seen(tmp_path), health))
    said = " ".join(panel.texts)
    assert "keyring could not be loaded" in said
    assert "Make room" in said
    assert marks(panel)["Moves of classes"] == Mark("lost: no lease, or a class is refused", Tone.ACT)


def test_classes_in_clear_and_plaintext_stand_out(tmp_path: Path) -> None:
    page = with_health(seen(tmp_path), replace(a_health(), in_clear=("phone",)))
    panel = coverage(page)
    rows = {row[1]: row[3] for row in panel.tables[0].rows}
    assert rows[Code("contacts.phone")] == Mark("in clear", Tone.LOOK)
    assert rows[Code("notes")] == "random"
    assert (Code("clinic.patients"), Code("contacts.phone"), 7) in panel.tables[1].rows
    assert any("policy drift" in command for _, command in panel.commands)


def test_what_is_only_observed_is_said_on_top(tmp_path: Path) -> None:
    assert observed(seen(tmp_path)).tables == ()
    labels = 'command="find",namespace="clinic.patients",operator="$gt",path="nhs",reason="range"'
    figures = f"""\
# TYPE sealwire_observed_commands counter
sealwire_observed_commands_total{{verdict="refused"}} 3
# TYPE sealwire_observed_shapes counter
sealwire_observed_shapes_total{{verdict="refused",{labels},application="ward"}} 3
"""
    page = seen(tmp_path, text=METRICS + figures)
    facts = page.facts
    assert facts is not None
    covered = tuple(replace(each, mode=OBSERVED) for each in facts.covered)
    page = replace(page, facts=replace(facts, covered=covered))
    page = with_health(page, replace(a_health(), observed=("clinic.patients",)))
    name, mark = overview(page).marks[0]
    assert name == "NOT PROTECTED"
    assert isinstance(mark, Mark)
    assert mark.tone is Tone.ACT
    panel = observed(page)
    assert marks(panel)["NOT PROTECTED"] == mark
    assert marks(panel)["refused"] == 3
    ((count, verdict, what, look),) = panel.tables[0].rows
    assert (count, verdict, what) == (3, "refused", "find clinic.patients $gt nhs [range] by ward")
    assert "docs/policies.md#ranges" in str(look)
    assert all(row[3] == Mark(OBSERVED, Tone.ACT) for row in coverage(page).tables[0].rows)


def test_a_policy_without_paths_is_said_to_protect_nothing(tmp_path: Path) -> None:
    panel = coverage(seen(tmp_path, facts=PageFacts()))
    assert any("everything is stored in clear" in text for text in panel.texts)


def test_long_tables_are_cut_and_say_so() -> None:
    (table,) = PanelTable.of("t", ("n",), ((number,) for number in range(700)), 10)
    assert (len(table.rows), table.left_out) == (500, 210)


def test_a_table_without_rows_is_left_out() -> None:
    assert PanelTable.of("t", ("n",), ()) == ()


def test_keys_have_an_age_and_what_is_due(tmp_path: Path) -> None:
    rows = {(row[0], row[1]): row for row in keys(seen(tmp_path)).tables[0].rows}
    keyring, policy = "--keyring keyring.json", "/etc/sealwire/policy.yaml"
    site = f"{keyring} --uri-file server.uri"
    assert rows[Code("nhs_number"), 1][-1] == Code(f"sealwire keys destroy nhs_number 1 {keyring}")
    assert rows[Code("phone"), 2][-1] == Code(f"sealwire migrate reencrypt {policy} phone {site}")
    page = with_health(seen(tmp_path), replace(a_health(), in_clear=("phone",)))
    rows = {(row[0], row[1]): row for row in keys(page).tables[0].rows}
    assert rows[Code("phone"), 2][-1] == Code(f"sealwire migrate encrypt {policy} phone {site}")
    assert rows[Code("phone"), 1][2:] == ("active", "2025-10-23", 400, "nothing")


def test_certificates_near_their_end_stand_out(tmp_path: Path) -> None:
    page = seen(tmp_path)
    assert levels(certificates(page)) == {Tone.LOOK}
    ended = replace(page, certificate_ends=NOW - timedelta(days=1))
    assert levels(certificates(ended)) == {Tone.LOOK, Tone.ACT}


def test_moves_are_told_by_stage(tmp_path: Path) -> None:
    panel = moves(seen(tmp_path))
    rows = {row[0]: row[1:] for row in panel.tables[0].rows}
    assert rows[Code("phone")] == ("1 to 2", "window moves", "62 %, 38000 documents left", 3, 3)
    assert rows[Code("date_of_birth")][2] == "not counted yet"
    assert rows[Code("date_of_birth")][1] == Mark("lost", Tone.ACT)
    assert marks(panel)["Leases of the proxy's processes"] == Mark("held", Tone.FINE)


def test_the_newest_checkpoint_is_shown(tmp_path: Path) -> None:
    assert marks(audit(seen(tmp_path)))["Checkpoints"] == Mark("none that can be read", Tone.ACT)
    log = AuditLog(LogPlace(tmp_path / "audit.jsonl"), make_key("clinic", bytes(32)), LogPace(), lambda: NOW)
    log.append([{"event": "started"}])
    log.sign()
    log.close()
    found = marks(audit(seen(tmp_path)))
    assert found["Lines that it signs"] == 2
    assert found["Newest checkpoint"] == "2026-11-27 09:00:00 UTC, 0 minutes ago"


def test_an_audit_log_without_a_key_stands_out(tmp_path: Path) -> None:
    page = seen(tmp_path)
    assert page.config.audit is not None
    config = replace(page.config, audit=replace(page.config.audit, key=None))
    assert marks(audit(replace(page, config=config)))["Checkpoints"] == Mark(
        "none: audit.key is not set", Tone.LOOK
    )


def test_refusals_are_explained(tmp_path: Path) -> None:
    panel = refusals(seen(tmp_path))
    first = panel.tables[0].rows[0]
    assert first[:2] == ("range", 14)
    assert first[4] == Code("sealwire policy explain /etc/sealwire/policy.yaml --db DATABASE 'COMMAND'")
    assert "no order" in str(first[3])
    assert "policy access /etc/sealwire/policy.yaml --as USER" in explain_command(seen(tmp_path), "role")
    assert meaning("nonsense") == "docs/errors.md has it"
    assert any("audit tail" in command for _, command in panel.commands)


def test_paths_are_quoted_for_the_shell(tmp_path: Path) -> None:
    page = seen(tmp_path)
    odd = replace(page, config=replace(page.config, policy=Path("/etc/my policy;reboot.yaml")))
    assert "'/etc/my policy;reboot.yaml'" in str(refusals(odd).tables[0].rows[0][4])


def test_traffic_has_totals_and_rates(tmp_path: Path) -> None:
    panel = traffic(seen(tmp_path))
    assert panel.tables[0].rows[0][:2] == ("find", 18302)
    assert marks(panel)["Values decrypted since the start"] == 209311


@rows("rate, text", (None, "not known yet"), (0.0, "0.00"), (9.994, "9.99"), (1234.5, "1234"))
def test_rates_are_readable(rate: float | None, text: str) -> None:
    assert rate_text(rate) == text


def test_the_last_hour_has_a_line_for_each_thing_and_a_text(tmp_path: Path) -> None:
    commands, refused, added = plots(seen(tmp_path))
    assert (commands.amounts, refused.amounts, added.amounts) == (FINDS, RANGES, ADDED_US)
    assert (commands.newest, refused.newest, added.newest) == ("4.00 a second", "10 in 12 min", "90 µs")
    assert "88, 91, 90" in added.text
    for trend in plots(nothing_seen(tmp_path)):
        assert (trend.amounts, trend.newest) == ((), "not known yet")
        assert "two minutes" in trend.text


def shown(page: SeenNow) -> dict[str, Lamp]:
    return {lamp.title: lamp for lamp in lamps(page, [panel(page) for panel in PANELS])}


def at_rest(folder: Path) -> SeenNow:
    """A proxy that nobody has to look after."""
    text = METRICS.replace('"failed"} 1', '"failed"} 0')
    for number in ("1796000000", "1795900000"):
        text = text.replace(number, str(round(NOW.timestamp()) + 300 * 86_400))
    facts = some_facts()
    keys = tuple(replace(each, state="active", destroy_after="") for each in facts.keys)
    page = seen(folder, text=text, facts=replace(facts, keys=keys, moves=()))
    config = replace(page.config, audit=None)
    return replace(page, health=replace(a_health(), plaintext=()), config=config, watched=WatchedNow())


def test_the_band_is_green_if_there_is_nothing_to_do(tmp_path: Path) -> None:
    page = at_rest(tmp_path)
    band = shown(page)
    assert [lamp.state.tone for lamp in band.values()] == [Tone.FINE] * 4
    assert band["Encrypted"].state.text == "4 of 4 classes"
    assert verdict(page, tuple(band.values())).tone is Tone.FINE


def test_a_class_in_clear_is_amber_with_the_command_that_encrypts_it(tmp_path: Path) -> None:
    page = at_rest(tmp_path)
    page = with_health(page, replace(a_health(), plaintext=(), in_clear=("nhs_number",)))
    band = shown(page)
    command = (
        "sealwire migrate encrypt /etc/sealwire/policy.yaml nhs_number --keyring keyring.json "
        "--uri-file server.uri"
    )
    assert band["Encrypted"].state == Mark("3 of 4 classes", Tone.LOOK)
    assert band["Encrypted"].rows == ((Mark("nhs_number is stored in clear", Tone.LOOK), command),)
    assert verdict(page, tuple(band.values())).tone is Tone.LOOK


def test_a_policy_without_paths_is_not_green(tmp_path: Path) -> None:
    page = replace(at_rest(tmp_path), facts=PageFacts())
    assert shown(page)["Encrypted"].state.tone is Tone.LOOK
    assert shown(nothing_seen(tmp_path))["Encrypted"].state.tone is Tone.LOOK


def test_a_policy_that_is_only_observed_is_red_and_said_first(tmp_path: Path) -> None:
    page = with_health(at_rest(tmp_path), replace(a_health(), plaintext=(), observed=("clinic.patients",)))
    band = shown(page)
    assert band["Encrypted"].state.tone is Tone.ACT
    assert band["Encrypted"].rows[0][1].startswith("sealwire observe report")
    assert not band["Wrong"].rows
    state = verdict(page, tuple(band.values()))
    assert state.tone is Tone.ACT
    assert state.text.startswith("NOT PROTECTED")


def test_a_class_in_a_mode_that_is_unknown_is_not_counted_as_encrypted(tmp_path: Path) -> None:
    page = at_rest(tmp_path)
    assert page.facts is not None
    first, *others = page.facts.covered
    facts = replace(page.facts, covered=(replace(first, mode="another"), *others))
    assert shown(replace(page, facts=facts))["Encrypted"].state == Mark("3 of 4 classes", Tone.LOOK)


def test_the_band_has_each_thing_once_and_the_worst_first(tmp_path: Path) -> None:
    page = seen(tmp_path)
    band = shown(page)
    assert band["Moving"].state == Mark("2 classes", Tone.ACT)
    assert [mark for mark, _ in band["Moving"].rows] == [
        Mark("date_of_birth: lost", Tone.ACT),
        Mark("phone: window moves, 62 %, 38000 documents left, 117 a second", Tone.FINE),
    ]
    assert [mark.tone for mark, _ in band["Due"].rows] == [Tone.ACT, Tone.LOOK, Tone.LOOK, Tone.LOOK]
    assert not any("phone" in mark.text for mark, _ in band["Due"].rows)
    assert [command for _, command in band["Wrong"].rows][-1] == "sealwire doctor"
    assert all(command for lamp in band.values() for _, command in lamp.rows)
    assert verdict(page, tuple(band.values())).tone is Tone.ACT


def test_every_command_on_the_page_is_one(tmp_path: Path) -> None:
    """Its name and its options are known; what it does then is its own test."""
    page = with_health(seen(tmp_path), replace(a_health(), in_clear=("phone",), plaintext=(("a.b", "c"),)))
    panels = [panel(page) for panel in PANELS]
    commands = [command for lamp in lamps(page, panels) for _, command in lamp.rows]
    commands += [command for panel in panels for _, command in panel.commands]
    rows = [row for panel in panels for table in panel.tables for row in table.rows]
    commands += [cell.text for row in rows for cell in row if isinstance(cell, Code)]
    ours = [words for words in map(shlex.split, commands) if words[0] == "sealwire"]
    assert len(ours) > 20
    for _, *words in ours:
        command: click.Command | None = sealwire
        context = click.Context(sealwire)
        while isinstance(command, click.Group):
            command = command.get_command(context, words.pop(0))
        assert command is not None
        _, left, _ = command.make_parser(click.Context(command)).parse_args(words)
        assert not left


def test_what_was_withheld_is_wrong_for_an_hour(tmp_path: Path) -> None:
    page = at_rest(tmp_path)
    assert not shown(page)["Wrong"].rows
    feed, clock = FixedFeed(page.config), HandClock()
    hour = LastHour(feed.render, clock)
    hour.take()
    feed.text, clock.now_s = METRICS.replace('"UnknownKey"} 1', '"UnknownKey"} 3'), clock.now_s + 60
    hour.take()
    rows = shown(replace(page, hour=hour))["Wrong"].rows
    assert [mark for mark, _ in rows] == [Mark("Replies withheld in the last hour: 2", Tone.ACT)]


def test_a_proxy_that_does_not_serve_is_red(tmp_path: Path) -> None:
    page = with_health(at_rest(tmp_path), replace(a_health(), phase=ProxyPhase.DRAINING))
    assert verdict(page, ()).tone is Tone.ACT
    lost = with_health(at_rest(tmp_path), replace(a_health(), frontier=Following.LOST))
    assert shown(lost)["Moving"].state.tone is Tone.ACT


def test_a_watch_that_fails_is_wrong(tmp_path: Path) -> None:
    page = replace(at_rest(tmp_path), watched=WatchedNow(problem="it has not begun"))
    assert shown(page)["Wrong"].rows[0][1] == "sealwire watch /etc/sealwire/alerts.yaml"


def test_alerts_and_incidents_are_told(tmp_path: Path) -> None:
    panel = alerts(seen(tmp_path))
    assert marks(panel)["Incidents that press"] == Mark("1", Tone.ACT)
    incident, alert = panel.tables[0].rows[0], panel.tables[1].rows[0]
    assert incident == ("i3", "open", Mark("11 h 20 min", Tone.ACT), "dpo", "Bulk read by ann")
    assert alert[:3] == ("a12", "bulk-read", Mark("critical", Tone.ACT))
    assert alert[-1] == "i3"
    assert "--config /etc/sealwire/alerts.yaml" in panel.commands[0][1]


def test_a_watch_without_alerts_is_quiet(tmp_path: Path) -> None:
    panel = alerts(replace(seen(tmp_path), watched=WatchedNow()))
    assert (panel.tables, panel.texts) == ((), ("There is nothing that nobody has seen.",))
    assert not levels(panel)


def test_a_watch_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    panel = alerts(replace(seen(tmp_path), watched=WatchedNow(problem="it has not begun", hint="Start it.")))
    assert marks(panel)["The watch"] == Mark("it has not begun", Tone.ACT)
    assert panel.texts == ("Start it.",)


def test_many_alerts_are_counted_up_to_a_bound(tmp_path: Path) -> None:
    one = WatchedAlert("a1", "refused", "strange", "2026-11-27 08:12:00", 1, "", "")
    panel = alerts(replace(seen(tmp_path), watched=WatchedNow((one,) * MAX_ALERTS)))
    assert marks(panel)["Alerts that nobody has acknowledged"] == Mark("50 or more", Tone.ACT)
    assert panel.tables[0].rows[0][2] == Mark("strange", Tone.ACT)


def test_the_audit_log_says_what_it_records_and_what_is_in_its_way(tmp_path: Path) -> None:
    page = with_health(seen(tmp_path), replace(a_health(), audit=Keeping.WAITING, audit_trouble="no room"))
    found = marks(audit(page))
    assert found["Commands on record, besides the refused"] == "protected"
    assert found["What keeps lines from it"] == Mark("no room", Tone.ACT)
    assert "audit.subjects_key" in str(found["Whose data was shown"])
