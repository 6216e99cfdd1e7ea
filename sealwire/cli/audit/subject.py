"""`sealwire audit subject`: who saw one person's record."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.table import Column

from sealwire.audit.pseudonyms import load_pseudonym_key
from sealwire.cli.audit.linked import linked_names
from sealwire.cli.audit.options import Days, days_option, lines_of, log_argument, shown
from sealwire.cli.html.options import html_option
from sealwire.cli.html.page import PageSection, PageTable, ReportPage, write_page
from sealwire.cli.html.plots import columns, rows
from sealwire.cli.options.common import PATH, PRESENT_FILE, json_option
from sealwire.cli.options.policies import read_policy
from sealwire.cli.options.server import read_uri
from sealwire.cli.options.subjects import ask_identifier, subjects_key_option, subjects_of
from sealwire.cli.output import print_json, show_table
from sealwire.sidecars.detection.collecting import FurtherLines
from sealwire.sidecars.detection.observations import number_of
from sealwire.sidecars.direct import connected

_COLUMNS = ("time (UTC)", "who", "purpose", "event", "namespace", "read", "written", "outcome")
_NOBODY = "-"
_DAY = len("2026-11-27")
_SECOND = len("2026-11-27T10:00:00")
_MAX_BARS = 20


@dataclass(frozen=True, slots=True)
class Sighting:
    """One line that is about the person."""

    time: str
    who: str
    """The user, else the subject of the certificate, else the operator, else the address."""
    purpose: str
    """As the client stated it, with the reason where it broke the glass."""
    event: str
    """The command, or what else happened."""
    namespace: str
    read: tuple[str, ...]
    """The classes of which values were shown; of all documents of the command, others' too."""
    written: tuple[str, ...]
    outcome: str

    @property
    def cells(self) -> tuple[str, ...]:
        """As a row of a table."""
        return (
            # a table is to fit 80 characters: JSON has the whole time
            *(
                self.time[:_SECOND].replace("T", " "),
                self.who,
                self.purpose or _NOBODY,
                self.event,
                self.namespace,
            ),
            *(", ".join(self.read), ", ".join(self.written), self.outcome),
        )


@click.command(name="subject")
@log_argument
@subjects_key_option
@click.option("--policy", "policy_path", type=PRESENT_FILE, required=True, help="The policy file.")
@click.option(
    "--through-file",
    type=PATH,
    envvar="SEALWIRE_THROUGH_URI_FILE",
    show_envvar=True,
    help="A file with the connection string of Sealwire, to look up which linked documents are the person's.",
)
@days_option
@html_option
@json_option
def subject(  # noqa: PLR0913, PLR0917 - one for each option
    log: Path,
    subjects_key: Path,
    policy_path: Path,
    through_file: Path | None,
    days: Days,
    html: Path | None,
    as_json: bool,
) -> None:
    """List who saw or changed one person's record, when and for what purpose, by the audit log at LOG.

    The identifier is asked for, or is a line of standard input; it is never an argument. Nothing is
    verified: `sealwire audit verify` does that.

    Lines about linked documents name what the link leads to. With --through-file Sealwire is asked which of
    these are the person's, and that is on record too; without it they are not covered.

    \b
    Examples:
      sealwire audit subject audit.jsonl --subjects-key subjects.key --policy policy.yaml
      sealwire audit subject audit.jsonl --subjects-key subjects.key --policy policy.yaml --html record.html
      sealwire audit subject audit.jsonl --subjects-key subjects.key --policy policy.yaml --json < identifier
    """
    policies = read_policy(policy_path)
    subjects = subjects_of(policies)
    key = load_pseudonym_key(subjects_key)
    person = ask_identifier(policies)
    names = {key.pseudonym(person)}
    if through_file is not None and subjects.links:
        with connected(read_uri(through_file), is_through=True) as client:
            names |= linked_names(client, policies, subjects, person, key).keys()
    not_covered = (
        [] if through_file is not None else sorted({each.source.namespace for each in subjects.links})
    )
    unread, unknown, further = 0, 0, FurtherLines()
    found: list[Sighting] = []
    for line in lines_of(log):
        if line is None:
            unread += 1
        elif days.have(line):
            unknown += number_of(line, "subjects_unknown")
            further.note(line)
            if _is_about(line, names):
                found.append(_sighting(line))
    if html is not None:
        write_page(html, _page(found, log, days, _remarks(not_covered, unknown, further.missing)))
    if as_json:
        document = {"lines": [asdict(each) for each in found], "not_covered": not_covered}
        document["lines_missing"] = further.missing
        print_json({**document, "documents_of_unknown_persons": unknown, "unreadable": unread})
        return
    time, *others = _COLUMNS
    show_table([Column(time, min_width=_DAY), *others], (map(shown, each.cells) for each in found))
    for text in _remarks(not_covered, unknown, further.missing):
        click.echo(text)
    if unread:
        click.echo(f"{unread} lines cannot be read: sealwire audit verify says where")


def _remarks(not_covered: Collection[str], unknown: int, missing: int) -> list[str]:
    """What the list does not say."""
    said = []
    if not_covered:
        said.append(
            f"not covered: linked documents of {', '.join(not_covered)} (--through-file looks them up)"
        )
    if unknown:
        said.append(f"{unknown} documents were shown of which the log cannot say whose they are")
    if missing:
        said.append(
            f"{missing} lines are missing, of commands that have several: whom they name, nobody can say"
        )
    return said


def _is_about(line: Mapping[str, object], names: Collection[str]) -> bool:
    listed = line.get("subjects")
    if isinstance(listed, list) and any(each in names for each in listed if isinstance(each, str)):
        return True
    return line.get("subject") in names


def _sighting(line: Mapping[str, object]) -> Sighting:
    purpose, glass = _text(line, "purpose"), _text(line, "glass")
    who = (_text(line, name) for name in ("user", "certificate", "operator", "client"))
    return Sighting(
        time=_text(line, "time"),
        who=next((each for each in who if each), _NOBODY),
        purpose=f"{purpose} (breaking the glass: {glass})".strip() if glass else purpose,
        event=_text(line, "command") or _text(line, "event"),
        namespace=_text(line, "namespace"),
        read=_classes(line.get("read")),
        written=_classes(line.get("written")),
        outcome=_text(line, "outcome") or ("further persons" if "part" in line else _NOBODY),
    )


def _page(found: list[Sighting], log: Path, days: Days, remarks: list[str]) -> ReportPage:
    by_day = Counter(each.time[:10] for each in found)
    by_who = Counter(each.who for each in found)
    by_purpose = Counter(each.purpose or _NOBODY for each in found)
    plots = (
        columns("Lines each day", sorted(by_day.items())),
        rows("Lines by who it was", by_who.most_common(_MAX_BARS)),
        rows("Lines by stated purpose", by_purpose.most_common(_MAX_BARS)),
    )
    facts = (
        *(("log", str(log)), ("days (UTC)", str(days)), ("lines about the person", len(found))),
        ("verified", "no: sealwire audit verify does that"),
    )
    overview = PageSection("Overview", tuple(remarks), plots)
    table = PageTable.of(_COLUMNS, (each.cells for each in found))
    return ReportPage(
        "Who saw one person's record", facts, (overview, PageSection("Lines", (), (), (table,)))
    )


def _text(line: Mapping[str, object], name: str) -> str:
    value = line.get(name)
    return value if isinstance(value, str) else ""


def _classes(value: object) -> tuple[str, ...]:
    return tuple(sorted(map(str, value))) if isinstance(value, dict) else ()
