"""Checks that ask the running proxies, at their admin addresses, what they run with."""

import http.client
import json
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sealwire.cli.compliance.deployment import Deployment, judged
from sealwire.keys.providers import ProviderKind
from sealwire.proxy.server.tls import pinned_context
from sealwire.sidecars.compliance.finding import ComplianceCheck, ComplianceFinding, ComplianceOutcome
from sealwire.sidecars.compliance.settings import RunningProxies

_TIMEOUT_S: Final = 5.0
_MOST_BYTES: Final = 1 << 20
_SETUP: Final = "add `proxies: {admin: [http://HOST:PORT]}`: docs/operations/compliance.md"
_NOBODY: Final = "no running proxy was asked: no admin address is given"


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """What one proxy says of itself; empty texts are what it does not say."""

    url: str
    policy: str = ""
    """The beginning of its policy's hash; `mixed` while its workers have several."""
    provider: str = ""
    problem: str = ""
    """Why it says nothing."""


def ask_proxies(proxies: RunningProxies) -> list[RunningProxy]:
    """What each says at /readyz, ready or not. Raises FileProblem, PermissionProblem for the certificate."""
    return [_ask(url, proxies) for url in proxies.admin]


def _ask(url: str, proxies: RunningProxies) -> RunningProxy:
    place = urlsplit(url)
    host, port = place.hostname or "", place.port
    if place.scheme == "https" and proxies.certificate is not None:
        context = pinned_context(proxies.certificate)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=_TIMEOUT_S, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        said = json.loads(connection.getresponse().read(_MOST_BYTES))
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return RunningProxy(url, problem="no answer that a proxy gives")
    finally:
        connection.close()
    if not isinstance(said, dict) or "policy" not in said or "provider" not in said:
        return RunningProxy(url, problem="it does not say its policy and provider: ask by a numeric address")
    return RunningProxy(url, str(said["policy"])[:64], str(said["provider"])[:64])


def running_policy(deployment: Deployment) -> ComplianceFinding:
    """Whether every running proxy has the policy of the file, by its hash."""
    proxies, wanted = deployment.settings.proxies, deployment.policy_file.shown
    if proxies is None:
        outcome = ComplianceOutcome.NOT_LOOKED_AT
        return ComplianceFinding(ComplianceCheck.RUNNING_POLICY, outcome, (_NOBODY,), _SETUP)
    bad, good = [], []
    for each in ask_proxies(proxies):
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
    proxies, in_file = deployment.settings.proxies, deployment.config.kek.kind
    is_exposed = in_file is ProviderKind.ENVIRONMENT
    bad = ["the key-encryption key is in an environment variable"] if is_exposed else []
    if proxies is None and not bad:
        said = (_NOBODY, f"the file says {in_file.value}")
        return ComplianceFinding(ComplianceCheck.KEY_PROVIDER, ComplianceOutcome.NOT_LOOKED_AT, said, _SETUP)
    good = []
    for each in ask_proxies(proxies) if proxies is not None else ():
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
