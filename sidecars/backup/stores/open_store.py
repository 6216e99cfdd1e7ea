"""From an address such as `/var/backups/mongodb` or `s3://bucket/prefix` to a store."""

from pathlib import Path

from sealwire.sidecars.backup.errors import BackupReason, BackupSettingError
from sealwire.sidecars.backup.stores.local_store import LocalStore, make_directory
from sealwire.sidecars.backup.stores.store import Store


def open_new_store(address: str) -> Store:
    """As `open_store`, for who writes the first backup: makes the directory (0700), and none above it."""
    if "://" not in address:
        make_directory(Path(address))
    return open_store(address)


def open_store(address: str) -> Store:
    """The store at `address`: a directory, or `s3://BUCKET[/PREFIX]` with the `s3` extra installed.

    Raises BackupSettingError ADDRESS, EXTRA_MISSING; BackupMissing for a directory that is not there.
    """
    if address.startswith("s3://"):
        try:
            from sealwire.sidecars.backup.stores.s3_store import S3Store  # noqa: PLC0415 - needs an extra
        except ModuleNotFoundError:
            text, hint = "boto3 is not installed", "pip install 'sealwire[s3]'"
            raise BackupSettingError(BackupReason.EXTRA_MISSING, text, hint) from None
        return S3Store(address)
    if "://" in address:
        # What was given is not shown: it may hold a password.
        text, hint = "the store's address is not understood", "write a directory or s3://BUCKET/PREFIX"
        raise BackupSettingError(BackupReason.ADDRESS, text, hint)
    return LocalStore(Path(address))
