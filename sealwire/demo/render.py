"""Both stories on a terminal, with rich, and the first as JSON. Shows nothing that they did not check."""

import json
from dataclasses import asdict
from typing import Any

from bson import Binary, json_util
from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from sealwire import core_name
from sealwire.demo.application import AppStep
from sealwire.demo.backup_story import BackupStory
from sealwire.demo.inspection import flatten, is_envelope
from sealwire.demo.moving_story import MovingStory
from sealwire.demo.stage import Stage
from sealwire.demo.story import Check, Story, shown_patient

_SHOWN_BYTES = 8
_MOVING_HEADINGS = (
    "time", "asked", "errors", "median", "max", "readable", "encrypted", "files",
)  # fmt: skip
_NARROWEST, _WIDEST = 80, 126
_STEP_WIDTH, _TIME_WIDTH, _FIELD_WIDTH = 18, 8, 16


def show(console: Console, story: Story) -> None:
    width = width_of(console)
    console.print()
    console.print(Rule("[bold]Sealwire: one application, two connection strings"), width=width)
    console.print(_connection_strings(story), width=width)
    console.print(_runs(story, width))
    console.print(_record(story, width))
    console.print(_search(story), width=width)
    console.print(_verdict(story), width=width)


def show_backup(console: Console, story: BackupStory) -> None:
    """Print the whole story of the backup: one line a step."""
    width = width_of(console)
    console.print()
    console.print(Rule("[bold]Sealwire: a backup of the clinic, from its making to its restore"), width=width)
    table = Table.grid(padding=(0, 1))
    for number, check in enumerate(story.checks, 1):
        table.add_row(f"{number}.", marked(check), check.claim)
        table.add_row("", "", Text(check.detail, style="dim"))
    console.print(table, width=width)
    console.print(
        f"{story.patients:,} patients, {core_name()}; each step is a `sealwire backup` command",
        width=width,
        style="dim",
    )


def show_moving(console: Console, story: MovingStory) -> None:
    """Print the whole story of the migration: one row a step, then the commands, then what was checked."""
    width = width_of(console)
    console.print()
    title = "[bold]Sealwire: a clinic in plaintext, encrypted, rotated and given back"
    console.print(Rule(title), width=width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("step", no_wrap=True)
    for heading in _MOVING_HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for chapter in story.chapters:
        desk, stored = chapter.desk, chapter.stored
        table.add_row(
            chapter.title,
            f"{chapter.seconds:.1f} s",
            f"{desk.asked:,}",
            f"{desk.failed}",
            f"{desk.median_ms:.1f}",
            f"{desk.slowest_ms:,.0f}",
            f"{stored.readable:,}",
            f"{stored.encrypted:,}",
            f"{chapter.file_hits:,}",
        )
    console.print(table, width=width)
    for chapter in story.chapters:
        for command in chapter.commands:
            console.print(Text(f"$ {command}", style="dim", overflow="fold"), width=width)
    console.print()
    verdict = Table.grid(padding=(0, 1))
    for check in story.checks:
        verdict.add_row(marked(check), check.claim, Text(check.detail, style="dim"))
    console.print(verdict, width=width)
    console.print(
        f"{story.patients:,} patients, {core_name()}. Median and max: milliseconds of the desk behind "
        "Sealwire. Readable and encrypted: values that the database gives out. Files: what a search of them "
        "finds; its log and old pages keep what was in them until they are used again.",
        width=width,
        style="dim",
    )


def show_connections(console: Console, stage: Stage) -> None:
    """How to look at the running stage with mongosh. The passwords are of this run only."""
    number = shown_patient(stage.dataset.patients)["nhs_number"]
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


def width_of(console: Console) -> int:
    return min(max(console.width, _NARROWEST), _WIDEST)


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
    # Rich shrinks columns that may not wrap down to nothing, so their widths are shared out here.
    seen = (width - _STEP_WIDTH - 1 - 2 * _TIME_WIDTH - 5 - 8) // 2
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    table.add_column("the application", width=_STEP_WIDTH, no_wrap=True)
    table.add_column("saw\ndirectly", width=seen, no_wrap=True)
    table.add_column("", width=1)
    table.add_column("saw through\nSealwire", width=seen, no_wrap=True)
    table.add_column("direct\nms", justify="right", width=_TIME_WIDTH)
    table.add_column("Sealwire\nms", justify="right", width=_TIME_WIDTH)
    table.add_column("ratio", justify="right", width=5)
    for one, other in zip(story.direct, story.guarded, strict=False):
        same = one.result == other.result
        table.add_row(
            one.name.replace("_", " "),
            summary(one.result),
            "[green]=[/]" if same else "[bold red]≠[/]",
            summary(other.result),
            f"{one.milliseconds:,.0f}",
            f"{other.milliseconds:,.0f}",
            _ratio(one.milliseconds, other.milliseconds),
        )
    table.add_section()
    direct_ms, guarded_ms = total_ms(story.direct), total_ms(story.guarded)
    times = (f"{direct_ms:,.0f}", f"{guarded_ms:,.0f}", _ratio(direct_ms, guarded_ms))
    table.add_row("the whole day", "", "", "", *times, style="bold")
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
        table.add_column(heading, width=shown, no_wrap=True)
    seen, plain = flatten(story.guarded_sight.application), flatten(story.plain_sight.stored)
    stored = flatten(story.guarded_sight.stored)
    for path in seen:
        value = stored.get(path)
        text = Text(value_text(value), style="cyan" if is_envelope(value) else "")
        table.add_row(path, value_text(seen[path]), value_text(plain.get(path)), text)
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


def _verdict(story: Story) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    for check in story.checks:
        table.add_row(marked(check), check.claim, Text(check.detail, style="dim"))
    return Group(Text("4. Checked in this run", style="bold"), table)


def marked(check: Check) -> str:
    return "[green]ok[/]" if check.passed else "[bold red]FAILED[/]"
