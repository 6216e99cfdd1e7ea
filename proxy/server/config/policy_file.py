"""The policy as it was read from its file, the hash of its content, and what sessions are told of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.server.config.sections import compressors
from sealwire.proxy.server.config.settings import AccessControl, Config
from sealwire.proxy.server.errors import read_named_file
from sealwire.proxy.session.auditing.subjects import CommandAudit
from sealwire.proxy.session.login.identities import NO_IDENTITIES, Identities
from sealwire.proxy.session.shared import SessionSettings

# A cursor lives ten minutes without a getMore. Nobody changes a policy so often in that time.
MAX_FORMER_POLICIES = 16

_SHOWN_DIGITS = 12


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """What a policy file says, and which content said it."""

    rules: PolicySet
    """What is enforced of it."""
    sha256: str
    """The hash of the file's bytes, in hex."""

    @property
    def shown(self) -> str:
        """The digits that logs, /readyz and metrics show, as `sha256sum policy.yaml` begins."""
        return self.sha256[:_SHOWN_DIGITS]


def read_policy(path: Path) -> PolicyFile:
    """Read and check the file at `path`. Raises SourceError, FileProblem, PermissionProblem."""
    return parse_policy(read_named_file(path, "the policy"), str(path))


def parse_policy(source: bytes, filename: str) -> PolicyFile:
    """The policy in `source`; `filename` is for messages. Raises SourceError."""
    return PolicyFile(load_policy(source, filename).enforced, sha256(source).hexdigest())


def put_first(policy: PolicyFile, before: Sequence[PolicyFile]) -> tuple[PolicyFile, ...]:
    """The policies that counted, newest first, each content once: `policy` and the latest of `before`.

    A content that counted before keeps its PolicySet, and with it what that remembers.
    """
    same = next((old for old in before if old.sha256 == policy.sha256), policy)
    others = tuple(old for old in before if old.sha256 != policy.sha256)
    return (same, *others[:MAX_FORMER_POLICIES])


def make_settings(
    config: Config,
    policies: Sequence[PolicyFile],
    audit: CommandAudit | None = None,
    identities: Identities = NO_IDENTITIES,
) -> SessionSettings:
    """What sessions go by; `policies`: the one that counts, then the former."""
    return SessionSettings(
        policies[0].rules,
        login_required=config.access_control is AccessControl.REQUIRED,
        reveal=config.reveal,
        former=tuple(policy.rules for policy in policies[1:]),
        workers=config.workers,
        identities=identities,
        questions=config.limits.questions,
        audit=audit,
        compress_to_clients=compressors(config.listen_compression),
        compress_to_server=compressors(config.upstream_compression),
    )
