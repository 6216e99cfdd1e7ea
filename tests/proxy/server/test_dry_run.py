"""What is said of a policy that is only observed: a warning, and where each row of the report leads."""

from sealwire.policies.errors import Reason
from sealwire.policies.file.loader import load_policy
from sealwire.proxy.server.dry_run import look_at, observed_findings, shapes_in
from sealwire.proxy.session.effects import ObservedVerdict
from tests.build_context import ROOT

POLICY = b"""
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs: nhs}, clinic.visits: {nhs: nhs}}
"""


def test_refused_shapes_come_first_and_frequent_ones_before_others() -> None:
    rest = "", "", "", ""
    counted: dict[tuple[str, ...], float] = {
        ("answered", "find", "a.b", *rest): 9.0,
        ("refused", "find", "a.b", *rest): 1.0,
        ("refused", "count", "a.b", *rest): 2.0,
        ("", "", "", *rest): 3.0,
    }
    assert [(row.verdict, row.command) for row in shapes_in(counted)] == [
        ("refused", "count"),
        ("refused", "find"),
        ("answered", "find"),
    ]


def test_each_verdict_and_reason_leads_somewhere() -> None:
    assert look_at(ObservedVerdict.ANSWERED.value, "") == ""
    assert look_at(ObservedVerdict.REFUSED.value, "no such reason") == ""
    told = [look_at(ObservedVerdict.REFUSED.value, reason.value) for reason in Reason]
    told += [look_at(verdict.value, "") for verdict in (ObservedVerdict.ASKED, ObservedVerdict.LOOKED_UP)]
    for text in told:
        page, _, anchor = text.rpartition(" ")[2].partition("#")
        headings = (ROOT / page).read_text().splitlines()
        wanted = anchor.replace("-", " ")
        assert not anchor or any(_anchor(line) == wanted for line in headings if line.startswith("#"))


def _anchor(heading: str) -> str:
    kept = "".join(char for char in heading.lower().lstrip("# ") if char.isalnum() or char in " -")
    return kept.replace("-", " ")


def test_a_policy_that_is_only_observed_is_a_finding() -> None:
    assert observed_findings(load_policy(POLICY, "p").enforced) == []
    (whole,) = observed_findings(load_policy(POLICY + b"mode: observe\n", "p").enforced)
    assert "NOTHING is protected" in whole.problem
    (some,) = observed_findings(load_policy(POLICY + b"observe: [clinic.visits]\n", "p").enforced)
    assert "clinic.visits" in some.problem
    assert some.fields == {"collections": 1}
