"""`sealwire compliance report`: whether a deployment is what law and principles ask, with evidence."""

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from sealwire import __version__
from sealwire.audit.files import load_signing_key
from sealwire.audit.signing import SigningKey, open_document, sign_document
from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options import PATH, PRESENT_FILE, json_option, settings
from sealwire.cli.output import print_json, show_table, with_bar
from sealwire.cli.pages import PageSection, PageTable, ReportPage, write_page
from sealwire.files.html.frame import Mark, Tone
from sealwire.keys.private_file import replace_private
from sealwire.proxy.server.errors import read_named_file
from sealwire.sidecars.compliance import in_settings, on_machine
from sealwire.sidecars.compliance.deployment import Deployment, Look, looked, read_compliance
from sealwire.sidecars.compliance.requirements import (
    FORM,
    ComplianceCheck,
    ComplianceFinding,
    ComplianceOutcome,
    ComplianceReport,
    Framework,
    ReportChange,
    ReportRow,
    changed_since,
    document_of,
    make_report,
)

LOOKS: Mapping[ComplianceCheck, Look] = {
    ComplianceCheck.PROTECTION: in_settings.protection,
    ComplianceCheck.AT_REST: on_machine.at_rest,
    ComplianceCheck.IN_TRANSIT: on_machine.in_transit,
    ComplianceCheck.PROXY_TLS: in_settings.proxy_tls,
    ComplianceCheck.FIELDS: on_machine.fields,
    ComplianceCheck.SCOPE: on_machine.scope,
    ComplianceCheck.MINIMISATION: on_machine.minimisation,
    ComplianceCheck.BACKUPS: on_machine.backups,
    ComplianceCheck.RESTORE: on_machine.restore,
    ComplianceCheck.KEYS: in_settings.keys,
    ComplianceCheck.KEY_PROVIDER: in_settings.key_provider,
    ComplianceCheck.RUNNING_POLICY: in_settings.running_policy,
    ComplianceCheck.SERVER_LOGIN: in_settings.server_login,
    ComplianceCheck.ROLES: in_settings.roles,
    ComplianceCheck.PURPOSES: in_settings.purposes,
    ComplianceCheck.AUDIT_CHAIN: in_settings.audit_chain,
    ComplianceCheck.AUDIT_COMMANDS: in_settings.audit_commands,
    ComplianceCheck.PSEUDONYMS: in_settings.pseudonyms,
    ComplianceCheck.LOGS: on_machine.logs,
    ComplianceCheck.DETECTION: in_settings.detection,
    ComplianceCheck.ERASURE: in_settings.erasure,
    ComplianceCheck.VERSIONS: on_machine.versions,
}


# ---------------------------------------------------------------------------- a compliance report as a page

_TONES = {ComplianceOutcome.PASS: Tone.FINE, ComplianceOutcome.FAIL: Tone.ACT}


def page_of(report: ComplianceReport, changes: Sequence[ReportChange], signed: bytes) -> ReportPage:
    """`signed` is the file of the signed report; its hash ties the page to it."""
    facts: list[tuple[str, str | int]] = [
        ("Deployment", report.name),
        ("Made", report.made.isoformat(timespec="seconds")),
        ("Passed", report.count(ComplianceOutcome.PASS)),
        ("Failed", report.count(ComplianceOutcome.FAIL)),
        ("Partly", report.count(ComplianceOutcome.PARTLY)),
        ("Not looked at", report.count(ComplianceOutcome.NOT_LOOKED_AT)),
        ("Databases and collections that were not looked at", len(report.unseen)),
        *report.versions.items(),
    ]
    if signed:
        facts.append(("SHA-256 of the signed report", sha256(signed).hexdigest()))
    sections = [_framework(report, framework) for framework in Framework]
    if changes:
        sections.insert(0, PageSection("Changed", tables=(PageTable.of(("what", "was", "is"), changes),)))
    checks = PageTable.of(
        ("check", "outcome", "evidence", "next step"), [_check(*each) for each in report.findings.items()]
    )
    sections.append(PageSection("Checks", tables=(checks,)))
    if report.unseen:
        names = PageTable.of(("database or collection",), [(name,) for name in report.unseen])
        sections.append(PageSection("Not looked at", tables=(names,)))
    failed, whole = report.count(ComplianceOutcome.FAIL), report.count(ComplianceOutcome.PASS)
    tone = Tone.ACT if failed else Tone.FINE if whole == len(report.rows) else Tone.LOOK
    verdict = Mark(f"{report.name} {report.verdict}", tone)
    return ReportPage(f"Compliance of {report.name}", verdict, tuple(facts), tuple(sections))


def _outcome(outcome: ComplianceOutcome) -> Mark:
    return Mark(outcome.value, _TONES.get(outcome, Tone.LOOK))


def _framework(report: ComplianceReport, framework: Framework) -> PageSection:
    rows = [row for row in report.rows if row.requirement.framework is framework]
    columns = ("where", "what", "outcome", "shown by", "attested")
    return PageSection(framework.value, tables=(PageTable.of(columns, [_row(row) for row in rows]),))


def _row(row: ReportRow) -> tuple[str | Mark, ...]:
    asked = row.requirement
    shown = ", ".join(f"{check.value} ({each.outcome.value})" for check, each in row.findings.items())
    attested = "; ".join(each.text for each in row.duties)
    return asked.source, asked.title, _outcome(row.outcome), shown or "-", attested or "-"


def _check(check: ComplianceCheck, finding: ComplianceFinding) -> tuple[str | Mark, ...]:
    evidence = "; ".join(finding.evidence)
    hint = "" if finding.outcome is ComplianceOutcome.PASS else finding.hint
    return f"{check.value}: {check.text}", _outcome(finding.outcome), evidence, hint or "-"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the report goes, besides the terminal."""

    output: Path | None
    html: Path | None
    key: Path | None
    as_json: bool


@click.command()
@click.argument("settings_path", metavar="SETTINGS", type=PRESENT_FILE)
@click.option("--baseline", type=PRESENT_FILE, help="An earlier report: say what changed since.")
@settings(
    "outputs",
    Outputs,
    click.option("--output", type=PATH, help="Write the signed report, as JSON, to this file."),
    click.option("--html", type=PATH, help="Write it as one HTML page."),
    click.option("--key", type=PRESENT_FILE, help="What signs it: audit.key of `sealwire audit create-key`."),
    json_option,
)
def report(settings_path: Path, baseline: Path | None, outputs: Outputs) -> None:
    """Check the deployment that SETTINGS describes, and report row by row.

    The first line is the verdict. Each row of UK GDPR, the Caldicott Principles and DSPT (CAF-aligned outcome
    B3) passes, partly passes, fails or was not looked at, with evidence. What cannot be looked at fails; a
    row of which a check was not looked at is "partly" at best. It changes nothing and shows no value. What no
    program can see, somebody attests in SETTINGS, for a year (docs/operations/compliance.md). Run it on the
    database's machine as root, so that it can see what the database has open.

    Exit code 1 when a row fails.

    \b
    Examples:
      sealwire compliance report compliance.yaml
      sealwire compliance report compliance.yaml --key audit.key --output today.json --html today.html
      sealwire compliance report compliance.yaml --key audit.key --baseline last-quarter.json --json
    """
    if outputs.output is not None and outputs.key is None:
        raise click.UsageError("--output needs --key: the report is signed")
    if baseline is not None and outputs.key is None:
        raise click.UsageError("--baseline needs --key: what an earlier report says counts if it is signed")
    key = None if outputs.key is None else load_signing_key(outputs.key)
    raw = read_named_file(settings_path, "the settings")
    deployment = Deployment(read_compliance(raw, settings_path), os.environ)
    earlier = None if baseline is None or key is None else _earlier(baseline, key)
    found = with_bar(
        ComplianceCheck,
        len(ComplianceCheck),
        lambda check: check.text,
        lambda check: looked(check, LOOKS[check], deployment),
    )
    made = datetime.now(UTC)
    wanted = deployment.settings
    findings = dict(zip(ComplianceCheck, found, strict=True))
    done = make_report(wanted.name, made, _versions(), findings, wanted.attested)
    changes = () if earlier is None else changed_since(done, earlier)
    _write(done, changes, outputs, key)
    sys.exit(EX_NO if done.count(ComplianceOutcome.FAIL) else 0)


def _earlier(path: Path, key: SigningKey) -> Mapping[str, Any]:
    return open_document(read_named_file(path, "the baseline"), FORM, key.verification, str(path))


def _versions() -> dict[str, str]:
    return {
        "sealwire": __version__,
        "python": platform.python_version(),
        "cryptography": version("cryptography"),
        "pymongo": version("pymongo"),
    }


def _write(
    report: ComplianceReport, changes: tuple[ReportChange, ...], outputs: Outputs, key: SigningKey | None
) -> None:
    document = document_of(report)
    signed = b"" if key is None else sign_document(FORM, document, key)
    if outputs.output is not None:
        replace_private(outputs.output, signed)
    if outputs.html is not None:
        write_page(outputs.html, page_of(report, changes, signed))
    if outputs.as_json:
        print_json({**document, "changed": changes})
        return
    rows = [
        (row.requirement.framework.value, row.requirement.source, row.requirement.title, row.outcome.value)
        for row in report.rows
    ]
    click.echo(f"verdict: {report.verdict}")
    show_table(("asked by", "where", "what", "outcome"), rows)
    for check, finding in report.findings.items():
        if finding.outcome is not ComplianceOutcome.PASS:
            outcome, said = finding.outcome.value, "; ".join(finding.evidence)
            click.echo(f"{check.value}: {outcome}: {said}")
            if finding.hint:
                click.echo(f"  next: {finding.hint}")
    for duty in {each.duty: each for row in report.rows for each in row.duties}.values():
        if duty.outcome is ComplianceOutcome.FAIL:
            click.echo(f"{duty.duty.value}: {duty.text}")
    for change in changes:
        click.echo(f"changed: {change.what} was {change.before}, is {change.after}")
