"""What `sealwire luks` says before it changes anything: findings, steps, and how far each step is."""

import json

import click

from sealwire.sidecars.luks import preflight
from sealwire.sidecars.luks.journal import Record
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.preflight import Finding, Severity
from sealwire.sidecars.luks.settings import VolumeSettings
from sealwire.sidecars.luks.steps import STEPS

EXIT_NO = 1


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
        click.echo(json.dumps({"possible": not blocked, "findings": findings, "steps": steps}, indent=2))
    else:
        _show_steps(settings, found)
    return EXIT_NO if blocked else 0


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
    if as_json:
        document = {"dry_run": True, "volume": record.settings.name, "undo": undo, "steps": rows}
        click.echo(json.dumps(document, indent=2))
        return
    for number, row in enumerate(rows, start=1):
        click.echo(f"{number:2}. {title}{row['title']} ({row['state']})")


def show_notes(found: list[Finding]) -> None:
    """What the operator should know and what stands in the way of nothing."""
    for finding in found:
        click.echo(f"{finding.severity.value}: {finding.message}", err=True)
