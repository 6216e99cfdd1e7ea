"""A key-encryption key in a PKCS#11 token: a hardware security module, a smart card, SoftHSM.

The key is an AES key of 256 bits that the token does not give out. It wraps with AES-GCM (CKM_AES_GCM); the
digest of the associated data is authenticated with it. The nonce is random: one key makes 2**32 wrapped keys
before it needs a successor (NIST SP 800-38D section 8.3).

Where it is stands in a PKCS#11 URI (RFC 7512) without its scheme:

    token=clinic;object=sealwire?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/run/secrets/pin

The PIN comes from the file `pin-source`, else from SEALWIRE_PKCS11_PIN. It is never part of the URI.

OpenSSL keeps a queue of errors for each thread. Python's `ssl` takes what is in it for an error of its own.
A library may leave some (SoftHSM leaves four when it is loaded). So it is called in a thread of its own.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pkcs11
from pkcs11 import exceptions as token_errors

from sealwire.keys.errors import (
    KekDenied,
    KekUnavailable,
    KeysError,
    KeySettingError,
    KeysReason,
    UnwrapFailed,
)
from sealwire.keys.kek.kek import RemoteKek
from sealwire.keys.kek.passphrase import read_passphrase_file

PIN_VARIABLE = "SEALWIRE_PKCS11_PIN"
_NONCE_BYTES = 12
_KEY_BITS = 256
_SCHEME_HINT = "write pkcs11:token=LABEL;object=LABEL?module-path=/path/to/library.so"

# The session or the token has gone: a new session may do.
_LOST = (
    token_errors.SessionHandleInvalid,
    token_errors.SessionClosed,
    token_errors.UserNotLoggedIn,
    token_errors.ObjectHandleInvalid,
    token_errors.KeyHandleInvalid,
    token_errors.DeviceRemoved,
    token_errors.TokenNotPresent,
)
_PIN = (
    token_errors.PinIncorrect,
    token_errors.PinInvalid,
    token_errors.PinLenRange,
    token_errors.PinLocked,
    token_errors.PinExpired,
    token_errors.UserPinNotInitialized,
)
_UNFIT = (
    token_errors.NoSuchKey,
    token_errors.MultipleObjectsReturned,
    token_errors.MultipleTokensReturned,
    token_errors.MechanismInvalid,
    token_errors.MechanismParamInvalid,
    token_errors.KeyTypeInconsistent,
    token_errors.KeySizeRange,
    token_errors.FunctionNotSupported,
)


@dataclass(frozen=True, slots=True)
class TokenUri:
    """Which key, in which token, by which library."""

    module: str
    token: str
    key: str
    pin_file: Path | None


def parse_uri(location: str) -> TokenUri:
    """Read a PKCS#11 URI without `pkcs11:`. Raises KeySettingError KMS_SETTING, and shows none of it."""
    path, _, query = location.partition("?")
    named = _attributes(path, ";", ("token", "object"))
    more = _attributes(query, "&", ("module-path", "pin-source"))
    if not {"token", "object", "module-path"} <= named.keys() | more.keys():
        raise _setting("the place of a PKCS#11 key lacks token, object or module-path")
    pin_file = Path(source.removeprefix("file:")) if (source := more.get("pin-source")) else None
    if pin_file is not None and not pin_file.is_absolute():
        raise _setting("the pin-source of a PKCS#11 key is not an absolute path")
    return TokenUri(more["module-path"], named["token"], named["object"], pin_file)


def _attributes(text: str, separator: str, known: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if not equals or not value or name not in known or name in found:
            raise _setting("the place of a PKCS#11 key is not understood")
        found[name] = unquote(value)
    return found


class TokenKek(RemoteKek):
    """The key `object` of a token. One session is kept, in one thread; calls wait for each other.

    Costs: the library's, and one search for the key a call; a login and a thread at the first.
    """

    __slots__ = ("_environ", "_own_thread", "_refused_pin", "_session", "_uri")

    def __init__(self, location: str, environ: Mapping[str, str] | None = None) -> None:
        """Loads no library yet. Raises KeySettingError KMS_SETTING."""
        self._uri = parse_uri(location)
        super().__init__(f"pkcs11:{quote(self._uri.token)}/{quote(self._uri.key)}")
        self._environ = os.environ if environ is None else environ
        self._own_thread = ThreadPoolExecutor(1, "token")
        self._session: pkcs11.Session | None = None
        self._refused_pin: str | None = None
        """Never tried twice: a token locks itself after some mistakes, and a proxy asks every minute."""

    def _encrypt(self, key: bytes, context: str) -> bytes:
        return self._call("wrap", lambda held: _seal(held, key, context))

    def _decrypt(self, sealed: bytes, context: str) -> bytes:
        if len(sealed) <= _NONCE_BYTES:
            raise UnwrapFailed
        return self._call("unwrap", lambda held: _open(held, sealed, context))

    def _call(self, what: str, operation: Callable[[Any], bytes]) -> bytes:
        return self._own_thread.submit(self._called, what, operation).result()

    def _called(self, what: str, operation: Callable[[Any], bytes]) -> bytes:
        try:
            try:
                return operation(self._key())
            except _LOST:
                self._session = None
                return operation(self._key())
        except token_errors.PKCS11Error as error:
            self._session = None
            raise _translated(error, f"cannot {what} a key with {self.id}") from None

    def _key(self) -> Any:
        if self._session is None:
            self._session = self._log_in()
        held = _only_key(self._session, self._uri.key)
        if not isinstance(held, pkcs11.SecretKey) or held.key_length != _KEY_BITS:
            raise _unfit(f"{self.id} is not an AES key of {_KEY_BITS} bits")
        if held[pkcs11.Attribute.EXTRACTABLE] or not held[pkcs11.Attribute.SENSITIVE]:
            raise _unfit(f"the token would give {self.id} out")
        return held

    def _log_in(self) -> pkcs11.Session:
        try:
            library = pkcs11.lib(self._uri.module)
        except token_errors.PKCS11Error:
            raise _setting("the library for PKCS#11 cannot be loaded") from None
        token, pin = library.get_token(token_label=self._uri.token), self._pin()
        if pin == self._refused_pin:
            raise token_errors.PinIncorrect
        try:
            return token.open(user_pin=pin)
        except token_errors.UserAlreadyLoggedIn:
            # One login counts for all sessions of a process with a token (PKCS#11 section 5.6.8).
            return token.open()
        except token_errors.PinIncorrect:
            self._refused_pin = pin
            raise

    def _pin(self) -> str:
        if self._uri.pin_file is not None:
            return read_passphrase_file(self._uri.pin_file)
        pin = self._environ.get(PIN_VARIABLE)
        if not pin:
            raise KeySettingError(
                KeysReason.KMS_LOGIN,
                "the token's PIN is missing",
                f"add pin-source=/path to the URI, or set {PIN_VARIABLE}",
            )
        return pin


def _only_key(session: "pkcs11.Session", label: str) -> Any:
    """The one secret key of this label. Raises what the library has for none and for several.

    Its own `get_key` leaves a search open that found several: the session is locked from then on, until a
    garbage collection, which fails in any other thread. A search that is read to its end is over.
    """
    wanted = {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY, pkcs11.Attribute.LABEL: label}
    found = list(session.get_objects(wanted))
    if not found:
        raise token_errors.NoSuchKey
    if len(found) > 1:
        raise token_errors.MultipleObjectsReturned
    return found[0]


def _seal(held: Any, key: bytes, context: str) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + bytes(held.encrypt(key, **_gcm(nonce, context)))


def _unseal(held: Any, sealed: bytes, context: str) -> bytes:
    return bytes(held.decrypt(sealed[_NONCE_BYTES:], **_gcm(sealed[:_NONCE_BYTES], context)))


def _open(held: Any, sealed: bytes, context: str) -> bytes:
    try:
        return _unseal(held, sealed, context)
    except (token_errors.EncryptedDataInvalid, token_errors.EncryptedDataLenRange):
        raise UnwrapFailed from None
    except (token_errors.GeneralError, token_errors.FunctionFailed):
        # SoftHSM says no more of a wrong tag. A token that works has refused the ciphertext.
        if _unseal(held, _seal(held, sealed[:_NONCE_BYTES], context), context) != sealed[:_NONCE_BYTES]:
            raise
        raise UnwrapFailed from None


def _gcm(nonce: bytes, context: str) -> dict[str, object]:
    return {
        "mechanism": pkcs11.Mechanism.AES_GCM,
        "mechanism_param": pkcs11.GCMParams(nonce, context.encode(), 128),
    }


def _translated(error: token_errors.PKCS11Error, problem: str) -> KeysError:
    name = type(error).__name__
    match error:
        case token_errors.NoSuchToken():
            hint = "check the label, and that the token is plugged in and its service runs"
            return KekUnavailable(KeysReason.KEK_UNREACHABLE, f"{problem}: there is no such token", hint)
        case _ if isinstance(error, _PIN):
            hint = "check the PIN; after a few more mistakes the token locks itself"
            return KekDenied(KeysReason.KMS_LOGIN, f"{problem}: the token refuses the PIN ({name})", hint)
        case _ if isinstance(error, _UNFIT):
            return _unfit(f"{problem}: there is no fit key ({name})")
        case _:
            return KekUnavailable(KeysReason.KMS_FAILED, f"{problem}: {name}", "look at the token's own log")


def _unfit(problem: str) -> KeySettingError:
    hint = f"make one in the token: AES of {_KEY_BITS} bits, sensitive, not extractable, for CKM_AES_GCM"
    return KeySettingError(KeysReason.KMS_KEY, problem, hint)


def _setting(problem: str) -> KeySettingError:
    return KeySettingError(KeysReason.KMS_SETTING, problem, _SCHEME_HINT)
