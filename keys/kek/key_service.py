"""What the answers of key services mean, alike for all of them: errors, a second try, silence in the log.

A provider has a table from its service's codes to a `Meaning`, and a `KeyService` with name and hints.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from time import sleep
from typing import TypeVar

from sealwire.keys.errors import (
    KekDenied,
    KekUnavailable,
    KeysError,
    KeySettingError,
    KeysReason,
    UnwrapFailed,
)

# Two tries of at most five seconds: a start or a reload fails within about ten.
CONNECT_S = 2
READ_S = 3
TRIES = 2
_USUAL_PAUSE_S = 0.2
# A service that wants more is believed, and asked again when the keys are looked at the next time.
_MOST_PAUSE_S = 2.0
NOT_NOW_S = 5.0
"""Longer than that: for what has been tried several times already."""

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,63}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,5}", re.ASCII)

T = TypeVar("T")


class Meaning(Enum):
    """What an error of a key service says of the key or of us."""

    NO_KEY = "there is no such key"
    DISABLED = "the key is disabled, pending deletion, or has lost its material"
    DENIED = "the identity may not use the key"
    EXPIRED = "the credentials are wrong or have expired"
    NOT_OURS = "the ciphertext is not this key's"
    BUSY = "too many requests, or the service is in trouble"


@dataclass(frozen=True, slots=True)
class KeyService:
    """A service as people call it, and the next step for each meaning.

    In a hint `{0}` stands for the operation, `{1}` for the same with a capital.
    """

    name: str
    hints: Mapping[Meaning, str]
    address_hint: str
    """How to find out who answers instead of the service."""

    def error(
        self, meaning: Meaning, operation: str, code: str, pause_s: float = _USUAL_PAUSE_S
    ) -> KeysError:
        """The error for what the service answered. A code of no known form is not shown."""
        # it may be anything that the other end likes to have in our log
        shown = code if _CODE.fullmatch(code) else "a strange code"
        problem = f"{self.name} does not {operation}: {meaning.value} ({shown})"
        hint = self.hints.get(meaning, "").format(operation, operation.capitalize())
        match meaning:
            case Meaning.NOT_OURS:
                return UnwrapFailed()
            case Meaning.NO_KEY:
                return KeySettingError(KeysReason.KMS_KEY, problem, hint)
            case Meaning.DISABLED:
                lost = "without it nothing that the keyring wraps can be read"
                return KekDenied(KeysReason.KMS_KEY, problem, f"{hint}: {lost}")
            case Meaning.DENIED:
                return KekDenied(KeysReason.KMS_DENIED, problem, hint)
            case Meaning.EXPIRED:
                return KekDenied(KeysReason.KMS_LOGIN, problem, hint)
            case Meaning.BUSY:
                return KekUnavailable(KeysReason.KMS_FAILED, problem, hint, pause_s)

    def strange_answer(self) -> KekUnavailable:
        """For an answer that the service does not give: somebody else's, or damaged on the way."""
        problem = f"{self.name} answers, but not as it does"
        return KekUnavailable(KeysReason.KMS_FAILED, problem, self.address_hint, _USUAL_PAUSE_S)

    def no_tls(self, operation: str) -> KekUnavailable:
        """For a server that does not prove who it is."""
        problem = f"cannot {operation}: TLS with {self.name} failed"
        return KekUnavailable(KeysReason.KMS_FAILED, problem, self.address_hint)

    def unreachable(
        self, operation: str, error: Exception, pause_s: float = _USUAL_PAUSE_S
    ) -> KekUnavailable:
        """For a network that is down, or no answer in time. Of `error` only the class is shown."""
        problem = f"cannot {operation}: {self.name} cannot be reached ({type(error).__name__})"
        return KekUnavailable(
            KeysReason.KEK_UNREACHABLE, problem, "check the key's name and the network", pause_s
        )

    def no_login(self, error: Exception) -> KekDenied:
        """For credentials that are not there, or that their issuer does not take."""
        problem = f"there are no valid credentials for {self.name} ({type(error).__name__})"
        return KekDenied(KeysReason.KMS_LOGIN, problem, self.hints[Meaning.EXPIRED])


def pause_of(retry_after: str | None) -> float:
    """Seconds to wait, from a header Retry-After; one that is a date counts as none."""
    if retry_after is None or not _SECONDS.fullmatch(retry_after):
        return _USUAL_PAUSE_S
    return float(retry_after)


def ask_twice(ask: Callable[[], T]) -> T:
    """What `ask` returns, or does so when asked again after it was unavailable. Raises what `ask` raises.

    Costs: up to two seconds between the two. A service that wants a longer pause is not asked again.
    """
    for _ in range(TRIES - 1):
        try:
            return ask()
        except KekUnavailable as error:
            if error.retry_after_s > _MOST_PAUSE_S:
                raise
            sleep(error.retry_after_s)
    return ask()


def silence(*loggers: str) -> None:
    """Let libraries log nothing: at `debug` they write out requests and answers, and with them the keys."""
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
