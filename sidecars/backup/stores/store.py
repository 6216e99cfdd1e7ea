"""Where backups are kept: one small protocol, and the names of things in it.

A backup NAME is two objects: `NAME.tar.gz.enc`, which appears whole or not at all and never changes, and the
small `NAME.tar.gz.enc.json`, which is replaced as a whole.
"""

import errno
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sealwire.sidecars.errors import BackupReason, Unsound, Unusable

PAYLOAD_SUFFIX = ".tar.gz.enc"
SIDECAR_SUFFIX = ".tar.gz.enc.json"

NO_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""What the system says of a disk, a quota or a limit that is full."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object of a store."""

    key: str
    """Its name in the store, suffix included."""
    size: int
    modified: datetime
    """UTC."""


class ReadStream(Protocol):
    """Bytes of one object, from its beginning."""

    def read(self, size: int) -> bytes:
        """At most `size` bytes, b"" at the end only. Raises Unavailable."""

    def close(self) -> None: ...


class Upload(Protocol):
    """An object that has no name yet. A process that dies leaves a leftover, and no object."""

    def write(self, data: bytes) -> None:
        """Take all of `data`. Raises Unavailable."""

    def commit(self) -> None:
        """Make it durable, then give it its name. Raises CannotCreate when the name was taken meanwhile."""

    def abort(self) -> None:
        """Remove it. May be called at any time, more than once, and raises nothing."""


class Store(Protocol):
    """A directory, or a bucket with a prefix. Every method raises Unavailable."""

    @property
    def address(self) -> str:
        """The address as messages show it; it holds no secret."""

    def objects(self) -> Sequence[StoredObject]:
        """Payloads and sidecars, sorted by key; other things that lie there are left out."""

    def exists(self, key: str) -> bool: ...

    def begin(self, key: str) -> Upload:
        """Start an object. Raises CannotCreate when it is there, or is being written by another process."""

    def open(self, key: str) -> ReadStream:
        """Raises Missing."""

    def replace_small(self, key: str, content: bytes) -> None:
        """Put an object in place of any other, atomically and durably."""

    def delete(self, key: str) -> None:
        """Raises Missing."""

    def leftovers(self, before: datetime) -> Sequence[str]:
        """Uploads that nobody is writing any more and that began before this time."""

    def remove_leftover(self, leftover: str) -> None:
        """Remove what `leftovers` named."""


def payload_key(name: str) -> str:
    """The key of the sealed file. Raises Unusable NAME."""
    return _check_name(name) + PAYLOAD_SUFFIX


def sidecar_key(name: str) -> str:
    """The key of the file beside it. Raises Unusable NAME."""
    return _check_name(name) + SIDECAR_SUFFIX


def read_small(store: Store, key: str, max_bytes: int) -> bytes:
    """The whole object. Raises Missing, Unsound TOO_LARGE, Unavailable."""
    content = b""
    with closing(store.open(key)) as stream:
        while len(content) <= max_bytes and (data := stream.read(max_bytes + 1 - len(content))):
            content += data
    if len(content) > max_bytes:
        text = f"{key} is larger than {max_bytes} bytes"
        raise Unsound(BackupReason.TOO_LARGE, text, "restore it from a copy")
    return content


def is_backup_key(key: str) -> bool:
    """Whether an object of this key is a payload or a sidecar."""
    names = (key.removesuffix(end) for end in (SIDECAR_SUFFIX, PAYLOAD_SUFFIX) if key.endswith(end))
    return any(_NAME.fullmatch(name) for name in names)


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        text = (
            "a backup's name is 1 to 128 letters, digits, '_', '.' or '-', and begins with a letter or digit"
        )
        raise Unusable(BackupReason.NAME, text, "give the name without .tar.gz.enc")
    return name
