"""`sealwire incident report`: of a log that is whole, in every form."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.audit.logs import place
from tests.cli.runs import Outcome, Run


@pytest.fixture
def incident(watched: Callable[[], Outcome], run: Run) -> str:
    watched()
    run("incident", "open", "--alert", "a1", "--alert", "a2")
    return "i1"


def test_it_has_what_whose_and_by_whom(incident: str, run: Run, tmp_path: Path) -> None:
    page, form = tmp_path / "report.html", tmp_path / "form.md"
    done = run("incident", "report", incident, "--html", page, "--form", form, "--json")
    said = json.loads(done.out)
    assert (done.code, said["proof"]["proved"]) == (0, True)
    assert (said["subjects"]["distinct"], said["read"]) == (100, {"nhs_number": 1200})
    assert said["scope"]["users"] == ["ann@admin"]
    assert "100 people" in form.read_text()
    assert "100 people" in page.read_text()
    for path in (page, form):
        assert path.stat().st_mode & 0o777 == 0o600
    assert "100 people" in run("incident", "report", incident).out


def test_other_lines_may_be_asked_for(incident: str, run: Run) -> None:
    def lines(*words: str) -> int:
        return int(json.loads(run("incident", "report", incident, "--json", *words).out)["lines"])

    assert lines() == 3
    assert lines("--since", "2026-11-23T09:01:30") == 1
    assert lines("--everybody", "--until", "2026-11-23T09:00") == 1
    assert run("incident", "report", incident, "--since", "2026-11-24", "--until", "2026-11-23").code == 2


def test_a_log_that_is_not_whole_makes_no_report_that_does_not_say_so(
    incident: str, run: Run, tmp_path: Path
) -> None:
    path, page = place(tmp_path).path, tmp_path / "report.html"
    path.write_bytes(path.read_bytes().replace(b"ann@", b"eve@"))
    done = run("incident", "report", incident, "--html", page)
    assert (done.code, page.exists()) == (65, False)
    done = run("incident", "report", incident, "--html", page, "--unproved")
    assert (done.code, "UNPROVED" in done.out, "UNPROVED" in page.read_text()) == (1, True, True)


def test_what_is_not_there(incident: str, run: Run, tmp_path: Path) -> None:
    assert run("incident", "report", "i9").code == 66
    assert run("incident", "report", incident, "--form", tmp_path / "no" / "form").code != 0
    place(tmp_path).path.unlink()
    assert run("incident", "report", incident).code == 78
