"""`sealwire tls verify`: what the TLS of servers is worth, once or again and again."""

import signal
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options.common import json_option, settings
from sealwire.cli.output import progress
from sealwire.cli.task_figures import write_first_run
from sealwire.cli.tls.options import read_address, read_period, read_rules, read_settings, read_targets
from sealwire.cli.tls.show import show_report
from sealwire.sidecars.tls_check.judging.rules import RuleSet, Severity
from sealwire.sidecars.tls_check.report.metrics import TlsMetrics
from sealwire.sidecars.tls_check.report.page import to_html
from sealwire.sidecars.tls_check.report.report import Report, make_report, to_json, write_whole
from sealwire.sidecars.tls_check.target import Target
from sealwire.sidecars.tls_check.verify import Settings, Watcher, settings_for, verify_targets

_FILE = click.Path(dir_okay=False, path_type=Path)


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
            write_whole(self.html, to_html(report).encode())
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
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
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
