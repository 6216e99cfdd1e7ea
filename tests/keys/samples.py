"""What the tests of this room share: cheap scrypt, fixed times, and KEKs of every kind."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sealwire.keys.kek.kek import EnvironmentKek, KeyEncryptionKey, LocalKek
from sealwire.keys.kek.passphrase import KeyFileKek, ScryptParameters, create_key_file
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.file import KeyringWriter, open_record, read_record, seal_record
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.record import serialize_record
from sealwire.keys.keyring.store import KeyringStore

NOW = datetime(2026, 1, 31, 12, 30, 15, tzinfo=UTC)
PASSPHRASE = "river-otter-lamp-vest-quorum"
# One guess in a millisecond: for tests only, and only where it is asked for.
CHEAP_SCRYPT = ScryptParameters(n=1 << 10)

KEK_A = bytes(range(32))
KEK_B = bytes(range(100, 132))


def environment_kek(_directory: Path, kek: bytes) -> KeyEncryptionKey:
    return EnvironmentKek("K", {"K": base64.b64encode(kek).decode()})


def key_file_kek(directory: Path, _kek: bytes) -> KeyEncryptionKey:
    """The file's KEK is its own; a second call in another directory gives another one."""
    path = directory / "kek.json"
    create_key_file(path, PASSPHRASE, CHEAP_SCRYPT)
    return KeyFileKek(path, PASSPHRASE)


# Later providers join here, and have to pass test_kek.py.
PROVIDERS: dict[str, Callable[[Path, bytes], KeyEncryptionKey]] = {
    "environment": environment_kek,
    "file": key_file_kek,
}


def local_kek(kek: bytes = KEK_A) -> LocalKek:
    return LocalKek(kek)


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a file as somebody would who knows its exact form."""
    document = json.loads(path.read_bytes())
    change(document)
    path.write_bytes(json.dumps(document, indent=1).encode() + b"\n")


def key_of_first_class(number: int, change: dict[str, object]) -> Callable[[dict[str, Any]], None]:
    return lambda whole: whole["classes"][0]["keys"][number].update(change)


def stored(path: Path, keys: Sequence[DataKey]) -> Path:
    """A keyring of these keys."""
    path.write_bytes(serialize_record(seal_record(keys, 3, local_kek(), NOW)))
    path.chmod(0o600)
    return path


def writer(place: Path | KeyringStore, now: datetime = NOW) -> KeyringWriter:
    return KeyringWriter(place, local_kek(), now)


def keys_of(path: Path) -> tuple[DataKey, ...]:
    return open_record(read_record(path), local_kek(), path)


def keyring_up_to(newest: int, class_ids: Mapping[str, int]) -> Keyring:
    """Of each class, all versions up to the newest, always of the same material."""
    return Keyring(
        [
            DataKey(
                *(name, class_id, version),
                KeyState.ACTIVE if version == newest else KeyState.DECRYPT_ONLY,
                *(NOW, bytes([class_id, version]) * 32),
            )
            for name, class_id in class_ids.items()
            for version in range(1, newest + 1)
        ]
    )
