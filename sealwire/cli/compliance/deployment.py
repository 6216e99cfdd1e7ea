"""What the checks of a deployment share: its settings, and what these lead to, each read once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from sealwire.audit.files import files_of
from sealwire.cli.audit.options import lines_in
from sealwire.cli.exit_codes import exit_code
from sealwire.keys.keyring.file import read_record
from sealwire.keys.keyring.record import KeyringRecord
from sealwire.keys.providers import Providers
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.server.config.policy_file import PolicyFile, read_policy
from sealwire.proxy.server.config.reader import load_config
from sealwire.proxy.server.config.settings import Config
from sealwire.sidecars.compliance.finding import ComplianceCheck, ComplianceFinding, ComplianceOutcome
from sealwire.sidecars.compliance.settings import MANUAL, ComplianceSettings


class NotSetUp(Exception):
    """A check needs something that the settings do not have. `str()` is what to add."""


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
        """The policy that the proxy reads."""
        return self.policy_file.rules

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


Look = Callable[[Deployment], ComplianceFinding]
"""Looks at one thing. May raise NotSetUp, OSError and every error that an operator can mend."""


def looked(check: ComplianceCheck, look: Look, deployment: Deployment) -> ComplianceFinding:
    """The finding of a check; what cannot be looked at has failed."""
    exempt = deployment.settings.not_applicable.get(check)
    if exempt is not None:
        said = f"{exempt.reason} (said on {exempt.word.on.isoformat()} by {exempt.word.by})"
        if exempt.word.counts_on(datetime.now(UTC).date()):
            return ComplianceFinding(check, ComplianceOutcome.NOT_APPLICABLE, (said,))
        hint = "a word counts for a year: look again, or give a new date"
        return ComplianceFinding(
            check, ComplianceOutcome.FAIL, (f"{said}, which does not count today",), hint
        )
    try:
        return look(deployment)
    except NotSetUp as missing:
        return ComplianceFinding(
            check, ComplianceOutcome.FAIL, ("nothing says where to look",), f"{missing}: {MANUAL}"
        )
    except OSError as error:
        return ComplianceFinding(
            check, ComplianceOutcome.FAIL, (f"could not look: {error.strerror} ({error.filename})",)
        )
    except Exception as error:
        if exit_code(error) is None:
            raise
        return ComplianceFinding(
            check, ComplianceOutcome.FAIL, (f"could not look: {error}",), getattr(error, "hint", "")
        )


def judged(
    check: ComplianceCheck, bad: list[str], good: list[str], hint: str = "", doubts: Sequence[str] = ()
) -> ComplianceFinding:
    """FAIL if anything is bad, else PARTLY if there are doubts, else PASS."""
    if bad or doubts:
        outcome = ComplianceOutcome.FAIL if bad else ComplianceOutcome.PARTLY
        return ComplianceFinding(check, outcome, (*bad, *doubts, *good), hint)
    return ComplianceFinding(check, ComplianceOutcome.PASS, tuple(good))
