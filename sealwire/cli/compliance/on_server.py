"""Checks that read what the server has stored."""

from sealwire.cli.compliance.deployment import Deployment, NotSetUp, judged
from sealwire.cli.options.server import read_uri
from sealwire.sidecars.compliance.finding import ComplianceCheck, ComplianceFinding
from sealwire.sidecars.coverage import reading
from sealwire.sidecars.coverage.fields import Cover
from sealwire.sidecars.coverage.likely import require_libraries
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import connected
from sealwire.sidecars.drift import collections
from sealwire.sidecars.drift.condition import Condition, Keys


def fields(deployment: Deployment) -> ComplianceFinding:
    """What `sealwire policy drift` finds."""
    keys = Keys.of(deployment.keyring)
    bad: list[str] = []
    good: list[str] = []
    with connected(_uri(deployment), collections.RIGHTS) as client:
        for found in covered_collections(client, deployment.policy):
            report = collections.read_collection(
                client, found, keys, deployment.settings.sample, lambda _done: None
            )
            for path in report.paths:
                wrong = sum(n for each, n in path.values.items() if not each.is_sound)
                sound = path.values.get(Condition.PROTECTED, 0)
                (bad if wrong else good).append(
                    f"{report.namespace}.{path.path}: {sound} values encrypted"
                    + (f", {wrong} not as they should be" if wrong else "")
                )
            if report.skipped and report.paths:
                bad.append(f"{report.namespace}: {report.skipped}")
    if not good and not bad:
        bad.append("no covered collection has a document")
    return judged(
        ComplianceCheck.FIELDS, bad, good, "sealwire policy drift says which; sealwire migrate encrypt"
    )


def minimisation(deployment: Deployment) -> ComplianceFinding:
    """What `sealwire policy coverage` finds."""
    require_libraries()
    policy, sample = deployment.policy, deployment.settings.sample
    bad: list[str] = []
    read = 0
    with connected(_uri(deployment), reading.RIGHTS) as client:
        for namespace in reading.namespaces_in(client, reading.databases_of(policy)):
            found = reading.read_fields(client, namespace, policy, sample, lambda _done: None)
            read += len(found.fields)
            if found.problem:
                bad.append(f"{namespace}: {found.problem}")
            bad += [
                f"{namespace}.{field.path} looks like {field.kind.value}"
                for field in found.fields
                if field.cover is Cover.PERSONAL and field.kind is not None
            ]
    good = [f"{read} fields were read"]
    return judged(
        ComplianceCheck.MINIMISATION,
        bad,
        good,
        "sealwire policy coverage --suggest writes the policy's lines",
    )


def _uri(deployment: Deployment) -> str:
    if deployment.settings.server_uri_file is None:
        raise NotSetUp("add `server: {uri_file: PATH}`")
    return read_uri(deployment.settings.server_uri_file)
