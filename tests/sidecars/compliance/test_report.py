"""Tests for sealwire.sidecars.compliance.requirements."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from sealwire.audit.line import canonical
from sealwire.sidecars.compliance.requirements import (
    ATTESTED_FOR,
    REQUIREMENTS,
    Attestation,
    ComplianceCheck,
    ComplianceFinding,
    ComplianceOutcome,
    ComplianceReport,
    Duty,
    changed_since,
    document_of,
    make_report,
)

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


@pytest.mark.parametrize("unseen", [ComplianceOutcome.NOT_APPLICABLE, ComplianceOutcome.NOT_LOOKED_AT])
def test_a_row_with_a_check_that_was_not_looked_at_does_not_pass(unseen: ComplianceOutcome) -> None:
    made = report({ComplianceCheck.IN_TRANSIT: unseen, ComplianceCheck.PROXY_TLS: unseen})
    outcomes = {row.requirement.id: row.outcome for row in made.rows}
    assert outcomes["dspt-b3b"] is ComplianceOutcome.NOT_LOOKED_AT
    assert outcomes["caldicott-6"] is ComplianceOutcome.PARTLY
    assert outcomes["caldicott-5"] is ComplianceOutcome.PASS


def test_a_word_does_not_stand_for_a_look() -> None:
    made = report({ComplianceCheck.PURPOSES: ComplianceOutcome.NOT_APPLICABLE})
    row = next(row for row in made.rows if row.requirement.id == "caldicott-1")
    assert row.duties
    assert row.outcome is ComplianceOutcome.NOT_LOOKED_AT


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ({}, "passes (0 of 21 failed, 0 partly, 0 not looked at)"),
        ({ComplianceCheck.VERSIONS: ComplianceOutcome.PARTLY}, "partly (0 of 21 failed, 1 partly, 0 not"),
        (
            dict.fromkeys(ComplianceCheck, ComplianceOutcome.NOT_APPLICABLE),
            "partly (0 of 21 failed, 0 partly, 19 not looked at)",
        ),
        (
            {
                ComplianceCheck.VERSIONS: ComplianceOutcome.FAIL,
                ComplianceCheck.ERASURE: ComplianceOutcome.NOT_APPLICABLE,
            },
            "fails (1 of 21 failed, 0 partly, 2 not looked at)",
        ),
    ],
)
def test_the_verdict_is_no_better_than_the_worst_row(
    outcomes: Mapping[ComplianceCheck, ComplianceOutcome], verdict: str
) -> None:
    made = report(outcomes)
    assert made.verdict.startswith(verdict)
    assert document_of(made)["verdict"] == made.verdict


def test_what_was_not_looked_at_is_listed_once() -> None:
    seen = ComplianceFinding(
        ComplianceCheck.SCOPE, ComplianceOutcome.PARTLY, ("two",), unseen=("billing", "clinic.wards")
    )
    found = {check: replace(seen, check=check, unseen=()) for check in ComplianceCheck}
    found[ComplianceCheck.SCOPE] = seen
    made = make_report("clinic.example", NOW, {}, found, ALL_ATTESTED)
    assert document_of(made)["unseen"] == ["billing", "clinic.wards"]


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
