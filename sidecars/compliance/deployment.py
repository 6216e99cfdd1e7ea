"""What the checks of a deployment share: its settings, and what these lead to, each read once."""

import http.client
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from sealwire.audit.files import files_of
from sealwire.cli.audit import lines_in
from sealwire.cli.exit_codes import exit_code
from sealwire.keys.keyring.file import read_record
from sealwire.keys.keyring.record import KeyringRecord
from sealwire.keys.providers import Providers
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.server.config.policy_file import PolicyFile, read_policy
from sealwire.proxy.server.config.reader import load_config
from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.tls import pinned_context
from sealwire.sidecars.compliance.requirements import ComplianceCheck, ComplianceFinding, ComplianceOutcome
from sealwire.sidecars.compliance.settings import MANUAL, ComplianceSettings, RunningProxies

_TIMEOUT_S: Final = 5.0
_MOST_BYTES: Final = 1 << 20
"""So much of an answer is read at most."""


class NotSetUp(Exception):
    """A check needs something that the settings do not have. `str()` is what to add."""


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """What one proxy says of itself; empty texts are what it does not say."""

    url: str
    policy: str = ""
    """The beginning of its policy's hash; `mixed` while its workers have several."""
    provider: str = ""
    is_observing: bool = False
    """Whether some of its policy, or all of it, is only observed."""
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
    is_observing = said.get("mode") == "observe"
    return RunningProxy(url, str(said["policy"])[:64], str(said["provider"])[:64], is_observing)


class Deployment:
    """See the module. What cannot be read raises its own error, in each check that needs it."""

    def __init__(self, settings: ComplianceSettings, environ: Mapping[str, str]) -> None:
        self.settings = settings
        self._environ = environ

    @cached_property
    def config(self) -> Config:
        """The proxy's configuration."""
        return load_config(self.settings.proxy, self._environ)

    @cached_property
    def policy_file(self) -> PolicyFile:
        """The policy's file, with its hash."""
        return read_policy(self.config.policy)

    @property
    def policy(self) -> PolicySet:
        """The policy as its file has it, enforced or not."""
        return self.policy_file.rules.written or self.policy_file.rules

    @cached_property
    def running(self) -> list[RunningProxy] | None:
        """What the running proxies say of themselves; None if no admin address is given."""
        proxies = self.settings.proxies
        return None if proxies is None else ask_proxies(proxies)

    @cached_property
    def keyring(self) -> KeyringRecord:
        """The keyring as it lies there: wrapped, and not authenticated."""
        providers = Providers(self._environ, self.config.vault)
        return read_record(providers.store(self.config.keyring))

    @property
    def audit_log(self) -> Path:
        """Where the audit log lies. Raises NotSetUp."""
        if self.config.audit is None:
            raise NotSetUp("set audit.path in the proxy's configuration")
        return self.config.audit.place.path

    def audit_lines(self) -> Iterator[Mapping[str, object]]:
        """What the lines of the audit log say; what cannot be read is left out. Raises NotSetUp, OSError."""
        # no bar: the checks have one
        for line in lines_in(files_of(self.audit_log), lambda _done: None):
            if line is not None:
                yield line


class LookResult(NamedTuple):
    """What one look found: a ComplianceFinding without its check."""

    outcome: ComplianceOutcome
    evidence: tuple[str, ...]
    hint: str = ""
    unseen: tuple[str, ...] = ()


Look = Callable[[Deployment], LookResult]
"""Looks at one thing. May raise NotSetUp, OSError and every error that an operator can mend."""


def looked(check: ComplianceCheck, look: Look, deployment: Deployment) -> ComplianceFinding:
    """The finding of a check; what cannot be looked at has failed."""
    exempt = deployment.settings.not_applicable.get(check)
    if exempt is not None:
        said = f"{exempt.reason} (said on {exempt.word.on.isoformat()} by {exempt.word.by})"
        if exempt.word.counts_on(datetime.now(UTC).date()):
            return ComplianceFinding(check, ComplianceOutcome.NOT_APPLICABLE, (said,))
        hint = "a word counts for a year: look again, or give a new date"
        return ComplianceFinding(check, *judged([f"{said}, which does not count today"], [], hint))
    try:
        found = look(deployment)
    except NotSetUp as missing:
        found = judged(["nothing says where to look"], [], f"{missing}: {MANUAL}")
    except OSError as error:
        found = judged([f"could not look: {error.strerror} ({error.filename})"], [])
    except Exception as error:
        if exit_code(error) is None:
            raise
        found = judged([f"could not look: {error}"], [], getattr(error, "hint", ""))
    return ComplianceFinding(check, *found)


def judged(bad: Sequence[str], good: Sequence[str], hint: str = "", doubts: Sequence[str] = ()) -> LookResult:
    """FAIL if anything is bad, else PARTLY if there are doubts, else PASS, which needs no hint."""
    if not bad and not doubts:
        return LookResult(ComplianceOutcome.PASS, tuple(good))
    outcome = ComplianceOutcome.FAIL if bad else ComplianceOutcome.PARTLY
    return LookResult(outcome, (*bad, *doubts, *good), hint)
