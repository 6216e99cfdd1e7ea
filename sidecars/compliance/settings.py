"""What a deployment has, as its operator writes it down in `compliance.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

from sealwire.files.yaml_source import Node, parse_yaml
from sealwire.sidecars.compliance.report import Attestation
from sealwire.sidecars.compliance.requirements import ComplianceCheck, Duty

MANUAL = "docs/operations/compliance.md"


@dataclass(frozen=True, slots=True)
class AtRest:
    """The data directory, and the service whose files lie there."""

    directory: Path
    service: str


@dataclass(frozen=True, slots=True)
class TlsTargets:
    """What is looked at from outside, as `sealwire tls verify` takes it."""

    targets: tuple[str, ...]
    ca: Path | None


@dataclass(frozen=True, slots=True)
class Backups:
    """Where backups are, and how old the newest may be."""

    store: str
    hours: int
    plaintext: Path | None
    """Where plaintext backups may be left."""
    since: date | None
    """The day of the first sealed one."""
    drill_days: int


@dataclass(frozen=True, slots=True)
class AuditPlaces:
    """What the audit log is verified with."""

    key: Path
    checkpoints: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class RunningProxies:
    """The admin addresses that say what the proxies run with."""

    admin: tuple[str, ...]
    """URLs of a host and a port alone: they are shown in the report."""
    certificate: Path | None
    """What addresses with `https` have to show."""


@dataclass(frozen=True, slots=True)
class Exemption:
    """Why a check does not apply, and who says so."""

    reason: str
    word: Attestation


@dataclass(frozen=True, slots=True)
class ComplianceSettings:
    """Sections that are missing are None: their checks fail, and say so."""

    name: str
    proxy: Path
    """The proxy's configuration."""
    server_uri_file: Path | None
    sample: int | None
    """Documents that are read of each collection; None: all."""
    at_rest: AtRest | None
    tls: TlsTargets | None
    backups: Backups | None
    audit: AuditPlaces | None
    logs: tuple[Path, ...]
    watch: Path | None
    """The file of `sealwire watch`."""
    proxies: RunningProxies | None = None
    not_applicable: Mapping[ComplianceCheck, Exemption] = field(default_factory=dict)
    attested: Mapping[Duty, Attestation] = field(default_factory=dict)


def read_compliance(source: bytes, path: Path) -> ComplianceSettings:
    """The settings in `source`, which lies at `path`; files that it names are relative to that.

    Raises SourceError, which names line and column.
    """
    folder = path.parent
    top = parse_yaml(source, str(path), MANUAL).entries(
        ["version", "name", "proxy"],
        [
            *("server", "at_rest", "tls", "backups", "audit", "logs", "watch", "proxies"),
            *("not_applicable", "attested"),
        ],
    )
    top["version"].integer(1, 1)
    server = top["server"].entries(["uri_file"], ["sample"]) if "server" in top else {}
    return ComplianceSettings(
        name=top["name"].text(),
        proxy=folder / top["proxy"].text(),
        server_uri_file=_path(folder, server, "uri_file"),
        sample=server["sample"].integer(0, 1 << 40) or None if "sample" in server else 1000,
        at_rest=_at_rest(top["at_rest"]) if "at_rest" in top else None,
        tls=_tls(folder, top["tls"]) if "tls" in top else None,
        backups=_backups(folder, top["backups"]) if "backups" in top else None,
        audit=_audit(folder, top["audit"]) if "audit" in top else None,
        logs=tuple(folder / each.text() for each in top["logs"].items()) if "logs" in top else (),
        watch=_path(folder, top, "watch"),
        proxies=_proxies(folder, top["proxies"]) if "proxies" in top else None,
        not_applicable=_not_applicable(top["not_applicable"]) if "not_applicable" in top else {},
        attested=_attested(top["attested"]) if "attested" in top else {},
    )


def _path(folder: Path, entries: Mapping[str, Node], key: str) -> Path | None:
    return folder / entries[key].text() if key in entries else None


def _at_rest(node: Node) -> AtRest:
    entries = node.entries(["directory", "service"])
    return AtRest(Path(entries["directory"].text()), entries["service"].text())


def _tls(folder: Path, node: Node) -> TlsTargets:
    entries = node.entries(["targets"], ["ca"])
    targets = tuple(each.text() for each in entries["targets"].items())
    if not targets:
        raise entries["targets"].error("no targets", "list at least one: mongodb://HOST or https://HOST")
    return TlsTargets(targets, _path(folder, entries, "ca"))


def _backups(folder: Path, node: Node) -> Backups:
    entries = node.entries(["store"], ["hours", "plaintext", "since", "drill_days"])
    if ("plaintext" in entries) != ("since" in entries):
        raise node.error("`plaintext` and `since` belong together", "give both, or none")
    return Backups(
        entries["store"].text(),
        entries["hours"].integer(1, 24 * 366) if "hours" in entries else 26,
        _path(folder, entries, "plaintext"),
        entries["since"].day() if "since" in entries else None,
        entries["drill_days"].integer(1, 3660) if "drill_days" in entries else 92,
    )


def _audit(folder: Path, node: Node) -> AuditPlaces:
    entries = node.entries(["key"], ["checkpoints"])
    others = entries["checkpoints"].items() if "checkpoints" in entries else ()
    return AuditPlaces(folder / entries["key"].text(), tuple(folder / each.text() for each in others))


def _proxies(folder: Path, node: Node) -> RunningProxies:
    entries = node.entries(["admin"], ["certificate"])
    nodes = entries["admin"].items()
    if not nodes:
        raise entries["admin"].error("no addresses", "list the admin address of each proxy")
    found = RunningProxies(tuple(map(_admin_url, nodes)), _path(folder, entries, "certificate"))
    if found.certificate is None and any(url.startswith("https:") for url in found.admin):
        raise node.error("https without a certificate", "name `admin.tls.certificate` as `certificate`")
    return found


def _admin_url(node: Node) -> str:
    text = node.text()
    try:
        url = urlsplit(text)
        is_place = url.netloc.rpartition("@")[1] == "" and url.port and url.hostname
        is_right = is_place and url.scheme in ("http", "https") and text.rstrip("/").endswith(url.netloc)
    except ValueError:
        is_right = False
    if not is_right:
        raise node.error("not an admin address", "write http://HOST:PORT or https://HOST:PORT")
    return text.rstrip("/")


def _not_applicable(node: Node) -> Mapping[ComplianceCheck, Exemption]:
    found: dict[ComplianceCheck, Exemption] = {}
    for name, said in node.entries([], [check.value for check in ComplianceCheck]).items():
        entries = said.entries(["reason", "date", "by"])
        word = Attestation(entries["date"].day(), entries["by"].text())
        found[ComplianceCheck(name)] = Exemption(entries["reason"].text(), word)
    return found


def _attested(node: Node) -> Mapping[Duty, Attestation]:
    found: dict[Duty, Attestation] = {}
    for name, word in node.entries([], [duty.value for duty in Duty]).items():
        entries = word.entries(["date", "by"], ["reference"])
        reference = entries["reference"].text() if "reference" in entries else ""
        found[Duty(name)] = Attestation(entries["date"].day(), entries["by"].text(), reference)
    return found
