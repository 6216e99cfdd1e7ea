"""A bucket and a prefix, and what boto3 says about them in this room's words.

Credentials, region and endpoint come from where boto3 looks for them (AWS_ENDPOINT_URL_S3 and the like),
never from the address.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import boto3  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from sealwire.sidecars.backup.errors import (
    BackupError,
    BackupExists,
    BackupMissing,
    BackupReason,
    BackupSettingError,
    StoreUnavailable,
)

SCHEME = "s3://"

_DENIED = frozenset(
    ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
)
_MISSING = frozenset(("NoSuchKey", "404", "NotFound"))
_TAKEN = frozenset(("PreconditionFailed", "ConditionalRequestConflict"))


class S3Bucket:
    """Where the objects of a store are."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        """`client`: boto3's client for S3. `prefix` is empty or ends with a slash."""
        self.client = client
        self.name = bucket
        self.prefix = prefix

    @classmethod
    def at(cls, address: str) -> Self:
        """The store at `s3://BUCKET[/PREFIX]`. Raises BackupSettingError ADDRESS; asks nothing yet."""
        bucket, _, prefix = address.removeprefix(SCHEME).partition("/")
        if not bucket or "@" in bucket:
            raise BackupSettingError(
                BackupReason.ADDRESS, "the store's address names no bucket", "write s3://BUCKET/PREFIX"
            )
        try:
            client = boto3.client("s3")
        except (BotoCoreError, ValueError) as error:
            raise BackupSettingError(
                BackupReason.ADDRESS,
                f"boto3 cannot reach S3 with these settings: {type(error).__name__}",
                "check AWS_REGION, AWS_ENDPOINT_URL_S3 and the profile",
            ) from None
        return cls(client, bucket, prefix.strip("/") + "/" if prefix.strip("/") else "")

    @property
    def address(self) -> str:
        """The address as messages show it."""
        return f"{SCHEME}{self.name}/{self.prefix}"

    def object(self, key: str) -> dict[str, str]:
        """The arguments that name an object."""
        return {"Bucket": self.name, "Key": self.prefix + key}

    def taken(self, key: str) -> BackupExists:
        """The error for a name that is in use."""
        return BackupExists(BackupReason.EXISTS, f"{self.address}{key} exists already", "choose another name")

    @contextmanager
    def translated(self, key: str) -> Iterator[None]:
        """Turn what boto3 says into this room's errors; of its texts only the codes are shown."""
        where = key if key == self.address else f"{self.address}{key}"
        try:
            yield
        except ClientError as error:
            raise self._translate(where, key, str(error.response.get("Error", {}).get("Code", ""))) from None
        except (NoCredentialsError, PartialCredentialsError):
            raise StoreUnavailable(
                BackupReason.STORE_DENIED, f"{where}: no credentials", "set AWS_PROFILE or the AWS_ variables"
            ) from None
        except BotoCoreError as error:
            raise StoreUnavailable(
                BackupReason.STORE_UNREACHABLE,
                f"{where}: {type(error).__name__}",
                "check the endpoint and the network",
            ) from None

    def _translate(self, where: str, key: str, code: str) -> BackupError:
        if code in _MISSING:
            return BackupMissing(BackupReason.MISSING, f"{where} does not exist", "check the name")
        if code in _TAKEN:
            return self.taken(key)
        if code == "NoSuchBucket":
            return BackupMissing(
                BackupReason.MISSING, f"{SCHEME}{self.name} does not exist", "create the bucket"
            )
        if code in _DENIED:
            return StoreUnavailable(
                BackupReason.STORE_DENIED, f"{where}: {code}", "check the credentials and the bucket's policy"
            )
        return StoreUnavailable(BackupReason.STORE_UNREACHABLE, f"{where}: {code}", "try again later")
