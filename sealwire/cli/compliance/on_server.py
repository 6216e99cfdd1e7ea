"""Checks that read what the server has stored."""

from typing import Final

from sealwire.cli.compliance.deployment import Deployment, NotSetUp, judged
from sealwire.cli.options.server import read_uri
from sealwire.policies.file.schema import SERVER_DATABASES
from sealwire.sidecars import drift
from sealwire.sidecars.compliance.finding import ComplianceCheck, ComplianceFinding, ComplianceOutcome
from sealwire.sidecars.coverage import fields as reading
from sealwire.sidecars.coverage.fields import Cover, FieldReport
from sealwire.sidecars.coverage.likely import require_libraries
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import connected
from sealwire.sidecars.drift import Condition, Keys, PathReport

_MOST_SHOWN: Final = 20
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
    return judged(
        ComplianceCheck.FIELDS,
        bad,
        good,
        "sealwire policy drift says which; sealwire migrate encrypt",
        doubts,
    )


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
                said = f"{namespace}.{field.path} {_flaw_of(field)}"
                if field.cover is Cover.PLAINTEXT:
                    (doubts if policy.classes[field.class_name].accepts_plaintext else bad).append(said)
                elif field.cover is Cover.PERSONAL and field.kind is not None:
                    bad.append(said)
    if not read:
        bad.append("no field was read: nothing is known of them")
    good = [f"{read} fields were read", *_sampled(deployment)]
    return judged(
        ComplianceCheck.MINIMISATION,
        bad,
        good,
        "sealwire policy coverage --suggest writes the policy's lines; sealwire migrate encrypt",
        doubts,
    )


def _flaw_of(field: FieldReport) -> str:
    return "is covered, and in clear" if field.kind is None else f"looks like {field.kind.value}"


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
        return judged(ComplianceCheck.SCOPE, [], said)
    if unnamed:
        said.append(f"{len(unnamed)} databases were not looked at, {inside} collections: {_short(unnamed)}")
    if beside:
        said.append(f"{len(beside)} collections are not covered, and `fields` did not look: {_short(beside)}")
    unseen = (*unnamed, *beside)
    hint = "name them in the policy, or say under `not_applicable` why they hold no personal data"
    return ComplianceFinding(ComplianceCheck.SCOPE, ComplianceOutcome.PARTLY, tuple(said), hint, unseen)


def _short(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(names[:_MOST_SHOWN]) + more


def _uri(deployment: Deployment) -> str:
    if deployment.settings.server_uri_file is None:
        raise NotSetUp("add `server: {uri_file: PATH}`")
    return read_uri(deployment.settings.server_uri_file)
