"""A key-encryption key that never leaves AWS KMS.

Binding. The digest of the associated data goes along as the encryption context, which KMS authenticates. It
stands in clear in CloudTrail, and says nothing of a class.

Credentials, region and endpoint come from where boto3 looks for them (AWS_PROFILE, AWS_REGION, the role of
a pod or an instance), never from a setting. Of what AWS answers only error codes are shown.
"""

import re
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

from sealwire.keys.errors import KekDenied, KeysError, KeySettingError, KeysReason
from sealwire.keys.kek.kek import (
    CONNECT_S,
    MAX_SERVICE_BYTES,
    READ_S,
    TRIES,
    KeyService,
    Meaning,
    RemoteKek,
    silence,
)

_ARN = re.compile(
    r"arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]+):[0-9]{12}:(?P<key>(?:key|alias)/[\w/-]+)", re.ASCII
)
_NAME = re.compile(r"(?:alias/[\w/-]+|(?:mrk-)?[0-9a-f-]{32,36})", re.ASCII)
_CONTEXT = "sealwire"

_SERVICE = KeyService(
    "AWS KMS",
    {
        Meaning.NO_KEY: "check name, account and region; the key has to be symmetric, for ENCRYPT_DECRYPT",
        Meaning.DISABLED: "enable it, or cancel its deletion",
        Meaning.DENIED: "allow kms:{1} in the key's policy and the identity's",
        Meaning.EXPIRED: "renew the credentials",
        Meaning.BUSY: "it may pass; see the AWS health dashboard",
    },
    "see who answers at this address (AWS_ENDPOINT_URL_KMS, AWS_CA_BUNDLE)",
)
_MEANINGS = {
    "NotFoundException": Meaning.NO_KEY,
    "InvalidArnException": Meaning.NO_KEY,
    "InvalidKeyUsageException": Meaning.NO_KEY,
    "DisabledException": Meaning.DISABLED,
    "KMSInvalidStateException": Meaning.DISABLED,
    "AccessDeniedException": Meaning.DENIED,
    "InvalidGrantTokenException": Meaning.DENIED,
    "ExpiredTokenException": Meaning.EXPIRED,
    "ExpiredToken": Meaning.EXPIRED,
    "InvalidClientTokenId": Meaning.EXPIRED,
    "UnrecognizedClientException": Meaning.EXPIRED,
    "InvalidSignatureException": Meaning.EXPIRED,
    "SignatureDoesNotMatch": Meaning.EXPIRED,
    "InvalidCiphertextException": Meaning.NOT_OURS,
    "IncorrectKeyException": Meaning.NOT_OURS,
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
        silence("botocore", "boto3", "urllib3")
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
            raise _SERVICE.error(_MEANINGS.get(code, Meaning.BUSY), operation, code) from None
        except BotoCoreError as error:
            raise _of_library(error, operation) from None


def _bytes_of(answer: Any, field: str) -> bytes:
    value = answer.get(field)
    if not isinstance(value, bytes) or not 0 < len(value) <= MAX_SERVICE_BYTES:
        raise _SERVICE.strange_answer()
    return value


def _make_client(region: str | None) -> Any:
    config = Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        retries={"mode": "standard", "total_max_attempts": TRIES},
    )
    try:
        return boto3.client("kms", region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise KeySettingError(
            KeysReason.KMS_SETTING,
            f"boto3 cannot reach AWS KMS with these settings: {type(error).__name__}",
            "set AWS_REGION, or name the key by its ARN; check AWS_PROFILE and AWS_ENDPOINT_URL_KMS",
        ) from None


def _of_library(error: BotoCoreError, operation: str) -> KeysError:
    name = type(error).__name__
    match error:
        case NoCredentialsError() | PartialCredentialsError():
            hint = "set AWS_PROFILE or the AWS_ variables, or give the machine a role"
            return KekDenied(KeysReason.KMS_LOGIN, "there are no credentials for AWS", hint)
        case UnauthorizedSSOTokenError() | TokenRetrievalError():
            return KekDenied(KeysReason.KMS_LOGIN, f"the login at AWS has ended ({name})", "log in again")
        case SSLError():
            return _SERVICE.no_tls(operation)
        case _:
            return _SERVICE.unreachable(operation, error)
