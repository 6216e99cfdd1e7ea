"""What keeps fields from being judged."""

from enum import Enum

from sealwire.sidecars.errors import SidecarError


class CoverageReason(Enum):
    """Stable names, for tests and scripts."""

    EXTRA = "extra"


class LibraryMissing(SidecarError[CoverageReason]):
    """What judges identifiers is an extra, and not installed."""
