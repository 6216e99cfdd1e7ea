"""Checks that ask the running proxies, at their admin addresses, what they run with."""

from typing import Final

from sealwire.cli.compliance.deployment import Deployment, judged
from sealwire.keys.providers import ProviderKind
from sealwire.sidecars.compliance.finding import ComplianceCheck, ComplianceFinding, ComplianceOutcome

_SETUP: Final = "add `proxies: {admin: [http://HOST:PORT]}`: docs/operations/compliance.md"
_NOBODY: Final = "no running proxy was asked: no admin address is given"


def running_policy(deployment: Deployment) -> ComplianceFinding:
    """Whether every running proxy has the policy of the file, by its hash."""
    running, wanted = deployment.running, deployment.policy_file.shown
    if running is None:
        outcome = ComplianceOutcome.NOT_LOOKED_AT
        return ComplianceFinding(ComplianceCheck.RUNNING_POLICY, outcome, (_NOBODY,), _SETUP)
    bad, good = [], []
    for each in running:
        if each.problem:
            bad.append(f"{each.url}: {each.problem}")
        elif each.policy == wanted:
            good.append(f"{each.url}: policy {wanted}")
        else:
            bad.append(f"{each.url}: policy {each.policy}, and the file is {wanted}")
    hint = "reload the proxies, or name the configuration that they run with (docs/operations/reload.md)"
    return judged(ComplianceCheck.RUNNING_POLICY, bad, good, hint)


def key_provider(deployment: Deployment) -> ComplianceFinding:
    """Where the key-encryption key is, as the running proxies say; the file alone proves nothing good."""
    running, in_file = deployment.running, deployment.config.kek.kind
    is_exposed = in_file is ProviderKind.ENVIRONMENT
    bad = ["the key-encryption key is in an environment variable"] if is_exposed else []
    if running is None and not bad:
        said = (_NOBODY, f"the file says {in_file.value}")
        return ComplianceFinding(ComplianceCheck.KEY_PROVIDER, ComplianceOutcome.NOT_LOOKED_AT, said, _SETUP)
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
    return judged(ComplianceCheck.KEY_PROVIDER, bad, good, hint)
