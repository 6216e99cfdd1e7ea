"""`sealwire tls`: look at the TLS of MongoDB servers and web servers from outside, and judge it by rules."""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table
from rich.text import Text

from sealwire.cli import pages
from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options import json_option, settings
from sealwire.cli.output import print_json, progress, show_table
from sealwire.cli.tasks import until_signal, write_first_run
from sealwire.files.html.frame import Mark, Tone
from sealwire.files.yaml_source import MAX_SOURCE_BYTES
from sealwire.proxy.server.errors import read_named_file
from sealwire.sidecars.tls_check.certificate import http_fetch, load_identity, load_trust
from sealwire.sidecars.tls_check.judging import RULES, BrokenRule, RuleSet, Severity, parse_rules
from sealwire.sidecars.tls_check.offers import Support
from sealwire.sidecars.tls_check.report import (
    VERDICT_WORDS,
    Report,
    TargetReport,
    TlsMetrics,
    days_left,
    make_report,
    to_json,
    write_whole,
)
from sealwire.sidecars.tls_check.suites import SuiteVerdict
from sealwire.sidecars.tls_check.target import EndpointFacts, Presented, Target, parse_targets
from sealwire.sidecars.tls_check.verify import Settings, Watcher, settings_for, verify_targets


@click.command()
@json_option
def rules(as_json: bool) -> None:
    """List the rules: what each is about and what breaking it means by default.

    \b
    Example:
      sealwire tls rules
    """
    rules = RULES.values()
    if as_json:
        print_json([asdict(rule) | {"severity": rule.severity.value} for rule in rules])
        return
    # a rule's name is what --rule takes, in one piece
    columns = (Column("rule", no_wrap=True), "default", "what it is about", "source")
    show_table(columns, ((rule.id, rule.severity.value, rule.explanation, rule.source) for rule in rules))


_FILE = click.Path(dir_okay=False, path_type=Path)


# Options of `sealwire tls verify` that take some reading: rules, targets in a file, a period, an address.

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_PERIOD_S = 30 * 86_400


def read_settings(
    ca: Path | None,
    client_certificate: Path | None,
    revocation: bool,
    http_port: int,
    timeout: float,
    budget: float,
) -> Settings:
    """How to look. Raises Unusable."""
    return Settings(
        trust=load_trust(ca),
        identity=load_identity(client_certificate) if client_certificate is not None else None,
        timeout_s=timeout,
        budget_s=budget,
        http_port=http_port,
        fetch=http_fetch(timeout) if revocation else None,
    )


def read_rules(rules: Path | None, rule: tuple[str, ...]) -> RuleSet:
    """The rules: defaults, then the file, then `--rule ID=SEVERITY`. Raises SourceError, click.UsageError."""
    found = RuleSet() if rules is None else parse_rules(read_named_file(rules, "the rules"), str(rules))
    severities = dict(found.severities)
    for change in rule:
        name, _, word = change.partition("=")
        if name not in RULES:
            raise click.UsageError(f"--rule: no rule '{name}'; `sealwire tls rules` lists them")
        if word not in {severity.value for severity in Severity}:
            raise click.UsageError(f"--rule {name}: write {name}=warn, {name}=fail or {name}=off")
        severities[name] = Severity(word)
    return RuleSet(severities, found.thresholds)


def read_targets(targets: tuple[str, ...], targets_file: Path | None) -> tuple[Target, ...]:
    """Targets of the command line and of a file; there may be passwords in both, and none in the result.

    Raises as `parse_targets`
    """
    if targets_file is None:
        return parse_targets(targets)
    content = read_named_file(targets_file, "the targets")[:MAX_SOURCE_BYTES].decode("utf-8", "replace")
    return parse_targets(targets, str(targets_file), content)


def read_period(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """Seconds of a time such as `30s`, `15m`, `6h` or `1d`; click shows the failure as wrong usage."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,7})([smhd])", text)
    seconds = int(match.group(1)) * _UNITS_S[match.group(2)] if match else 0
    if not 0 < seconds <= _LONGEST_PERIOD_S:
        raise click.BadParameter("write a number and s, m, h or d, such as 6h; at most 30d")
    return float(seconds)


def read_address(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, int] | None:
    """Host and port of `HOST:PORT` to listen on; click shows the failure as wrong usage."""
    if text is None:
        return None
    host, _colon, port = text.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 1 << 16:
        raise click.BadParameter("write HOST:PORT, such as 127.0.0.1:9186")
    return host.strip("[]"), int(port)


# Shows a TLS report on the terminal. Names come from servers: they are printed as text, never as markup.

_STYLES = {"fail": "bold red", "warn": "yellow", "pass": "green"}


def show_report(report: Report, console: Console, *, quiet: bool) -> None:
    """Print every target and the verdict; with `quiet` only what is wrong, and nothing when nothing is."""
    for target in report.targets:
        if target.findings or not quiet:
            _show_target(target, console, quiet=quiet)
    if not quiet or report.verdict is not Severity.OFF:
        word = VERDICT_WORDS[report.verdict]
        fails, warns = report.count(Severity.FAIL), report.count(Severity.WARN)
        counts = f" failures: {fails}, warnings: {warns}, targets: {len(report.targets)}"
        console.print(Text(word, _STYLES[word]) + Text(counts))


def _show_target(report: TargetReport, console: Console, *, quiet: bool) -> None:
    label = report.facts.target.label
    console.print(Text(label, "bold"), soft_wrap=True)
    labels = {facts.endpoint.label for facts in report.facts.endpoints}
    if label not in labels:
        _show_findings(report.at(label), console)
    for facts in report.facts.endpoints:
        if facts.endpoint.label != label:
            member = ", a member that another one named" if facts.discovered else ""
            console.print(Text(f"{facts.endpoint.label}{member}"), soft_wrap=True)
        if not quiet:
            _show_facts(facts, console)
        _show_findings(report.at(facts.endpoint.label), console)
    console.print()


def _show_facts(facts: EndpointFacts, console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    for name, value in _rows_of(facts):
        table.add_row(Text(f"  {name}"), Text(value))
    console.print(table)


def _rows_of(facts: EndpointFacts) -> Iterator[tuple[str, str]]:
    """What was seen of a server, for the terminal and the page."""
    if facts.versions:
        yield "versions", _versions(facts)
    for found in facts.accepted:
        kinds = Counter(suite.verdict for suite in found.suites)
        counts = ", ".join(f"{kinds[verdict]} {verdict.value}" for verdict in SuiteVerdict if kinds[verdict])
        yield f"{found.version.label} suites", counts
    if facts.presented is not None:
        yield from _certificate_rows(facts.presented)
    if facts.plaintext is not None:
        yield "without TLS", facts.plaintext.value
    if facts.http is not None:
        yield "HSTS", facts.http.hsts or "none"


def _versions(facts: EndpointFacts) -> str:
    """What is accepted and refused; what was not answered is neither."""
    named = {
        support: ", ".join(found.version.label for found in facts.versions if found.support is support)
        for support in Support
    }
    text = f"accepted {named[Support.ACCEPTED] or 'none'}; refused {named[Support.REFUSED] or 'none'}"
    unknown = named[Support.UNKNOWN]
    return f"{text}; no answer to {unknown}" if unknown else text


def _certificate_rows(shown: Presented) -> Iterator[tuple[str, str]]:
    for number, certificate in enumerate(shown.chain):
        end = f"until {certificate.not_after:%Y-%m-%d} ({days_left(certificate)} days)"
        subject = f"{certificate.subject or '-'}, {certificate.key}, {certificate.signature}, {end}"
        yield "certificate" if number == 0 else "  issued by", subject
    yield "names", ", ".join(shown.chain[0].names) or "none"
    yield "trusted", shown.distrust or "yes"
    staple = ", stapled" if shown.revocation.stapled else ""
    yield "revocation", f"{shown.revocation.status.value}{staple}"
    yield "client cert", shown.client_certificate.value


def _show_findings(findings: tuple[BrokenRule, ...], console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    # a rule's name is what --rule takes: it is never cut, and the rest finds its place beside it
    for options in ({"no_wrap": True}, {"no_wrap": True}, {"overflow": "fold"}):
        table.add_column(**options)
    for finding in findings:
        word = finding.severity.value
        remedy = RULES[finding.rule].remedy
        table.add_row(
            Text(f"  {word}", _STYLES[word]), Text(finding.rule), Text(f"{finding.detail}\n-> {remedy}")
        )
    if findings:
        console.print(table)


# The same as a page: a section for each target and each of its servers.

_TONES = {Severity.FAIL: Tone.ACT, Severity.WARN: Tone.LOOK}
_SUITE_TONES = {
    **dict.fromkeys((SuiteVerdict.RECOMMENDED, SuiteVerdict.SUFFICIENT), Tone.FINE),
    SuiteVerdict.LEGACY: Tone.LOOK,
    **dict.fromkeys((SuiteVerdict.NO_FORWARD_SECRECY, SuiteVerdict.INSECURE), Tone.ACT),
}


def page_of(report: Report) -> pages.ReportPage:
    """The whole report as a page."""
    verdict = Mark(VERDICT_WORDS[report.verdict], _TONES.get(report.verdict, Tone.FINE))
    facts = (
        ("Targets", len(report.targets)),
        ("Failures", report.count(Severity.FAIL)),
        ("Warnings", report.count(Severity.WARN)),
        ("Finished", f"{report.finished:%Y-%m-%d %H:%M:%S} UTC"),
    )
    sections = tuple(section for target in report.targets for section in _sections(target))
    return pages.ReportPage(f"TLS report: {verdict.text}", verdict, facts, sections)


def _sections(report: TargetReport) -> Iterator[pages.PageSection]:
    label, endpoints = report.facts.target.label, report.facts.endpoints
    if label not in {facts.endpoint.label for facts in endpoints}:
        yield _section(label, report.at(label))
    for facts in endpoints:
        found = report.at(facts.endpoint.label)
        member = ", a member that another one named" if facts.discovered else ""
        yield _section(f"{facts.endpoint.label}{member}", found, *_tables(facts))


def _section(title: str, findings: tuple[BrokenRule, ...], *seen: pages.PageTable) -> pages.PageSection:
    if not findings:
        return pages.PageSection(title, ("Nothing to complain of.",), tables=seen)
    columns = ("", "rule", "what was found", "what it is about", "remedy", "source")
    rows = []
    for each in findings:
        mark, rule = Mark(each.severity.value, _TONES[each.severity]), RULES[each.rule]
        rows.append((mark, rule.id, each.detail, rule.explanation, rule.remedy, rule.source))
    return pages.PageSection(title, tables=(pages.PageTable.of(columns, rows), *seen))


def _tables(facts: EndpointFacts) -> Iterator[pages.PageTable]:
    rows = list(_rows_of(facts))
    if facts.trouble is not None:
        rows.append(("trouble", facts.trouble.value))
    shown = facts.presented
    if shown is not None:
        rows.append(("agreed on", f"{shown.version}, {shown.suite}"))
        rows.append(("names this host", "yes" if shown.names_host else "no"))
        rows.append(("issued by", ", ".join(each.issuer for each in shown.chain)))
    yield pages.PageTable.of(("what", "seen"), rows)
    suites = []
    for version, suite in ((found.version, suite) for found in facts.accepted for suite in found.suites):
        mark = Mark(suite.verdict.value, _SUITE_TONES[suite.verdict])
        suites.append((version.label, suite.name, mark, suite.why, suite.source))
    if suites:
        names = ("version", "cipher suite, in the server's order", "verdict", "why", "source")
        yield pages.PageTable.of(names, suites)


@dataclass(frozen=True, slots=True)
class Output:
    """Where a report goes, as the options say."""

    as_json: bool
    quiet: bool
    html: Path | None
    metrics_file: Path | None

    def show(self, report: Report, metrics: TlsMetrics) -> None:
        """Files first: a terminal that went away is not to keep them from being written."""
        metrics.update(report)
        if self.html is not None:
            write_whole(self.html, pages.page_html(page_of(report)).encode())
        if self.metrics_file is not None:
            metrics.write(self.metrics_file)
        if self.as_json:
            click.echo(to_json(report), nl=False)
        else:
            show_report(report, Console(), quiet=self.quiet)


@click.command(name="verify")
@click.argument("targets", metavar="TARGET...", nargs=-1)
@click.option("--targets-file", type=_FILE, help="More targets, one a line; for those with a password.")
@click.option("--ca", type=_FILE, help="Trust the authorities in this PEM file, instead of the system's.")
@click.option("--client-certificate", type=_FILE, help="PEM with certificate and key, for mutual TLS.")
@click.option("--rule", metavar="ID=off|warn|fail", multiple=True, help="Change a rule. Repeatable.")
@click.option("--rules", type=_FILE, help="YAML file with rules and thresholds.")
@click.option("--strict", is_flag=True, help="Exit with code 1 for warnings as well.")
@click.option("--revocation", is_flag=True, help="Ask the authorities by OCSP or CRL.")
@click.option(
    "--http-port",
    type=click.IntRange(0, 65535),
    default=80,
    show_default=True,
    help="Where https:// targets are asked for their redirect; 0: nowhere.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 300),
    default=5.0,
    show_default=True,
    help="Seconds for each connection.",
)
@click.option(
    "--budget",
    type=click.FloatRange(1, 3600),
    default=60.0,
    show_default=True,
    help="Seconds for all versions and suites of one server.",
)
@json_option
@click.option("--quiet", is_flag=True, help="Print findings only, and nothing when there are none: for cron.")
@click.option("--html", type=_FILE, help="Write the report as one HTML page.")
@click.option("--metrics-file", type=_FILE, help="Write Prometheus metrics, for a textfile collector.")
@click.option(
    "--watch", callback=read_period, metavar="PERIOD", help="Verify again every PERIOD, such as 6h."
)
@click.option(
    "--metrics-listen", callback=read_address, metavar="HOST:PORT", help="With --watch: serve /metrics."
)
@settings("rules", read_rules)
@settings("targets", read_targets)
@settings("look", read_settings)
@settings("output", Output)
def verify(  # noqa: PLR0913 - one parameter a group of options
    targets: tuple[Target, ...],
    rules: RuleSet,
    look: Settings,
    output: Output,
    *,
    strict: bool,
    watch: float | None,
    metrics_listen: tuple[str, int] | None,
) -> None:
    """Connect to each TARGET as a client would and report what its TLS is worth.

    TARGET is a MongoDB connection string (all its members are looked at), an https:// URL or HOST:PORT. No
    login is needed, and none is made: leave user and password out. Changes nothing anywhere.

    Exit code 0 when no rule fails, 1 when one does (with --strict: or warns), 78 for a target or file that
    cannot be read.

    \b
    Examples:
      sealwire tls verify 'mongodb://db1.example:27017/?tls=true' --ca authority.crt
      sealwire tls verify https://clinic.example/ --html report.html
      sealwire tls verify db1.example:27017 --rule no-tls13=fail --rule hsts-missing=off --json
      sealwire tls verify --targets-file targets.txt --quiet --strict
      sealwire tls verify --targets-file targets.txt --watch 6h --metrics-listen 127.0.0.1:9186
    """
    if metrics_listen is not None and watch is None:
        raise click.UsageError("--metrics-listen needs --watch: a single run ends before anybody can ask")
    write_first_run(output.metrics_file, "tls", datetime.now(UTC))
    for target in targets:
        settings_for(target, look)  # a file that cannot be used is said before anything is looked at
    metrics = TlsMetrics()
    if output.metrics_file is not None:
        metrics.recall(output.metrics_file)
    if watch is None:
        report = _run(targets, look, rules)
        output.show(report, metrics)
        bad = (Severity.FAIL, Severity.WARN) if strict else (Severity.FAIL,)
        sys.exit(EX_NO if report.verdict in bad else 0)
    # Again and again until SIGINT or SIGTERM; a period is counted from the end of a run.
    with until_signal() as ended:
        if metrics_listen is not None:
            metrics.listen(*metrics_listen)
        while not ended.is_set():
            output.show(_run(targets, look, rules), metrics)
            ended.wait(watch)


def _run(targets: tuple[Target, ...], look: Settings, rules: RuleSet) -> Report:
    with progress(*Progress.get_default_columns()) as bars:
        task = bars.add_task("verifying", total=len(targets))
        watcher = Watcher(
            look_at=lambda endpoint: bars.update(task, description=endpoint.label),
            done=lambda: bars.advance(task),
        )
        return make_report(verify_targets(targets, look, watcher), rules)
