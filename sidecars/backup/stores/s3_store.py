"""Backups in an S3-compatible bucket: a multipart upload is the hidden file, completing it is the rename.

An upload whose process died is invisible, and paid for until prune removes it; a lifecycle rule of the bucket
does the same. Credentials, region and endpoint come from where boto3 looks for them (AWS_ENDPOINT_URL_S3 and
the like), never from the address.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import boto3
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from sealwire.sidecars.backup.stores.store import ReadStream, StoredObject, Upload, is_backup_key
from sealwire.sidecars.errors import BackupReason, CannotCreate, Missing, SidecarError, Unavailable, Unusable

SCHEME = "s3://"
# An upload has at most 10,000 parts: 5,000 of 32 MiB and as many of 64 MiB make 469 GiB.
PART_BYTES = 32 << 20
_LARGE_FROM = 5_000
MAX_PARTS = 10_000
_READ_ATTEMPTS = 4

_DENIED = frozenset(
    ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
)
_MISSING = frozenset(("NoSuchKey", "404", "NotFound"))
_TAKEN = frozenset(("PreconditionFailed", "ConditionalRequestConflict"))


class S3Store:
    """A bucket and a prefix. What boto3 says about its objects is said in this room's words."""

    def __init__(self, address: str) -> None:
        """`s3://BUCKET[/PREFIX]`. Raises Unusable ADDRESS; asks nothing yet."""
        self._name, _, prefix = address.removeprefix(SCHEME).partition("/")
        if not self._name or "@" in self._name:
            text = "the store's address names no bucket"
            raise Unusable(BackupReason.ADDRESS, text, "write s3://BUCKET/PREFIX")
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._place = f"{SCHEME}{self._name}/{self._prefix}"
        try:
            self._client = boto3.client("s3")
        except (BotoCoreError, ValueError) as error:
            text = f"boto3 cannot reach S3 with these settings: {type(error).__name__}"
            hint = "check AWS_REGION, AWS_ENDPOINT_URL_S3 and the profile"
            raise Unusable(BackupReason.ADDRESS, text, hint) from None

    def call(self, operation: str, key: str, **arguments: Any) -> Any:
        """What boto3's `operation` on this object answers."""
        with self.translated(key):
            return getattr(self._client, operation)(Bucket=self._name, Key=self._prefix + key, **arguments)

    def _listed(self, operation: str, field: str, **arguments: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Key and description of everything of a backup that `operation` lists as `field`."""
        with self.translated(""):
            pages = self._client.get_paginator(operation)
            for page in pages.paginate(Bucket=self._name, Prefix=self._prefix, **arguments):
                for item in page.get(field, ()):
                    key = item["Key"].removeprefix(self._prefix)
                    if is_backup_key(key):
                        yield key, item

    def _taken(self, key: str) -> CannotCreate:
        """The error for a name that is in use."""
        return CannotCreate(BackupReason.EXISTS, f"{self._place}{key} exists already", "choose another name")

    def _missing(self, key: str) -> Missing:
        """The error for an object that is not there."""
        return Missing(BackupReason.MISSING, f"{self._place}{key} does not exist", "check the name")

    @contextmanager
    def translated(self, key: str) -> Iterator[None]:
        """Turn what boto3 says into this room's errors; of its texts only the codes are shown."""
        where = f"{self._place}{key}"
        try:
            yield
        except ClientError as error:
            raise self._translate(key, str(error.response.get("Error", {}).get("Code", ""))) from None
        except (NoCredentialsError, PartialCredentialsError):
            hint = "set AWS_PROFILE or the AWS_ variables"
            raise Unavailable(BackupReason.STORE_DENIED, f"{where}: no credentials", hint) from None
        except BotoCoreError as error:
            text, hint = f"{where}: {type(error).__name__}", "check the endpoint and the network"
            raise Unavailable(BackupReason.STORE_UNREACHABLE, text, hint) from None

    def _translate(self, key: str, code: str) -> SidecarError:
        text = f"{self._place}{key}: {code}"
        if code in _MISSING:
            return self._missing(key)
        if code in _TAKEN:
            return self._taken(key)
        if code == "NoSuchBucket":
            text = f"{SCHEME}{self._name} does not exist"
            return Missing(BackupReason.MISSING, text, "create the bucket")
        if code in _DENIED:
            hint = "check the credentials and the bucket's policy"
            return Unavailable(BackupReason.STORE_DENIED, text, hint)
        return Unavailable(BackupReason.STORE_UNREACHABLE, text, "try again later")

    @property
    def address(self) -> str:
        return self._place.rstrip("/")

    def objects(self) -> Sequence[StoredObject]:
        found = self._listed("list_objects_v2", "Contents", Delimiter="/")
        objects = (StoredObject(key, item["Size"], item["LastModified"]) for key, item in found)
        return sorted(objects, key=lambda item: item.key)

    def exists(self, key: str) -> bool:
        try:
            self.call("head_object", key)
        except Missing:
            return False
        return True

    def begin(self, key: str) -> Upload:
        if self.exists(key):
            raise self._taken(key)
        return S3Upload(self, key)

    def open(self, key: str) -> ReadStream:
        return S3ReadStream(self, key)

    def replace_small(self, key: str, content: bytes) -> None:
        self.call("put_object", key, Body=content, ContentType="application/json")

    def delete(self, key: str) -> None:
        if not self.exists(key):  # S3 itself answers that it was deleted
            raise self._missing(key)
        self.call("delete_object", key)

    def leftovers(self, before: datetime) -> Sequence[str]:
        found = self._listed("list_multipart_uploads", "Uploads")
        return sorted(
            f"{key}?uploadId={item['UploadId']}" for key, item in found if item["Initiated"] < before
        )

    def remove_leftover(self, leftover: str) -> None:
        key, _, upload_id = leftover.partition("?uploadId=")
        with suppress(Missing):
            self.call("abort_multipart_upload", key, UploadId=upload_id)


class S3ReadStream:
    """An object while it is read; a broken connection is taken up where it broke, on the same version."""

    def __init__(self, store: S3Store, key: str) -> None:
        self._store = store
        self._key = key
        self._offset = 0
        self._etag: str | None = None
        self._body: Any = None
        self._connect()

    def read(self, size: int) -> bytes:
        """At most `size` bytes, b"" at the end. Raises Unavailable after some attempts."""
        for attempt in range(1, _READ_ATTEMPTS + 1):
            try:
                if self._body is None:
                    self._connect()
                with self._store.translated(self._key):
                    data = bytes(self._body.read(size))
            except Unavailable:
                self.close()
                if attempt == _READ_ATTEMPTS:
                    raise
                continue
            self._offset += len(data)
            return data
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _connect(self) -> None:
        again = {"Range": f"bytes={self._offset}-", "IfMatch": self._etag} if self._etag is not None else {}
        answer = self._store.call("get_object", self._key, **again)
        self._etag, self._body = answer["ETag"], answer["Body"]


class S3Upload:
    """A multipart upload. Memory: one part, and its copy while it is sent."""

    def __init__(self, store: S3Store, key: str) -> None:
        self._store = store
        self._key = key
        started = store.call("create_multipart_upload", key, ContentType="application/octet-stream")
        self._id = started["UploadId"]
        self._pending = bytearray()
        self._parts: list[dict[str, Any]] = []
        self._open = True

    def write(self, data: bytes) -> None:
        self._pending += data
        while len(self._pending) >= self._part_bytes():
            part = bytes(memoryview(self._pending)[: self._part_bytes()])
            del self._pending[: len(part)]
            self._send(part)

    def commit(self) -> None:
        if self._pending or not self._parts:
            self._send(bytes(self._pending))
            self._pending.clear()
        parts = {"Parts": self._parts}
        self._call("complete_multipart_upload", MultipartUpload=parts, IfNoneMatch="*")
        self._open = False

    def abort(self) -> None:
        if not self._open:
            return
        self._open = False
        # A store that is gone keeps the parts; prune removes them later.
        with suppress(SidecarError):
            self._call("abort_multipart_upload")

    def _part_bytes(self) -> int:
        return PART_BYTES if len(self._parts) < _LARGE_FROM else 2 * PART_BYTES

    def _send(self, part: bytes) -> None:
        number = len(self._parts) + 1
        if number > MAX_PARTS:
            text, hint = f"{self._key} is too large for S3", "back up databases in several files"
            raise Unavailable(BackupReason.TOO_LARGE, text, hint)
        sent = self._call("upload_part", PartNumber=number, Body=part)
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})

    def _call(self, operation: str, **arguments: Any) -> Any:
        return self._store.call(operation, self._key, UploadId=self._id, **arguments)
