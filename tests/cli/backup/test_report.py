"""What became of a restore, on a terminal and for programs."""

import io

from rich.console import Console

from sealwire.cli.backup.report import plan_json, report_json, show_plan, show_report
from sealwire.sidecars.backup.restoring.comparison import CollectionResult, Outcome, RestoreReport
from sealwire.sidecars.backup.restoring.plan import RestorePlan

LEFT_OUT = (("clinic.old", "no such collection"),)
REPORT = RestoreReport(
    (
        CollectionResult("clinic.patients", "restored.patients", 1234, Outcome.RESTORED),
        CollectionResult("clinic.wards", "restored.wards", 2, Outcome.DIFFERENT, ("two differ",)),
    ),
    LEFT_OUT,
    ("an index",),
)


def console() -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    return Console(file=output, width=120, force_terminal=False), output


def test_every_collection_is_shown_with_its_outcome_and_what_was_left_out() -> None:
    terminal, output = console()
    show_report(terminal, REPORT)
    shown = output.getvalue()
    for word in (
        "restored.patients",
        "1,234",
        "two differ",
        Outcome.DIFFERENT.value,
        "clinic.old",
        "an index",
    ):
        assert word in shown


def test_programs_read_the_same() -> None:
    read = report_json(REPORT)
    assert read["holds"] is REPORT.holds is False
    assert [(row["target"], row["documents"], row["outcome"]) for row in read["collections"]] == [
        ("restored.patients", 1234, Outcome.RESTORED.value),
        ("restored.wards", 2, Outcome.DIFFERENT.value),
    ]
    assert read["left_out"] == [{"source": "clinic.old", "reason": "no such collection"}]
    assert read["remarks"] == ["an index"]


def test_a_plan_names_what_it_leaves_out() -> None:
    terminal, output = console()
    plan = RestorePlan((), LEFT_OUT)
    show_plan(terminal, plan)
    assert "clinic.old" in output.getvalue()
    assert plan_json(plan)["left_out"] == [{"source": "clinic.old", "reason": "no such collection"}]
