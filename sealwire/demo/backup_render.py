"""The backup's story on a terminal: one line a step."""

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from sealwire.demo.backup_story import BackupStory
from sealwire.demo.story import Check

_NARROWEST, _WIDEST = 80, 126


def show_backup(console: Console, story: BackupStory) -> None:
    """Print the whole story."""
    width = min(max(console.width, _NARROWEST), _WIDEST)
    console.print()
    console.print(Rule("[bold]Sealwire: a backup of the clinic, from its making to its restore"), width=width)
    table = Table.grid(padding=(0, 1))
    for number, check in enumerate(story.checks, 1):
        table.add_row(f"{number}.", _mark(check), check.claim)
        table.add_row("", "", Text(check.detail, style="dim"))
    console.print(table, width=width)
    console.print(
        f"{story.patients:,} patients; each step is a `sealwire backup` command", width=width, style="dim"
    )


def _mark(check: Check) -> str:
    return "[green]ok[/]" if check.passed else "[bold red]FAILED[/]"
