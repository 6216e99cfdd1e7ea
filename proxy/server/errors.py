"""What keeps the proxy from starting, and what can be wrong with the server. Each class has one exit code."""

import os
from enum import Enum
from pathlib import Path

from sealwire.files.yaml_source import MAX_SOURCE_BYTES


class StartReason(Enum):
    """Stable names of everything that an operator has to mend."""

    FILE_MISSING = "file-missing"
    FILE_FORBIDDEN = "file-forbidden"
    KEY_EXPOSED = "key-exposed"
    KEY_ENCRYPTED = "key-encrypted"
    KEY_MISMATCH = "key-mismatch"
    BAD_PEM = "bad-pem"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_YET_VALID = "certificate-not-yet-valid"
    BAD_URI = "bad-uri"
    PORT_IN_USE = "port-in-use"
    ADDRESS_UNUSABLE = "address-unusable"
    KEYRING_INCOMPLETE = "keyring-incomplete"
    MEMBER_WITHOUT_LISTENER = "member-without-listener"
    ACCESS_CONTROL_MISSING = "access-control-missing"
    PLAINTEXT_STORED = "plaintext-stored"
    POLICY_OBSERVED = "policy-observed"
    UPSTREAM_UNRESOLVED = "upstream-unresolved"
    UPSTREAM_REFUSED = "upstream-refused"
    UPSTREAM_TIMEOUT = "upstream-timeout"
    UPSTREAM_UNREACHABLE = "upstream-unreachable"
    UPSTREAM_TLS_VERIFY = "upstream-tls-verify"
    UPSTREAM_TLS = "upstream-tls"
    UPSTREAM_CLOSED = "upstream-closed"
    UPSTREAM_PROTOCOL = "upstream-protocol"
    UPSTREAM_OTHER_SET = "upstream-other-set"
    UPSTREAM_ITSELF = "upstream-itself"
    UPSTREAM_MIXED = "upstream-mixed"
    NOT_READY = "not-ready"
    WORKERS_FAILED = "workers-failed"
    FILE_EXISTS = "file-exists"
    FILE_UNWRITABLE = "file-unwritable"
    PASSWORD_UNUSABLE = "password-unusable"  # noqa: S105 - a reason
    TRACES_UNAVAILABLE = "traces-unavailable"
    TOKEN_SHORT = "token-short"  # noqa: S105 - a reason


class ServerError(Exception):
    """The base of this room's errors: a stable reason, one line of text and the operator's next step."""

    def __init__(self, reason: StartReason, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.reason = reason
        self.hint = hint


class FileProblem(ServerError):
    """A file that the configuration names is missing, or does not hold what it should."""


class ConfigExists(ServerError):
    """A configuration is to be written where there is a file already."""


class PermissionProblem(ServerError):
    """A file may not be read, or others may read a private key."""


class KeyringIncomplete(ServerError):
    """The keyring lacks a class that the policy uses."""


class TopologyProblem(ServerError):
    """Drivers would be told of a member that has no listener here, or no member is found."""


class AccessProblem(ServerError):
    """The server asks for no login, and the configuration says that it does."""


class PlaintextStored(ServerError):
    """A class is encrypted, and the server still has values of it in clear."""


class ListenProblem(ServerError):
    """An address cannot be bound."""


class UpstreamUnavailable(ServerError):
    """The server cannot be reached, or what answers is not the server that the configuration describes."""


class TracesUnavailable(ServerError):
    """Traces are on, and the library for them is not installed."""


class NotReady(ServerError):
    """The running proxy does not answer, or says that it is not ready."""


class WorkersFailed(ServerError):
    """Workers ended soon after their start, again and again, or one was killed before it was ready."""


def read_named_file(path: Path, what: str) -> bytes:
    """The bytes of a file that somebody named, with an error that says which.

    Raises FileProblem, PermissionProblem.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_SOURCE_BYTES + 1)  # one more than the parser takes: /dev/zero has no end
    except PermissionError:
        raise PermissionProblem(
            StartReason.FILE_FORBIDDEN,
            f"{path}: {what} may not be read",
            f"let user id {os.geteuid()} read it",
        ) from None
    except OSError as error:
        raise FileProblem(
            StartReason.FILE_MISSING,
            f"{path}: {what} cannot be read: {os.strerror(error.errno or 0)}",
            "correct the path",
        ) from None
