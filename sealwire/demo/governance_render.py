"""Shows the story of governance on a terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from sealwire import core_name
from sealwire.demo.governance_story import GovernanceStory
from sealwire.demo.render import marked, width_of


def show_governance(console: Console, story: GovernanceStory, pages: Sequence[Path]) -> None:
    """Print each step: what it claims, what was seen, and the commands."""
    width = width_of(console)
    console.print()
    console.print(Rule("[bold]Sealwire: who may see what, what if, and proof"), width=width)
    for number, chapter in enumerate(story.chapters, 1):
        console.print(Text(f"\n{number}. {chapter.title}", style="bold"), width=width)
        seen = Table.grid(padding=(0, 2))
        for who, what in chapter.shown:
            seen.add_row(Text(who, style="cyan"), Text(what, overflow="fold"))
        console.print(seen, width=width)
        for command in chapter.commands:
            console.print(Text(f"$ {command}", style="dim", overflow="fold"), width=width)
        verdict = Table.grid(padding=(0, 1))
        verdict.add_row(marked(chapter.check), chapter.check.claim, Text(chapter.check.detail, style="dim"))
        console.print(verdict, width=width)
    console.print()
    for page in pages:
        console.print(Text(str(page)), soft_wrap=True)
    closing = f"{story.patients:,} patients, {core_name()}. The pages open in any browser."
    console.print(closing, width=width, style="dim")
