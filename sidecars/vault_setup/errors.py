"""What stops a Vault set-up. Every error has a stable reason and a next step, and shows no secret.

Errors of the connection and the login are those of sealwire.keys.
"""

from enum import Enum

from sealwire.sidecars.errors import SidecarError


class SetupReason(Enum):
    """Stable names, for tests and scripts."""

    NAME = "name"
    PERIOD = "period"
    SHARES = "shares"
    HOLDER = "holder"
    AUTH = "auth"
    NOT_A_TERMINAL = "not-a-terminal"
    ALREADY_INITIALISED = "already-initialised"
    NOT_INITIALISED = "not-initialised"
    SEALED = "sealed"
    SHARE_REFUSED = "share-refused"
    NOT_SET_UP = "not-set-up"
    AGE_MISSING = "age-missing"
    AGE_FAILED = "age-failed"
    FIXED = "fixed"
    OUTPUT = "output"


SET_UP_FIRST = "set it up first: sealwire vault setup"


class VaultSetupError(SidecarError[SetupReason]):
    """Base of the room."""


class UnusableSetting(VaultSetupError):
    """A name, a period, a number of shares or a holder's public key cannot be used."""


class ServerState(VaultSetupError):
    """The Vault server is sealed, not initialised, initialised already, or not set up."""


class HandOverFailed(VaultSetupError):
    """A share or a credential could not be encrypted or handed over."""


class NotChangeable(VaultSetupError):
    """The Vault server holds another thing of this name, which no set-up may change."""
