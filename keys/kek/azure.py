"""A key-encryption key that never leaves Azure Key Vault or Managed HSM.

What is wrapped is encrypted here under a content key of its own, 32 random bytes, and Azure wraps that one.
So it sees no data key. The form of what stands behind the mark (`remote.py`):

    1  version (16)  nonce (12)  tag (16)  content key (32)                     AES-256-GCM in a Managed HSM
    2  version (16)  signer (16)  signature (64)  length (2)  content key       RSA-OAEP-256 in a vault
    and in both, last, the key under the content key (AES-SIV, as `local_wrap.py` has it)

Authenticity. The HSM's key authenticates the digest of the associated data. RSA authenticates nothing:
whoever has the public key can wrap. So a second key in the vault, `NAME-signing`, signs all of it and that
digest, and nothing is unwrapped before the signature holds. Only its private key makes one.
Versions of keys stand in front, and are authenticated with the rest: each opens what it wrapped (ADR 30).
"""

import os
import re
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from sealwire.keys.errors import KeySettingError, KeysReason, UnwrapFailed
from sealwire.keys.kek.azure_vault import VERSION_BYTES, AzureVault, GcmParts, KeyVersion, unfit
from sealwire.keys.kek.kek import KEK_BYTES, LocalKek, RemoteKek

SIGNER_SUFFIX = "-signing"
_HOST = r"[a-z0-9][a-z0-9-]{1,22}[a-z0-9]\.(?:vault|managedhsm)\.(?:azure\.net|azure\.cn|usgovcloudapi\.net)"
_NAME = re.compile(rf"https://(?P<host>{_HOST})/keys/(?P<name>[0-9A-Za-z-]{{1,110}})", re.ASCII)

_IN_HSM = b"\x01"
_IN_VAULT = b"\x02"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_SIGNATURE_BYTES = 64
_MODULUS_BYTES = (256, 384, 512)
# Changing what is signed, or how it is written down, needs a new label.
_LABEL = b"sealwire azure wrap 1"
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class AzureKek(RemoteKek):
    """A key of Azure, named by its identifier without a version. Its newest version wraps.

    Costs:   wrapping asks for the keys, then encrypts or signs; unwrapping asks once, when versions are known
    """

    __slots__ = ("_name", "_signer", "_vault")

    def __init__(self, location: str) -> None:
        """Asks nobody. Raises KeySettingError KMS_SETTING."""
        found = _NAME.fullmatch(location)
        if found is None:
            raise KeySettingError(
                KeysReason.KMS_SETTING,
                "the key's identifier is not one of Azure Key Vault or Managed HSM",
                "write azure:https://VAULT.vault.azure.net/keys/NAME, without a version",
            )
        super().__init__(f"azure:{found['host']}/{found['name']}")
        self._name = found["name"]
        self._signer = found["name"] + SIGNER_SUFFIX
        self._vault = AzureVault(f"https://{found['host']}")

    def _encrypt(self, key: bytes, context: str) -> bytes:
        newest = self._vault.newest(self._name)
        content_key = os.urandom(KEK_BYTES)
        if newest.public is None:
            return self._encrypt_in_hsm(newest, content_key, key, context)
        return self._encrypt_in_vault(newest, content_key, key, context)

    def _decrypt(self, sealed: bytes, context: str) -> bytes:
        form, rest = sealed[:1], sealed[1:]
        if form == _IN_HSM:
            return self._decrypt_in_hsm(rest, context)
        if form == _IN_VAULT:
            return self._decrypt_in_vault(rest, context)
        raise UnwrapFailed

    def _encrypt_in_hsm(self, held: KeyVersion, content_key: bytes, key: bytes, context: str) -> bytes:
        parts = self._vault.encrypt(self._name, held.version, content_key, context.encode())
        head = held.version + parts.nonce + parts.tag + parts.ciphertext
        return _IN_HSM + head + LocalKek(content_key).wrap(key, context.encode())

    def _decrypt_in_hsm(self, sealed: bytes, context: str) -> bytes:
        (version, nonce, tag, content), inner = _split(
            sealed, VERSION_BYTES, _NONCE_BYTES, _TAG_BYTES, KEK_BYTES
        )
        parts = GcmParts(nonce, tag, content)
        content_key = self._vault.decrypt(self._name, version, parts, context.encode())
        return LocalKek(content_key).unwrap(inner, context.encode())

    def _encrypt_in_vault(self, held: KeyVersion, content_key: bytes, key: bytes, context: str) -> bytes:
        signer = self._vault.newest(self._signer)
        if not isinstance(held.public, rsa.RSAPublicKey) or held.public.key_size // 8 not in _MODULUS_BYTES:
            raise unfit()
        wrapped = held.public.encrypt(content_key, _OAEP)
        inner = LocalKek(content_key).wrap(key, context.encode())
        digest = self._digest(held.version, wrapped, inner, context)
        signature = self._vault.sign(self._signer, signer.version, digest)
        # The vault's own answer is held to what it has to be before anything depends on it.
        _verify(signer, digest, signature)
        length = len(wrapped).to_bytes(2, "big")
        return _IN_VAULT + held.version + signer.version + signature + length + wrapped + inner

    def _decrypt_in_vault(self, sealed: bytes, context: str) -> bytes:
        (version, signer_version, signature, length), rest = _split(
            sealed, VERSION_BYTES, VERSION_BYTES, _SIGNATURE_BYTES, 2
        )
        (wrapped,), inner = _split(rest, int.from_bytes(length, "big"))
        signer = self._vault.version(self._signer, signer_version)
        _verify(signer, self._digest(version, wrapped, inner, context), signature)
        content_key = self._vault.unwrap(self._name, version, wrapped, KEK_BYTES)
        return LocalKek(content_key).unwrap(inner, context.encode())

    def _digest(self, version: bytes, wrapped: bytes, inner: bytes, context: str) -> bytes:
        """What is signed: every part behind its length, so that it can be read in one way only."""
        parts = (_LABEL, self.id.encode(), context.encode(), version, wrapped, inner)
        return sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


def _verify(signer: KeyVersion, digest: bytes, signature: bytes) -> None:
    """Raises UnwrapFailed; KeySettingError KMS_KEY for a signer that is no EC key."""
    if not isinstance(signer.public, ec.EllipticCurvePublicKey):
        raise unfit()
    half = _SIGNATURE_BYTES // 2
    r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    try:
        signer.public.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    except InvalidSignature:
        raise UnwrapFailed from None


def _split(data: bytes, *lengths: int) -> tuple[list[bytes], bytes]:
    """Parts of these lengths, and what is left. Raises UnwrapFailed where nothing is left."""
    parts = []
    for length in lengths:
        parts.append(data[:length])
        data = data[length:]
    if not data:
        raise UnwrapFailed
    return parts, data
