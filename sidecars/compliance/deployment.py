"""What the checks of a deployment share: its settings, and what these lead to, each read once."""

import http.client
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from sealwire.audit.files import files_of
from sealwire.cli.audit import lines_in
from sealwire.cli.exit_codes import exit_code
from sealwire.files.yaml_source import Node, parse_yaml
from sealwire.keys.keyring.file import read_record
from sealwire.keys.keyring.record import KeyringRecord
from sealwire.keys.providers import Providers
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.server.config.policy_file import PolicyFile, read_policy
from sealwire.proxy.server.config.reader import load_config
from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.observability.audit_settings import AuditSettings
from sealwire.proxy.server.tls import pinned_context
from sealwire.sidecars.compliance.requirements import (
    Attestation,
    ComplianceCheck,
    ComplianceFinding,
    ComplianceOutcome,
    Duty,
)

T = TypeVar("T")

# What a deployment has, as its operator writes it down in `compliance.yaml`.

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


_TIMEOUT_S: Final = 5.0
_MOST_BYTES: Final = 1 << 20
"""So much of an answer is read at most."""


class NotSetUp(Exception):
    """A check needs something that the settings do not have. `str()` is what to add."""


def needed(section: T | None, missing: str) -> T:
    """A section of the settings. Raises NotSetUp, which says what is `missing`."""
    if not section:
        raise NotSetUp(missing)
    return section


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """What one proxy says of itself; empty texts are what it does not say."""

    url: str
    policy: str = ""
    """The beginning of its policy's hash; `mixed` while its workers have several."""
    provider: str = ""
    is_observing: bool = False
    """Whether some of its policy, or all of it, is only observed."""
    problem: str = ""
    """Why it says nothing."""


def ask_proxies(proxies: RunningProxies) -> list[RunningProxy]:
    """What each says at /readyz, ready or not. Raises FileProblem, PermissionProblem for the certificate."""
    return [_ask(url, proxies) for url in proxies.admin]


def _ask(url: str, proxies: RunningProxies) -> RunningProxy:
    place = urlsplit(url)
    host, port = place.hostname or "", place.port
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    if place.scheme == "https" and proxies.certificate is not None:
        context = pinned_context(proxies.certificate)
        connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context)
    try:
        connection.request("GET", "/readyz")
        said = json.loads(connection.getresponse().read(_MOST_BYTES))
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return RunningProxy(url, problem="no answer that a proxy gives")
    finally:
        connection.close()
    if not isinstance(said, dict) or "policy" not in said or "provider" not in said:
        return RunningProxy(url, problem="it does not say its policy and provider: ask by a numeric address")
    is_observing = said.get("mode") == "observe"
    return RunningProxy(url, str(said["policy"])[:64], str(said["provider"])[:64], is_observing)


class Deployment:
    """See the module. What cannot be read raises its own error, in each check that needs it."""

    def __init__(self, settings: ComplianceSettings, environ: Mapping[str, str]) -> None:
        self.settings = settings
        self._environ = environ

    @cached_property
    def config(self) -> Config:
        """The proxy's configuration."""
        return load_config(self.settings.proxy, self._environ)

    @cached_property
    def policy_file(self) -> PolicyFile:
        """The policy's file, with its hash."""
        return read_policy(self.config.policy)

    @property
    def policy(self) -> PolicySet:
        """The policy as its file has it, enforced or not."""
        return self.policy_file.rules.written or self.policy_file.rules

    @cached_property
    def running(self) -> list[RunningProxy] | None:
        """What the running proxies say of themselves; None if no admin address is given."""
        proxies = self.settings.proxies
        return None if proxies is None else ask_proxies(proxies)

    @cached_property
    def keyring(self) -> KeyringRecord:
        """The keyring as it lies there: wrapped, and not authenticated."""
        providers = Providers(self._environ, self.config.vault)
        return read_record(providers.store(self.config.keyring))

    @property
    def audit(self) -> AuditSettings:
        """How the proxy keeps the audit log. Raises NotSetUp."""
        return needed(self.config.audit, "set audit.path in the proxy's configuration")

    @property
    def audit_log(self) -> Path:
        """Where the audit log lies. Raises NotSetUp."""
        return self.audit.place.path

    def audit_lines(self) -> Iterator[Mapping[str, object]]:
        """What the lines of the audit log say; what cannot be read is left out. Raises NotSetUp, OSError."""
        # no bar: the checks have one
        for line in lines_in(files_of(self.audit_log), lambda _done: None):
            if line is not None:
                yield line


Look = Callable[[Deployment], ComplianceFinding]
"""Looks at one thing. May raise NotSetUp, OSError and every error that an operator can mend."""


def looked(check: ComplianceCheck, look: Look, deployment: Deployment) -> ComplianceFinding:
    """The finding of a check; what cannot be looked at has failed."""
    exempt = deployment.settings.not_applicable.get(check)
    if exempt is not None:
        said = f"{exempt.reason} (said on {exempt.word.on.isoformat()} by {exempt.word.by})"
        if exempt.word.counts_on(datetime.now(UTC).date()):
            return ComplianceFinding(ComplianceOutcome.NOT_APPLICABLE, (said,))
        hint = "a word counts for a year: look again, or give a new date"
        return judged([f"{said}, which does not count today"], [], hint)
    try:
        return look(deployment)
    except NotSetUp as missing:
        return judged(["nothing says where to look"], [], f"{missing}: {MANUAL}")
    except OSError as error:
        return judged([f"could not look: {error.strerror} ({error.filename})"], [])
    except Exception as error:
        if exit_code(error) is None:
            raise
        return judged([f"could not look: {error}"], [], getattr(error, "hint", ""))


def judged(
    bad: Sequence[str], good: Sequence[str], hint: str = "", doubts: Sequence[str] = ()
) -> ComplianceFinding:
    """FAIL if anything is bad, else PARTLY if there are doubts, else PASS, which needs no hint."""
    if not bad and not doubts:
        return ComplianceFinding(ComplianceOutcome.PASS, tuple(good))
    outcome = ComplianceOutcome.FAIL if bad else ComplianceOutcome.PARTLY
    return ComplianceFinding(outcome, (*bad, *doubts, *good), hint)
