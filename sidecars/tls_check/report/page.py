"""The report as one HTML page that needs nothing else: no script, no font, no address outside it.

Names in it were chosen by servers and certificates: every text is escaped, none is an attribute or a link.
"""

from collections.abc import Iterable
from html import escape

from sealwire.sidecars.tls_check.certificate.certificate import CertificateFacts
from sealwire.sidecars.tls_check.connection.offers import Support, VersionSupport
from sealwire.sidecars.tls_check.connection.suites import Verdict
from sealwire.sidecars.tls_check.facts import EndpointFacts, Presented
from sealwire.sidecars.tls_check.judging.findings import Finding
from sealwire.sidecars.tls_check.judging.rules import RULES, Severity
from sealwire.sidecars.tls_check.report.report import VERDICT_WORDS, Report, TargetReport, days_left

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --fail: #b3261e; --warn: #9a6700; --pass: #1a7f37; }
@media (prefers-color-scheme: dark) { :root { --fail: #ff8a80; --warn: #e3b341; --pass: #56d364; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 2px solid var(--line); }
h1, h2, h3, td { overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; }
th, td { border-bottom: 1px solid var(--line); }
th { font-weight: 600; white-space: nowrap; }
.word { font-weight: 700; text-transform: uppercase; font-size: .85em; white-space: nowrap; }
.fail { color: var(--fail); } .warn { color: var(--warn); } .pass { color: var(--pass); }
small { opacity: .75; } summary { cursor: pointer; } code { font-size: .9em; }
"""

_CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_CHAIN_HEAD = ("Certificate", "Names", "Key", "Signature", "Expires")

_SUITE_CLASS = {
    Verdict.RECOMMENDED: "pass",
    Verdict.SUFFICIENT: "pass",
    Verdict.LEGACY: "warn",
    Verdict.NO_FORWARD_SECRECY: "fail",
    Verdict.INSECURE: "fail",
}


def to_html(report: Report) -> str:
    """The whole page, UTF-8 text."""
    word = VERDICT_WORDS[report.verdict]
    counts = f"failures: {report.count(Severity.FAIL)}, warnings: {report.count(Severity.WARN)}"
    targets = "".join(_target(target) for target in report.targets)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_CONTENT_POLICY}">\n'
        f"<title>TLS report: {word}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>TLS report: {_word(word, word)}</h1>\n"
        f"<p>{counts} in {len(report.targets)} targets, {report.finished:%Y-%m-%d %H:%M:%S} UTC</p>\n"
        f"{targets}</body>\n</html>\n"
    )


def _target(report: TargetReport) -> str:
    target = report.facts.target
    own = _findings(report.at(target.label)) if report.at(target.label) else ""
    labels = [facts.endpoint.label for facts in report.facts.endpoints]
    shared = target.label in labels  # host:port targets: the place is both
    endpoints = "".join(
        ("" if shared else _heading(facts)) + _endpoint(facts, report.at(facts.endpoint.label))
        for facts in report.facts.endpoints
    )
    return f"<section>\n<h2>{escape(target.label)}</h2>\n{'' if shared else own}{endpoints}</section>\n"


def _heading(facts: EndpointFacts) -> str:
    member = " <small>member of the replica set, named by another one</small>" if facts.discovered else ""
    return f"<h3>{escape(facts.endpoint.label)}{member}</h3>\n"


def _endpoint(facts: EndpointFacts, findings: tuple[Finding, ...]) -> str:
    rows = [("Versions", _versions(facts.versions))]
    if facts.plaintext is not None:
        rows.append(("Without TLS", escape(facts.plaintext.value)))
    if facts.trouble is not None:
        rows.append(("Trouble", escape(facts.trouble.value)))
    if facts.presented is not None:
        rows += _shown(facts.presented)
    if facts.http is not None:
        rows.append(("HSTS", escape(facts.http.hsts or "none")))
    shown = facts.presented
    chain = "" if shown is None else _table(map(_certificate, shown.chain), _CHAIN_HEAD)
    suites = _suites(facts.accepted) if facts.accepted else ""
    return f"{_findings(findings)}<table>{_rows(rows)}</table>\n{chain}{suites}"


def _findings(findings: tuple[Finding, ...]) -> str:
    if not findings:
        return f"<p>{_word('pass', 'pass')} nothing to complain of</p>\n"
    return _table(
        (
            _word(found.severity.value, found.severity.value),
            f"<code>{found.rule}</code>",
            f"{escape(found.detail)}<br><small>{escape(RULES[found.rule].explanation)}. Remedy: "
            f"{escape(RULES[found.rule].remedy)}. Source: {escape(RULES[found.rule].source)}</small>",
        )
        for found in findings
    )


def _versions(versions: Iterable[VersionSupport]) -> str:
    words = {Support.ACCEPTED: "accepted", Support.REFUSED: "refused", Support.UNKNOWN: "no answer"}
    return ", ".join(f"{found.version.label} {words[found.support]}" for found in versions) or "not asked"


def _shown(shown: Presented) -> list[tuple[str, str]]:
    revocation = shown.revocation
    staple = ", stapled" if revocation.stapled else ""
    return [
        ("Agreed on", f"{escape(shown.version)}, {escape(shown.suite)}"),
        ("Trusted", escape(shown.distrust) if shown.distrust else "yes"),
        ("Names this host", "yes" if shown.names_host else "no"),
        ("Client certificate", escape(shown.client_certificate.value)),
        ("Revocation", f"{escape(revocation.status.value)}{staple}"),
    ]


def _certificate(facts: CertificateFacts) -> tuple[str, ...]:
    return (
        f"{escape(facts.subject) or '-'}<br><small>issued by {escape(facts.issuer)}</small>",
        escape(", ".join(facts.names) or "-"),
        escape(facts.key),
        escape(facts.signature),
        f"{facts.not_after:%Y-%m-%d}<br><small>{days_left(facts)} days left</small>",
    )


def _suites(versions: Iterable[VersionSupport]) -> str:
    table = _table(
        (
            found.version.label,
            f"<code>{suite.name}</code>",
            _word(_SUITE_CLASS[suite.verdict], suite.verdict.value),
            f"{escape(suite.why)} <small>{escape(suite.source)}</small>",
        )
        for found in versions
        for suite in found.suites
    )
    return f"<details><summary>Cipher suites, in the server's order</summary>{table}</details>\n"


def _table(rows: Iterable[Iterable[str]], head: Iterable[str] = ()) -> str:
    """Cells are HTML already."""
    names = "".join(f"<th>{name}</th>" for name in head)
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>\n" for line in (names, *lines) if line) + "</table>\n"


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<tr><th>{name}</th><td>{value}</td></tr>\n" for name, value in rows)


def _word(css: str, word: str) -> str:
    return f'<span class="word {css}">{word}</span>'
