"""Checks of the settings, of running proxies, of the audit log, and of whoever watches it."""

import ssl
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Final

from sealwire.audit.files import files_to_verify, load_verification_key
from sealwire.audit.verification import LogReport, Spot, read_checkpoints, verify
from sealwire.cli.keys.options import with_policy
from sealwire.keys.keyring.schedule import KeySchedule, due_chores
from sealwire.keys.providers import ProviderKind
from sealwire.policies.roles.role import Level, Role
from sealwire.proxy.server.config.settings import AccessControl, TlsMode
from sealwire.proxy.session.choices import CommandScope
from sealwire.sidecars.compliance.deployment import Deployment, judged, needed
from sealwire.sidecars.compliance.requirements import ComplianceFinding, ComplianceOutcome
from sealwire.sidecars.detection.alerts import Alerts
from sealwire.sidecars.detection.incidents import DeadlineStage, IncidentBook
from sealwire.sidecars.detection.judging import read_place
from sealwire.sidecars.detection.rules import load_watch_settings
from sealwire.sidecars.detection.state_file import StateFile

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
    return judged(bad, good, "set `mode: tls` for both (docs/operations/tls.md)")


def server_login(deployment: Deployment) -> ComplianceFinding:
    """Access control of the server, which the proxy probes at every start."""
    access = deployment.config.access_control
    bad = [f"upstream.access_control is {access.value}"] if access is not AccessControl.REQUIRED else []
    good = [] if bad else ["upstream.access_control is required: the proxy asks the server at each start"]
    return judged(bad, good, "turn on the server's access control, and require it")


def keys(deployment: Deployment) -> ComplianceFinding:
    """The calendar of keys."""
    record, now = deployment.keyring, datetime.now(UTC)
    schedule = with_policy(KeySchedule(), deployment.policy)
    chores = due_chores(record, schedule, now, deployment.policy.class_names)
    bad = [f"overdue: {chore.command}" for chore in chores if chore.overdue]
    good = [f"{len(record.classes)} classes, generation {record.generation} of the keyring"]
    return judged(bad, good, "sealwire keys status says what is due")


def erasure(deployment: Deployment) -> ComplianceFinding:
    """Whose data documents are."""
    subjects = deployment.policy.subjects
    if subjects is None:
        return judged(["the policy has no section `subjects`"], [], "add it: docs/policies.md#subjects")
    return judged([], [f"class {subjects.class_name} identifies a person; {len(subjects.links)} links"])


_OBSERVED_HINT = "see sealwire observe report; then take `mode: observe` and `observe` out of the policy"


def protection(deployment: Deployment) -> ComplianceFinding:
    """Whether anything is only observed, by the policy or by a running proxy."""
    names = deployment.policy.unprotected
    bad = [f"the policy only observes {', '.join(names)}: values are stored in clear"] if names else []
    bad += [f"{each.url} only observes" for each in deployment.running or () if each.is_observing]
    return judged(bad, [] if bad else ["nothing is only observed"], _OBSERVED_HINT)


def roles(deployment: Deployment) -> ComplianceFinding:
    """Who may see what, and whether anything is shown to everybody who can log in."""
    found = deployment.policy.roles
    if found is None:
        return judged(["the policy has no section `roles`"], [], _ROLES_HINT)
    if deployment.policy.unprotected:
        return judged(["no role counts where the policy is only observed"], [], _OBSERVED_HINT)
    good = [f"{len(found.roles)} roles: {', '.join(role.name for role in found.roles)}"]
    open_roles = [role for role in found.roles if _is_for_everybody(role)]
    shown = [
        name
        for name in deployment.policy.class_names
        if any(role.access(name).read.level is Level.CLEAR for role in open_roles)
    ]
    if not shown:
        return judged([], good)
    given_by = ", ".join(role.name for role in open_roles)
    is_all = len(shown) == len(deployment.policy.class_names)
    said = [f"every user sees {'every class' if is_all else ', '.join(shown)} in clear: {given_by}"]
    hint = "name the users of each role: docs/operations/access.md"
    return judged(said if is_all else [], good, hint, doubts=[] if is_all else said)


def _is_for_everybody(role: Role) -> bool:
    """Whether every user of some database, or every certificate, has it without a reason."""
    users, certificates = any(each.name.match_all for each in role.users), role.certificates.match_all
    if role.needs_certificate:
        is_open = (users or not role.users) and (certificates or not role.certificates)
    else:
        is_open = users or certificates
    return is_open and not role.break_glass


def purposes(deployment: Deployment) -> ComplianceFinding:
    """Whether every role asks for a purpose; where the glass is broken, a reason is asked for instead."""
    found = deployment.policy.roles
    if found is None:
        return judged(["the policy has no section `roles`"], [], _ROLES_HINT)
    bad = [f"role {each.name} asks for no purpose" for each in found.roles if not _asks(each)]
    good = [
        f"role {each.name}: {', '.join(each.purposes) or 'a reason'}" for each in found.roles if _asks(each)
    ]
    return judged(bad, good, "give each role `purposes` (docs/operations/access.md)")


def _asks(role: Role) -> bool:
    return bool(role.purposes) or role.break_glass


_SETUP: Final = "add `proxies: {admin: [http://HOST:PORT]}`: docs/operations/compliance.md"
_NOBODY: Final = "no running proxy was asked: no admin address is given"


def running_policy(deployment: Deployment) -> ComplianceFinding:
    """Whether every running proxy has the policy of the file, by its hash."""
    running, wanted = deployment.running, deployment.policy_file.shown
    if running is None:
        outcome = ComplianceOutcome.NOT_LOOKED_AT
        return ComplianceFinding(outcome, (_NOBODY,), _SETUP)
    bad, good = [], []
    for each in running:
        if each.problem:
            bad.append(f"{each.url}: {each.problem}")
        elif each.policy == wanted:
            good.append(f"{each.url}: policy {wanted}")
        else:
            bad.append(f"{each.url}: policy {each.policy}, and the file is {wanted}")
    hint = "reload the proxies, or name the configuration that they run with (docs/operations/reload.md)"
    return judged(bad, good, hint)


def key_provider(deployment: Deployment) -> ComplianceFinding:
    """Where the key-encryption key is, as the running proxies say; the file alone proves nothing good."""
    running, in_file = deployment.running, deployment.config.kek.kind
    is_exposed = in_file is ProviderKind.ENVIRONMENT
    bad = ["the key-encryption key is in an environment variable"] if is_exposed else []
    if running is None and not bad:
        said = (_NOBODY, f"the file says {in_file.value}")
        return ComplianceFinding(ComplianceOutcome.NOT_LOOKED_AT, said, _SETUP)
    good = []
    for each in running or ():
        if each.problem:
            bad.append(f"{each.url}: {each.problem}")
        elif each.provider == ProviderKind.ENVIRONMENT.value:
            bad.append(f"{each.url}: the key-encryption key is in an environment variable")
        elif each.provider != in_file.value:
            bad.append(f"{each.url}: provider {each.provider}, and the file says {in_file.value}")
        else:
            good.append(f"{each.url}: provider {each.provider}")
    hint = "sealwire keys rewrap --to moves it to Vault, a KMS or a token"
    return judged(bad, good, hint)


_SIGNED_WITHIN = timedelta(days=1)
_MOST_SHOWN = 10
_EMPTY = "the audit log is empty: nothing is on record"
_FOLLOWS_WITHIN = 1000
"""Lines that a watch may be behind, while it reads."""


def audit_chain(deployment: Deployment) -> ComplianceFinding:
    """What `sealwire audit verify` finds."""
    log = deployment.audit_log
    places = needed(deployment.settings.audit, "add `audit: {key: PATH of audit.key.pub}`")
    report = LogReport()
    files = files_to_verify(log)
    known = (*deployment.audit.place.checkpoints, *places.checkpoints)
    checkpoints = read_checkpoints(dict.fromkeys(known), load_verification_key(places.key), report)
    verify(files, checkpoints, report, lambda _done: None, archived=False)
    bad = [f"{_place(each.spot)}{each.kind.value}" for each in report.flaws[:_MOST_SHOWN]]
    good = [f"{report.lines} lines in {len(files)} files, signed up to line {report.signed}"]
    if not files:
        bad.append(f"there is no audit log at {log}")
    elif report.signed_at is None or datetime.now(UTC) - report.signed_at > _SIGNED_WITHIN:
        bad.append("no checkpoint of the last day vouches for it")
    return judged(bad, good, "sealwire audit verify says where; treat it as an incident")


def audit_commands(deployment: Deployment) -> ComplianceFinding:
    """Which commands are on record."""
    scope = deployment.audit.commands
    is_enough = scope in (CommandScope.ALL, CommandScope.PROTECTED)
    said = [f"audit.commands is {scope.value}"]
    events = Counter(str(line.get("event")) for line in deployment.audit_lines())
    bad = ([] if is_enough else said) + ([] if events else [_EMPTY])
    good = said if is_enough else []
    doubts = []
    if events["command"]:
        good.append(f"{events['command']} commands are on record")
    elif events:
        doubts = ["the audit log has no command yet: nothing shows that they are recorded"]
    return judged(bad, good, "set audit.commands to protected", doubts)


def pseudonyms(deployment: Deployment) -> ComplianceFinding:
    """Whether persons are on record, and under pseudonyms."""
    bad, good = [], []
    if deployment.policy.subjects is None:
        bad.append("the policy has no section `subjects`: nobody can tell whose documents were read")
    if deployment.audit.subjects_key is None:
        bad.append("audit.subjects_key is not set: no person is on record")
    elif not any(True for _ in deployment.audit_lines()):
        bad.append(_EMPTY)
    else:
        good.append("persons are on record by a keyed hash")
    return judged(bad, good, "sealwire audit create-key --subjects-key (operations/audit.md)")


def detection(deployment: Deployment) -> ComplianceFinding:
    """Whether a watch follows the log, tells somebody, and no incident is late."""
    watched = load_watch_settings(needed(deployment.settings.watch, "add `watch: PATH of alerts.yaml`"))
    bad, good = [], [f"{len(watched.rules)} rules"]
    if watched.place.path.resolve() != deployment.audit_log.resolve():
        bad.append(f"it watches {watched.place.path}, and the proxy writes {deployment.audit_log}")
    with closing(StateFile(watched.state)) as state:
        place = read_place(state)
        read = 0 if place is None else place.end.size
        late = [
            each.id
            for each in IncidentBook(state).incidents(also_closed=False)
            if each.stage(datetime.now(UTC)) is DeadlineStage.OVERDUE
        ]
        untold = Alerts(state).untold()
    lines = sum(1 for _ in deployment.audit_lines())
    (good if lines and lines - read <= _FOLLOWS_WITHIN else bad).append(f"{read} of {lines} lines were read")
    bad += [f"incident {each} is past its 72 hours" for each in late]
    bad += [f"{channel} was not told of alerts" for channel in untold]
    return judged(bad, good, "sealwire watch (docs/operations/alerts.md)")


def _place(spot: Spot) -> str:
    return "" if spot.path is None else f"{spot.path.name}:{spot.line}: "
