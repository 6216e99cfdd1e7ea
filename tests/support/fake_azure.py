"""Azure Key Vault, Managed HSM and Entra ID over HTTP: real encryption and signatures, and strict about form.

Form and errors as https://learn.microsoft.com/rest/api/keyvault/keys has them (get key, encrypt, decrypt,
unwrap key, sign); the challenge as in "Authentication, requests and responses" of
https://learn.microsoft.com/azure/key-vault/general; keys as in RFC 7517. What a disabled key still does is in
issue 45342 of azure-sdk-for-python.
"""

import base64
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.support.fake_https import Answer, Asked

VAULT_HOST = "clinic.vault.azure.net"
HSM_HOST = "clinic.managedhsm.azure.net"
LOGIN_HOST = "login.microsoftonline.com"
NEW_HOST = "new.vault.azure.net"
"""No test logs in there: the SDK keeps what a vault demanded for the life of the process."""
AZURE_HOSTS = (VAULT_HOST, HSM_HOST, NEW_HOST, LOGIN_HOST)
TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
CLIENT_SECRET = "a secret of the application"
API_VERSION = "2025-07-01"

_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_RESOURCES = {VAULT_HOST: "https://vault.azure.net", HSM_HOST: "https://managedhsm.azure.net"}
_FIELDS = {
    "encrypt": {"alg", "value", "aad"},
    "decrypt": {"alg", "value", "aad", "iv", "tag"},
    "unwrapkey": {"alg", "value"},
    "sign": {"alg", "value"},
}
_ALGORITHMS = {"encrypt": "A256GCM", "decrypt": "A256GCM", "unwrapkey": "RSA-OAEP-256", "sign": "ES256"}

Material = bytes | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@cache
def rsa_key(number: int, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Made once a process: it takes longer than most tests."""
    return rsa.generate_private_key(65537, bits)


@dataclass
class Version:
    """One version of a key in the vault."""

    material: Material
    enabled: bool = True
    identifier: str = field(default_factory=lambda: os.urandom(16).hex())


@dataclass
class FakeAzure:
    """The keys of a vault and an HSM, by host and name; the last version is the newest."""

    keys: dict[tuple[str, str], list[Version]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    """What the real service would take otherwise: a test that leaves one fails."""

    def new_vault_key(self, material: Material | None = None) -> str:
        """An RSA key and the key that signs for it; its identifier."""
        name = f"k{len(self.keys)}"
        self.keys[VAULT_HOST, name] = [Version(material or rsa_key(len(self.keys)))]
        self.keys[VAULT_HOST, f"{name}-signing"] = [Version(ec.generate_private_key(ec.SECP256R1()))]
        return f"https://{VAULT_HOST}/keys/{name}"

    def new_hsm_key(self) -> str:
        """A symmetric key's identifier."""
        name = f"k{len(self.keys)}"
        self.keys[HSM_HOST, name] = [Version(os.urandom(32))]
        return f"https://{HSM_HOST}/keys/{name}"

    def versions(self, identifier: str, suffix: str = "") -> list[Version]:
        host, name = identifier.removeprefix("https://").split("/keys/")
        return self.keys[host, name + suffix]

    def answer(self, asked: Asked) -> Answer:
        if asked.host == LOGIN_HOST:
            return self._login(asked)
        if asked.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            self._demand(asked.body == b"", "a body before the login")
            return self._challenge(asked.host)
        return self._vault(asked)

    def _challenge(self, host: str) -> Answer:
        header = f'Bearer authorization="https://{LOGIN_HOST}/{TENANT}", resource="{_RESOURCES[host]}"'
        error = {"error": {"code": "Unauthorized", "message": "AKV10000: SECRET"}}
        return _json(401, error, {"WWW-Authenticate": header})

    def _login(self, asked: Asked) -> Answer:
        root = f"https://{LOGIN_HOST}/{TENANT}"
        if asked.path.endswith("/.well-known/openid-configuration"):
            return _json(
                200,
                {
                    "issuer": f"{root}/v2.0",
                    "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{root}/oauth2/v2.0/token",
                },
            )
        if asked.path.startswith("/common/discovery/instance?"):
            names = {"preferred_network": LOGIN_HOST, "preferred_cache": LOGIN_HOST, "aliases": [LOGIN_HOST]}
            return _json(200, {"tenant_discovery_endpoint": f"{root}/.well-known", "metadata": [names]})
        self._demand(asked.path.startswith(f"/{TENANT}/oauth2/v2.0/token"), f"login at {asked.path}")
        form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        scopes = {f"{resource}/.default" for resource in _RESOURCES.values()}
        self._demand(form["grant_type"] == "client_credentials" and form["scope"] in scopes, "the grant")
        if (form["client_id"], form["client_secret"]) != (CLIENT, CLIENT_SECRET):
            return _json(401, {"error": "invalid_client", "error_description": "AADSTS7000215: SECRET"})
        token = os.urandom(8).hex()
        self.tokens.add(token)
        return _json(200, {"token_type": "Bearer", "expires_in": 3599, "access_token": token})

    def _vault(self, asked: Asked) -> Answer:
        url = urlsplit(asked.path)
        self._demand(parse_qs(url.query) == {"api-version": [API_VERSION]}, f"the query {url.query}")
        found = re.fullmatch(r"/keys/([0-9A-Za-z-]+)/([0-9a-f]{32})?(?:/([a-z]+))?", url.path)
        if found is None:
            self._demand(False, f"the path {url.path}")
            return error(400, "BadParameter")
        name, version, operation = found.groups()
        held = self._find(asked.host, name, version)
        if held is None:
            return error(404, "KeyNotFound")
        identifier = f"https://{asked.host}/keys/{name}/{held.identifier}"
        if operation is None:
            self._demand(asked.method == "GET", f"{asked.method} {url.path}")
            return _bundle(identifier, held)
        self._demand(asked.method == "POST" and version is not None, f"{asked.method} {url.path}")
        return self._operate(operation, identifier, held, json.loads(asked.body))

    def _find(self, host: str, name: str, identifier: str | None) -> Version | None:
        versions = self.keys.get((host, name), [])
        if identifier is None:
            return versions[-1] if versions else None
        return next((held for held in versions if held.identifier == identifier), None)

    def _operate(self, operation: str, identifier: str, held: Version, sent: Mapping[str, Any]) -> Answer:
        self._demand(set(sent) == _FIELDS[operation], f"fields of {operation}: {sorted(sent)}")
        self._demand(sent["alg"] == _ALGORITHMS[operation], f"the algorithm {sent['alg']}")
        fields = {name: unbase64url(text) for name, text in sent.items() if name != "alg"}
        if not held.enabled and operation in ("decrypt", "unwrapkey", "sign"):
            return error(403, "Forbidden", "KeyDisabled")
        match operation, held.material:
            case "encrypt", bytes() as key:
                nonce = os.urandom(12)
                made = AESGCM(key).encrypt(nonce, fields["value"], fields["aad"])
                extra = {"iv": base64url(nonce), "tag": base64url(made[-16:]), "aad": sent["aad"]}
                return _result(identifier, made[:-16], extra)
            case "decrypt", bytes() as key:
                return _decrypted(identifier, key, fields)
            case "unwrapkey", rsa.RSAPrivateKey() as private:
                return _unwrapped(identifier, private, fields["value"])
            case "sign", ec.EllipticCurvePrivateKey() as signer:
                signed = signer.sign(fields["value"], ec.ECDSA(Prehashed(hashes.SHA256())))
                r, s = decode_dss_signature(signed)
                return _result(identifier, r.to_bytes(32, "big") + s.to_bytes(32, "big"))
            case _:
                return error(400, "BadParameter")

    def _demand(self, held: bool, what: str) -> None:
        if not held:
            self.violations.append(what)


def _decrypted(identifier: str, key: bytes, fields: Mapping[str, bytes]) -> Answer:
    try:
        opened = AESGCM(key).decrypt(fields["iv"], fields["value"] + fields["tag"], fields["aad"])
    except InvalidTag:
        return error(400, "BadParameter")
    return _result(identifier, opened)


def _unwrapped(identifier: str, private: rsa.RSAPrivateKey, wrapped: bytes) -> Answer:
    try:
        return _result(identifier, private.decrypt(wrapped, _OAEP))
    except ValueError:
        return error(400, "BadParameter")


def _bundle(identifier: str, held: Version) -> Answer:
    attributes = {"enabled": held.enabled, "created": 1764000000, "updated": 1764000000}
    return _json(200, {"key": {"kid": identifier, **jwk(held.material)}, "attributes": attributes})


def jwk(material: Material) -> dict[str, object]:
    """The public part, as a vault shows it."""
    match material:
        case rsa.RSAPrivateKey():
            numbers = material.public_key().public_numbers()
            return {
                "kty": "RSA",
                "key_ops": ["unwrapKey", "wrapKey"],
                "n": base64url(numbers.n.to_bytes(material.key_size // 8, "big")),
                "e": base64url(numbers.e.to_bytes(3, "big")),
            }
        case ec.EllipticCurvePrivateKey():
            point = material.public_key().public_numbers()
            size = (material.key_size + 7) // 8
            x, y = (base64url(value.to_bytes(size, "big")) for value in (point.x, point.y))
            curve = {"secp256r1": "P-256", "secp384r1": "P-384"}[material.curve.name]
            return {"kty": "EC", "key_ops": ["sign", "verify"], "crv": curve, "x": x, "y": y}
        case bytes():
            return {"kty": "oct-HSM", "key_ops": ["encrypt", "decrypt"]}


def _result(identifier: str, value: bytes, extra: Mapping[str, str] | None = None) -> Answer:
    return _json(200, {"kid": identifier, "value": base64url(value)} | dict(extra or {}))


def error(
    number: int, code: str, inner: str | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """An error of Key Vault; its message is what must never be shown."""
    content: dict[str, object] = {"code": code, "message": "SECRET words of the service"}
    if inner is not None:
        content["innererror"] = {"code": inner}
    return _json(number, {"error": content}, headers)


def base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def unbase64url(text: str) -> bytes:
    """Without padding, as RFC 7515 has it."""
    assert re.fullmatch(r"[A-Za-z0-9_-]*", text), "not base64url"
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _json(number: int, content: object, headers: Mapping[str, str] | None = None) -> Answer:
    kind = {"Content-Type": "application/json; charset=utf-8"}
    return Answer(number, json.dumps(content).encode(), kind | dict(headers or {}))
