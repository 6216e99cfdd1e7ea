"""Azure Key Vault and Managed HSM through Azure's own SDK: what a KEK asks, and what their errors mean.

Credentials come from where Azure's SDK looks for them (AZURE_ variables, the identity of a workload or a
machine, `az login`). Of what Azure answers only error codes are shown.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
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
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sealwire.keys.errors import KeysError, KeySettingError, KeysReason
from sealwire.keys.kek.key_service import (
    CONNECT_S,
    READ_S,
    KeyService,
    Meaning,
    ask_twice,
    pause_of,
    silence,
)

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


@dataclass(frozen=True, slots=True)
class GcmParts:
    """What AES-GCM in a Managed HSM makes of 32 bytes."""

    nonce: bytes
    tag: bytes
    ciphertext: bytes


class _Transport:
    """The SDK's own, but that .netrc counts for nothing: an entry there would take the place of the token.

    Remembers an outage, since the SDK calls one of the issuer of tokens a refusal. Requests without TLS do
    not count: they go to the machine's own metadata service, which most machines do not have.
    """

    def __init__(self) -> None:
        self._inner: Any = RequestsTransport(**_TIMES)
        self._inner.open()
        self._inner.session.auth = _leave
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

    def __enter__(self) -> "_Transport":
        return self

    def __exit__(self, *_: object) -> None:
        self._inner.close()


def _leave(request: Any) -> Any:
    return request


class AzureVault:
    """The keys of one vault. Versions that were asked for are remembered for the life of the process.

    Raises:  in every call KekUnavailable, KekDenied, KeySettingError KMS_KEY; from opening also UnwrapFailed
    Costs:   a request for each call, and one for each version when it is first used
    """

    def __init__(self, url: str) -> None:
        """Asks nobody. Raises KeySettingError KMS_SETTING where the AZURE_ variables make no sense."""
        silence("azure", "msal", "urllib3")
        self._url = url
        self._login = _Transport()
        self._options: dict[str, Any] = {"transport": _Transport(), **_POLICIES}
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

    def encrypt(self, name: str, version: bytes, content: bytes, context: bytes) -> GcmParts:
        """AES-256-GCM in a Managed HSM, which chooses the nonce."""
        client = self._client(name, version)

        def ask() -> GcmParts:
            made = client.encrypt(
                EncryptionAlgorithm.a256_gcm, content, additional_authenticated_data=context
            )
            nonce, tag = _exactly(12, made.iv), _exactly(16, made.tag)
            return GcmParts(nonce, tag, _exactly(len(content), made.ciphertext))

        return self._ask("encrypt", ask)

    def decrypt(self, name: str, version: bytes, parts: GcmParts, context: bytes) -> bytes:
        """What `encrypt` was given."""
        client = self._client(name, version)

        def ask() -> bytes:
            opened = client.decrypt(
                EncryptionAlgorithm.a256_gcm,
                parts.ciphertext,
                iv=parts.nonce,
                authentication_tag=parts.tag,
                additional_authenticated_data=context,
            )
            return _exactly(len(parts.ciphertext), opened.plaintext)

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


def _usual_credential(transport: _Transport) -> Any:
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
