"""What `sealwire demo` tells: one application with and without Sealwire, the checks, and how it is shown."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from bson import Binary, json_util
from pymongo import MongoClient
from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from sealwire import core_name
from sealwire.demo import inspection
from sealwire.demo.application import AppStep, run_application
from sealwire.demo.engine import Check, Checked, Screen, table_of
from sealwire.demo.inspection import (
    Document,
    Refused,
    Scan,
    SearchPlan,
    Stored,
    covered_texts,
    flatten,
    is_envelope,
    scan_folder,
    total,
)
from sealwire.demo.stage import Announce, Stage
from sealwire.examples.clinic_app import STEPS, find_by_birth, find_by_surname, lookup_visits, page_by_name
from sealwire.examples.patients import Patient
from sealwire.policies.file.loader import load_policy

STORY_STEPS = 2 * len(STEPS) + 3
_REMOVED_PATIENTS = 20
_SHOWN_BYTES = 8
_STEP_WIDTH, _TIME_WIDTH, _FIELD_WIDTH = 18, 8, 16


@dataclass(frozen=True, slots=True)
class Sight:
    """One patient, as the application reads it and as the database stores it."""

    application: Document
    stored: Document


@dataclass(frozen=True, slots=True)
class Story(Checked):
    """Everything that is shown. `direct` and `guarded` are runs of the same application, step by step."""

    patients: int
    direct_uri: str
    sealwire_uri: str
    """The connection strings with the password left out: all that differs between the runs."""
    direct: tuple[AppStep, ...]
    guarded: tuple[AppStep, ...]
    plain_sight: Sight
    guarded_sight: Sight
    stored: Stored
    plan: SearchPlan
    refused: Refused | None
    plain_files: Scan
    guarded_files: Scan
    checks: tuple[Check, ...]


def tell(stage: Stage, announce: Announce) -> Story:
    """Run the application twice, then look at what it left.

    Raises:  TestbedError when the application fails; a claim that does not hold is a failed check instead
    """
    direct = _run(stage, stage.direct_uri, "directly", announce)
    guarded = _run(stage, stage.sealwire_uri, "through Sealwire", announce)
    patient = shown_patient(stage.databases.dataset.patients)
    announce("looking into the databases")
    with (
        MongoClient[Document](stage.direct_uri) as plain_client,
        MongoClient[Document](stage.sealwire_uri) as client,
        MongoClient[Document](stage.raw_uri) as raw,
    ):
        plain_sight = _sight(plain_client, plain_client, patient)
        guarded_sight = _sight(client, raw, patient)
        policy = stage.proxy.options.policy
        stored = inspection.count_stored(raw, load_policy(policy.read_bytes(), str(policy)))
        announce("asking how searches are answered")
        plan = inspection.explain_search(client, patient["nhs_number"])
        refused = inspection.search_by_regex(client, patient["nhs_number"][:6])
    announce("reading the databases' files")
    texts = covered_texts(stage.databases.dataset)
    plain_files = scan_folder(stage.databases.plain.options.storage.parent, texts)
    guarded_folders = (stage.databases.guarded.options.storage.parent, stage.proxy.options.folder)
    guarded_files = total(scan_folder(folder, texts) for folder in guarded_folders)
    checks = (
        check_results(direct, guarded),
        check_sights(plain_sight, guarded_sight),
        check_stored(stored),
        check_files(plain_files, guarded_files),
        check_plan(plan),
        check_join(guarded),
        check_asked(guarded),
        check_refusal(refused),
    )
    return Story(
        len(stage.databases.dataset.patients),
        without_password(stage.direct_uri),
        without_password(stage.sealwire_uri),
        direct,
        guarded,
        plain_sight,
        guarded_sight,
        stored,
        plan,
        refused,
        plain_files,
        guarded_files,
        checks,
    )


def shown_patient(patients: tuple[Patient, ...]) -> Patient:
    """A patient whom the application does not remove and who has every field."""
    removed_every = max(1, len(patients) // _REMOVED_PATIENTS)
    return next(
        patient
        for position, patient in enumerate(patients)
        if position % removed_every != 0 and patient["postcode"] is not None and patient["notes"] is not None
    )


def without_password(uri: str) -> str:
    return re.sub(r"(://[^:@/]*):[^@/]*@", r"\1:…@", uri)


def check_results(direct: tuple[AppStep, ...], guarded: tuple[AppStep, ...]) -> Check:
    claim = "same results with and without Sealwire"
    pairs = list(zip(direct, guarded, strict=False))
    different = [one.name for one, other in pairs if (one.name, one.result) != (other.name, other.result)]
    same = not different and len(direct) == len(guarded) == len(STEPS)
    detail = f"{len(pairs)} steps" if same else f"different: {', '.join(different) or 'length'}"
    return Check(claim, same, detail)


def check_sights(plain: Sight, guarded: Sight) -> Check:
    """The one patient that is shown reads the same; what is stored otherwise is an envelope."""
    seen, stored = inspection.flatten(guarded.application), inspection.flatten(guarded.stored)
    hidden = {path for path, value in stored.items() if inspection.is_envelope(value)}
    same = plain.application == guarded.application and seen.keys() == stored.keys()
    honest = all(path in hidden or stored[path] == seen[path] for path in stored if path in seen)
    detail = f"{len(hidden)} of {len(stored)} values are ciphertext"
    claim = "one record: the same to read, ciphertext at rest"
    return Check(claim, same and honest and "nhs_number" in hidden, detail)


def check_stored(stored: Stored) -> Check:
    passed = stored.readable == 0 and stored.encrypted > 0
    detail = f"{stored.encrypted:,} ciphertexts, {stored.readable:,} readable values"
    return Check("every covered value stored is ciphertext", passed, detail)


def check_files(plain: Scan, guarded: Scan) -> Check:
    """No covered text in any file; the same search of the plain database's files proves that it can find."""
    passed = guarded.hits == 0 and plain.hits > 0
    detail = (
        f"{guarded.hits:,} hits in {guarded.size_bytes / 1e6:.0f} MB; without Sealwire {plain.hits:,} hits"
    )
    return Check("no covered text in files and logs", passed, detail)


def check_plan(plan: SearchPlan) -> Check:
    passed = "IXSCAN" in plan.stages and plan.index.startswith("nhs_number")
    return Check("a search by NHS number uses the index", passed, " <- ".join(plan.stages) + f" {plan.index}")


def check_join(guarded: tuple[AppStep, ...]) -> Check:
    """The server found pairs by ciphertext; that they are the right ones, the equal results say."""
    found = sum(step.result["found"] for step in guarded if step.name == lookup_visits.__name__)
    return Check(
        "a $lookup joins by encrypted NHS numbers", found > 0, f"{found:,} visits beside their patients"
    )


def check_asked(guarded: tuple[AppStep, ...]) -> Check:
    """Names and dates are ciphertext, and `ask: true`; that these are right, the equal results say."""
    found = {step.name: step.result.get("found", 0) for step in guarded}
    counts = [found.get(step.__name__, 0) for step in (find_by_surname, find_by_birth, page_by_name)]
    claim = "parts of encrypted values are found, and sorted"
    detail = "{:,} by surname, {:,} by birth, {:,} in order; ask: true".format(*counts)
    return Check(claim, all(counts), detail)


def check_refusal(refused: Refused | None) -> Check:
    """The regex was refused, with a reason that is a MongoDB error and names the field."""
    passed = refused is not None and refused.code != 0 and "nhs_number" in refused.message
    detail = "it was answered" if refused is None else f"{refused.code} {refused.code_name}"
    return Check("a regex on an encrypted field is refused", passed, detail)


def _run(stage: Stage, uri: str, how: str, announce: Announce) -> tuple[AppStep, ...]:
    # A step is announced when its predecessor ended; the last one's successor belongs to somebody else.
    names = [step.__name__.replace("_", " ") for step in STEPS]
    following = iter(names[1:])

    def on_step(_: AppStep) -> None:
        name = next(following, None)
        if name is not None:
            announce(f"{how}: {name}")

    announce(f"{how}: {names[0]}")
    log = stage.databases.folder / f"application-{how.partition(' ')[0]}.log"
    return run_application(uri, stage.databases.dataset, log, on_step)


def _sight(application: MongoClient[Any], raw: MongoClient[Any], patient: Patient) -> Sight:
    found = application.get_default_database()["patients"].find_one(
        {"nhs_number": patient["nhs_number"]}, {"_id": 0}
    )
    return Sight(found or {}, inspection.find_patient(raw, patient) or {})


def show(console: Console, story: Story) -> None:
    """Print the whole story: the two runs, one patient, searches, and what was checked."""
    screen = Screen(console, "Sealwire: one application, two connection strings")
    screen.show(_connection_strings(story))
    console.print(_runs(story, screen.width))
    console.print(_record(story, screen.width))
    screen.show(_search(story))
    screen.show(Group(Text("4. Checked in this run", style="bold"), table_of(story.checks)))


def show_connections(console: Console, stage: Stage) -> None:
    """How to look at the running stage with mongosh. The passwords are of this run only."""
    number = shown_patient(stage.databases.dataset.patients)["nhs_number"]
    console.print()
    console.print(Rule("[bold]everything is still running; Ctrl-C ends it"))
    for how, uri, ask in (
        ("through Sealwire", stage.sealwire_uri, f"db.patients.findOne({{nhs_number: '{number}'}})"),
        ("the raw database", stage.raw_uri, "db.patients.findOne()"),
    ):
        console.print(f"[bold]{how}[/], then for example", Text(ask))
        # Left to the terminal to wrap, so that it can be copied as one line.
        console.print(Text(f"mongosh '{uri}'"), soft_wrap=True)


def as_json(story: Story, stage: Stage, *, connections: bool) -> str:
    """The story as extended JSON, with the connection strings where the stage goes on running."""
    document: dict[str, Any] = asdict(story) | {"holds": story.holds, "core": core_name()}
    document |= {"direct_ms": total_ms(story.direct), "sealwire_ms": total_ms(story.guarded)}
    if connections:
        document["connections"] = {"sealwire": stage.sealwire_uri, "raw": stage.raw_uri}
    return json_util.dumps(document, indent=2, json_options=json_util.RELAXED_JSON_OPTIONS)


def summary(result: dict[str, Any]) -> str:
    """A step's result in one line: its counts, and the digest of what it saw."""
    return ", ".join(
        f"#{value[:6]}" if key == "digest" else f"{key.replace('_', ' ')} {_plain(value)}"
        for key, value in result.items()
        if key != "first"
    )


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return str(len(value) if isinstance(value, list) else value)


def _connection_strings(story: Story) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for how, uri in (("directly", story.direct_uri), ("through Sealwire", story.sealwire_uri)):
        # The options are the same on both, and long: the name of the authority's file is among them.
        beginning, mark, _ = uri.partition("?")
        grid.add_row(how, Text(f"{beginning}{mark}…", overflow="fold"))
    grid.add_row("both", "TLS with host name verification, SCRAM-SHA-256")
    grid.add_row("Sealwire runs", core_name())
    return grid


def _runs(story: Story, width: int) -> RenderableType:
    # Rich shrinks columns that may not wrap down to nothing, so their widths are shared out here. What is
    # compared may wrap: it is shown whole, once if both runs saw the same.
    seen = width - _STEP_WIDTH - 1 - 2 * _TIME_WIDTH - 5 - 7
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    table.add_column("the application", width=_STEP_WIDTH, no_wrap=True)
    table.add_column("", width=1)
    table.add_column("saw directly and through Sealwire", width=seen, overflow="fold")
    table.add_column("direct\nms", justify="right", width=_TIME_WIDTH)
    table.add_column("Sealwire\nms", justify="right", width=_TIME_WIDTH)
    table.add_column("ratio", justify="right", width=5)
    for one, other in zip(story.direct, story.guarded, strict=False):
        same, guarded = one.result == other.result, f"through Sealwire: {summary(other.result)}"
        table.add_row(
            one.name.replace("_", " "),
            "[green]=[/]" if same else "[bold red]≠[/]",
            Text(summary(one.result) if same else f"directly: {summary(one.result)}\n{guarded}"),
            f"{one.milliseconds:,.0f}",
            f"{other.milliseconds:,.0f}",
            _ratio(one.milliseconds, other.milliseconds),
        )
    table.add_section()
    direct_ms, guarded_ms = total_ms(story.direct), total_ms(story.guarded)
    times = (f"{direct_ms:,.0f}", f"{guarded_ms:,.0f}", _ratio(direct_ms, guarded_ms))
    table.add_row("the whole day", "", "", *times, style="bold")
    return Group(Text(f"\n1. What the application sees: {story.patients:,} patients", style="bold"), table)


def total_ms(steps: tuple[AppStep, ...]) -> float:
    return sum(step.milliseconds for step in steps)


def _ratio(direct_ms: float, guarded_ms: float) -> str:
    return f"{guarded_ms / direct_ms:.2f}" if direct_ms > 0 else "-"


def _record(story: Story, width: int) -> RenderableType:
    shown = (width - _FIELD_WIDTH - 5) // 3
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    table.add_column("field", width=_FIELD_WIDTH, no_wrap=True)
    ways = ("the application\nreads, both ways", "stored\nwithout Sealwire", "stored\nbehind Sealwire")
    for heading in ways:
        table.add_column(heading, width=shown, overflow="fold")
    seen, plain = flatten(story.guarded_sight.application), flatten(story.plain_sight.stored)
    stored = flatten(story.guarded_sight.stored)
    for path in seen:
        value = stored.get(path)
        text = Text(value_text(value), style="cyan" if is_envelope(value) else "")
        table.add_row(path, Text(value_text(seen[path])), Text(value_text(plain.get(path))), text)
    return Group(Text("2. What the database stores: one patient", style="bold"), table)


def value_text(value: object) -> str:
    """One stored or read value in one line; of an envelope its end."""
    if isinstance(value, Binary):
        # The end: all envelopes of a class begin alike, with its id and the key's version.
        return f"Binary …{value[-_SHOWN_BYTES:].hex()}"
    return json.dumps(value, default=lambda other: f"{other:%Y-%m-%d}", ensure_ascii=False)


def _search(story: Story) -> RenderableType:
    plan = Table.grid(padding=(0, 2))
    plan.add_row("asked", Text("patients.find({nhs_number: …}).explain()"))
    plan.add_row("plan", Text(" <- ".join(story.plan.stages), style="green"))
    plan.add_row("index", story.plan.index)
    refusal = Table.grid(padding=(0, 2))
    refusal.add_row("asked", Text("patients.find_one({nhs_number: {$regex: …}})"))
    if story.refused is None:
        refusal.add_row("answer", Text("answered", style="red"))
    else:
        refusal.add_row("error", Text(f"{story.refused.code} {story.refused.code_name}", style="yellow"))
        refusal.add_row("", Text(story.refused.message))
    asked = {"an encrypted field with an index": plan, "what ciphertext cannot answer is refused": refusal}
    panels = (Panel(grid, title=title, title_align="left", box=box.ROUNDED) for title, grid in asked.items())
    return Group(Text("3. Searching in ciphertext", style="bold"), *panels)
