"""Everything, one after the other; what is wrong with one thing keeps no other from being looked at."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sealwire.proxy.server.audit_writer.keeper import check_audit
from sealwire.proxy.server.config.policy_file import read_policy
from sealwire.proxy.server.config.settings import Config, TlsMode
from sealwire.proxy.server.doctor.diagnosis import Diagnosis, Grade, doubtful, of_finding, tried, unseen
from sealwire.proxy.server.doctor.host import look_at_host
from sealwire.proxy.server.doctor.places import look_at_folders, look_at_ports, look_at_room, look_at_sources
from sealwire.proxy.server.findings import Finding, load_telling
from sealwire.proxy.server.observability.audit import AuditSettings, command_audit
from sealwire.proxy.server.tls import listen_side, upstream_side
from sealwire.proxy.server.workers.checking import check
from sealwire.proxy.server.workers.start import Loaded, load

_FIRST = "look at it again when what is wrong above is mended"


def examine(path: Path, environ: Mapping[str, str], uri_file: Path | None = None) -> Iterator[Diagnosis]:
    """The host, then the configuration at `path` and all that it names, the servers last.

    `uri_file` names a user who may look for plaintext that is stored.

    Raises nothing that a start ends with. Cost: that of a start; each server is connected to once.
    """
    yield from look_at_host()
    read: list[Config] = []
    found: list[Finding] = []

    def configuration() -> str:
        read.append(load_telling(path, environ, found.extend))
        return f"{path}: complete"

    diagnoses = tried("configuration", configuration)
    for finding in found:  # first: they may be why it cannot be read
        yield of_finding(finding.event, finding)
    yield from diagnoses
    if not read:
        yield unseen("what the configuration names", _FIRST)
        return
    config = read[0]
    yield from look_at_sources(path, config)
    yield from look_at_folders(path, config)
    yield from look_at_ports(config)
    yield from look_at_room(config)
    yield from _look_at_audit(config.audit)
    yield from _look_at_parts(config, environ, uri_file)


def _look_at_audit(settings: AuditSettings | None) -> Sequence[Diagnosis]:
    if settings is None:
        hint = "name a file in audit.path, and a key that signs it (docs/operations/audit.md)"
        return [doubtful("audit log", "lines go into the log, and nothing is signed", hint)]

    def look() -> str:
        check_audit(settings)
        command_audit(settings)
        return f"{settings.place.path}: can be written" + (
            "" if settings.key else ", without a key that signs"
        )

    return tried("audit log", look)


def _look_at_parts(config: Config, environ: Mapping[str, str], uri_file: Path | None) -> Iterator[Diagnosis]:
    """Policy and certificates, each by itself, then the keys, which need them, then the servers."""
    parts = [
        *tried("policy", lambda: f"{len(read_policy(config.policy).rules.classes)} classes"),
        *tried("certificates for clients", lambda: _tls_text(listen_side(config.listen_tls).not_after)),
        *tried(
            "certificates for the server", lambda: _tls_text(upstream_side(config.upstream_tls).not_after)
        ),
    ]
    yield from parts
    if any(part.grade is Grade.WRONG for part in parts):
        yield unseen("keys and servers", _FIRST)
        return
    loaded: list[Loaded] = []

    def keys() -> str:
        loaded.append(load(config, lambda: config, environ))
        return f"{config.keyring}: opens, and has a key for each class of the policy"

    yield from tried("keys", keys)
    if loaded:
        yield from _look_at_servers(loaded[0], uri_file)
    else:
        yield unseen("servers", _FIRST)


def _tls_text(not_after: object) -> str:
    return "none named" if not_after is None else f"good until {not_after}"


def _look_at_servers(loaded: Loaded, uri_file: Path | None) -> Iterator[Diagnosis]:
    """What `serve --check` finds. Whether the audit log can be written has been said."""
    config = loaded.config
    seeds = [] if config.discovery is None else [str(config.discovery.seeds)]
    where = ", ".join([*seeds, *(str(member.upstream) for member in config.members)])
    secured = "with TLS" if config.upstream_tls.mode is TlsMode.TLS else "without TLS"
    found: list[Finding] = []

    def servers() -> str:
        found.extend(check(replace(loaded, config=replace(config, audit=None)), uri_file))
        return f"{where}: answer {secured}" if config.probe else f"{where}: not asked, as upstream.probe says"

    yield from tried("servers", servers)
    for finding in found:
        yield of_finding(finding.event, finding)
