"""What the source of a backup writes into and a restore reads from: tar bytes, with a promise at the end."""

from typing import Protocol, Self

from sealwire.sidecars.backup.manifest import Manifest


class TarSink(Protocol):
    """Takes an uncompressed tar. Nothing is a backup before `commit`.

    The last member of the tar is `manifest.MANIFEST_MEMBER` with `manifest.serialize(...)` as content; the
    same manifest is given to `commit`. Leaving the `with` block without `commit` removes what was written.
    """

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Take all of `data`; returns its length. Raises StoreUnavailable."""
        ...

    def tell(self) -> int:
        """How many bytes of the tar were taken."""
        ...

    def flush(self) -> None:
        """Does nothing: what is written becomes durable by `commit` alone. tarfile may call it."""
        ...

    def commit(self, manifest: Manifest) -> None:
        """Make it a backup, durably. Once, and last. Raises StoreUnavailable."""
        ...


class TarSource(Protocol):
    """Gives the tar back. Every byte returned has been authenticated and stands where it was written."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, b"" at the end. Raises BackupDamaged, StoreUnavailable."""
        ...

    def finish(self) -> None:
        """Read what is left and see the authenticated end: a tar reader stops before it.

        Who leaves this out does not notice a file that was cut behind the end of the tar.
        Raises BackupDamaged, StoreUnavailable.
        """
        ...
