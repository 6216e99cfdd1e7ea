"""Tests for sealwire.sidecars.compliance.requirements."""

from collections import Counter

from sealwire.sidecars.compliance.requirements import (
    REQUIREMENTS,
    ComplianceCheck,
    Duty,
    Framework,
)


def test_every_row_is_shown_by_something_and_has_a_name_of_its_own() -> None:
    assert all(each.checks or each.duties for each in REQUIREMENTS)
    assert max(Counter(each.id for each in REQUIREMENTS).values()) == 1


def test_every_check_and_every_duty_is_asked_for_by_a_row() -> None:
    assert {check for each in REQUIREMENTS for check in each.checks} == set(ComplianceCheck)
    assert {duty for each in REQUIREMENTS for duty in each.duties} == set(Duty)


def test_each_framework_has_its_rows() -> None:
    counted = Counter(each.framework for each in REQUIREMENTS)
    assert counted == {Framework.UK_GDPR: 8, Framework.CALDICOTT: 8, Framework.DSPT: 5}


def test_every_check_asks_a_question_and_every_duty_says_what_is_attested() -> None:
    assert all(check.text.endswith("?") for check in ComplianceCheck)
    assert all(duty.text for duty in Duty)
