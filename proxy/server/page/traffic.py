"""What passes, what is refused and what explains it, and what the watch of the audit log makes of both."""

from collections.abc import Iterator, Mapping
from shlex import quote

from sealwire.policies.errors import EXPLANATIONS, Reason
from sealwire.proxy.server.page.panels import (
    MAX_ALERTS,
    Cell,
    Code,
    Mark,
    Panel,
    PanelTable,
    SeenNow,
    Tone,
    Trend,
    WatchedAlert,
    WatchedIncident,
)
from sealwire.proxy.server.page.readings import COMMANDS, REFUSALS, WITHHELD

_REASONS = {reason.value: reason for reason in Reason}
_MANY_MS = 1000
_TONES = {"critical": Tone.ACT, "warning": Tone.LOOK, "notice": Tone.FINE}


def traffic(seen: SeenNow) -> Panel:
    """Commands by name with their rates, values, and how long replies take."""
    counted = _met(seen.readings.by_label(COMMANDS, "command"))
    rates = seen.hour.lately(COMMANDS, seen.readings)
    rows = [(name, _whole(count), rate_text(rates.get(name))) for name, count in counted.items()]
    table = PanelTable.of("Commands since the start", ("Command", "Commands", "A second, lately"), rows)
    values: tuple[tuple[str, Cell], ...] = (
        ("Client connections", _whole(seen.readings.sum("sealwire_client_connections"))),
        ("Commands a second, over the last minute", rate_text(sum(rates.values()) if rates else None)),
        *_reply_times(seen),
        ("Values encrypted since the start", _whole(seen.readings.sum("sealwire_values_encrypted_total"))),
        ("Values decrypted since the start", _whole(seen.readings.sum("sealwire_values_decrypted_total"))),
    )
    trend = Trend("Commands in each minute of the last hour", seen.hour.by_minute(COMMANDS))
    texts = () if rows else ("No command has come yet.",)
    return Panel("traffic", "Traffic", texts, values, (), (trend,), (table,) if rows else ())


def refusals(seen: SeenNow) -> Panel:
    """Refused commands by reason, what each reason means, and what to type to learn more."""
    counted = _met(seen.readings.by_label(REFUSALS, "reason"))
    rates = seen.hour.lately(REFUSALS, seen.readings)
    rows = [
        (
            reason,
            _whole(count),
            rate_text(rates.get(reason)),
            meaning(reason),
            Code(explain_command(seen, reason)),
        )
        for reason, count in counted.items()
    ]
    columns = ("Reason", "Refused", "A second, lately", "What it means, and what to do", "What explains one")
    tables = [PanelTable.of("Refused commands since the start", columns, rows)] if rows else []
    withheld = _met(seen.readings.by_label(WITHHELD, "failure"))
    if withheld:
        caption = "Replies withheld because a stored value does not open"
        found = [(failure, _whole(count)) for failure, count in withheld.items()]
        tables.append(PanelTable.of(caption, ("Why", "Replies"), found))
    texts = () if rows or withheld else ("Nothing was refused or withheld since the start.",)
    audit = seen.config.audit
    commands: tuple[tuple[str, str], ...] = ()
    if audit is not None and rows:
        command = f"sealwire audit tail {quote(str(audit.place.path))} --event refused"
        commands = (("Which commands they were", command),)
    trend = Trend("Refusals in each minute of the last hour", seen.hour.by_minute(REFUSALS))
    return Panel("refusals", "Refusals", texts, (), commands, (trend,), tuple(tables))


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


def explain_command(seen: SeenNow, reason: str) -> str:
    """What says why a command is refused; it needs no key, and COMMAND is one that was refused."""
    policy = quote(str(seen.config.policy))
    if reason == Reason.ROLE.value:
        return f"sealwire policy access {policy} --as USER --db DATABASE 'COMMAND'"
    return f"sealwire policy explain {policy} --db DATABASE 'COMMAND'"


def meaning(reason: str) -> str:
    """A reason in a sentence, with what to do instead; empty for one that is not known here."""
    known = _REASONS.get(reason)
    if known is None:
        return "docs/errors.md has it"
    _, denied, instead = EXPLANATIONS[known]
    return f"{denied[:1].upper()}{denied[1:]}. Instead: {instead}."


def rate_text(rate: float | None) -> str:
    """A rate as people read it."""
    if rate is None:
        return "not known yet"
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2f}"


def _reply_times(seen: SeenNow) -> Iterator[tuple[str, str | Mark]]:
    for part, words in ((0.5, "half of the replies"), (0.99, "99 % of the replies")):
        within_s = seen.hour.reply_time_s(seen.readings, part)
        if within_s is not None:
            text = "longer than 10 s" if within_s == float("inf") else f"{within_s * 1000:g} ms at most"
            slow = within_s * 1000 > _MANY_MS
            yield f"Lately, {words} took", Mark(text, Tone.LOOK) if slow else text


def _met(counted: Mapping[str, float]) -> dict[str, float]:
    """What has happened at all: every label is there from the start."""
    return {label: count for label, count in counted.items() if count}


def _whole(count: float) -> int:
    return round(count)


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
