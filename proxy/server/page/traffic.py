"""What passes and what is refused: commands, values, reply times, and what explains a refusal."""

from collections.abc import Iterator
from shlex import quote

from sealwire.policies.errors import EXPLANATIONS, Reason
from sealwire.proxy.server.page.panels import Cell, Code, Mark, Panel, PanelTable, SeenNow, Tone, Trend
from sealwire.proxy.server.page.readings import COMMANDS, REFUSALS, WITHHELD

_REASONS = {reason.value: reason for reason in Reason}
_MANY_MS = 1000


def traffic(seen: SeenNow) -> Panel:
    """Commands by name with their rates, values, and how long replies take."""
    counted = seen.readings.by_label(COMMANDS, "command")
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
    counted = seen.readings.by_label(REFUSALS, "reason")
    rates = seen.hour.lately(REFUSALS, seen.readings)
    rows = [
        (reason, _whole(count), rate_text(rates.get(reason)), meaning(reason), Code(explain_command(seen)))
        for reason, count in counted.items()
    ]
    columns = ("Reason", "Refused", "A second, lately", "What it means, and what to do", "What explains one")
    tables = [PanelTable.of("Refused commands since the start", columns, rows)] if rows else []
    withheld = seen.readings.by_label(WITHHELD, "failure")
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


def explain_command(seen: SeenNow) -> str:
    """What says why a command is refused; it needs no key, and COMMAND is one that was refused."""
    return f"sealwire policy explain {quote(str(seen.config.policy))} --db DATABASE 'COMMAND'"


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


def _whole(count: float) -> int:
    return round(count)
