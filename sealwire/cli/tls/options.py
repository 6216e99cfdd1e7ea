"""Options of `sealwire tls verify` that take some reading: rules, targets in a file, a period, an address."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import click

from sealwire.files.yaml_source import MAX_SOURCE_BYTES, Node, parse_yaml
from sealwire.proxy.server.config.reader import read_named_file
from sealwire.sidecars.tls_check.errors import TlsCheckReason, UnusableTarget
from sealwire.sidecars.tls_check.revocation import http_fetch
from sealwire.sidecars.tls_check.rules import MAX_DAYS, RULES, RuleSet, Severity, Thresholds
from sealwire.sidecars.tls_check.target import Target, parse_target
from sealwire.sidecars.tls_check.trust import load_identity, load_trust
from sealwire.sidecars.tls_check.verify import Settings

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_PERIOD_S = 30 * 86_400
MAX_TARGETS = 1000


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """The options of `tls verify`, named as on the command line."""

    targets: tuple[str, ...] = field(repr=False)
    """As written: there may be passwords in them, so they go no further than `read_targets`."""
    targets_file: Path | None
    ca: Path | None
    client_certificate: Path | None
    rule: tuple[str, ...]
    rules: Path | None
    strict: bool
    revocation: bool
    http_port: int
    timeout: float
    budget: float
    as_json: bool
    quiet: bool
    html: Path | None
    metrics_file: Path | None
    watch: float | None
    metrics_listen: tuple[str, int] | None


def read_settings(options: VerifyOptions) -> Settings:
    """How to look. Raises UnusableFile."""
    identity = options.client_certificate
    return Settings(
        trust=load_trust(options.ca) if options.ca is not None else None,
        identity=load_identity(identity) if identity is not None else None,
        timeout_s=options.timeout,
        budget_s=options.budget,
        http_port=options.http_port,
        fetch=http_fetch(options.timeout) if options.revocation else None,
    )


def read_rules(file: Path | None, changes: tuple[str, ...]) -> RuleSet:
    """The rules: defaults, then the file, then `--rule ID=SEVERITY`. Raises SourceError, click.UsageError."""
    severities, thresholds = _read_file(file) if file is not None else ({}, Thresholds())
    for change in changes:
        name, _, word = change.partition("=")
        if name not in RULES:
            raise click.UsageError(f"--rule: no rule '{name}'; `sealwire tls rules` lists them")
        if word not in {severity.value for severity in Severity}:
            raise click.UsageError(f"--rule {name}: write {name}=warn, {name}=fail or {name}=off")
        severities[name] = Severity(word)
    return RuleSet(severities, thresholds)


def _read_file(file: Path) -> tuple[dict[str, Severity], Thresholds]:
    root = parse_yaml(read_named_file(file, "the rules"), str(file), "docs/operations/tls.md")
    entries = root.entries((), ("rules", "thresholds"))
    severities = {}
    if "rules" in entries:
        severities = {name: _severity(node) for name, node in entries["rules"].entries((), RULES).items()}
    if "thresholds" not in entries:
        return severities, Thresholds()
    names = tuple(Thresholds.__dataclass_fields__)
    given = entries["thresholds"].entries((), names)
    return severities, Thresholds(**{name: node.integer(0, MAX_DAYS) for name, node in given.items()})


def _severity(node: Node) -> Severity:
    if node.value is False:  # YAML 1.1 reads a bare `off` so
        return Severity.OFF
    return Severity(node.choice([severity.value for severity in Severity]))


def read_targets(arguments: tuple[str, ...], file: Path | None) -> tuple[Target, ...]:
    """Targets of the command line and of a file: one a line, `#` begins a comment line.

    Raises UnusableTarget with the number of the target or the line, never with its text.
    """
    lines = [(f"target {number}", text) for number, text in enumerate(arguments, 1)]
    if file is not None:
        content = read_named_file(file, "the targets")[:MAX_SOURCE_BYTES].decode("utf-8", "replace")
        numbered = [(f"{file}:{number}", line.strip()) for number, line in enumerate(content.splitlines(), 1)]
        lines += [(place, line) for place, line in numbered if line and not line.startswith("#")]
    if not 0 < len(lines) <= MAX_TARGETS:
        hint = "name one, or a file of them with --targets-file"
        text = "no target is given" if not lines else f"there are more than {MAX_TARGETS} targets"
        raise UnusableTarget(TlsCheckReason.NO_TARGETS, text, hint)
    return tuple(_target(place, text) for place, text in lines)


def _target(place: str, text: str) -> Target:
    try:
        return parse_target(text)
    except UnusableTarget as error:
        raise UnusableTarget(error.reason, f"{place}: {error}", error.hint) from None


class Period(click.ParamType[float]):
    """A time such as `30s`, `15m`, `6h` or `1d`, as seconds."""

    name = "period"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds; click shows the failure as wrong usage."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"([0-9]{1,7})([smhd])", str(value))
        seconds = int(match.group(1)) * _UNITS_S[match.group(2)] if match else 0
        if not 0 < seconds <= _LONGEST_PERIOD_S:
            self.fail("write a number and s, m, h or d, such as 6h; at most 30d", param, ctx)
        return float(seconds)


class Address(click.ParamType[tuple[str, int]]):
    """`HOST:PORT` to listen on, as a pair."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Host and port; click shows the failure as wrong usage."""
        host, _, port = str(value).rpartition(":")
        if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 1 << 16:
            self.fail("write HOST:PORT, such as 127.0.0.1:9186", param, ctx)
        return host.strip("[]"), int(port)
