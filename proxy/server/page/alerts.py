"""The section of alerts that nobody has acknowledged, and of incidents with their clock."""

from shlex import quote

from sealwire.proxy.server.page.panels import Cell, Mark, Panel, PanelTable, SeenNow, Tone
from sealwire.proxy.server.page.watched import MAX_ALERTS, WatchedAlert, WatchedIncident

_TONES = {"critical": Tone.ACT, "warning": Tone.LOOK, "notice": Tone.FINE}


def alerts(seen: SeenNow) -> Panel:
    """Alerts and incidents, or how they come here."""
    title, watch, watched = "Alerts and incidents", seen.config.admin_page.watch, seen.watched
    if watch is None or watched is None:
        text = "Set admin.page.watch to the rules file of `sealwire watch` to see its alerts here."
        return Panel("alerts", title, (text,), (), (("How alerts are set up", "sealwire watch --help"),))
    if watched.problem:
        mark = ("The watch", Mark(watched.problem, Tone.ACT))
        return Panel("alerts", title, (watched.hint,) if watched.hint else (), (mark,))
    pressing = sum(each.is_pressing for each in watched.incidents)
    marks: tuple[tuple[str, Cell], ...] = (
        ("Alerts that nobody has acknowledged", _shown_count(len(watched.alerts))),
        ("Incidents that are not closed", len(watched.incidents)),
        ("Incidents that press", Mark(str(pressing), Tone.ACT) if pressing else 0),
    )
    config = quote(str(watch))
    commands = (
        ("To acknowledge alerts and open an incident", f"sealwire incident open --config {config} --help"),
        ("All alerts", f"sealwire incident alerts --all --config {config}"),
    )
    tables = []
    if watched.incidents:
        columns = ("Incident", "State", "Left of 72 hours", "Taken on by", "Title")
        rows = [_incident_row(each) for each in watched.incidents]
        tables.append(PanelTable.of("Incidents that are not closed", columns, rows))
    if watched.alerts:
        names = ("Alert", "Rule", "Urgency", "First (UTC)", "Amount", "About", "Incident")
        found = [_alert_row(each) for each in watched.alerts]
        tables.append(PanelTable.of("Alerts that nobody has acknowledged", names, found))
    texts = () if tables else ("There is nothing that nobody has seen.",)
    return Panel("alerts", title, texts, marks, commands, (), tuple(tables))


def _shown_count(count: int) -> Cell:
    if count >= MAX_ALERTS:
        return Mark(f"{count} or more", Tone.ACT)
    return Mark(str(count), Tone.LOOK) if count else 0


def _alert_row(each: WatchedAlert) -> tuple[Cell, ...]:
    urgency = Mark(each.urgency, _TONES.get(each.urgency, Tone.ACT))
    return (each.id, each.rule, urgency, each.first, each.amount, each.about, each.incident or "none")


def _incident_row(each: WatchedIncident) -> tuple[Cell, ...]:
    left: Cell = each.left or "not running"
    if each.is_pressing:
        left = Mark(each.left, Tone.ACT)
    return (each.id, each.state, left, each.taken_by or "nobody", each.title)
