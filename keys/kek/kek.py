"""The one interface behind which every provider of a key-encryption key stands, and what wrapping binds."""

import base64
import binascii
import hmac
import logging
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from time import sleep
from typing import Protocol, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys import errors
from sealwire.keys.kek import DEFAULT_VARIABLE

# Wrapping with a KEK that this process holds itself: what the environment and the key file share.

KEK_BYTES = 32
MAX_KEY_BYTES = 1024
SIV_BYTES = 16

# A uniform key of 32 bytes has fewer different byte values once in 10**17; a placeholder nearly always does.
_LEAST_DIFFERENT_BYTES = 12

_WRAP_INFO = b"sealwire local kek 1: wrap"
_ID_INFO = b"sealwire local kek 1: id"


# A KEK from an environment variable, as base64: for containers whose secrets arrive that way.

_HINT = "set it to the key that wraps the keyring; an export opens without it: sealwire keys import"


# What the answers of key services mean, alike for all of them: errors, a second try, silence in the log.
#
# A provider has a table from its service's codes to a `Meaning`, and a `KeyService` with name and hints.

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
    ) -> errors.KeysError:
        """The error for what the service answered. A code of no known form is not shown."""
        # it may be anything that the other end likes to have in our log
        shown = code if _CODE.fullmatch(code) else "a strange code"
        problem = f"{self.name} does not {operation}: {meaning.value} ({shown})"
        hint = self.hints.get(meaning, "").format(operation, operation.capitalize())
        match meaning:
            case Meaning.NOT_OURS:
                return errors.UnwrapFailed()
            case Meaning.NO_KEY:
                return errors.KeySettingError(errors.KeysReason.KMS_KEY, problem, hint)
            case Meaning.DISABLED:
                lost = "without it nothing that the keyring wraps can be read"
                return errors.KekDenied(errors.KeysReason.KMS_KEY, problem, f"{hint}: {lost}")
            case Meaning.DENIED:
                return errors.KekDenied(errors.KeysReason.KMS_DENIED, problem, hint)
            case Meaning.EXPIRED:
                return errors.KekDenied(errors.KeysReason.KMS_LOGIN, problem, hint)
            case Meaning.BUSY:
                return errors.KekUnavailable(errors.KeysReason.KMS_FAILED, problem, hint, pause_s)

    def strange_answer(self) -> errors.KekUnavailable:
        """For an answer that the service does not give: somebody else's, or damaged on the way."""
        problem = f"{self.name} answers, but not as it does"
        return errors.KekUnavailable(errors.KeysReason.KMS_FAILED, problem, self.address_hint, _USUAL_PAUSE_S)

    def no_tls(self, operation: str) -> errors.KekUnavailable:
        """For a server that does not prove who it is."""
        problem = f"cannot {operation}: TLS with {self.name} failed"
        return errors.KekUnavailable(errors.KeysReason.KMS_FAILED, problem, self.address_hint)

    def unreachable(
        self, operation: str, error: Exception, pause_s: float = _USUAL_PAUSE_S
    ) -> errors.KekUnavailable:
        """For a network that is down, or no answer in time. Of `error` only the class is shown."""
        problem = f"cannot {operation}: {self.name} cannot be reached ({type(error).__name__})"
        return errors.KekUnavailable(
            errors.KeysReason.KEK_UNREACHABLE, problem, "check the key's name and the network", pause_s
        )

    def no_login(self, error: Exception) -> errors.KekDenied:
        """For credentials that are not there, or that their issuer does not take."""
        problem = f"there are no valid credentials for {self.name} ({type(error).__name__})"
        return errors.KekDenied(errors.KeysReason.KMS_LOGIN, problem, self.hints[Meaning.EXPIRED])


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
        except errors.KekUnavailable as error:
            if error.retry_after_s > _MOST_PAUSE_S:
                raise
            sleep(error.retry_after_s)
    return ask()


def silence(*loggers: str) -> None:
    """Let libraries log nothing: at `debug` they write out requests and answers, and with them the keys."""
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


class LocalKek(Unpicklable):
    """A KEK of 32 bytes in memory. Wraps with AES-256-SIV under a key derived from it by HKDF-SHA512.

    Wrapping is deterministic, which for keys, being random themselves, shows nothing (RFC 5297 section 1.1:
    key wrapping is what SIV was made for).
    """

    __slots__ = ("_siv", "id")

    def __init__(self, kek: bytes) -> None:
        """`kek`: 32 bytes. Raises ValueError for another length."""
        if len(kek) != KEK_BYTES:
            raise ValueError(f"a key-encryption key is {KEK_BYTES} bytes long")
        self._siv = AESSIV(_derive(kek, _WRAP_INFO, 64))
        self.id = f"local:{_derive(kek, _ID_INFO, 8).hex()}"
        """Derived from the key, so that a wrong KEK is told apart from a damaged file; one-way."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r})"

    def wrap(self, key: bytes, associated_data: bytes) -> bytes:
        """SIV and ciphertext, 16 bytes longer than `key`. Raises ValueError for an impossible length."""
        if not 0 < len(key) <= MAX_KEY_BYTES:
            raise ValueError(f"a key to be wrapped has 1 to {MAX_KEY_BYTES} bytes")
        return self._siv.encrypt(key, [associated_data])

    def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        """The key inside `wrapped`. Raises UnwrapFailed."""
        if not SIV_BYTES < len(wrapped) <= SIV_BYTES + MAX_KEY_BYTES:
            raise errors.UnwrapFailed
        try:
            return self._siv.decrypt(wrapped, [associated_data])
        except InvalidTag:
            raise errors.UnwrapFailed from None


class EnvironmentKek(LocalKek):
    """Base64 of exactly 32 random bytes in an environment variable, read once."""

    __slots__ = ()

    def __init__(self, variable: str = DEFAULT_VARIABLE, environ: Mapping[str, str] | None = None) -> None:
        """Raises KeySettingError VARIABLE_UNSET or VARIABLE_MALFORMED; the message never shows the value."""
        encoded = (os.environ if environ is None else environ).get(variable, "").strip()
        if not encoded:
            raise errors.KeySettingError(
                errors.KeysReason.VARIABLE_UNSET, f"environment variable {variable} is not set", _HINT
            )
        super().__init__(_decode(encoded, variable))


def _decode(encoded: str, variable: str) -> bytes:
    try:
        # The length is checked before decoding. `validate` refuses characters outside the alphabet.
        kek = base64.b64decode(encoded, validate=True) if len(encoded) == 44 else b""
    except (binascii.Error, ValueError):
        kek = b""
    if len(kek) != KEK_BYTES or not looks_random(kek):
        raise errors.KeySettingError(
            errors.KeysReason.VARIABLE_MALFORMED,
            f"environment variable {variable} is not base64 of {KEK_BYTES} random bytes",
            _HINT,
        )
    return kek


def generate_encoded_kek() -> str:
    """A fresh KEK in the form that the variable takes. This is the secret itself."""
    return base64.b64encode(os.urandom(KEK_BYTES)).decode("ascii")


def looks_random(kek: bytes) -> bool:
    """False for keys such as 32 zero bytes, which come from templates and never from a generator."""
    return len(set(kek)) >= _LEAST_DIFFERENT_BYTES


def _derive(kek: bytes, info: bytes, length: int) -> bytes:
    """No salt: the KEK is uniform already, and the file format has no place where a salt could be lost."""
    return HKDF(algorithm=SHA512(), length=length, salt=None, info=info).derive(kek)


# What key-encryption keys of the key services share: each wraps under a key that this process never has.
#
#     wrapped key   MAC (16 bytes), then what the service made of the key
#
# The first part is an HMAC under the KEK's id, over associated data and the second part. Anybody can
# compute it, and so it proves nothing: the service does. It tells damage and a wrong key without asking,
# and in one way for all services, each of which names such errors differently.

_MARK_BYTES = 16
MAX_SERVICE_BYTES = 8 * 1024
"""No service makes more of a key of 1024 bytes."""


class RemoteKek(ABC, Unpicklable):
    """A `kek.KeyEncryptionKey` behind a service. Every wrapping and unwrapping asks it once."""

    __slots__ = ("id",)

    def __init__(self, kek_id: str) -> None:
        """Asks nobody."""
        self.id = kek_id

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r})"

    def wrap(self, key: bytes, associated_data: bytes) -> bytes:
        """Raises as `KeyEncryptionKey`; KeySettingError; ValueError for an impossible length."""
        if not 0 < len(key) <= MAX_KEY_BYTES:
            raise ValueError(f"a key to be wrapped has 1 to {MAX_KEY_BYTES} bytes")
        sealed = self._encrypt(key, sha256(associated_data).hexdigest())
        return self._mark(sealed, associated_data) + sealed

    def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        """Raises as `KeyEncryptionKey`; KeySettingError."""
        mark, sealed = wrapped[:_MARK_BYTES], wrapped[_MARK_BYTES:]
        if not 0 < len(sealed) <= MAX_SERVICE_BYTES or mark != self._mark(sealed, associated_data):
            raise errors.UnwrapFailed
        return self._decrypt(sealed, sha256(associated_data).hexdigest())

    @abstractmethod
    def _encrypt(self, key: bytes, context: str) -> bytes:
        """Let the service encrypt `key` and authenticate `context` with it. Raises as `wrap`."""

    @abstractmethod
    def _decrypt(self, sealed: bytes, context: str) -> bytes:
        """Let the service decrypt what `_encrypt` made with the same context. Raises as `unwrap`."""

    def _mark(self, sealed: bytes, associated_data: bytes) -> bytes:
        bound = len(associated_data).to_bytes(4, "big") + associated_data + sealed
        return hmac.digest(self.id.encode(), bound, "sha256")[:_MARK_BYTES]


class KeyEncryptionKey(Protocol):
    """Wraps and unwraps keys; how, and where the key lies, is the provider's business.

    Promise: `unwrap` returns exactly what was given to `wrap` with the same associated data, or raises.
    Providers whose key is remote do not hand it out; they may block, so the event loop calls neither.
    """

    @property
    def id(self) -> str:
        """Names the key, not the way to it: the same for every provider that holds it. Not secret."""
        ...

    def wrap(self, key: bytes, associated_data: bytes) -> bytes:
        """Encrypt `key` (1 to 1024 bytes). Raises KekUnavailable, KekDenied."""
        ...

    def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        """Decrypt what `wrap` made. Raises KekUnavailable, KekDenied, UnwrapFailed."""
        ...


class Purpose(Enum):
    """What a wrapped key is for, so that none can stand where another belongs."""

    DATA_KEY = b"data-key"
    KEYRING_MAC = b"keyring-mac"
    KEY_FILE = b"key-file"
    PRIVATE_KEY = b"private-key"
    BACKUP_KEY = b"backup-key"
    KEYRING_CACHE = b"keyring-cache"
    LUKS_HEADER = b"luks-header"
    KEYRING_EXPORT = b"keyring-export"


# Changing what is bound, or how it is written down, needs a new label.
_LABEL = b"sealwire-wrap-1"


def wrap_associated_data(purpose: Purpose, *fields: bytes) -> bytes:
    """What a wrapped key is bound to, in one byte string that can be read in one way only.

    Shape:   the label, the purpose and each field, every one behind its length as 4 bytes big-endian
    Binds:   for a data key: class id, key version and class name; see the callers for the others
    """
    parts = (_LABEL, purpose.value, *fields)
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def data_key_associated_data(class_name: str, class_id: int, version: int) -> bytes:
    """What the wrapping of one data key is bound to."""
    return wrap_associated_data(
        Purpose.DATA_KEY, class_id.to_bytes(4, "big"), version.to_bytes(4, "big"), class_name.encode("ascii")
    )
