"""From what hvac and requests raise to the errors of this room, in words of our own.

The texts of the server and of the libraries hold paths, addresses and now and then what was sent: none of it
is passed on, and no error keeps another as its cause.
"""

import requests
from hvac import exceptions as hvac_errors

from sealwire.keys.errors import KekDenied, KekUnavailable, KeysError, KeySettingError, KeysReason

# "permission denied" is also the answer for a path that no engine serves, so that nobody learns which do.
_DENIED_HINT = "check the token's policies, the mount and the namespace"


def translate(error: Exception, what: str) -> KeysError:
    """The error of this room for `error`, raised by a call that was to do `what` ("wrap a key").

    Raises `error` again when it is neither the server's nor the network's: that is a bug of ours.
    """
    if isinstance(error, KeysError):
        return error
    if isinstance(error, requests.RequestException):
        return _of_network(error, what)
    match error:
        case hvac_errors.VaultDown():
            return KekUnavailable(
                KeysReason.VAULT_SEALED, f"cannot {what}: Vault is sealed or not active", "unseal it"
            )
        case hvac_errors.Forbidden() | hvac_errors.Unauthorized():
            return KekDenied(KeysReason.VAULT_DENIED, f"Vault does not allow to {what}", _DENIED_HINT)
        case hvac_errors.InvalidPath() | hvac_errors.UnsupportedOperation():
            return KeySettingError(
                KeysReason.VAULT_PATH, f"cannot {what}: Vault has nothing at this path", _DENIED_HINT
            )
        case hvac_errors.RateLimitExceeded():
            return KekUnavailable(
                KeysReason.VAULT_FAILED, f"cannot {what}: Vault limits the rate", "raise the quota"
            )
        case hvac_errors.InvalidRequest():
            return failed(what)
        case hvac_errors.VaultError():
            return failed(what)
        case _:
            raise error


def failed(what: str) -> KekUnavailable:
    """The server answered, but not with what was asked for."""
    return KekUnavailable(
        KeysReason.VAULT_FAILED,
        f"cannot {what}: Vault answered with an error, or not as Vault does",
        "its own log and audit log say more",
    )


def slow(what: str, deadline_s: float) -> KekUnavailable:
    """The deadline of a whole operation has passed."""
    return KekUnavailable(
        KeysReason.VAULT_SLOW,
        f"cannot {what}: Vault did not answer within {deadline_s:g} s",
        "check the server's load, the name service and the network",
    )


def says(error: hvac_errors.VaultError, text: str) -> bool:
    """Whether the server gave `text` among its errors; the status alone does not tell all cases apart."""
    return any(text in str(line) for line in error.errors or ())


def _of_network(error: requests.RequestException, what: str) -> KeysError:
    match error:
        case requests.exceptions.TooManyRedirects():
            return KekUnavailable(
                KeysReason.VAULT_FAILED,
                f"cannot {what}: Vault sends to another address, and a token does not go there",
                "name the active node, or the load balancer, as the address",
            )
        case requests.exceptions.SSLError():
            return KekUnavailable(
                KeysReason.VAULT_TLS,
                f"cannot {what}: the TLS handshake with Vault failed",
                "check that vault.ca (VAULT_CACERT) vouches for the address, and the client certificate",
            )
        case requests.exceptions.Timeout():
            return KekUnavailable(
                KeysReason.VAULT_SLOW,
                f"cannot {what}: Vault does not answer in time",
                "check its load and the network",
            )
        case requests.exceptions.ConnectionError():
            return KekUnavailable(
                KeysReason.KEK_UNREACHABLE,
                f"cannot {what}: Vault cannot be reached",
                "check the address, and that it is running",
            )
        case _:
            return failed(what)
