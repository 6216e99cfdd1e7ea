"""A key-encryption key that never leaves Google Cloud KMS.

Binding. The digest of the associated data goes along as additional authenticated data, which KMS
authenticates. Every field has its CRC-32C in both directions: KMS says whether it got what was sent, and what
comes back is compared here.

Two methods of its REST API are all that is needed, so Google's own library only brings the credentials, from
where Google's tools look for them (GOOGLE_APPLICATION_CREDENTIALS, gcloud, the metadata server). Of what KMS
answers only status names are shown.
"""

import base64
import binascii
import json
import re
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import google.auth
import google_crc32c
import requests
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import Request

from sealwire.keys.errors import KeysError, KeySettingError, KeysReason
from sealwire.keys.kek.kek import (
    CONNECT_S,
    MAX_SERVICE_BYTES,
    NOT_NOW_S,
    READ_S,
    KeyService,
    Meaning,
    RemoteKek,
    ask_twice,
    pause_of,
    silence,
)

_ADDRESS = "https://cloudkms.googleapis.com/v1/"
_SCOPE = "https://www.googleapis.com/auth/cloudkms"
_TIMEOUT = (CONNECT_S, READ_S)
# What KMS makes of a key, in base64, and some names beside it. Errors can have long explanations.
_MAX_ANSWER_BYTES = 4 * MAX_SERVICE_BYTES
_NAME = re.compile(
    r"projects/(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*:)?[a-z0-9-]{1,30}/locations/[a-z0-9-]{1,63}"
    r"/keyRings/[\w-]{1,63}/cryptoKeys/[\w-]{1,63}",
    re.ASCII,
)
_MAX_NAME = 400

Credentials = Any
"""google.auth.credentials.Credentials; the library may be absent where types are checked."""

_SERVICE = KeyService(
    "Google Cloud KMS",
    {
        Meaning.NO_KEY: "check project, location, key ring and key; its purpose has to be ENCRYPT_DECRYPT",
        Meaning.DISABLED: "enable the key's version, or restore it while it is scheduled for destruction",
        Meaning.DENIED: "grant cloudkms.cryptoKeyVersions.useTo{1} on the key, and enable the Cloud KMS API",
        Meaning.EXPIRED: "check GOOGLE_APPLICATION_CREDENTIALS, or gcloud auth application-default login",
        Meaning.BUSY: "it may pass; see the quota of Cloud KMS and status.cloud.google.com",
    },
    "check who answers for cloudkms.googleapis.com (HTTPS_PROXY, REQUESTS_CA_BUNDLE)",
)
_MEANINGS = {
    "NOT_FOUND": Meaning.NO_KEY,
    "FAILED_PRECONDITION": Meaning.DISABLED,
    "PERMISSION_DENIED": Meaning.DENIED,
    "UNAUTHENTICATED": Meaning.EXPIRED,
}
"""Every other status is BUSY, but for INVALID_ARGUMENT: what that says depends on the operation."""
_INVALID = {"encrypt": Meaning.NO_KEY, "decrypt": Meaning.NOT_OURS}


def find_credentials(request: Any) -> Credentials:
    """Those that Google's tools would use here. Raises DefaultCredentialsError."""
    found, _ = google.auth.default(scopes=[_SCOPE], request=request)
    return found


class GcpKek(RemoteKek):
    """A symmetric key of Cloud KMS, named as its resource. Its primary version encrypts."""

    __slots__ = ("_busy", "_credentials", "_find", "_key", "_session")

    def __init__(self, location: str, find: Callable[[Any], Credentials] = find_credentials) -> None:
        """`find` gives credentials, and is asked at the first call. Raises KeySettingError KMS_SETTING."""
        if len(location) > _MAX_NAME or not _NAME.fullmatch(location):
            raise KeySettingError(
                KeysReason.KMS_SETTING,
                "the key's name is not one of Google Cloud KMS",
                "write gcp:projects/P/locations/L/keyRings/R/cryptoKeys/K, without a version",
            )
        super().__init__(f"gcp:{location}")
        silence("google", "urllib3")
        self._key = location
        self._find = find
        self._credentials: Credentials = None
        self._busy = threading.Lock()
        self._session = requests.Session()
        self._session.headers["Accept-Encoding"] = "identity"
        # An entry in .netrc would take the place of the token.
        self._session.auth = lambda request: request

    def _encrypt(self, key: bytes, context: str) -> bytes:
        sent = _checked("plaintext", key) | _checked("additionalAuthenticatedData", context.encode())
        return ask_twice(lambda: self._encrypt_once(sent))

    def _encrypt_once(self, sent: dict[str, str]) -> bytes:
        answer = self._call("encrypt", sent)
        heard = ("verifiedPlaintextCrc32c", "verifiedAdditionalAuthenticatedDataCrc32c")
        if any(answer.get(field) is not True for field in heard):
            raise _SERVICE.strange_answer()
        if not str(answer.get("name")).startswith(f"{self._key}/cryptoKeyVersions/"):
            raise _SERVICE.strange_answer()
        return _bytes_of(answer, "ciphertext")

    def _decrypt(self, sealed: bytes, context: str) -> bytes:
        sent = _checked("ciphertext", sealed) | _checked("additionalAuthenticatedData", context.encode())
        return ask_twice(lambda: _bytes_of(self._call("decrypt", sent), "plaintext"))

    def _call(self, operation: str, sent: dict[str, str]) -> dict[str, object]:
        response, answer = self._post(operation, sent)
        if response.status_code == requests.codes["unauthorized"]:
            # A token may have been revoked, and the file of credentials be another one now.
            self._credentials = None
            response, answer = self._post(operation, sent)
        if response.status_code == requests.codes["ok"]:
            return answer
        raise _failed(operation, response, answer)

    def _post(self, operation: str, sent: dict[str, str]) -> tuple[requests.Response, dict[str, object]]:
        headers = self._authorization(operation)
        try:
            with self._session.post(
                f"{_ADDRESS}{self._key}:{operation}",
                json=sent,
                headers=headers,
                timeout=_TIMEOUT,
                # The key would follow to wherever a redirect leads.
                allow_redirects=False,
                stream=True,
            ) as response:
                return response, _object_in(response)
        except requests.exceptions.SSLError:
            raise _SERVICE.no_tls(operation) from None
        except (requests.RequestException, OSError) as error:
            raise _SERVICE.unreachable(operation, error) from None

    def _authorization(self, operation: str) -> dict[str, str]:
        headers: dict[str, str] = {}
        request = partial(Request(), timeout=CONNECT_S + READ_S)
        try:
            with self._busy:
                if self._credentials is None:
                    self._credentials = self._find(request)
                self._credentials.before_request(request, "POST", _ADDRESS, headers)
        except GoogleAuthError as error:
            raise _of_login(operation, error) from None
        return headers


def _of_login(operation: str, error: GoogleAuthError) -> KeysError:
    if isinstance(error, TransportError) or error.retryable:
        return _SERVICE.unreachable(operation, error, NOT_NOW_S)
    return _SERVICE.no_login(error)


def _failed(operation: str, response: requests.Response, answer: dict[str, object]) -> KeysError:
    error = answer.get("error")
    code = str(error.get("status", "")) if isinstance(error, dict) else ""
    if code == "INVALID_ARGUMENT":
        return _SERVICE.error(_INVALID[operation], operation, code)
    code = code or f"HTTP_{response.status_code}"
    pause_s = pause_of(response.headers.get("Retry-After"))
    return _SERVICE.error(_MEANINGS.get(code, Meaning.BUSY), operation, code, pause_s)


def _object_in(response: requests.Response) -> dict[str, object]:
    """The JSON object that was answered. Raises KekUnavailable KMS_FAILED for anything else."""
    body = b""
    for part in response.iter_content(_MAX_ANSWER_BYTES):
        body += part
        if len(body) > _MAX_ANSWER_BYTES:
            break
    try:
        found = json.loads(body) if len(body) <= _MAX_ANSWER_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    if response.status_code == requests.codes["ok"]:
        raise _SERVICE.strange_answer()
    # A load balancer explains itself in HTML.
    return {}


def _checked(field: str, value: bytes) -> dict[str, str]:
    """`value` and its checksum as JSON has them: base64, and 64 bits as text."""
    encoded = base64.b64encode(value).decode("ascii")
    return {field: encoded, f"{field}Crc32c": str(google_crc32c.value(value))}


def _bytes_of(answer: dict[str, object], field: str) -> bytes:
    """Raises KekUnavailable KMS_FAILED unless there are 1 to `MAX_SERVICE_BYTES` bytes and their checksum."""
    text = answer.get(field)
    try:
        value = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        value = b""
    if not 0 < len(value) <= MAX_SERVICE_BYTES:
        raise _SERVICE.strange_answer()
    if str(answer.get(f"{field}Crc32c")) != str(google_crc32c.value(value)):
        raise _SERVICE.strange_answer()
    return value
