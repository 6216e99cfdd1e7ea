"""From an address such as `/var/backups/mongodb` or `s3://bucket/prefix` to a store."""

from pathlib import Path

from sealwire.sidecars.backup.errors import BackupReason, BackupSettingError
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.backup.stores.store import Store

S3_SCHEME = "s3://"


def open_store(address: str) -> Store:
    """The store at `address`: a directory, or `s3://BUCKET[/PREFIX]` with the `s3` extra installed.

    Raises BackupSettingError ADDRESS, EXTRA_MISSING; BackupMissing for a directory that is not there.
    """
    if address.startswith(S3_SCHEME):
        return _open_s3(address)
    if "://" in address:
        # What was given is not shown: it may hold a password.
        raise BackupSettingError(
            BackupReason.ADDRESS,
            "the store's address is not understood",
            "write a directory or s3://BUCKET/PREFIX",
        )
    return LocalStore(Path(address))


def _open_s3(address: str) -> Store:
    try:
        from sealwire.sidecars.backup.stores.s3_bucket import S3Bucket  # noqa: PLC0415 - needs an extra
        from sealwire.sidecars.backup.stores.s3_store import S3Store  # noqa: PLC0415 - as above
    except ModuleNotFoundError:
        raise BackupSettingError(
            BackupReason.EXTRA_MISSING, "boto3 is not installed", "pip install 'sealwire[s3]'"
        ) from None
    return S3Store(S3Bucket.at(address))
