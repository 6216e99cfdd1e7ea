"""An incident as a document, and as a form in the order in which the ICO asks about a breach.

The questions are in our own words. What a log cannot know is left open, with a line to write on.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sealwire.sidecars.detection.alerts import Alert
from sealwire.sidecars.detection.collecting import Evidence
from sealwire.sidecars.detection.incidents import BookEntry, Incident, Risk, as_text

_BLANK: Final = "..."
_TOP: Final = 20
_RISK_TEXTS: Final = {
    None: "not assessed yet",
    Risk.UNLIKELY: "unlikely to be a risk to people",
    Risk.LIKELY: "likely to be a risk to people",
    Risk.HIGH: "likely to be a high risk to people: they have to be told too (article 34)",
}


@dataclass(frozen=True, slots=True)
class BreachReport:
    """All that is known of an incident."""

    incident: Incident
    alerts: Sequence[Alert]
    entries: Sequence[BookEntry]
    evidence: Evidence
    made: datetime

    @property
    def people(self) -> str:
        """How many people it is about, in words."""
        collected = self.evidence.collected
        missing = collected.further.missing
        least = "at least " if collected.is_more or missing else ""
        text = f"{least}{len(collected.subjects)} people, by their pseudonyms"
        if collected.unknown:
            text += f"; besides, {collected.unknown} documents were shown of which the log cannot tell whose"
        if collected.unnamed:
            text += f"; and {collected.unnamed} writes that name nobody"
        if missing:
            text += f"; {missing} lines are missing, of commands that have several"
            text += ", and nobody can say whom they name"
        return text

    @property
    def risk(self) -> str:
        """What it means to people, in words."""
        return _RISK_TEXTS[self.incident.risk]

    @property
    def proof(self) -> str:
        """What the figures are worth, in words."""
        evidence = self.evidence
        if not evidence.log.is_whole:
            many = len(evidence.log.flaws) + evidence.log.more
            return f"UNPROVED: the audit log is not whole, {many} flaws were found; the figures may be wrong"
        if not evidence.is_signed:
            return "The chain of the audit log is whole; no checkpoint was looked at"
        if evidence.unsigned:
            return (
                f"The audit log is whole; no checkpoint vouches for the last {evidence.unsigned} lines up to "
                "the last one that counts"
            )
        return "The audit log is whole, and checkpoints vouch for all lines that count"

    def timeline(self) -> list[tuple[str, str]]:
        """What happened when: alerts, what was done about them, and the log by the hour."""
        rows = [(alert.first, f"{alert.rule.value}: {about(alert)}, {alert.amount}") for alert in self.alerts]
        rows += [(entry.time, f"{entry.kind} by {entry.operator}: {entry.text}") for entry in self.entries]
        for hour, counted in self.evidence.collected.hours.items():
            rows.append((f"{hour}:00" if hour[:1].isdigit() else hour, _counts(counted)))
        return sorted(rows)

    def document(self) -> dict[str, Any]:
        """For programs. The pseudonyms are in it: who has their key can tell whose they are."""
        collected, log, incident = self.evidence.collected, self.evidence.log, self.incident
        return {
            "incident": incident.document() | {"opened": as_text(incident.opened)},
            "made": as_text(self.made),
            "proof": {
                "text": self.proof,
                "proved": self.evidence.is_proved,
                "whole": log.is_whole,
                "lines": log.lines,
                "signed": log.signed,
                "unsigned": self.evidence.unsigned,
                "flaws": [each.kind.name.lower().replace("_", "-") for each in log.flaws],
            },
            "scope": self.evidence.scope.document(),
            "subjects": {
                "distinct": len(collected.subjects),
                "more": collected.is_more,
                "unknown_documents": collected.unknown,
                "unnamed_writes": collected.unnamed,
                "lines_missing": collected.further.missing,
                "pseudonyms": sorted(collected.subjects),
            },
            "lines": collected.lines,
            "documents": collected.documents,
            "first": collected.first,
            "last": collected.last,
            **{name: dict(getattr(collected, name)) for name in _COUNTED},
            "alerts": [alert.document() for alert in self.alerts],
            "entries": [asdict(each) for each in self.entries],
            "timeline": [{"time": time, "what": what} for time, what in self.timeline()],
        }


_COUNTED: Final = ("events", "read", "written", "users", "addresses", "namespaces", "reasons", "glass")


def about(alert: Alert) -> str:
    """Who or what an alert is about, in words."""
    return ", ".join(f"{name} {value}" for name, value in alert.about)


def ranked(counter: Counter[str], most: int = _TOP) -> list[tuple[str, int]]:
    """The most frequent first."""
    return sorted(counter.items(), key=lambda row: (-row[1], row[0]))[:most]


def breach_form(report: BreachReport) -> str:
    """The form, as Markdown."""
    parts = [
        f"# Personal data breach: {_line(report.incident.title)} ({report.incident.id})",
        f"Made {as_text(report.made)}. {report.proof}.",
    ]
    for heading, answers in _questions(report).items():
        lines = "\n".join(f"- {_line(each)}" for each in answers)
        parts.append(f"## {heading}\n\n{lines}")
    return "\n\n".join(parts) + "\n"


def _questions(report: BreachReport) -> dict[str, list[str]]:
    incident, collected = report.incident, report.evidence.collected
    said: dict[str, list[str]] = {}
    for entry in report.entries:
        said.setdefault(entry.kind, []).append(f"{entry.time} {entry.text}")
    found_by = "by an alert of the audit log" if report.alerts else _BLANK
    return {
        "1. About this report": [
            f"Kind of report (first, or more on one that was made): {_BLANK}",
            f"Organisation, its number in the register, sector: {_BLANK}",
            f"Who can be asked, and the data protection officer: {_BLANK}",
        ],
        "2. What happened": [
            *(f"{each.rule.value}: {about(each)}, {each.amount} ({each.first})" for each in report.alerts),
            *said.get("note", ()),
            f"How it happened, by error or by attack: {_BLANK}",
        ],
        "3. When": [
            f"First line in the log that belongs to it: {collected.first or 'none'}",
            f"Last line: {collected.last or 'none'}",
            f"Aware of it since: {as_text(incident.aware)}; the 72 hours end {as_text(incident.deadline)}",
            f"How it was found: {found_by}",
            *_delay(report),
        ],
        "4. Which data": [
            *(f"Class {name}: {amount} values shown" for name, amount in ranked(collected.read)),
            *(f"Class {name}: {amount} values written" for name, amount in ranked(collected.written)),
            f"{collected.documents} documents shown, of {_names(collected.namespaces)}",
            f"Special categories among them (health, for one): {_BLANK}",
        ],
        "5. Whose data, and how many people": [
            report.people,
            f"Who they are (patients, staff, children): {_BLANK}",
        ],
        "6. What it may mean to them": [
            f"Risk: {report.risk}",
            *said.get("assessed", ()),
            f"Harm that is possible or has come: {_BLANK}",
        ],
        "7. Who was involved": [
            f"Users: {_names(collected.users)}",
            f"Addresses: {_names(collected.addresses)}",
            *(f"Broke the glass, and gave as the reason: {name}" for name, _ in ranked(collected.glass)),
        ],
        "8. What protected the data before": [
            "Covered fields are encrypted at the database; who is let in by Sealwire reads them in clear",
            f"Training of who was involved, in the last two years: {_BLANK}",
        ],
        "9. What was done": [
            *said.get("containment", (f"Containment: {_BLANK}",)),
            f"Measures against the same again: {_BLANK}",
        ],
        "10. Who else knows": [
            f"People who are affected were told, when and how: {_BLANK}",
            f"Police, other authorities, processors and controllers: {_BLANK}",
        ],
    }


def _delay(report: BreachReport) -> list[str]:
    if report.made <= report.incident.deadline:
        return []
    return [f"More than 72 hours have passed; the reasons for that: {_BLANK}"]


def _names(counter: Counter[str]) -> str:
    names = ", ".join(f"{name} ({amount})" for name, amount in ranked(counter))
    more = len(counter) - _TOP
    return (names or "none") + (f" and {more} more" if more > 0 else "")


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{name} ({amount})" for name, amount in sorted(counted.items()) if amount)


def _line(text: str) -> str:
    """On one line, and no markup: clients choose some of the names."""
    printable = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|" else letter for letter in printable)
