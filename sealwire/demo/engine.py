"""The engine of the demo's stories: claims that are checked, and how a story looks on a terminal."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from sealwire.demo.stage import StepFailed

_NARROWEST, _WIDEST = 80, 126


@dataclass(frozen=True, slots=True)
class Check:
    """One claim and whether it held."""

    claim: str
    passed: bool
    detail: str


class Checked:
    """A story that claims something."""

    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether every claim held."""
        return all(check.passed for check in self.checks)


def checked(claim: str, step: Callable[[], tuple[bool, str]]) -> Check:
    """Whether the claim of a step held, and what was seen. A step that fails is a failed check."""
    try:
        return Check(claim, *step())
    except StepFailed as error:
        return Check(claim, passed=False, detail=str(error))


class Screen:
    """A story on a terminal, no wider than people read."""

    def __init__(self, console: Console, title: str) -> None:
        """Begins with the title."""
        self._console = console
        self.width = min(max(console.width, _NARROWEST), _WIDEST)
        console.print()
        self.show(Rule(f"[bold]{title}"))

    def show(self, what: RenderableType, style: str | None = None) -> None:
        """Print it in the screen's width."""
        self._console.print(what, width=self.width, style=style)

    def show_commands(self, commands: Iterable[str]) -> None:
        """As they were typed."""
        for command in commands:
            self.show(Text(f"$ {command}", style="dim", overflow="fold"))


def table_of(checks: Iterable[Check]) -> Table:
    """Each claim with what became of it, and what was seen beside it."""
    table = Table.grid(padding=(0, 1))
    for check in checks:
        table.add_row(marked(check), check.claim, Text(check.detail, style="dim"))
    return table


def marked(check: Check) -> str:
    """How a check ended, in colour."""
    return "[green]ok[/]" if check.passed else "[bold red]FAILED[/]"
