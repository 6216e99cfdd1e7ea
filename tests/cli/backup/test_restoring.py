"""What became of a restore, on a terminal and for programs."""

import json

import pytest

from sealwire.cli.backup.restoring import finish, show_plan
from sealwire.sidecars.backup.restoring.plan import RestorePlan
from sealwire.sidecars.backup.restoring.restore import CollectionResult, Outcome, RestoreReport

LEFT_OUT = (("clinic.old", "no such collection"),)
REPORT = RestoreReport(
    (
        CollectionResult("clinic.patients", "restored.patients", 1234, Outcome.RESTORED),
        CollectionResult("clinic.[w]", "restored.[w]", 2, Outcome.DIFFERENT, ("two differ",)),
    ),
    LEFT_OUT,
    ("an index",),
)


def test_every_collection_is_shown_with_its_outcome_and_what_was_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as ended:
        finish(REPORT, as_json=False)
    shown = capsys.readouterr().out
    words = ("restored.patients", "1,234", "restored.[w]", "two differ", "clinic.old", "an index")
    for word in (*words, Outcome.DIFFERENT.value):
        assert word in shown
    assert ended.value.code == 65


def test_programs_read_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        finish(REPORT, as_json=True, more={"drill": True})
    read = json.loads(capsys.readouterr().out)
    assert read["drill"]
    assert read["holds"] is REPORT.holds is False
    assert [(row["target"], row["documents"], row["outcome"]) for row in read["collections"]] == [
        ("restored.patients", 1234, Outcome.RESTORED.value),
        ("restored.[w]", 2, Outcome.DIFFERENT.value),
    ]
    assert read["left_out"] == [{"source": "clinic.old", "reason": "no such collection"}]
    assert read["remarks"] == ["an index"]


def test_a_plan_names_what_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    plan = RestorePlan((), LEFT_OUT)
    show_plan(plan, ["clinic.wards"], as_json=False)
    shown = capsys.readouterr().out
    assert "clinic.old" in shown
    assert "clinic.wards" in shown
    show_plan(plan, ["clinic.wards"], as_json=True)
    read = json.loads(capsys.readouterr().out)
    assert read["left_out"] == [{"source": "clinic.old", "reason": "no such collection"}]
    assert read["occupied"] == ["clinic.wards"]
