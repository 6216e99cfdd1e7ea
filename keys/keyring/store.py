"""Where a keyring lies: a private file, or a document in Vault; one small protocol for both.

A store keeps bytes and knows nothing of keys. `replace` names the bytes that it expects to find: two writers
who read the same keyring cannot both write.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sealwire.keys.errors import KeyringBusy, KeySettingError, KeysReason
from sealwire.keys.private_file import create_private, read_private, replace_private, writer_lock

VAULT_PREFIX = "vault:"
# 10,000 key versions are about 2.5 MB.
MAX_FILE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class VaultDocument:
    """A document in a KV engine; `str` gives the setting that names it."""

    mount: str
    path: str

    def __str__(self) -> str:
        return f"{VAULT_PREFIX}{self.mount}/{self.path}"


Place = Path | VaultDocument


def parse_place(setting: str) -> Place:
    """Read `PATH` or `vault:MOUNT/PATH`; a file of such a name is `./vault:...`. Raises KeySettingError."""
    if not setting.startswith(VAULT_PREFIX):
        return Path(setting)
    mount, _, path = setting.removeprefix(VAULT_PREFIX).partition("/")
    if not mount or not path:
        raise KeySettingError(
            KeysReason.VAULT_SETTING,
            "a place in Vault lacks its mount or its path",
            "write vault:MOUNT/PATH, such as vault:secret/sealwire/keyring",
        )
    return VaultDocument(mount, path)


class KeyringStore(Protocol):
    """Holds the bytes of one keyring. `str` names it in messages. May block."""

    def exists(self) -> bool:
        """Whether something is there. Raises KekUnavailable, KekDenied, KeySettingError."""

    def read(self) -> bytes:
        """What is there, bounded by MAX_FILE_BYTES. Raises KeySettingError FILE_MISSING, and as above."""

    def create(self, content: bytes) -> None:
        """Put `content` where nothing is. Raises AlreadyExists, KeyringBusy, and as above."""

    def replace(self, old: bytes, new: bytes) -> None:
        """Put `new` where `old` is. Raises KeyringBusy where something else is, and as above."""


class FileStore:
    """A private file, written whole or not at all, under the writers' lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def exists(self) -> bool:
        """Whether anything is at the path, be it a dangling link."""
        return os.path.lexists(self._path)

    def read(self) -> bytes:
        """The file's bytes. Raises as `read_private`."""
        return read_private(self._path, MAX_FILE_BYTES)

    def create(self, content: bytes) -> None:
        """Raises KeyringBusy, AlreadyExists FILE_EXISTS, KeySettingError FILE_UNWRITABLE."""
        with writer_lock(self._path):
            create_private(self._path, content)

    def replace(self, old: bytes, new: bytes) -> None:
        """Raises KeyringBusy, KeySettingError FILE_UNWRITABLE, and as `read`."""
        with writer_lock(self._path):
            if self.read() != old:
                raise changed_meanwhile(self)
            replace_private(self._path, new)


def changed_meanwhile(store: KeyringStore) -> KeyringBusy:
    """What `replace` raises where something else is by now."""
    text = f"{store} was changed by somebody else meanwhile"
    return KeyringBusy(KeysReason.WRITER, text, "look at it, then try again")


def as_store(place: "Path | KeyringStore") -> KeyringStore:
    """A path stands for the file there."""
    return FileStore(place) if isinstance(place, Path) else place
