"""Tests for sealwire.sidecars.compliance.report."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import pytest

from sealwire.audit.canonical import canonical
from sealwire.sidecars.compliance.finding import ComplianceCheck, ComplianceFinding, ComplianceOutcome
from sealwire.sidecars.compliance.report import (
    ATTESTED_FOR,
    Attestation,
    ComplianceReport,
    changed_since,
    document_of,
    make_report,
)
from sealwire.sidecars.compliance.requirements import REQUIREMENTS, Duty

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
ALL_ATTESTED = {duty: Attestation(date(2026, 6, 1), "Caldicott Guardian") for duty in Duty}


def report(
    outcomes: Mapping[ComplianceCheck, ComplianceOutcome] | None = None,
    attested: Mapping[Duty, Attestation] = ALL_ATTESTED,
) -> ComplianceReport:
    found = {
        check: ComplianceFinding(
            check, (outcomes or {}).get(check, ComplianceOutcome.PASS), ("seen",), "do this"
        )
        for check in ComplianceCheck
    }
    return make_report("clinic.example", NOW, {"sealwire": "1"}, found, attested)


def failed(made: ComplianceReport) -> set[str]:
    return {row.requirement.id for row in made.rows if row.outcome is ComplianceOutcome.FAIL}


def test_all_is_well_where_everything_is() -> None:
    made = report()
    assert made.count(ComplianceOutcome.PASS) == len(REQUIREMENTS)
    assert failed(made) == set()


@pytest.mark.parametrize("check", ComplianceCheck)
def test_a_check_that_fails_fails_every_row_that_asks_for_it(check: ComplianceCheck) -> None:
    wanted = {each.id for each in REQUIREMENTS if check in each.checks}
    assert failed(report({check: ComplianceOutcome.FAIL})) == wanted != set()


@pytest.mark.parametrize("duty", Duty)
def test_what_nobody_attests_has_failed(duty: Duty) -> None:
    without = {each: word for each, word in ALL_ATTESTED.items() if each is not duty}
    assert failed(report(attested=without)) == {each.id for each in REQUIREMENTS if duty in each.duties}


@pytest.mark.parametrize(
    ("on", "outcome"),
    [
        (NOW.date(), ComplianceOutcome.PASS),
        (NOW.date() - ATTESTED_FOR, ComplianceOutcome.PASS),
        (NOW.date() - ATTESTED_FOR - timedelta(1), ComplianceOutcome.FAIL),
        (NOW.date() + timedelta(1), ComplianceOutcome.FAIL),
    ],
)
def test_a_word_counts_for_a_year_and_not_before_it_was_given(on: date, outcome: ComplianceOutcome) -> None:
    made = report(attested={**ALL_ATTESTED, Duty.STAFF_TRAINING: Attestation(on, "x")})
    row = next(row for row in made.rows if row.requirement.id == "caldicott-5")
    assert row.outcome is outcome


def test_a_row_does_not_apply_where_nothing_in_it_does() -> None:
    made = report(
        {
            ComplianceCheck.IN_TRANSIT: ComplianceOutcome.NOT_APPLICABLE,
            ComplianceCheck.PROXY_TLS: ComplianceOutcome.NOT_APPLICABLE,
        }
    )
    outcomes = {row.requirement.id: row.outcome for row in made.rows}
    assert outcomes["dspt-b3b"] is ComplianceOutcome.NOT_APPLICABLE
    assert outcomes["caldicott-6"] is ComplianceOutcome.PASS


def test_the_document_has_a_canonical_form_and_every_row() -> None:
    document = document_of(report({ComplianceCheck.KEYS: ComplianceOutcome.FAIL}))
    assert canonical(document)
    assert [each["id"] for each in document["rows"]] == [each.id for each in REQUIREMENTS]
    assert {each["check"] for each in document["findings"]} == {check.value for check in ComplianceCheck}
    assert document["failed"] == 1


def test_what_turned_out_otherwise_is_told() -> None:
    earlier = document_of(report({ComplianceCheck.KEYS: ComplianceOutcome.FAIL}))
    now = report({ComplianceCheck.ERASURE: ComplianceOutcome.FAIL})
    told = {(each.what, each.before, each.after) for each in changed_since(now, earlier)}
    assert told == {
        ("keys", "fail", "pass"),
        ("gdpr-at-rest", "fail", "pass"),
        ("erasure", "pass", "fail"),
        ("gdpr-erasure", "pass", "fail"),
        ("dspt-b3e", "pass", "fail"),
    }
    assert not changed_since(now, document_of(now))


def test_what_an_earlier_report_did_not_have_is_new() -> None:
    assert {each.before for each in changed_since(report(), {})} == {"-"}
