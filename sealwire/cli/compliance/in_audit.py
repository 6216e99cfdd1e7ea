"""Checks of the audit log, and of whoever watches it."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from sealwire.audit.files import files_to_verify, load_verification_key
from sealwire.audit.verification import LogReport, Spot, read_checkpoints, verify
from sealwire.cli.compliance.deployment import Deployment, NotSetUp, judged
from sealwire.proxy.server.observability.audit import AuditSettings
from sealwire.proxy.session.auditing.settings import CommandScope
from sealwire.sidecars.compliance.finding import ComplianceCheck, ComplianceFinding
from sealwire.sidecars.detection.alerts import Alerts
from sealwire.sidecars.detection.incidents import DeadlineStage, IncidentBook
from sealwire.sidecars.detection.judging import read_place
from sealwire.sidecars.detection.rules import load_watch_settings
from sealwire.sidecars.detection.state_file import StateFile

_SIGNED_WITHIN = timedelta(days=1)
_MOST_SHOWN = 10
_EMPTY = "the audit log is empty: nothing is on record"
_FOLLOWS_WITHIN = 1000
"""Lines that a watch may be behind, while it reads."""


def audit_chain(deployment: Deployment) -> ComplianceFinding:
    """What `sealwire audit verify` finds."""
    places, log = deployment.settings.audit, deployment.audit_log
    config = deployment.config.audit
    if places is None or config is None:
        raise NotSetUp("add `audit: {key: PATH of audit.key.pub}`")
    report = LogReport()
    files = files_to_verify(log)
    known = (*config.place.checkpoints, *places.checkpoints)
    checkpoints = read_checkpoints(dict.fromkeys(known), load_verification_key(places.key), report)
    verify(files, checkpoints, report, lambda _done: None, archived=False)
    bad = [f"{_place(each.spot)}{each.kind.value}" for each in report.flaws[:_MOST_SHOWN]]
    good = [f"{report.lines} lines in {len(files)} files, signed up to line {report.signed}"]
    if not files:
        bad.append(f"there is no audit log at {log}")
    elif report.signed_at is None or datetime.now(UTC) - report.signed_at > _SIGNED_WITHIN:
        bad.append("no checkpoint of the last day vouches for it")
    return judged(
        ComplianceCheck.AUDIT_CHAIN, bad, good, "sealwire audit verify says where; treat it as an incident"
    )


def audit_commands(deployment: Deployment) -> ComplianceFinding:
    """Which commands are on record."""
    scope = _audit(deployment).commands
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
    return judged(ComplianceCheck.AUDIT_COMMANDS, bad, good, "set audit.commands to protected", doubts)


def pseudonyms(deployment: Deployment) -> ComplianceFinding:
    """Whether persons are on record, and under pseudonyms."""
    bad, good = [], []
    if deployment.policy.subjects is None:
        bad.append("the policy has no section `subjects`: nobody can tell whose documents were read")
    if _audit(deployment).subjects_key is None:
        bad.append("audit.subjects_key is not set: no person is on record")
    elif not any(True for _ in deployment.audit_lines()):
        bad.append(_EMPTY)
    else:
        good.append("persons are on record by a keyed hash")
    return judged(
        ComplianceCheck.PSEUDONYMS,
        bad,
        good,
        "sealwire audit create-key --subjects-key (operations/audit.md)",
    )


def detection(deployment: Deployment) -> ComplianceFinding:
    """Whether a watch follows the log, tells somebody, and no incident is late."""
    path = deployment.settings.watch
    if path is None:
        raise NotSetUp("add `watch: PATH of alerts.yaml`")
    watched = load_watch_settings(path)
    bad, good = [], [f"{len(watched.rules)} rules"]
    if watched.place.path.resolve() != deployment.audit_log.resolve():
        bad.append(f"it watches {watched.place.path}, and the proxy writes {deployment.audit_log}")
    state = StateFile(watched.state)
    try:
        place = read_place(state)
        read = 0 if place is None else place.end.size
        late = [
            each.id
            for each in IncidentBook(state).incidents(also_closed=False)
            if each.stage(datetime.now(UTC)) is DeadlineStage.OVERDUE
        ]
        untold = Alerts(state).untold()
    finally:
        state.close()
    lines = sum(1 for _ in deployment.audit_lines())
    (good if lines and lines - read <= _FOLLOWS_WITHIN else bad).append(f"{read} of {lines} lines were read")
    bad += [f"incident {each} is past its 72 hours" for each in late]
    bad += [f"{channel} was not told of alerts" for channel in untold]
    return judged(ComplianceCheck.DETECTION, bad, good, "sealwire watch (docs/operations/alerts.md)")


def _audit(deployment: Deployment) -> AuditSettings:
    found = deployment.config.audit
    if found is None:
        raise NotSetUp("set audit.path in the proxy's configuration")
    return found


def _place(spot: Spot) -> str:
    return "" if spot.path is None else f"{spot.path.name}:{spot.line}: "
