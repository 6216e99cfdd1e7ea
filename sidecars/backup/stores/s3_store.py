"""Backups in an S3-compatible bucket: a multipart upload is the hidden file, completing it is the rename.

An upload whose process died is invisible, and paid for until prune removes it; a lifecycle rule of the bucket
does the same.
"""

from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import datetime
from typing import Any, Self

from sealwire.sidecars.backup.errors import (
    BackupError,
    BackupMissing,
    BackupReason,
    StoreUnavailable,
)
from sealwire.sidecars.backup.stores.s3_bucket import S3Bucket
from sealwire.sidecars.backup.stores.store import StoredObject, Upload, is_backup_key, require_small

# An upload has at most 10,000 parts: 5,000 of 32 MiB and as many of 64 MiB make 469 GiB.
PART_BYTES = 32 << 20
_LARGE_FROM = 5_000
MAX_PARTS = 10_000
_READ_ATTEMPTS = 4


class S3Store:
    """A bucket and a prefix."""

    def __init__(self, bucket: S3Bucket) -> None:
        self._bucket = bucket

    @property
    def address(self) -> str:
        return self._bucket.address

    def objects(self) -> Sequence[StoredObject]:
        found = []
        with self._bucket.translated(self.address):
            pages = self._bucket.client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket.name, Prefix=self._bucket.prefix, Delimiter="/"
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    key = item["Key"].removeprefix(self._bucket.prefix)
                    if is_backup_key(key):
                        found.append(StoredObject(key, item["Size"], item["LastModified"]))
        return sorted(found, key=lambda item: item.key)

    def exists(self, key: str) -> bool:
        try:
            with self._bucket.translated(key):
                self._bucket.client.head_object(**self._bucket.object(key))
        except BackupMissing:
            return False
        return True

    def begin(self, key: str) -> Upload:
        if self.exists(key):
            raise self._bucket.taken(key)
        with self._bucket.translated(key):
            started = self._bucket.client.create_multipart_upload(
                **self._bucket.object(key), ContentType="application/octet-stream"
            )
        return S3Upload(self._bucket, key, started["UploadId"])

    def open(self, key: str) -> "S3ReadStream":
        return S3ReadStream(self._bucket, key)

    def read_small(self, key: str, max_bytes: int) -> bytes:
        with self._bucket.translated(key):
            answer = self._bucket.client.get_object(**self._bucket.object(key))
            with closing(answer["Body"]) as body:
                content = bytes(body.read(max_bytes + 1))
        return require_small(key, content, max_bytes)

    def replace_small(self, key: str, content: bytes) -> None:
        with self._bucket.translated(key):
            self._bucket.client.put_object(
                **self._bucket.object(key), Body=content, ContentType="application/json"
            )

    def delete(self, key: str) -> None:
        if not self.exists(key):  # S3 itself answers that it was deleted
            raise BackupMissing(BackupReason.MISSING, f"{self.address}{key} does not exist", "check the name")
        with self._bucket.translated(key):
            self._bucket.client.delete_object(**self._bucket.object(key))

    def leftovers(self, before: datetime) -> Sequence[str]:
        found = []
        with self._bucket.translated(self.address):
            pages = self._bucket.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket.name, Prefix=self._bucket.prefix
            )
            for page in pages:
                for item in page.get("Uploads", ()):
                    key = item["Key"].removeprefix(self._bucket.prefix)
                    if is_backup_key(key) and item["Initiated"] < before:
                        found.append(f"{key}?uploadId={item['UploadId']}")
        return sorted(found)

    def remove_leftover(self, leftover: str) -> None:
        key, _, upload_id = leftover.partition("?uploadId=")
        with self._bucket.translated(key), suppress(BackupMissing):
            self._bucket.client.abort_multipart_upload(**self._bucket.object(key), UploadId=upload_id)


class S3ReadStream:
    """An object while it is read; a broken connection is taken up where it broke, on the same version."""

    def __init__(self, bucket: S3Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._offset = 0
        self._etag: str | None = None
        self._body: Any = None
        self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def read(self, size: int) -> bytes:
        """At most `size` bytes, b"" at the end. Raises StoreUnavailable after some attempts."""
        for attempt in range(1, _READ_ATTEMPTS + 1):
            try:
                with self._bucket.translated(self._key):
                    if self._body is None:
                        self._connect()
                    data = bytes(self._body.read(size))
            except StoreUnavailable:
                self._close()
                if attempt == _READ_ATTEMPTS:
                    raise
                continue
            self._offset += len(data)
            return data
        raise AssertionError("the last attempt returns or raises")

    def _connect(self) -> None:
        arguments = self._bucket.object(self._key)
        if self._etag is not None:
            arguments |= {"Range": f"bytes={self._offset}-", "IfMatch": self._etag}
        with self._bucket.translated(self._key):
            answer = self._bucket.client.get_object(**arguments)
        self._etag, self._body = answer["ETag"], answer["Body"]

    def _close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


class S3Upload:
    """A multipart upload. Memory: one part, and its copy while it is sent."""

    def __init__(self, bucket: S3Bucket, key: str, upload_id: str) -> None:
        self._bucket = bucket
        self._key = key
        self._arguments = bucket.object(key) | {"UploadId": upload_id}
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
        with self._bucket.translated(self._key):
            self._bucket.client.complete_multipart_upload(
                **self._arguments, MultipartUpload={"Parts": self._parts}, IfNoneMatch="*"
            )
        self._open = False

    def abort(self) -> None:
        if not self._open:
            return
        self._open = False
        # A store that is gone keeps the parts; prune removes them later.
        with suppress(BackupError), self._bucket.translated(self._key):
            self._bucket.client.abort_multipart_upload(**self._arguments)

    def _part_bytes(self) -> int:
        return PART_BYTES if len(self._parts) < _LARGE_FROM else 2 * PART_BYTES

    def _send(self, part: bytes) -> None:
        number = len(self._parts) + 1
        if number > MAX_PARTS:
            raise StoreUnavailable(
                BackupReason.TOO_LARGE,
                f"{self._key} is too large for S3",
                "back up databases in several files",
            )
        with self._bucket.translated(self._key):
            sent = self._bucket.client.upload_part(**self._arguments, PartNumber=number, Body=part)
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
