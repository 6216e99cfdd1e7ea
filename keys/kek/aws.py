"""A key-encryption key that never leaves AWS KMS.

Binding. The digest of the associated data goes along as the encryption context, which KMS authenticates. It
stands in clear in CloudTrail, and says nothing of a class.

Credentials, region and endpoint come from where boto3 looks for them (AWS_PROFILE, AWS_REGION, the role of
a pod or an instance), never from a setting. Of what AWS answers only error codes are shown.
"""

import re
from enum import Enum
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from sealwire.keys.errors import (
    KekDenied,
    KekUnavailable,
    KeysError,
    KeySettingError,
    KeysReason,
    UnwrapFailed,
)
from sealwire.keys.kek.remote import MAX_SERVICE_BYTES, RemoteKek

_ARN = re.compile(
    r"arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]+):[0-9]{12}:(?P<key>(?:key|alias)/[\w/-]+)", re.ASCII
)
_NAME = re.compile(r"(?:alias/[\w/-]+|(?:mrk-)?[0-9a-f-]{32,36})", re.ASCII)
_CODE = re.compile(r"[A-Za-z.]{1,64}", re.ASCII)
_CONTEXT = "sealwire"

# Two tries of at most five seconds: a start or a reload fails within about ten.
_CONNECT_S = 2
_READ_S = 3
_TRIES = 2


class _Meaning(Enum):
    """What an error code of KMS says of the key or of us."""

    NO_KEY = "there is no such key"
    DISABLED = "the key is disabled, pending deletion, or has lost its material"
    DENIED = "the identity may not use the key"
    EXPIRED = "the credentials are wrong or have expired"
    NOT_OURS = "the ciphertext is not this key's"
    BUSY = "too many requests, or KMS is in trouble"


_MEANINGS = {
    "NotFoundException": _Meaning.NO_KEY,
    "InvalidArnException": _Meaning.NO_KEY,
    "InvalidKeyUsageException": _Meaning.NO_KEY,
    "DisabledException": _Meaning.DISABLED,
    "KMSInvalidStateException": _Meaning.DISABLED,
    "AccessDeniedException": _Meaning.DENIED,
    "InvalidGrantTokenException": _Meaning.DENIED,
    "ExpiredTokenException": _Meaning.EXPIRED,
    "ExpiredToken": _Meaning.EXPIRED,
    "InvalidClientTokenId": _Meaning.EXPIRED,
    "UnrecognizedClientException": _Meaning.EXPIRED,
    "InvalidSignatureException": _Meaning.EXPIRED,
    "SignatureDoesNotMatch": _Meaning.EXPIRED,
    "InvalidCiphertextException": _Meaning.NOT_OURS,
    "IncorrectKeyException": _Meaning.NOT_OURS,
}
"""Every other code is BUSY: throttling, time-outs of KMS itself, and what is not known yet. It may pass."""


class AwsKek(RemoteKek):
    """A symmetric key of AWS KMS, named by its id, its ARN or an alias."""

    __slots__ = ("_client", "_key")

    def __init__(self, location: str, client: Any = None) -> None:
        """`client`: boto3's for KMS, made here unless given. Asks nobody. Raises KeySettingError KMS_SETTING.

        The id is the key's, or its alias where only that is given: write the same in every place.
        """
        arn = _ARN.fullmatch(location)
        if arn is None and not _NAME.fullmatch(location):
            raise KeySettingError(
                KeysReason.KMS_SETTING,
                "the key's name is not one of AWS KMS",
                "write aws:alias/NAME, aws:KEY-ID, or aws: and the key's ARN",
            )
        super().__init__("aws:" + (arn["key"].removeprefix("key/") if arn else location))
        self._key = location
        self._client = client if client is not None else _make_client(arn["region"] if arn else None)

    def _encrypt(self, key: bytes, context: str) -> bytes:
        answer = self._call("encrypt", Plaintext=key, EncryptionContext={_CONTEXT: context})
        return _bytes_of(answer, "CiphertextBlob")

    def _decrypt(self, sealed: bytes, context: str) -> bytes:
        answer = self._call("decrypt", CiphertextBlob=sealed, EncryptionContext={_CONTEXT: context})
        return _bytes_of(answer, "Plaintext")

    def _call(self, operation: str, **fields: Any) -> Any:
        try:
            return getattr(self._client, operation)(KeyId=self._key, **fields)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            # a code of no known form may be anything that the other end likes to have in our log
            shown = code if _CODE.fullmatch(code) else "a strange code"
            raise _of_service(_MEANINGS.get(code, _Meaning.BUSY), operation, shown) from None
        except BotoCoreError as error:
            raise _of_library(error, operation) from None


def _bytes_of(answer: Any, field: str) -> bytes:
    value = answer.get(field)
    if not isinstance(value, bytes) or not 0 < len(value) <= MAX_SERVICE_BYTES:
        hint = "see who answers at this address (AWS_ENDPOINT_URL_KMS)"
        raise KekUnavailable(KeysReason.KMS_FAILED, "AWS KMS answers, but not as it does", hint)
    return value


def _make_client(region: str | None) -> Any:
    config = Config(
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        retries={"mode": "standard", "total_max_attempts": _TRIES},
    )
    try:
        return boto3.client("kms", region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise KeySettingError(
            KeysReason.KMS_SETTING,
            f"boto3 cannot reach AWS KMS with these settings: {type(error).__name__}",
            "set AWS_REGION, or name the key by its ARN; check AWS_PROFILE and AWS_ENDPOINT_URL_KMS",
        ) from None


def _of_service(meaning: _Meaning, operation: str, code: str) -> KeysError:
    problem = f"AWS KMS does not {operation}: {meaning.value} ({code})"
    match meaning:
        case _Meaning.NOT_OURS:
            return UnwrapFailed()
        case _Meaning.NO_KEY:
            hint = "check name, account and region; the key has to be symmetric, for ENCRYPT_DECRYPT"
            return KeySettingError(KeysReason.KMS_KEY, problem, hint)
        case _Meaning.DISABLED:
            hint = "enable it, or cancel its deletion: without it nothing that the keyring wraps can be read"
            return KekDenied(KeysReason.KMS_KEY, problem, hint)
        case _Meaning.DENIED:
            hint = f"allow kms:{operation.capitalize()} in the key's policy and the identity's"
            return KekDenied(KeysReason.KMS_DENIED, problem, hint)
        case _Meaning.EXPIRED:
            return KekDenied(KeysReason.KMS_LOGIN, problem, "renew the credentials")
        case _Meaning.BUSY:
            return KekUnavailable(KeysReason.KMS_FAILED, problem, "it may pass; see the AWS health dashboard")


def _of_library(error: BotoCoreError, operation: str) -> KeysError:
    name = type(error).__name__
    match error:
        case NoCredentialsError() | PartialCredentialsError():
            hint = "set AWS_PROFILE or the AWS_ variables, or give the machine a role"
            return KekDenied(KeysReason.KMS_LOGIN, "there are no credentials for AWS", hint)
        case UnauthorizedSSOTokenError() | TokenRetrievalError():
            return KekDenied(KeysReason.KMS_LOGIN, f"the login at AWS has ended ({name})", "log in again")
        case SSLError():
            hint = "check AWS_CA_BUNDLE, and who answers at this address"
            return KekUnavailable(KeysReason.KMS_FAILED, f"cannot {operation}: TLS with AWS KMS failed", hint)
        case _:
            problem = f"cannot {operation}: AWS KMS cannot be reached ({name})"
            return KekUnavailable(KeysReason.KEK_UNREACHABLE, problem, "check the region and the network")
