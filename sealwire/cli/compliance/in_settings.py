"""Checks that need the proxy's configuration, policy and keyring, and nothing that runs."""

import ssl
from datetime import UTC, datetime
from typing import Final

from sealwire.cli.compliance.deployment import Deployment, judged
from sealwire.cli.keys.options import with_policy
from sealwire.keys.keyring.schedule import KeySchedule, due_chores
from sealwire.policies.roles.role import Level, Role
from sealwire.proxy.server.config.settings import AccessControl, TlsMode
from sealwire.sidecars.compliance.finding import ComplianceCheck, ComplianceFinding

_ROLES_HINT: Final = "add it: docs/operations/access.md"


def proxy_tls(deployment: Deployment) -> ComplianceFinding:
    """TLS towards clients and server."""
    config = deployment.config
    bad, good = [], []
    for name, peer in (("listen.tls", config.listen_tls), ("upstream.tls", config.upstream_tls)):
        if peer.mode is not TlsMode.TLS:
            bad.append(f"{name}.mode is {peer.mode.value}")
        elif peer.minimum < ssl.TLSVersion.TLSv1_2:
            bad.append(f"{name}.minimum is below 1.2")
        else:
            good.append(f"{name}: TLS, {peer.minimum.name} or newer")
    return judged(ComplianceCheck.PROXY_TLS, bad, good, "set `mode: tls` for both (docs/operations/tls.md)")


def server_login(deployment: Deployment) -> ComplianceFinding:
    """Access control of the server, which the proxy probes at every start."""
    access = deployment.config.access_control
    bad = [f"upstream.access_control is {access.value}"] if access is not AccessControl.REQUIRED else []
    good = [] if bad else ["upstream.access_control is required: the proxy asks the server at each start"]
    return judged(
        ComplianceCheck.SERVER_LOGIN, bad, good, "turn on the server's access control, and require it"
    )


def keys(deployment: Deployment) -> ComplianceFinding:
    """The calendar of keys."""
    record, now = deployment.keyring, datetime.now(UTC)
    schedule = with_policy(KeySchedule(), deployment.policy)
    chores = due_chores(record, schedule, now, deployment.policy.class_names)
    bad = [f"overdue: {chore.command}" for chore in chores if chore.overdue]
    good = [f"{len(record.classes)} classes, generation {record.generation} of the keyring"]
    return judged(ComplianceCheck.KEYS, bad, good, "sealwire keys status says what is due")


def erasure(deployment: Deployment) -> ComplianceFinding:
    """Whose data documents are."""
    subjects = deployment.policy.subjects
    bad = ["the policy has no section `subjects`"] if subjects is None else []
    good = []
    if subjects is not None:
        good = [f"class {subjects.class_name} identifies a person; {len(subjects.links)} links"]
    return judged(ComplianceCheck.ERASURE, bad, good, "add it: docs/policies.md#subjects")


def roles(deployment: Deployment) -> ComplianceFinding:
    """Who may see what, and whether anything is shown to everybody who can log in."""
    found = deployment.policy.roles
    if found is None:
        return judged(ComplianceCheck.ROLES, ["the policy has no section `roles`"], [], _ROLES_HINT)
    good = [f"{len(found.roles)} roles: {', '.join(role.name for role in found.roles)}"]
    open_roles = [role for role in found.roles if _is_for_everybody(role)]
    shown = [
        name
        for name in deployment.policy.class_names
        if any(role.access(name).read.level is Level.CLEAR for role in open_roles)
    ]
    if not shown:
        return judged(ComplianceCheck.ROLES, [], good)
    given_by = ", ".join(role.name for role in open_roles)
    is_all = len(shown) == len(deployment.policy.class_names)
    said = [f"every user sees {'every class' if is_all else ', '.join(shown)} in clear: {given_by}"]
    hint = "name the users of each role: docs/operations/access.md"
    return judged(ComplianceCheck.ROLES, said if is_all else [], good, hint, doubts=[] if is_all else said)


def _is_for_everybody(role: Role) -> bool:
    """Whether every user of some database has it, without a reason and whatever the certificate."""
    is_certified = role.needs_certificate and bool(role.certificates) and not role.certificates.match_all
    return any(each.name.match_all for each in role.users) and not role.break_glass and not is_certified


def purposes(deployment: Deployment) -> ComplianceFinding:
    """Whether every role asks for a purpose; where the glass is broken, a reason is asked for instead."""
    found = deployment.policy.roles
    if found is None:
        return judged(ComplianceCheck.PURPOSES, ["the policy has no section `roles`"], [], _ROLES_HINT)
    bad = [f"role {each.name} asks for no purpose" for each in found.roles if not _asks(each)]
    good = [
        f"role {each.name}: {', '.join(each.purposes) or 'a reason'}" for each in found.roles if _asks(each)
    ]
    return judged(
        ComplianceCheck.PURPOSES, bad, good, "give each role `purposes` (docs/operations/access.md)"
    )


def _asks(role: Role) -> bool:
    return bool(role.purposes) or role.break_glass
