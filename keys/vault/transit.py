"""A key-encryption key that never leaves Vault's transit engine.

Binding. The associated data goes to the server twice, for a key does one of two things with it: as
`associated_data` of its AEAD, and as the `context` from which a key made with `derived` derives the key that
encrypts. A key that is not derived ignores `context` without a word, and an older server ignores
`associated_data`. So the digest of the associated data also stands in front of the wrapped key, and is
compared here.

Form. A wrapped key is the key's version (4 bytes, big-endian) and the ciphertext as bytes. The text form,
`vault:v1:BASE64`, has many spellings that the server reads alike (other padding bits, `v0` for `v1`), which
would be altered bytes that nobody notices.
"""

import base64
import binascii
import hmac
import re
from hashlib import sha256
from typing import Any

from hvac import Client
from hvac import exceptions as hvac_errors

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import KekDenied, KeysError, KeySettingError, KeysReason, UnwrapFailed
from sealwire.keys.kek.kek import MAX_KEY_BYTES
from sealwire.keys.vault.connection import VaultConnection, failed, says
from sealwire.keys.vault.settings import check_path

_DIGEST_BYTES = 32
_VERSION_BYTES = 4
_MAX_CIPHERTEXT_BYTES = _DIGEST_BYTES + MAX_KEY_BYTES + 256  # a nonce and a tag, and room for other ciphers
_CIPHERTEXT = re.compile(r"vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]+={0,2})", re.ASCII)


class TransitKek(Unpicklable):
    """The key `name` in the transit engine at `mount`. Every call asks the server."""

    __slots__ = ("_connection", "_known", "_mount", "_name", "_unwrapping", "_wrapping", "id")

    def __init__(self, connection: VaultConnection, location: str) -> None:
        """`location`: `MOUNT/NAME`. Connects to nothing. Raises KeySettingError VAULT_SETTING."""
        mount, slash, name = check_path(location, "the transit key").rpartition("/")
        if not slash or not mount or not name:
            raise KeySettingError(
                KeysReason.VAULT_SETTING,
                "the transit key lacks its mount or its name",
                "write vault:transit/NAME",
            )
        self._connection = connection
        self._mount = mount
        self._name = name
        self._wrapping = f"wrap a key with {location}"
        self._unwrapping = f"unwrap a key with {location}"
        self._known = False
        self.id = f"vault:{name}"
        """The key's name: mount, namespace and address are the way to it, and may change."""

    def __repr__(self) -> str:
        return f"TransitKek(id={self.id!r})"

    def wrap(self, key: bytes, associated_data: bytes) -> bytes:
        """Encrypt under the newest version. Raises as `KeyEncryptionKey`; ValueError for a wrong length."""
        if not 0 < len(key) <= MAX_KEY_BYTES:
            raise ValueError(f"a key to be wrapped has 1 to {MAX_KEY_BYTES} bytes")
        sent = {
            "plaintext": _encode(sha256(associated_data).digest() + key),
            **_binding(associated_data),
        }
        return self._connection.call(self._wrapping, lambda client: self._encrypt(client, sent))

    def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        """Decrypt under the version that wrapped it. Raises as `KeyEncryptionKey`; KekDenied VAULT_KEY."""
        version, ciphertext = wrapped[:_VERSION_BYTES], wrapped[_VERSION_BYTES:]
        number = int.from_bytes(version, "big")
        if not 0 < number < 10**9 or not 0 < len(ciphertext) <= _MAX_CIPHERTEXT_BYTES:
            raise UnwrapFailed
        sent = {"ciphertext": f"vault:v{number}:{_encode(ciphertext)}", **_binding(associated_data)}
        opened = self._connection.call(self._unwrapping, lambda client: self._decrypt(client, sent))
        digest, key = opened[:_DIGEST_BYTES], opened[_DIGEST_BYTES:]
        if not key or not hmac.compare_digest(digest, sha256(associated_data).digest()):
            raise UnwrapFailed
        return key

    def _encrypt(self, client: Client, sent: dict[str, str]) -> bytes:
        self._require_key(client)
        try:
            answer = client.write_data(f"{self._mount}/encrypt/{self._name}", data=sent)
            found = _CIPHERTEXT.fullmatch(answer["data"]["ciphertext"])
        except hvac_errors.InvalidRequest as error:
            raise self._unusable(error, self._wrapping) from None
        except (KeyError, TypeError):
            found = None
        if found is None:
            raise failed(self._wrapping)
        return int(found[1]).to_bytes(_VERSION_BYTES, "big") + _decode(found[2], self._wrapping)

    def _decrypt(self, client: Client, sent: dict[str, str]) -> bytes:
        try:
            answer = client.write_data(f"{self._mount}/decrypt/{self._name}", data=sent)
            return _decode(answer["data"]["plaintext"], self._unwrapping)
        except hvac_errors.InvalidRequest as error:
            if says(error, "message authentication failed") or says(error, "invalid ciphertext"):
                raise UnwrapFailed from None
            raise self._unusable(error, self._unwrapping) from None
        except (KeyError, TypeError):
            raise failed(self._unwrapping) from None

    def _require_key(self, client: Client) -> None:
        """Look whether the key is there, once: a token that may create it would do so by encrypting."""
        if self._known:
            return
        try:
            client.secrets.transit.read_key(self._name, mount_point=self._mount)
        except hvac_errors.Forbidden:
            pass  # a token with so few rights cannot create it either; encrypting says the rest
        except hvac_errors.InvalidPath as error:
            if not says(error, "no handler for route"):
                raise self._missing() from None
            raise
        self._known = True

    def _unusable(self, error: hvac_errors.InvalidRequest, what: str) -> KeysError:
        if says(error, "encryption key not found"):
            return self._missing()
        if says(error, "disallowed by policy"):
            return KekDenied(
                KeysReason.VAULT_KEY,
                f"the transit key {self._name} no longer opens the version that wrapped this",
                "lower its min_decryption_version, write the keyring anew, then raise it again",
            )
        if says(error, "non-AEAD"):
            return KeySettingError(
                KeysReason.VAULT_KEY,
                f"the transit key {self._name} is of a type that binds nothing to what it encrypts",
                "use a key of type aes256-gcm96 or chacha20-poly1305",
            )
        return failed(what)

    def _missing(self) -> KeySettingError:
        return KeySettingError(
            KeysReason.VAULT_KEY,
            f"there is no transit key {self._name}",
            f"check the name and the mount ({self._mount}); if it was deleted, restore Vault's own backup",
        )


def _binding(associated_data: bytes) -> dict[str, str]:
    # A derived key refuses an empty context, and so a label of one byte stands in front.
    return {
        "associated_data": _encode(associated_data),
        "context": _encode(b"\x01" + associated_data),
    }


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _decode(text: Any, what: str) -> bytes:
    """Raises KekUnavailable VAULT_FAILED for what is not base64 of a possible length."""
    if isinstance(text, str) and len(text) <= 2 * _MAX_CIPHERTEXT_BYTES:
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise failed(what)
