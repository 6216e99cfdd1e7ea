"""How a plan of a restore, and what became of it, look on a terminal and as JSON."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from sealwire.sidecars.backup.restoring.comparison import Outcome, RestoreReport
from sealwire.sidecars.backup.restoring.plan import RestorePlan

_STYLES = {Outcome.RESTORED: "green", Outcome.INCOMPLETE: "yellow", Outcome.DIFFERENT: "bold red"}


def show_plan(console: Console, plan: RestorePlan) -> None:
    """What would go where."""
    table = Table("from the backup", "to the server", "what")
    for planned in plan.collections:
        table.add_row(planned.source, planned.target, planned.part.value)
    console.print(table)
    _show_left_out(console, plan.left_out)


def plan_json(plan: RestorePlan) -> dict[str, Any]:
    """The same for programs."""
    rows = [
        {"source": planned.source, "target": planned.target, "what": planned.part.value}
        for planned in plan.collections
    ]
    return {"dry_run": True, "collections": rows, "left_out": _left_out(plan.left_out)}


def show_report(console: Console, report: RestoreReport) -> None:
    """What is in place, collection by collection."""
    table = Table("from the backup", "to the server", "documents", "outcome", "remarks")
    for result in report.collections:
        outcome = f"[{_STYLES[result.outcome]}]{result.outcome.value}[/]"
        table.add_row(
            result.source, result.target, f"{result.documents:,}", outcome, "\n".join(result.remarks)
        )
    console.print(table)
    _show_left_out(console, report.left_out)
    for remark in report.remarks:
        console.print(f"[yellow]not done:[/] {remark}")


def report_json(report: RestoreReport) -> dict[str, Any]:
    """The same for programs."""
    rows = [asdict(result) | {"outcome": result.outcome.value} for result in report.collections]
    return {
        "holds": report.holds,
        "collections": rows,
        "left_out": _left_out(report.left_out),
        "remarks": list(report.remarks),
    }


def _left_out(left_out: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"source": source, "reason": reason} for source, reason in left_out]


def _show_left_out(console: Console, left_out: tuple[tuple[str, str], ...]) -> None:
    for source, reason in left_out:
        console.print(f"[dim]left out: {source}: {reason}[/]")
