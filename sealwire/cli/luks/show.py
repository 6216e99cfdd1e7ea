"""What the commands of `sealwire luks` say: findings, steps, how far each step is, what a change leaves."""

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.output import answer, print_json
from sealwire.sidecars.luks.machine.machine import Machine
from sealwire.sidecars.luks.migration import preflight
from sealwire.sidecars.luks.migration.journal import Journal, Record
from sealwire.sidecars.luks.migration.preflight import Finding, Severity
from sealwire.sidecars.luks.migration.steps import STEPS
from sealwire.sidecars.luks.settings import VolumeSettings


def show_plan(machine: Machine, settings: VolumeSettings, *, erase: bool, as_json: bool) -> int:
    """What stands against the set-up, and its steps; the exit code that says whether it is possible."""
    found = preflight.examine(machine, settings, erase=erase)
    blocked = any(finding.severity is Severity.BLOCKS for finding in found)
    if as_json:
        findings = [
            {
                "severity": finding.severity.value,
                "reason": None if finding.error is None else finding.error.reason.value,
                "message": finding.message,
                "hint": None if finding.error is None else finding.error.hint,
            }
            for finding in found
        ]
        steps = [{"step": step.id.value, "title": step.title} for step in STEPS]
        print_json({"possible": not blocked, "findings": findings, "steps": steps})
    else:
        _show_steps(settings, found)
    return EX_NO if blocked else 0


def _show_steps(settings: VolumeSettings, found: list[Finding]) -> None:
    for finding in found:
        hint = f" ({finding.error.hint})" if finding.error is not None else ""
        click.echo(f"{finding.severity.value}: {finding.message}{hint}")
    for number, step in enumerate(STEPS, start=1):
        click.echo(f"{number:2}. {step.title}")
    click.echo(
        f"The plaintext data stays as {settings.old_directory} until `sealwire luks finish --wipe-old`."
    )


def show_state(record: Record, title: str, *, undo: bool, as_json: bool) -> None:
    """How far each step is, for a dry run of what goes on or goes back; `title` begins each line of text."""
    steps = reversed(STEPS) if undo else iter(STEPS)
    rows = [
        {"step": step.id.value, "title": step.title, "state": record.state(step.id).value} for step in steps
    ]
    document = {"dry_run": True, "volume": record.settings.name, "undo": undo, "steps": rows}
    lines = (
        f"{number:2}. {title}{row['title']} ({row['state']})" for number, row in enumerate(rows, start=1)
    )
    answer("\n".join(lines), document, as_json=as_json)


def show_notes(found: list[Finding]) -> None:
    """What the operator should know and what stands in the way of nothing."""
    for finding in found:
        click.echo(f"{finding.severity.value}: {finding.message}", err=True)


def change_json(journal: Journal) -> dict[str, object]:
    """What a command that changed the volume leaves, for programs."""
    settings = journal.record.settings
    return {
        "dry_run": False,
        "volume": settings.name,
        "device": str(settings.device),
        "data_directory": str(settings.data_directory),
        "plaintext_copy": str(settings.old_directory),
        "phase": journal.record.phase.value,
    }
