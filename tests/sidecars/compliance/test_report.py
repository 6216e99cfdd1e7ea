"""Tests for sealwire.sidecars.compliance.requirements."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from sealwire.audit.line import canonical
from sealwire.files.errors import SourceError
from sealwire.sidecars.compliance.deployment import AtRest, Exemption, RunningProxies, read_compliance
from sealwire.sidecars.compliance.requirements import (
    ATTESTED_FOR,
    REQUIREMENTS,
    Attestation,
    ComplianceCheck,
    ComplianceFinding,
    ComplianceOutcome,
    ComplianceReport,
    Duty,
    Framework,
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
        check: ComplianceFinding((outcomes or {}).get(check, ComplianceOutcome.PASS), ("seen",), "do this")
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
    seen = ComplianceFinding(ComplianceOutcome.PARTLY, ("two",), unseen=("billing", "clinic.wards"))
    found = {check: replace(seen, unseen=()) for check in ComplianceCheck}
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


# Tests for sealwire.sidecars.compliance.deployment.


HEAD = "version: 1\nname: clinic.example\nproxy: sealwire.yaml\n"
PATH = Path("/etc/sealwire/compliance.yaml")


def test_what_is_not_written_is_none_and_files_lie_beside_the_settings() -> None:
    found = read_compliance(HEAD.encode(), PATH)
    assert found.proxy == Path("/etc/sealwire/sealwire.yaml")
    assert found.sample == 1000
    assert (found.at_rest, found.tls, found.backups, found.audit, found.watch) == (None,) * 5
    assert (found.logs, dict(found.attested), dict(found.not_applicable)) == ((), {}, {})


def test_everything_can_be_written() -> None:
    found = read_compliance(
        (
            HEAD
            + """server: {uri_file: server.uri, sample: 0}
at_rest: {directory: /var/lib/mongodb, service: mongod.service}
tls: {targets: ["https://clinic.example"], ca: ca.crt}
backups: {store: /backups, hours: 30, plaintext: /old, since: 2026-11-01, drill_days: 31}
audit: {key: audit.key.pub, checkpoints: [/mnt/worm/c]}
logs: [proxy.log]
watch: alerts.yaml
proxies: {admin: ["http://127.0.0.1:9464", "https://[::1]:9465/"], certificate: admin.crt}
not_applicable: {at-rest: {reason: "the provider's disks, certificate 7", date: 2026-10-02, by: IAO}}
attested:
  dpia: {date: 2026-10-01, by: Caldicott Guardian, reference: IG-12}
"""
        ).encode(),
        PATH,
    )
    assert found.sample is None
    assert found.at_rest == AtRest(Path("/var/lib/mongodb"), "mongod.service")
    assert found.tls is not None
    assert found.tls.ca == Path("/etc/sealwire/ca.crt")
    assert found.backups is not None
    assert (found.backups.hours, found.backups.plaintext, found.backups.drill_days) == (30, Path("/old"), 31)
    assert found.audit is not None
    assert found.audit.checkpoints == (Path("/mnt/worm/c"),)
    exempt = Exemption("the provider's disks, certificate 7", Attestation(date(2026, 10, 2), "IAO"))
    assert found.not_applicable == {ComplianceCheck.AT_REST: exempt}
    urls = ("http://127.0.0.1:9464", "https://[::1]:9465")
    assert found.proxies == RunningProxies(urls, Path("/etc/sealwire/admin.crt"))
    assert found.attested == {Duty.DPIA: Attestation(date(2026, 10, 1), "Caldicott Guardian", "IG-12")}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version: 2\nname: x\nproxy: y\n", 1),
        ("version: 1\nproxy: y\n", 1),
        (HEAD + "attested: {dpias: {date: 2026-10-01, by: x}}\n", 4),
        (HEAD + "attested: {dpia: {by: x}}\n", 4),
        (HEAD + "attested: {dpia: {date: yesterday, by: x}}\n", 4),
        (HEAD + "not_applicable: {at-rest: x}\n", 4),
        (HEAD + "not_applicable: {at-rest: {reason: x, by: y}}\n", 4),
        (HEAD + "not_applicable: {at-rest: {reason: x, date: 2026-10-01}}\n", 4),
        (HEAD + "not_applicable: {at-rest: {date: 2026-10-01, by: y}}\n", 4),
        (HEAD + "not_applicable: {luks: {reason: x, date: 2026-10-01, by: y}}\n", 4),
        (HEAD + "proxies: {admin: []}\n", 4),
        (HEAD + 'proxies: {admin: ["127.0.0.1:9464"]}\n', 4),
        (HEAD + 'proxies: {admin: ["http://x:port"]}\n', 4),
        (HEAD + 'proxies: {admin: ["https://x:1"]}\n', 4),
        (HEAD + 'proxies: {admin: ["http://me:secret@x:1"]}\n', 4),
        (HEAD + 'proxies: {admin: ["http://x:1/?token=secret"]}\n', 4),
        (HEAD + 'proxies: {admin: ["http://x:1#secret"]}\n', 4),
        (HEAD + "tls: {targets: []}\n", 4),
        (HEAD + "backups: {store: x, plaintext: y}\n", 4),
        (HEAD + "backups: {store: x, hours: 0}\n", 4),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, line: int) -> None:
    with pytest.raises(SourceError) as refused:
        read_compliance(text.encode(), PATH)
    assert refused.value.line == line


# Tests for sealwire.sidecars.compliance.requirements.


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
