"""What the log is told of a configuration: addresses, sides without TLS, certificates near their end."""

import logging
from collections.abc import Iterable

from sealwire.crypto.host_names import names_host
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.server.config.policy_file import PolicyFile
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import AccessControl, Config, Member
from sealwire.proxy.server.findings import Finding, findings, plaintext_findings, warn
from sealwire.proxy.server.observability.logs import configure, note
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.tls import TlsSide
from sealwire.proxy.server.workers.reload import Renewed
from sealwire.proxy.server.workers.start import Loaded, Probed, key_findings

_log = logging.getLogger("sealwire.server")

# The first paths of a long list are enough to tell what happened.
_MOST_PATHS = 10


def announce_addresses(member: Member, addresses: Iterable[Address]) -> None:
    """Log where the clients of `member` connect."""
    names = {"upstream": str(member.upstream), "advertise": str(member.advertise)}
    for address in addresses:
        note(_log, logging.INFO, "listening", address=str(address), **names)


def announce_start(config: Config, loaded: Loaded, probed: Probed) -> None:
    """Log what a start should make somebody look at."""
    warn_of_plaintext(config)
    warn([*probed.findings, *findings(config), *key_findings(loaded), *loaded.identities.findings])


def announce_reload(before: Config, config: Config, renewed: Renewed, worker: int | None) -> None:
    """Log in the way of `config` from now on, and what it brings that was not so `before`.

    What waits for a restart is said by one process alone: with workers by the supervisor.
    """
    if (config.log_level, config.log_format) != (before.log_level, before.log_format):
        configure(config.log_level, config.log_format, worker=worker)
    known = findings(before)
    new = (finding for finding in findings(config) if finding not in known)
    warn([*renewed.findings, *renewed.identities.findings, *new])
    warn_of_plaintext(config, before)
    if renewed.waiting and worker is None:
        keys = ", ".join(renewed.waiting)
        note(_log, logging.WARNING, "new values wait for a restart, the old ones count", keys=keys)


def warn_of_plaintext(config: Config, before: Config | None = None) -> None:
    """Log the sides without TLS; after a reload only those that had it `before`."""
    known = [] if before is None else plaintext_findings(before)
    warn([finding for finding in plaintext_findings(config) if finding not in known])


def show_policy(policy: PolicyFile, metrics: Metrics) -> None:
    """Log which policy counts from now on, and show it with the figures."""
    rules = policy.rules
    metrics.show_policy(policy.shown, rules.class_names)
    metrics.observed.use_policy(len(rules.unprotected))
    counts = {"collections": len(rules.collections) + len(rules.patterns), "classes": len(rules.classes)}
    note(_log, logging.INFO, "policy loaded", policy=policy.shown, **counts)


def role_findings(policy: PolicySet, config: Config) -> list[Finding]:
    """The roles that nobody can have under this configuration."""
    roles = () if policy.roles is None else policy.roles.roles
    has_logins = config.access_control is AccessControl.REQUIRED
    has_certificates = config.listen_tls.client_ca is not None
    idle = [
        role.name
        for role in roles
        if not role.may_count(has_logins=has_logins, has_certificates=has_certificates)
    ]
    if not idle:
        return []
    names = ", ".join(idle)
    hint = "users count with upstream.access_control 'required', certificates with listen.tls.client_ca"
    problem = f"nobody can have the roles {names} with this configuration"
    return [Finding("roles that nobody can have", problem, hint, {"roles": names})]


def warn_of_less(before: PolicySet, now: PolicySet) -> None:
    """Log what a new policy no longer covers: on purpose, or because half of its file is missing."""
    lost = sorted(_covered(before) - _covered(now))
    if lost:
        more = f", and {len(lost) - _MOST_PATHS} more" if len(lost) > _MOST_PATHS else ""
        paths = ", ".join(f"{namespace}: {path}" for namespace, path in lost[:_MOST_PATHS]) + more
        hint = "these are stored in clear from now on; put the lines back if that is not what was meant"
        note(_log, logging.WARNING, "the policy covers less than before", paths=paths, hint=hint)
    if before.roles is not None and now.roles is None:
        hint = "whoever the server lets in may do everything from now on; put `roles` back if that is wrong"
        note(_log, logging.WARNING, "the policy has no roles any more", hint=hint)


def _covered(policy: PolicySet) -> set[tuple[str, str]]:
    """Every namespace or pattern with each of its paths, as the file has them."""
    return {(namespace, path) for namespace, path, _ in policy.fields}


def show_certificates(listen: TlsSide, upstream: TlsSide, config: Config, metrics: Metrics) -> None:
    """Show when the certificates end, and warn of those that need somebody."""
    for name, side in (("listen", listen), ("upstream", upstream)):
        if side.not_after is not None:
            metrics.certificate_expiry.labels(name).set(side.not_after.timestamp())
    warn(certificate_findings(listen, upstream, config))


def certificate_findings(listen: TlsSide, upstream: TlsSide, config: Config) -> list[Finding]:
    """Certificates and authorities near their end; hosts that clients are told and no certificate names."""
    found = []
    for name, side, authorities in (("listen", listen, "client_ca"), ("upstream", upstream, "ca")):
        if side.authority_warning:
            problem = f"{side.authority_warning}: {name}.tls.{authorities}"
            hint = "put the authority that follows it into the file, take out what has expired, and reload"
            found.append(Finding(side.authority_warning, problem, hint, {"side": name}))
        if side.not_after is not None and side.warning:
            end = side.not_after.isoformat()
            problem = f"{side.warning}: {name}.tls.certificate, whose last moment is {end}"
            hint = "put a renewed one in its place, and reload"
            found.append(Finding(side.warning, problem, hint, {"side": name, "not_after": end}))
    if listen.not_after is None:
        return found
    hosts = dict.fromkeys(member.advertise.host for member in config.members)
    unnamed = [host for host in hosts if not _is_named(listen.names, host)]
    if unnamed:
        names = ", ".join(unnamed)
        problem = f"listen.tls.certificate does not name {names}, which clients are told to connect to"
        hint = "let it be issued for that name (subjectAltName), or advertise one that it has"
        found.append(Finding("certificate lacks the advertised host", problem, hint, {"hosts": names}))
    return found


def _is_named(names: tuple[str, ...], host: str) -> bool:
    try:
        return names_host(names, host)
    except UnicodeError:  # no name that a certificate could have
        return False
