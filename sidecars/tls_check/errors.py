"""What keeps a verification from starting. What is wrong with a server is a finding, not an error."""

from enum import Enum

from sealwire.sidecars.errors import SidecarError


class TlsCheckReason(Enum):
    """Stable names, for tests and scripts."""

    TARGET = "target"
    TARGET_OPTIONS = "target-options"
    TARGET_LOOKUP = "target-lookup"
    NO_TARGETS = "no-targets"
    AUTHORITIES = "authorities"
    CLIENT_CERTIFICATE = "client-certificate"
    OUTPUT = "output"
    METRICS_ADDRESS = "metrics-address"


class TlsCheckError(SidecarError[TlsCheckReason]):
    """Base of the room. No text quotes a target, which may hold a password."""


class UnusableTarget(TlsCheckError):
    """A target of `tls verify` is no connection string, https:// URL or HOST:PORT, or its options clash."""


class UnusableFile(TlsCheckError):
    """A file of authorities or the client certificate for `tls verify` is missing or not usable."""


class OutputProblem(TlsCheckError):
    """A report or the metrics of `tls verify` cannot be written, or their address cannot be bound."""
