"""Google Cloud KMS and its issuer of tokens, over HTTP: it encrypts, and minds the form of requests.

Form and errors as https://cloud.google.com/kms/docs/reference/rest has them (cryptoKeys.encrypt and .decrypt,
google.rpc.Status), and https://developers.google.com/identity/protocols/oauth2/service-account for tokens.
"""

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import google_crc32c
import jwt
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealwire.keys.kek import kek
from tests.support.fake_azure import AZURE_HOSTS, CLIENT, CLIENT_SECRET, TENANT, FakeAzure
from tests.support.fake_https import Answer, Asked, FakeHttps, fake_https

KMS_HOST = "cloudkms.googleapis.com"
TOKEN_HOST = "oauth2.googleapis.com"
GCP_HOSTS = (KMS_HOST, TOKEN_HOST)
_TOKEN_URL = f"https://{TOKEN_HOST}/token"
_SCOPE = "https://www.googleapis.com/auth/cloudkms"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ACCOUNT = "sealwire@clinic.iam.gserviceaccount.com"
_NONCE_BYTES = 12

_FIELDS = {
    "encrypt": ("plaintext", "additionalAuthenticatedData"),
    "decrypt": ("ciphertext", "additionalAuthenticatedData"),
}
_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


@dataclass
class CryptoKey:
    """A symmetric key: its versions, counted from 1; the last one is primary."""

    versions: list[bytes] = field(default_factory=lambda: [os.urandom(32)])
    disabled: set[int] = field(default_factory=set)


@cache
def account_key(_whose: str) -> rsa.RSAPrivateKey:
    """Made once a process: it takes longer than most tests."""
    return rsa.generate_private_key(65537, 2048)


@dataclass
class FakeGcp:
    """The keys of one project by resource name, and who may use them."""

    keys: dict[str, CryptoKey] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    account: rsa.RSAPrivateKey = field(default_factory=lambda: account_key("clinic"))
    violations: list[str] = field(default_factory=list)
    """What the real service would take otherwise: a test that leaves one fails."""

    def new_key(self, ring: str = "ring") -> str:
        """A new key's resource name."""
        name = f"projects/clinic/locations/europe-west2/keyRings/{ring}/cryptoKeys/k{len(self.keys)}"
        self.keys[name] = CryptoKey()
        return name

    def credentials_file(self, path: Path) -> Path:
        """A service account's key file, as Google gives it out."""
        pem = self.account.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        content = {
            "type": "service_account",
            "project_id": "clinic",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": _ACCOUNT,
            "client_id": "1",
            "token_uri": _TOKEN_URL,
        }
        path.write_text(json.dumps(content))
        return path

    def answer(self, asked: Asked) -> Answer:
        if asked.host == TOKEN_HOST:
            return self._token(asked)
        return self._kms(asked)

    def _token(self, asked: Asked) -> Answer:
        form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        self._demand(asked.path == "/token" and form.get("grant_type") == _GRANT, "a request for a token")
        try:
            claims = jwt.decode(
                form["assertion"], self.account.public_key(), algorithms=["RS256"], audience=_TOKEN_URL
            )
        except jwt.InvalidTokenError:
            return _json(400, {"error": "invalid_grant", "error_description": "SECRET"})
        self._demand(claims["iss"] == _ACCOUNT and claims["scope"] == _SCOPE, "claims of the account")
        token = f"ya29.{os.urandom(8).hex()}"
        self.tokens.add(token)
        return _json(200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def _kms(self, asked: Asked) -> Answer:
        if asked.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return status("UNAUTHENTICATED")
        # Google's own client adds a system parameter, by which enums are numbers.
        found = re.fullmatch(r"/v1/(projects/[^:]+):(encrypt|decrypt)(\?%24alt=.*)?", asked.path)
        self._demand(asked.method == "POST" and found is not None, f"{asked.method} {asked.path}")
        assert found is not None
        name, operation = found[1], found[2]
        self._demand(asked.headers.get("Content-Type") == "application/json", "the type of the body")
        fields = self._fields(operation, json.loads(asked.body))
        key = self.keys.get(name)
        if key is None:
            return status("NOT_FOUND")
        run = self._encrypt if operation == "encrypt" else self._decrypt
        return run(name, key, fields)

    def _fields(self, operation: str, sent: dict[str, Any]) -> dict[str, bytes]:
        names = _FIELDS[operation]
        expected = {name for field in names for name in (field, f"{field}Crc32c")}
        self._demand(set(sent) == expected, f"fields of {operation}: {sorted(sent)}")
        fields = {}
        for name in names:
            fields[name] = base64.b64decode(sent[name], validate=True)
            # int64 is text in JSON (https://protobuf.dev/programming-guides/json/)
            checksum = str(google_crc32c.value(fields[name]))
            self._demand(sent[f"{name}Crc32c"] == checksum, f"the checksum of {name}")
            self._demand(len(fields[name]) <= 64 * 1024, f"the length of {name}")
        return fields

    def _encrypt(self, name: str, key: CryptoKey, fields: Mapping[str, bytes]) -> Answer:
        number = len(key.versions)
        if number in key.disabled:
            return status("FAILED_PRECONDITION")
        nonce = os.urandom(_NONCE_BYTES)
        bound = fields["additionalAuthenticatedData"]
        sealed = nonce + AESGCM(key.versions[-1]).encrypt(nonce, fields["plaintext"], bound)
        return _json(
            200,
            {
                "name": f"{name}/cryptoKeyVersions/{number}",
                **checked("ciphertext", number.to_bytes(4, "big") + sealed),
                "verifiedPlaintextCrc32c": True,
                "verifiedAdditionalAuthenticatedDataCrc32c": True,
                "protectionLevel": "SOFTWARE",
            },
        )

    def _decrypt(self, name: str, key: CryptoKey, fields: Mapping[str, bytes]) -> Answer:
        sealed = fields["ciphertext"]
        number, nonce = int.from_bytes(sealed[:4], "big"), sealed[4 : 4 + _NONCE_BYTES]
        if not 0 < number <= len(key.versions) or len(nonce) < _NONCE_BYTES:
            return status("INVALID_ARGUMENT")
        if number in key.disabled:
            return status("FAILED_PRECONDITION")
        bound = fields["additionalAuthenticatedData"]
        try:
            plaintext = AESGCM(key.versions[number - 1]).decrypt(nonce, sealed[4 + _NONCE_BYTES :], bound)
        except InvalidTag:
            return status("INVALID_ARGUMENT")
        primary = number == len(key.versions)
        found = {**checked("plaintext", plaintext), "usedPrimary": primary, "protectionLevel": "SOFTWARE"}
        return _json(200, found)

    def _demand(self, held: bool, what: str) -> None:
        if not held:
            self.violations.append(what)


def checked(name: str, value: bytes) -> dict[str, str]:
    """A field of bytes and its checksum."""
    return {name: base64.b64encode(value).decode(), f"{name}Crc32c": str(google_crc32c.value(value))}


def status(code: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An error of Google's services; its message is what must never be shown."""
    error = {"code": _STATUS.get(code, 400), "message": "SECRET words of the service", "status": code}
    return _json(_STATUS.get(code, 400), {"error": error}, headers)


def _json(number: int, content: object, headers: Mapping[str, str] | None = None) -> Answer:
    kind = {"Content-Type": "application/json; charset=UTF-8"}
    return Answer(number, json.dumps(content).encode(), kind | dict(headers or {}))


# The fake clouds with a login where their libraries look for one, so that providers run as they are.


@contextmanager
def gcp_cloud(cloud: FakeGcp, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[FakeHttps]:
    """Google's, with a service account's file."""
    file = cloud.credentials_file(folder / "account.json")
    patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    patch.setattr(kek, "sleep", lambda _seconds: None)
    with fake_https(folder / "gcp", GCP_HOSTS, cloud.answer, patch) as running:
        yield running
    assert cloud.violations == []


@contextmanager
def azure_cloud(cloud: FakeAzure, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[FakeHttps]:
    """Azure's, with an application's secret."""
    patch.setenv("AZURE_TENANT_ID", TENANT)
    patch.setenv("AZURE_CLIENT_ID", CLIENT)
    patch.setenv("AZURE_CLIENT_SECRET", CLIENT_SECRET)
    patch.setattr(kek, "sleep", lambda _seconds: None)
    with fake_https(folder / "azure", AZURE_HOSTS, cloud.answer, patch) as running:
        yield running
    assert cloud.violations == []


CLOUD_KEYS = ("gcp", "azure vault", "azure hsm")


@contextmanager
def cloud_key(kind: str, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[tuple[str, FakeHttps]]:
    """A key of one of `CLOUD_KEYS`, as --kek names it, and the cloud where it is."""
    if kind == "gcp":
        gcp = FakeGcp()
        with gcp_cloud(gcp, folder, patch) as running:
            yield f"gcp:{gcp.new_key()}", running
    else:
        azure = FakeAzure()
        with azure_cloud(azure, folder, patch) as running:
            yield f"azure:{azure.new_hsm_key() if kind == 'azure hsm' else azure.new_vault_key()}", running
