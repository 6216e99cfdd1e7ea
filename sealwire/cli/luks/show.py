"""What the commands of `sealwire luks` say: findings, steps, how far each step is, what a change leaves."""

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.output import Manner, print_json
from sealwire.sidecars.luks import preflight
from sealwire.sidecars.luks.journal import Journal, Record
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.settings import VolumeSettings
from sealwire.sidecars.luks.steps import STEPS


def show_plan(machine: Machine, settings: VolumeSettings, *, erase: bool, as_json: bool) -> int:
    """What stands against the set-up, and its steps; the exit code that says whether it is possible."""
    blocking, notes = preflight.examine(machine, settings, erase=erase)
    if as_json:
        findings = [_finding("blocks", str(error), error.reason.value, error.hint) for error in blocking]
        findings += [_finding("note", note) for note in notes]
        steps = [{"step": step.id.value, "title": step.title} for step in STEPS]
        print_json({"possible": not blocking, "findings": findings, "steps": steps})
    else:
        for error in blocking:
            click.echo(f"blocks: {error} ({error.hint})")
        for note in notes:
            click.echo(f"note: {note}")
        for number, step in enumerate(STEPS, start=1):
            click.echo(f"{number:2}. {step.title}")
        old = settings.old_directory
        click.echo(f"The plaintext data stays as {old} until `sealwire luks finish --wipe-old`.")
    return EX_NO if blocking else 0


def _finding(
    severity: str, message: str, reason: str | None = None, hint: str | None = None
) -> dict[str, str | None]:
    return {"severity": severity, "reason": reason, "message": message, "hint": hint}


def show_state(record: Record, title: str, manner: Manner, *, undo: bool) -> None:
    """How far each step is, for a dry run of what goes on or goes back; `title` begins each line of text."""
    rows = [
        {"step": step.id.value, "title": step.title, "state": record.state(step.id).value}
        for step in (reversed(STEPS) if undo else STEPS)
    ]
    lines = (
        f"{number:2}. {title}{row['title']} ({row['state']})" for number, row in enumerate(rows, start=1)
    )
    manner.answer("\n".join(lines), {"volume": record.settings.name, "undo": undo, "steps": rows})


def change_json(journal: Journal) -> dict[str, object]:
    """What a command that changes the volume leaves, for programs."""
    settings = journal.record.settings
    return {
        "volume": settings.name,
        "device": str(settings.device),
        "data_directory": str(settings.data_directory),
        "plaintext_copy": str(settings.old_directory),
        "phase": journal.record.phase.value,
    }
