"""Checks of what the server has stored and of the machine: disk, TLS, backups, logs, versions."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from sealwire import from_lock
from sealwire.cli.audit import moment_of
from sealwire.cli.options import read_uri
from sealwire.files.child_environment import child_environment
from sealwire.policies.file.schema import SERVER_DATABASES
from sealwire.sidecars.backup.keeping.catalog import read_catalog
from sealwire.sidecars.backup.keeping.schedule import DEFAULT_DAYS, check_transition
from sealwire.sidecars.backup.stores.local_store import open_store
from sealwire.sidecars.compliance.deployment import Deployment, judged, needed
from sealwire.sidecars.compliance.requirements import ComplianceFinding, ComplianceOutcome
from sealwire.sidecars.coverage import fields as reading
from sealwire.sidecars.coverage.fields import Cover, FieldCounts
from sealwire.sidecars.coverage.likely import Personal, require_libraries
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import connected
from sealwire.sidecars.drift import scan as drift
from sealwire.sidecars.drift.scan import Condition, Keys, PathReport
from sealwire.sidecars.luks import status
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.tls_check.certificate import load_trust
from sealwire.sidecars.tls_check.judging import RuleSet, Severity
from sealwire.sidecars.tls_check.report import make_report
from sealwire.sidecars.tls_check.target import parse_targets
from sealwire.sidecars.tls_check.verify import Settings, Watcher, verify_targets

_DRILL = ("backup restore", "--drill")
_MOST_LOG_BYTES = 256 << 20
_MOST_LINE_BYTES = 1 << 20
_OF_PIP_AUDIT = (
    *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"),
    *("VIRTUAL_ENV", "PYTHONPATH", "XDG_CACHE_HOME"),
)
"""Variables that pip-audit needs: a way to PyPI, and what is installed."""
_AUDIT_TIMEOUT_S = 300
# Staff and machines, not patients: who logged in from where is what a log is for.
_EXPECTED = frozenset({Personal.IP_ADDRESS, Personal.PHONE})
_WHO = frozenset({"user", "operator", "client", "certificate", "host"})
_MOST_SHOWN = 10


def at_rest(deployment: Deployment) -> ComplianceFinding:
    """What `sealwire luks status` finds."""
    place = needed(deployment.settings.at_rest, "add `at_rest: {directory: PATH, service: UNIT}`")
    found = status.look(Machine(), place.directory, place.service)
    bad = [] if found.directory_encrypted else [f"{place.directory} does not lie on dm-crypt"]
    bad += [f"open and not on dm-crypt: {path}" for path in found.plain_files[:_MOST_SHOWN]]
    good = [f"{found.encrypted_files} open files lie on dm-crypt"]
    if found.service_pid is None:
        bad.append(f"{place.service} does not run: nobody knows what it would open")
    return judged(bad, good, "docs/operations/luks.md")


def in_transit(deployment: Deployment) -> ComplianceFinding:
    """What `sealwire tls verify` finds."""
    tls = needed(deployment.settings.tls, "add `tls: {targets: [...]}`")
    look = Settings(trust=None if tls.ca is None else load_trust(tls.ca))
    watcher = Watcher(look_at=lambda _endpoint: None, done=lambda: None)
    report = make_report(verify_targets(parse_targets(tls.targets), look, watcher), RuleSet())
    failures = [
        f"{finding.where}: {finding.rule}"
        for target in report.targets
        for finding in target.findings
        if finding.severity is Severity.FAIL
    ]
    good = [f"{len(report.targets)} targets, {report.count(Severity.WARN)} warnings"]
    return judged(failures, good, "sealwire tls verify shows each finding with its source")


def backups(deployment: Deployment) -> ComplianceFinding:
    """The newest backup, and what is left of the time before."""
    place = needed(deployment.settings.backups, "add `backups: {store: PLACE}`")
    now = datetime.now(UTC)
    entries = read_catalog(open_store(place.store)).entries
    bad = [f"{each.name}: {each.problem.value}" for each in entries if each.problem is not None]
    good = [f"{len(entries)} backups"]
    if not entries:
        bad.append("there is no backup")
    else:
        newest = entries[-1]
        age = now - newest.created
        (bad if age > timedelta(hours=place.hours) else good).append(
            f"the newest, {newest.name}, is {age.total_seconds() / 3600:.0f} hours old"
        )
    if place.plaintext is not None and place.since is not None:
        left = check_transition(place.plaintext, place.since, DEFAULT_DAYS, now)
        (bad if left.overdue else good).append(f"{len(left.files)} plaintext backups in {place.plaintext}")
    return judged(bad, good, "sealwire backup list; docs/operations/backup.md")


def restore(deployment: Deployment) -> ComplianceFinding:
    """The last drill that ended well, as the audit log has it."""
    place = needed(deployment.settings.backups, "add `backups: {store: PLACE}`")
    last = max(_drills(deployment), default=None)
    hint = "sealwire backup restore --drill, with SEALWIRE_AUDIT_PATH set (docs/operations/restore-drill.md)"
    if last is None:
        return judged(["the audit log has no drill that ended well"], [], hint)
    said = f"the last drill that ended well was on {last.date().isoformat()}"
    is_old = datetime.now(UTC) - last > timedelta(days=place.drill_days)
    return judged([said] if is_old else [], [] if is_old else [said], hint)


def _drills(deployment: Deployment) -> Iterator[datetime]:
    command, option = _DRILL
    for line in deployment.audit_lines():
        options = line.get("options")
        if line.get("event") != "command-ended" or line.get("command") != command or line.get("exit") != 0:
            continue
        moment = moment_of(line)
        if moment is not None and isinstance(options, list) and option in options:
            yield moment


def logs(deployment: Deployment) -> ComplianceFinding:
    """What the lines of logs look like, by field: `sealwire policy coverage` judges stored fields so."""
    require_libraries()
    bad, good = [], []
    for path in needed(deployment.settings.logs, "add `logs: [PATH, ...]`"):
        counts, lines = FieldCounts(None), 0
        for document in _documents(path):
            counts.read(document)
            lines += 1
        bad += [
            f"{path.name}: {field.path} looks like {field.kind.value}"
            for field in counts.report()
            if field.kind is not None and field.kind not in _EXPECTED
        ]
        good.append(f"{path.name}: {lines} lines")
    return judged(bad, good, "find out which program writes it; Sealwire's own lines hold no value")


def _documents(path: Path) -> Iterator[dict[str, object]]:
    """Lines as documents: JSON as it is; of text each word under its shape, so that like words meet."""
    left = _MOST_LOG_BYTES
    with path.open("rb") as file:
        while raw := file.readline(_MOST_LINE_BYTES):
            left -= len(raw)
            if left < 0:
                return
            text = raw.decode("utf-8", "replace")
            try:
                found = json.loads(text)
            except (ValueError, RecursionError):
                found = None
            if isinstance(found, dict):
                yield {name: value for name, value in found.items() if name not in _WHO}
            else:
                yield {_shape(word): word for word in text.split()}


def _shape(word: str) -> str:
    """`9` for each digit, `a` for a run of letters, and signs but dots as they are: `999-999` or `a@a`."""
    shape = "".join("9" if char.isdigit() else "a" if char.isalpha() else char for char in word[:64])
    while "aa" in shape:
        shape = shape.replace("aa", "a")
    return f"words like {shape.replace('.', '-').replace('$', '-')}"


def versions(_deployment: Deployment) -> ComplianceFinding:
    """What pip-audit says of what is installed here. It asks PyPI."""
    if find_spec("pip_audit") is None:
        hint = from_lock("demo")
        return judged(["pip-audit is not installed"], [], hint)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"],
            capture_output=True,
            check=False,
            timeout=_AUDIT_TIMEOUT_S,
            env=child_environment(*_OF_PIP_AUDIT),
        )
    except subprocess.TimeoutExpired:
        return judged(["pip-audit did not end in time"], [], "it asks PyPI")
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        return judged([f"pip-audit could not look: {last[0][:200]}"], [], "it asks PyPI")
    bad = [
        f"{package['name']} {package['version']}: {found['id']}"
        for package in packages
        for found in package.get("vulns", ())
    ]
    return judged(bad, [f"{len(packages)} packages"], "install versions that mend them")


_MOST_NAMED: Final = 20
_LISTING_RIGHTS: Final = "log in as a user that may list databases and collections (readAnyDatabase)"


def fields(deployment: Deployment) -> ComplianceFinding:
    """What `sealwire policy drift` finds."""
    keys = Keys.of(deployment.keyring)
    bad: list[str] = []
    doubts: list[str] = []
    good: list[str] = []
    values = 0
    with connected(_uri(deployment), drift.RIGHTS) as client:
        for found in covered_collections(client, deployment.policy):
            report = drift.read_collection(
                client, found, keys, deployment.settings.sample, lambda _done: None
            )
            for path in report.paths:
                values += sum(path.values.values())
                declared = path.values.get(Condition.DECLARED)
                place = good if path.is_sound else bad
                (doubts if declared and path.is_sound else place).append(
                    f"{report.namespace}.{path.path}: {_values_of(path)}"
                )
            if report.skipped and report.paths:
                bad.append(f"{report.namespace}: {report.skipped}")
    if not values:
        bad.append("no covered path has a value: nothing shows that values are encrypted")
    good += _sampled(deployment)
    return judged(bad, good, "sealwire policy drift says which; sealwire migrate encrypt", doubts)


def _values_of(path: PathReport) -> str:
    """What lies there, each kind of it with its count."""
    encrypted = path.values.get(Condition.PROTECTED, 0) + path.values.get(Condition.OLDER_KEY, 0)
    clear = path.values.get(Condition.IN_CLEAR, 0) + path.values.get(Condition.PLAINTEXT, 0)
    declared = path.values.get(Condition.DECLARED, 0)
    other = sum(path.values.values()) - encrypted - clear - declared
    parts = [f"{encrypted} values encrypted"] if path.values else ["no value"]
    parts += [f"{clear} in clear"] if clear else []
    parts += [f"{declared} in clear, which the policy declares for {path.class_name}"] if declared else []
    parts += [f"{other} not as they should be"] if other else []
    return ", ".join(parts)


def _sampled(deployment: Deployment) -> list[str]:
    sample = deployment.settings.sample
    return [] if sample is None else [f"of each collection {sample} documents at most were read"]


def minimisation(deployment: Deployment) -> ComplianceFinding:
    """What `sealwire policy coverage` finds."""
    require_libraries()
    policy, sample = deployment.policy, deployment.settings.sample
    bad: list[str] = []
    doubts: list[str] = []
    read = 0
    with connected(_uri(deployment), reading.RIGHTS) as client:
        for namespace in reading.namespaces_in(client, reading.databases_of(policy)):
            found = reading.read_fields(client, namespace, policy, sample, lambda _done: None)
            read += len(found.fields)
            if found.problem:
                bad.append(f"{namespace}: {found.problem}")
            for field in found.fields:
                flaw = "is covered, and in clear" if field.kind is None else f"looks like {field.kind.value}"
                said = f"{namespace}.{field.path} {flaw}"
                if field.cover is Cover.PLAINTEXT:
                    (doubts if policy.classes[field.class_name].accepts_plaintext else bad).append(said)
                elif field.cover is Cover.PERSONAL and field.kind is not None:
                    bad.append(said)
    if not read:
        bad.append("no field was read: nothing is known of them")
    good = [f"{read} fields were read", *_sampled(deployment)]
    return judged(
        bad,
        good,
        "sealwire policy coverage --suggest writes the policy's lines; sealwire migrate encrypt",
        doubts,
    )


def scope(deployment: Deployment) -> ComplianceFinding:
    """What the policy does not name: `fields` does not look there, and nothing looks into other databases."""
    policy = deployment.policy
    with connected(_uri(deployment), _LISTING_RIGHTS) as client:
        present = sorted(set(client.list_database_names()) - SERVER_DATABASES)
        names = reading.namespaces_in(client, present)
    named = {*reading.databases_of(policy), *(n.partition(".")[0] for n in names if policy.covered(n))}
    unnamed = [name for name in present if name not in named]
    beside = [n for n in names if n.partition(".")[0] in named and policy.covered(n) is None]
    inside = sum(n.partition(".")[0] not in named for n in names)
    said = [f"{len(names) - len(beside) - inside} collections are covered"]
    if not unnamed and not beside:
        return judged([], said)
    if unnamed:
        said.append(f"{len(unnamed)} databases were not looked at, {inside} collections: {_short(unnamed)}")
    if beside:
        said.append(f"{len(beside)} collections are not covered, and `fields` did not look: {_short(beside)}")
    unseen = (*unnamed, *beside)
    hint = "name them in the policy, or say under `not_applicable` why they hold no personal data"
    return ComplianceFinding(ComplianceOutcome.PARTLY, tuple(said), hint, unseen)


def _short(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _uri(deployment: Deployment) -> str:
    return read_uri(needed(deployment.settings.server_uri_file, "add `server: {uri_file: PATH}`"))
