"""A key-encryption key that never leaves Azure Key Vault or Managed HSM.

What is wrapped is encrypted here under a content key of its own, 32 random bytes, and Azure wraps that one.
So it sees no data key. The form of what stands behind the mark (`kek.RemoteKek`):

    1  version (16)  nonce (12)  tag (16)  content key (32)                     AES-256-GCM in a Managed HSM
    2  version (16)  signer (16)  signature (64)  length (2)  content key       RSA-OAEP-256 in a vault
    and in both, last, the key under the content key (AES-SIV, as `kek.LocalKek` has it)

Authenticity. The HSM's key authenticates the digest of the associated data. RSA authenticates nothing:
whoever has the public key can wrap. So a second key in the vault, `NAME-signing`, signs all of it and that
digest, and nothing is unwrapped before the signature holds. Only its private key makes one.
Versions of keys stand in front, and are authenticated with the rest: each opens what it wrapped (ADR 30).
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import DefaultAzureCredential
from azure.keyvault.keys import KeyClient, KeyCurveName, KeyType
from azure.keyvault.keys.crypto import (
    CryptographyClient,
    EncryptionAlgorithm,
    KeyWrapAlgorithm,
    SignatureAlgorithm,
)
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from sealwire.keys.errors import KeysError, KeySettingError, KeysReason, UnwrapFailed
from sealwire.keys.kek.kek import (
    CONNECT_S,
    KEK_BYTES,
    READ_S,
    KeyService,
    LocalKek,
    Meaning,
    RemoteKek,
    ask_twice,
    pause_of,
    silence,
)

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


# Azure Key Vault and Managed HSM through Azure's own SDK: what a KEK asks, and what their errors mean.
#
# Credentials come from where Azure's SDK looks for them (AZURE_ variables, the identity of a workload or
# a machine, `az login`). Of what Azure answers only error codes are shown.

VERSION_BYTES = 16
_VERSION = re.compile(r"[0-9a-f]{32}", re.ASCII)
_MAX_ANSWER_BYTES = 1024
"""No part of an answer is longer: an RSA key of 4096 bits has 512."""

# No redirect: what is sent would follow to wherever it leads. One try: the SDK would sleep for as long as a
# server says, and `ask_twice` does not.
_TIMES = {"connection_timeout": CONNECT_S, "read_timeout": READ_S}
_POLICIES = {"retry_total": 0, "permit_redirects": False}

_SERVICE = KeyService(
    "Azure Key Vault",
    {
        Meaning.NO_KEY: "check the key's identifier; if it was deleted, recover it: az keyvault key recover",
        Meaning.DISABLED: "enable the key's version, or recover the key while its deletion is pending",
        Meaning.DENIED: "allow the identity to {0} with this key, and see the vault's firewall",
        Meaning.EXPIRED: "set AZURE_TENANT_ID and the other AZURE_ variables, give the machine an identity, "
        "or run: az login",
        Meaning.BUSY: "it may pass; see the limits of Key Vault and status.azure.com",
    },
    "check who answers at the vault's address (HTTPS_PROXY, REQUESTS_CA_BUNDLE)",
)
_MEANINGS = {
    "KeyDisabled": Meaning.DISABLED,
    "KeyNotYetValid": Meaning.DISABLED,
    "KeyExpired": Meaning.DISABLED,
}
"""Inner codes that say more than their status."""
_STATUSES = {
    401: Meaning.EXPIRED,
    403: Meaning.DENIED,
    404: Meaning.NO_KEY,
    409: Meaning.DISABLED,
}
"""Every other status is BUSY, but for 400, which depends on the operation. 409 is a key in deletion."""
_OPENING = ("decrypt", "unwrapKey")

T = TypeVar("T")
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One version of a key as the vault describes it; `public` is None for a symmetric key in an HSM."""

    version: bytes
    public: PublicKey | None


class _TransportWithoutNetrc:
    """The SDK's own, but that .netrc counts for nothing: an entry there would take the place of the token.

    Remembers an outage, since the SDK calls one of the issuer of tokens a refusal. Requests without TLS do
    not count: they go to the machine's own metadata service, which most machines do not have.
    """

    def __init__(self) -> None:
        self._inner: Any = RequestsTransport(**_TIMES)
        self._inner.open()
        self._inner.session.auth = lambda request: request
        self.lost: Exception | None = None

    def send(self, request: Any, **options: Any) -> Any:
        try:
            response = self._inner.send(request, **options)
            if response.status_code == 429 or response.status_code >= 500:
                self._lose(request, ServiceResponseError("the issuer is in trouble"))
        except (ServiceRequestError, ServiceResponseError) as error:
            self._lose(request, error)
            raise
        return response

    def _lose(self, request: Any, error: Exception) -> None:
        if request.url.startswith("https://"):
            self.lost = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> "_TransportWithoutNetrc":
        return self

    def __exit__(self, *_: object) -> None:
        self._inner.close()


class AzureVault:
    """The keys of one vault. Versions that were asked for are remembered for the life of the process.

    Raises:  in every call KekUnavailable, KekDenied, KeySettingError KMS_KEY; from opening also UnwrapFailed
    Costs:   a request for each call, and one for each version when it is first used
    """

    def __init__(self, url: str) -> None:
        """Asks nobody. Raises KeySettingError KMS_SETTING where the AZURE_ variables make no sense."""
        silence("azure", "msal", "urllib3")
        self._url = url
        self._login = _TransportWithoutNetrc()
        self._options: dict[str, Any] = {"transport": _TransportWithoutNetrc(), **_POLICIES}
        self._credential = _usual_credential(self._login)
        self._keys = KeyClient(url, self._credential, **self._options)
        self._known: dict[tuple[str, bytes], KeyVersion] = {}
        self._clients: dict[tuple[str, bytes], CryptographyClient] = {}

    def newest(self, name: str) -> KeyVersion:
        """The version that a new wrapped key is made with. Raises KekDenied where it is disabled."""
        return self._ask("get", lambda: self._usable(self._keys.get_key(name), name))

    def version(self, name: str, version: bytes) -> KeyVersion:
        """A version that a wrapped key names. Raises KekDenied where it is disabled."""

        def ask() -> KeyVersion:
            found = self._usable(self._keys.get_key(name, version.hex()), name)
            if found.version != version:
                raise _SERVICE.strange_answer()
            return found

        if (name, version) not in self._known:
            self._known[name, version] = self._ask("get", ask)
        return self._known[name, version]

    def encrypt(self, name: str, version: bytes, content: bytes, context: bytes) -> bytes:
        """Nonce, tag and ciphertext of AES-256-GCM in a Managed HSM, which chooses the nonce."""
        client = self._client(name, version)

        def ask() -> bytes:
            made = client.encrypt(
                EncryptionAlgorithm.a256_gcm, content, additional_authenticated_data=context
            )
            head = _exactly(_NONCE_BYTES, made.iv) + _exactly(_TAG_BYTES, made.tag)
            return head + _exactly(len(content), made.ciphertext)

        return self._ask("encrypt", ask)

    def decrypt(self, name: str, version: bytes, made: bytes, context: bytes) -> bytes:
        """What `encrypt` was given, from what it made of it."""
        (nonce, tag), ciphertext = _split(made, _NONCE_BYTES, _TAG_BYTES)
        client = self._client(name, version)

        def ask() -> bytes:
            opened = client.decrypt(
                EncryptionAlgorithm.a256_gcm,
                ciphertext,
                iv=nonce,
                authentication_tag=tag,
                additional_authenticated_data=context,
            )
            return _exactly(len(ciphertext), opened.plaintext)

        return self._ask("decrypt", ask)

    def unwrap(self, name: str, version: bytes, wrapped: bytes, length: int) -> bytes:
        """The `length` bytes that RSA-OAEP-256 wrapped under this version."""
        client = self._client(name, version)
        algorithm = KeyWrapAlgorithm.rsa_oaep_256
        return self._ask("unwrapKey", lambda: _exactly(length, client.unwrap_key(algorithm, wrapped).key))

    def sign(self, name: str, version: bytes, digest: bytes) -> bytes:
        """ECDSA with P-256 over a SHA-256 digest: r and s, 32 bytes each."""
        client = self._client(name, version)
        algorithm = SignatureAlgorithm.es256
        return self._ask("sign", lambda: _exactly(64, client.sign(algorithm, digest).signature))

    def _client(self, name: str, version: bytes) -> CryptographyClient:
        """The SDK's client for one version; without a private key it leaves the work to the vault."""
        client = self._clients.get((name, version))
        if client is None:
            identifier = f"{self._url}/keys/{name}/{version.hex()}"
            client = CryptographyClient(identifier, self._credential, **self._options)
            self._clients[name, version] = client
        return client

    def _usable(self, found: Any, name: str) -> KeyVersion:
        prefix = f"{self._url}/keys/{name}/"
        identifier = str(found.id)
        version = identifier.removeprefix(prefix)
        if not identifier.startswith(prefix) or not _VERSION.fullmatch(version):
            raise _SERVICE.strange_answer()
        if found.properties.enabled is not True:
            raise _SERVICE.error(Meaning.DISABLED, "let this key be used", "KeyDisabled")
        return KeyVersion(bytes.fromhex(version), _public(found.key))

    def _ask(self, operation: str, ask: Callable[[], T]) -> T:
        return ask_twice(lambda: self._ask_once(operation, ask))

    def _ask_once(self, operation: str, ask: Callable[[], T]) -> T:
        self._login.lost = None
        try:
            return ask()
        except ClientAuthenticationError as error:
            if self._login.lost is not None:
                raise _SERVICE.unreachable(operation, self._login.lost) from None
            raise _SERVICE.no_login(error) from None
        except HttpResponseError as error:
            raise _of_answer(operation, error) from None
        except (ServiceRequestError, ServiceResponseError) as error:
            raise _SERVICE.unreachable(operation, error) from None
        except (AzureError, ValueError, TypeError, AttributeError, KeyError):
            # The SDK cannot read the answer, or is to give its token to another service.
            raise _SERVICE.strange_answer() from None


def _usual_credential(transport: _TransportWithoutNetrc) -> Any:
    try:
        return DefaultAzureCredential(transport=transport, process_timeout=READ_S, **_POLICIES)
    except ValueError:
        hint = "check AZURE_TOKEN_CREDENTIALS, AZURE_TENANT_ID and AZURE_AUTHORITY_HOST"
        raise KeySettingError(
            KeysReason.KMS_SETTING, "the AZURE_ variables do not make a login", hint
        ) from None


def _of_answer(operation: str, error: HttpResponseError) -> KeysError:
    status = error.status_code or 0
    code = _code_in(error)
    meaning = _MEANINGS.get(code, _STATUSES.get(status, Meaning.BUSY))
    if status == 400:
        meaning = Meaning.NOT_OURS if operation in _OPENING else Meaning.NO_KEY
    response: Any = error.response
    pause_s = pause_of(None if response is None else response.headers.get("Retry-After"))
    return _SERVICE.error(meaning, operation, code or f"HTTP_{status}", pause_s)


def _code_in(error: HttpResponseError) -> str:
    """The innermost code that the service named; it says the most."""
    try:
        found = json.loads(error.response.text()) if error.response is not None else {}
    except (ValueError, RecursionError):
        return ""
    code = ""
    part = found.get("error") if isinstance(found, dict) else None
    while isinstance(part, dict):
        code = str(part.get("code", code))
        part = part.get("innererror", part.get("innerError"))
    return code


def _public(jwk: Any) -> PublicKey | None:
    if jwk.kty == KeyType.oct_hsm:
        return None
    try:
        if jwk.kty in (KeyType.rsa, KeyType.rsa_hsm):
            numbers = rsa.RSAPublicNumbers(_number(jwk.e), _number(jwk.n))
            return numbers.public_key()
        if jwk.kty in (KeyType.ec, KeyType.ec_hsm) and jwk.crv == KeyCurveName.p_256:
            point = ec.EllipticCurvePublicNumbers(_number(jwk.x), _number(jwk.y), ec.SECP256R1())
            return point.public_key()
    except ValueError:
        raise _SERVICE.strange_answer() from None
    raise unfit()


def unfit() -> KeySettingError:
    """For a key of another type than its place demands."""
    return KeySettingError(
        KeysReason.KMS_KEY,
        "the key in Azure is of a type that does not serve here",
        "in a vault: RSA of 2048 to 4096 bits, and EC on P-256 for NAME-signing; in a Managed HSM: oct-HSM",
    )


def _number(value: Any) -> int:
    if not isinstance(value, bytes) or not 0 < len(value) <= _MAX_ANSWER_BYTES:
        raise _SERVICE.strange_answer()
    return int.from_bytes(value, "big")


def _exactly(length: int, value: Any) -> bytes:
    if not isinstance(value, bytes) or len(value) != length:
        raise _SERVICE.strange_answer()
    return value


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
        inner = LocalKek(content_key).wrap(key, context.encode())
        if newest.public is None:
            made = self._vault.encrypt(self._name, newest.version, content_key, context.encode())
            return _IN_HSM + newest.version + made + inner
        return _IN_VAULT + self._wrapped_in_vault(newest, content_key, inner, context)

    def _decrypt(self, sealed: bytes, context: str) -> bytes:
        form, rest = sealed[:1], sealed[1:]
        if form == _IN_HSM:
            (version, made), inner = _split(rest, VERSION_BYTES, _NONCE_BYTES + _TAG_BYTES + KEK_BYTES)
            content_key = self._vault.decrypt(self._name, version, made, context.encode())
        elif form == _IN_VAULT:
            content_key, inner = self._unwrapped_in_vault(rest, context)
        else:
            raise UnwrapFailed
        return LocalKek(content_key).unwrap(inner, context.encode())

    def _wrapped_in_vault(self, held: KeyVersion, content_key: bytes, inner: bytes, context: str) -> bytes:
        signer = self._vault.newest(self._signer)
        if not isinstance(held.public, rsa.RSAPublicKey) or held.public.key_size // 8 not in _MODULUS_BYTES:
            raise unfit()
        wrapped = held.public.encrypt(content_key, _OAEP)
        digest = self._digest(held.version, wrapped, inner, context)
        signature = self._vault.sign(self._signer, signer.version, digest)
        # The vault's own answer is held to what it has to be before anything depends on it.
        _verify(signer, digest, signature)
        length = len(wrapped).to_bytes(2, "big")
        return held.version + signer.version + signature + length + wrapped + inner

    def _unwrapped_in_vault(self, sealed: bytes, context: str) -> tuple[bytes, bytes]:
        """The content key, and what is under it."""
        (version, signer_version, signature, length), rest = _split(
            sealed, VERSION_BYTES, VERSION_BYTES, _SIGNATURE_BYTES, 2
        )
        (wrapped,), inner = _split(rest, int.from_bytes(length, "big"))
        signer = self._vault.version(self._signer, signer_version)
        _verify(signer, self._digest(version, wrapped, inner, context), signature)
        return self._vault.unwrap(self._name, version, wrapped, KEK_BYTES), inner

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
