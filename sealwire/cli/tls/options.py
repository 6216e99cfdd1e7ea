"""Options of `sealwire tls verify` that take some reading: rules, targets in a file, a period, an address."""

import re
from pathlib import Path

import click

from sealwire.files.yaml_source import MAX_SOURCE_BYTES
from sealwire.proxy.server.config.reader import read_named_file
from sealwire.sidecars.tls_check.certificate.revocation import http_fetch
from sealwire.sidecars.tls_check.certificate.trust import load_identity, load_trust
from sealwire.sidecars.tls_check.judging.rules import RULES, RuleSet, Severity, parse_rules
from sealwire.sidecars.tls_check.target import Target, parse_targets
from sealwire.sidecars.tls_check.verify import Settings

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
    """How to look. Raises UnusableFile."""
    return Settings(
        trust=load_trust(ca) if ca is not None else None,
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
