"""What the log is told of a configuration: addresses, sides without TLS, certificates near their end."""

import logging
from collections.abc import Iterable

from sealwire.policies.file.schema import PolicySet, leaves
from sealwire.proxy.server.config.policy_file import PolicyFile
from sealwire.proxy.server.config.settings import AccessControl, Address, Config, Member, TlsMode
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.tls import TlsSide

_log = logging.getLogger("sealwire.server")

# The first paths of a long list are enough to tell what happened.
_MOST_PATHS = 10


def announce_addresses(member: Member, addresses: Iterable[Address]) -> None:
    """Log where the clients of `member` connect."""
    names = {"upstream": str(member.upstream), "advertise": str(member.advertise)}
    for address in addresses:
        note(_log, logging.INFO, "listening", address=str(address), **names)


def warn_of_plaintext(config: Config, before: Config | None = None) -> None:
    """Log the sides without TLS; after a reload only those that had it `before`."""
    for side, mode in _modes(config).items():
        if mode is TlsMode.PLAINTEXT and (before is None or _modes(before)[side] is not mode):
            note(_log, logging.WARNING, "no TLS on this side", side=side)


def _modes(config: Config) -> dict[str, TlsMode]:
    return {"listen": config.listen_tls.mode, "upstream": config.upstream_tls.mode}


def show_policy(policy: PolicyFile, metrics: Metrics) -> None:
    """Log which policy counts from now on, and show it with the figures."""
    rules = policy.rules
    metrics.show_policy(policy.shown, rules.class_names)
    counts = {"collections": len(rules.collections) + len(rules.patterns), "classes": len(rules.classes)}
    note(_log, logging.INFO, "policy loaded", policy=policy.shown, **counts)


def warn_of_roles(policy: PolicySet, config: Config) -> None:
    """Log the roles that nobody can have under this configuration."""
    roles = () if policy.roles is None else policy.roles.roles
    has_logins = config.access_control is AccessControl.REQUIRED
    has_certificates = config.listen_tls.client_ca is not None
    idle = [
        role.name
        for role in roles
        if not role.may_count(has_logins=has_logins, has_certificates=has_certificates)
    ]
    if idle:
        hint = "users count with upstream.access_control 'required', certificates with listen.tls.client_ca"
        note(_log, logging.WARNING, "roles that nobody can have", roles=", ".join(idle), hint=hint)


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
    trees = [*policy.collections.items(), *policy.patterns]
    return {(namespace, leaf.path) for namespace, tree in trees for leaf in leaves(tree)}


def show_certificates(listen: TlsSide, upstream: TlsSide, metrics: Metrics) -> None:
    """Show when the certificates end, and warn of those that need somebody."""
    for name, side in (("listen", listen), ("upstream", upstream)):
        if side.not_after is not None:
            metrics.certificate_expiry.labels(name).set(side.not_after.timestamp())
        if side.not_after is not None and side.warning:
            not_after = side.not_after.isoformat()
            note(_log, logging.WARNING, side.warning, side=name, not_after=not_after)
