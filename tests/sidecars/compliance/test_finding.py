"""Tests for sealwire.sidecars.compliance.finding."""

from sealwire.sidecars.compliance.finding import QUESTIONS, ComplianceCheck


def test_every_check_has_its_question() -> None:
    assert set(QUESTIONS) == set(ComplianceCheck)
    assert ComplianceCheck.AT_REST.question == QUESTIONS[ComplianceCheck.AT_REST]
