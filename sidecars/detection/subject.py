"""`sealwire audit subject`: who saw one person's record."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import bson
import click
from bson.int64 import Int64
from rich.table import Column

from sealwire.audit.pseudonyms import Identifier, PseudonymKey, load_pseudonym_key
from sealwire.cli import pages
from sealwire.cli.audit import Days, days_option, lines_of, log_argument, shown
from sealwire.cli.options import PATH, PRESENT_FILE, json_option, read_uri, variable_option
from sealwire.cli.output import print_json, show_table
from sealwire.cli.subjects import ask_identifier, read_policy, subjects_key_option, subjects_of
from sealwire.policies.file.schema import LinkEnd, PolicySet, Subjects, identifiers
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.detection.collecting import FurtherLines
from sealwire.sidecars.detection.observations import number_of
from sealwire.sidecars.direct import DECODED, Client, collection_of, connected, element
from sealwire.wire.raw_bson import elements, enclosed

_COLUMNS = ("time (UTC)", "who", "purpose", "event", "namespace", "read", "written", "outcome")
_NOBODY = "-"
_DAY = len("2026-11-27")
_SECOND = len("2026-11-27T10:00:00")
_MAX_BARS = 20
_COUNTED = frozenset({"insert", "update", "delete", "findAndModify", "findandmodify", "bulkWrite"})
_AS_FOREIGN = "{} where a pipeline of another collection, or a view, reads it"


# --------------------- which pseudonyms stand for a person in lines that name documents, and not the person
#
# A line about linked documents names the document to which the link leads, as `clinic.patients._id`. One
# of a command whose filter has an `_id` names that. Which ones are the person's, only the server knows.
# It is asked through Sealwire, which encrypts the identifier, checks who asks, and records it.

PURPOSE = "subject-report"
"""What the questions state in the log."""

_COMMENT = {"sealwire": {"purpose": PURPOSE}}


def linked_names(
    client: Client, policies: PolicySet, subjects: Subjects, person: Identifier, key: PseudonymKey
) -> dict[str, str]:
    """By pseudonym, the path whose value it stands for: where links lead to the person, and `_id`s.

    `client` is one of Sealwire. Raises what the driver raises. Cost: one `distinct` for each path.
    """
    found: dict[str, str] = {}
    for place in _places(client, policies, subjects):
        for value in _values(client, policies, subjects, person, place):
            for form in _forms(value):
                found[key.name_of(str(place), *form)] = str(place)
    return found


def _places(client: Client, policies: PolicySet, subjects: Subjects) -> list[LinkEnd]:
    """Where values stand for documents of persons."""
    names = {each.source.namespace for each in subjects.links} | set(policies.collections)
    if policies.patterns:
        names |= {each.namespace for each in covered_collections(client, policies) if each.kind != "view"}
    ids = {LinkEnd(name, "_id") for name in names}
    return sorted(ids | {link.target for link in subjects.links}, key=str)


def _values(
    client: Client, policies: PolicySet, subjects: Subjects, person: Identifier, place: LinkEnd
) -> Iterator[object]:
    """What the documents of a collection that are the person's have at `place`."""
    namespace = place.namespace
    tree = policies.covered(namespace)
    paths = () if tree is None else identifiers(subjects, tree)
    if paths:
        value = _value_of(person)
        wanted: dict[str, Any] = {"$or": [{path: value} for path in paths]}
    else:
        further = subjects.link_of(namespace)
        if further is None:
            return
        known = list(_values(client, policies, subjects, person, further.target))
        wanted = {further.source.path: {"$in": known}}
    collection = collection_of(client, namespace, DECODED)
    yield from collection.distinct(place.path, wanted, comment=_COMMENT)


def _value_of(person: Identifier) -> object:
    return bson.decode(enclosed(element(person.kind, b"", person.value)))[""]


def _forms(value: object) -> Iterator[tuple[int, bytes]]:
    """A value as clients may send it: a whole number in each type, for the server takes them for equal."""
    if isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer():
        whole = int(value)
        if abs(whole) < 1 << 31:
            yield _bytes_of(whole)
        yield _bytes_of(Int64(whole))
        yield _bytes_of(float(whole))
    else:
        yield _bytes_of(value)


def _bytes_of(value: object) -> tuple[int, bytes]:
    document = bson.encode({"": value})
    found = next(elements(document, 0))
    return found.kind, document[found.value : found.end]


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
@variable_option(
    "--through-file",
    type=PATH,
    envvar="SEALWIRE_THROUGH_URI_FILE",
    help="A file with the connection string of Sealwire, to look up which documents are the person's.",
)
@days_option
@pages.html_option
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

    Lines about linked documents name what the link leads to, and others an _id. With --through-file Sealwire
    is asked which of these are the person's, and that is on record too; without it, what the log alone says.

    \b
    Examples:
      sealwire audit subject audit.jsonl --subjects-key subjects.key --policy policy.yaml
      sealwire audit subject audit.jsonl --subjects-key subjects.key --policy policy.yaml --html record.html
      sealwire audit subject audit.jsonl --subjects-key subjects.key --policy policy.yaml --json < identifier
    """
    policies = read_policy(policy_path, may_observe=True)
    subjects = subjects_of(policies)
    key = load_pseudonym_key(subjects_key)
    person = ask_identifier(policies)
    names = {key.pseudonym(person)}
    if through_file is not None:
        with connected(read_uri(through_file), is_through=True) as client:
            names |= linked_names(client, policies, subjects, person, key).keys()
    linked = sorted({each.source.namespace for each in subjects.links})
    gaps = _Gaps([] if through_file is not None else linked, [], _ids_of_one(log))
    if through_file is not None:
        gaps.only_as_themselves = [each for each in linked if policies.covered(each) is None]
    names = gaps.further_names(names)
    unread, found = 0, list[Sighting]()
    for line in lines_of(log):
        if line is None:
            unread += 1
        elif days.have(line):
            gaps.note(line, names)
            if _is_about(line, names):
                found.append(_sighting(line))
    if html is not None:
        pages.write_page(html, _page(found, log, days, gaps.remarks()))
    if as_json:
        print_json({"lines": [asdict(each) for each in found], **gaps.document(), "unreadable": unread})
        return
    time, *others = _COLUMNS
    show_table([Column(time, min_width=_DAY), *others], (map(shown, each.cells) for each in found))
    for text in gaps.remarks():
        click.echo(text)
    if unread:
        click.echo(f"{unread} lines cannot be read: sealwire audit verify says where")


@dataclass(slots=True)
class _Gaps:
    """What the list does not say."""

    linked: list[str]
    """Collections of linked documents that nobody was asked about."""
    only_as_themselves: list[str]
    """Others without covered fields: where another collection's pipeline reads them, nobody notices it."""
    tied: set[tuple[str, str]]
    """Pseudonyms of documents, and of the persons whose they are, as lines about one document say it."""
    shown: int = 0
    writes: int = 0
    written: int = 0
    by_id: set[str] = field(default_factory=set)
    further: FurtherLines = field(default_factory=FurtherLines)

    def further_names(self, names: Collection[str]) -> set[str]:
        """The names, and those of documents that belong to them."""
        found = set(names)
        while new := {document for document, person in self.tied if person in found} - found:
            found |= new
        return found

    def note(self, line: Mapping[str, object], names: Collection[str]) -> None:
        """Count what a line does not say of whom it is about."""
        self.further.note(line)
        self.shown += number_of(line, "subjects_unknown")
        written = _unknown_writing(line)
        if written is not None:
            self.writes += 1
            self.written += written
        if not _texts(line, "subjects"):
            self.by_id.update(each for each in _texts(line, "ids") if each not in names)

    def document(self) -> dict[str, object]:
        """For JSON."""
        return {
            "not_covered": sorted({*self.linked, *map(_AS_FOREIGN.format, self.only_as_themselves)}),
            "lines_missing": self.further.missing,
            "documents_of_unknown_persons": self.shown,
            "writes_of_unknown_persons": self.writes,
            "documents_written_of_unknown_persons": self.written,
            "documents_known_by_id_only": self._untied(),
        }

    def _untied(self) -> int:
        return len(self.by_id - {document for document, _ in self.tied})

    def remarks(self) -> list[str]:
        """For people."""
        said = []
        if self.linked:
            named = ", ".join(self.linked)
            said.append(f"not covered: linked documents of {named} (--through-file looks them up)")
        said += [f"not covered: {_AS_FOREIGN.format(each)}" for each in self.only_as_themselves]
        if self.shown:
            said.append(f"{self.shown} documents were shown of which the log cannot say whose they are")
        if self.writes:
            said.append(
                f"{self.writes} writes reached documents of which the log cannot say whose they are: "
                f"{self.written} documents at most, besides whole collections"
            )
        if untied := self._untied():
            said.append(
                f"{untied} documents are named by an _id that the log ties to nobody "
                "(--through-file looks up those that the person still has)"
            )
        if missing := self.further.missing:
            said.append(
                f"{missing} lines are missing, of commands that have several: whom they name, nobody can say"
            )
        return said


def _ids_of_one(log: Path) -> set[tuple[str, str]]:
    """Which document is whose, by lines about one: it stays known when the document is gone."""
    tied = set()
    for line in lines_of(log):
        if line is None or number_of(line, "subjects_unknown"):
            continue
        ids, persons = _texts(line, "ids"), _texts(line, "subjects")
        is_stored = _text(line, "command") == "insert" and number_of(line, "affected") == 1
        if len(ids) == len(persons) == 1 and (is_stored or number_of(line, "documents") == 1):
            tied.add((ids[0], persons[0]))
    return tied


def _unknown_writing(line: Mapping[str, object]) -> int | None:
    """How many documents a write reached without saying whose they are, at most; None: it is no such write.

    Lines from before there was `unnamed` are told by what they lack.
    """
    if _text(line, "act") == "destruction":
        return 0
    command, is_counted = _text(line, "command"), _text(line, "command") in _COUNTED
    says_nothing = is_counted and "part" not in line and not (_texts(line, "subjects") or _texts(line, "ids"))
    if not (number_of(line, "unnamed") or says_nothing):
        return None
    shown = number_of(line, "documents") if command.lower() == "findandmodify" else 0
    written = max(0, number_of(line, "affected") - shown)
    return None if is_counted and not written and _text(line, "outcome") == "ok" else written


def _is_about(line: Mapping[str, object], names: Collection[str]) -> bool:
    return line.get("subject") in names or any(
        each in names for each in (*_texts(line, "subjects"), *_texts(line, "ids"))
    )


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


def _page(found: list[Sighting], log: Path, days: Days, remarks: list[str]) -> pages.ReportPage:
    by_day = Counter(each.time[:10] for each in found)
    by_who = Counter(each.who for each in found)
    by_purpose = Counter(each.purpose or _NOBODY for each in found)
    plots = (
        pages.columns("Lines each day", sorted(by_day.items())),
        pages.rows("Lines by who it was", by_who.most_common(_MAX_BARS)),
        pages.rows("Lines by stated purpose", by_purpose.most_common(_MAX_BARS)),
    )
    facts = (("log", str(log)), ("days (UTC)", str(days)), ("lines about the person", len(found)))
    verdict = pages.unverified(f"{len(found)} lines about this person")
    overview = pages.PageSection("Overview", tuple(remarks), plots)
    table = pages.PageTable.of(_COLUMNS, (each.cells for each in found))
    return pages.ReportPage(
        "Who saw one person's record",
        verdict,
        facts,
        (overview, pages.PageSection("Lines", (), (), (table,))),
    )


def _text(line: Mapping[str, object], name: str) -> str:
    value = line.get(name)
    return value if isinstance(value, str) else ""


def _texts(line: Mapping[str, object], name: str) -> list[str]:
    value = line.get(name)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _classes(value: object) -> tuple[str, ...]:
    return tuple(sorted(map(str, value))) if isinstance(value, dict) else ()
