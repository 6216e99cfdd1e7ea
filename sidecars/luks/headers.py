"""Back up the header of a volume, sealed, and put it back. The file of a sealed header:

    8 bytes    length of the head, big-endian
    head       {"format": "sealwire-luks-header", "version": 1, "uuid": ..., "created": ..., "kek_id": ...,
                "wrapped": ...} as strict JSON
    the rest   AES-256-SIV (RFC 5297) of header and key slots, with everything before it as associated data

A header backup opens the volume with every passphrase that was valid when it was made, also those taken away
since: hence it is encrypted, under a data key of its own that a key-encryption key wraps.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from sealwire.keys import strict_json
from sealwire.keys.errors import DamagedFile, KeysReason, WrongKek
from sealwire.keys.kek.kek import KeyEncryptionKey, Purpose, wrap_associated_data
from sealwire.keys.keyring.record import format_time
from sealwire.sidecars.errors import CannotCreate, LuksReason, Unsound, Unusable
from sealwire.sidecars.luks.machine import Machine, look_at
from sealwire.sidecars.luks.volume import LuksHeader, read_header, require_luks, restore_header, save_header

FORMAT_NAME = "sealwire-luks-header"
FORMAT_VERSION = 1
MAX_RAW_BYTES = 64 << 20
_LENGTH_BYTES = 8
_MAX_HEAD_BYTES = 8192
_SIV_BYTES = 16
MAX_FILE_BYTES = _LENGTH_BYTES + _MAX_HEAD_BYTES + _SIV_BYTES + MAX_RAW_BYTES
_KEY_BYTES = 64
_MAX_WRAPPED_BYTES = 4096


@dataclass(frozen=True, slots=True)
class SealedHeader:
    """What can be read of a sealed header without a key."""

    uuid: str
    created: str
    kek_id: str


def seal(raw: bytes, uuid: str, created: str, kek: KeyEncryptionKey) -> bytes:
    """The file for the header backup `raw` of the volume `uuid`.

    Raises:  what `kek.wrap` raises; ValueError when `raw` is longer than 64 MiB
    Cost:    the header three times in memory, 50 MiB for LUKS2's usual 16 MiB
    """
    if len(raw) > MAX_RAW_BYTES:
        raise ValueError("the header is too long")
    key = secrets.token_bytes(_KEY_BYTES)
    wrapped = kek.wrap(key, _wrap_data(uuid))
    head = _head(SealedHeader(uuid, created, kek.id), wrapped)
    before = len(head).to_bytes(_LENGTH_BYTES, "big") + head
    return before + AESSIV(key).encrypt(raw, [before])


def unseal(sealed: bytes, kek: KeyEncryptionKey, where: str) -> tuple[SealedHeader, bytes]:
    """The head of the file, and the header backup in it. Raises DamagedFile, WrongKek, what `kek.unwrap`
    raises, and Unsound HEADER_FILE when anything in the file was altered.
    """
    end = _LENGTH_BYTES + int.from_bytes(sealed[:_LENGTH_BYTES], "big")
    if not _LENGTH_BYTES < end <= min(_LENGTH_BYTES + _MAX_HEAD_BYTES, len(sealed) - _SIV_BYTES):
        raise DamagedFile(KeysReason.SCHEMA, f"{where} is not a sealed LUKS header", "check the path")
    raw = sealed[_LENGTH_BYTES:end]
    fields = strict_json.parse(raw, where)
    fields.format(FORMAT_NAME, FORMAT_VERSION)
    head = SealedHeader(fields.text("uuid"), fields.text("created"), fields.text("kek_id"))
    wrapped = fields.binary("wrapped", 1, _MAX_WRAPPED_BYTES)
    fields.done()
    strict_json.require_exact(raw, _head(head, wrapped), where)
    if head.kek_id != kek.id:
        text = f"{where} was sealed under key-encryption key {head.kek_id}, this is {kek.id}"
        raise WrongKek(KeysReason.KEK_OTHER, text, "name that one with --kek")
    key = kek.unwrap(wrapped, _wrap_data(head.uuid))
    try:
        return head, AESSIV(key).decrypt(sealed[end:], [sealed[:end]])
    except (InvalidTag, ValueError):
        text = f"{where} was altered or cut off"
        raise Unsound(LuksReason.HEADER_FILE, text, "take another copy of it") from None


def _head(head: SealedHeader, wrapped: bytes) -> bytes:
    return strict_json.serialize(
        {
            "format": FORMAT_NAME,
            "version": FORMAT_VERSION,
            **asdict(head),
            "wrapped": strict_json.encode(wrapped),
        }
    )


def _wrap_data(uuid: str) -> bytes:
    return wrap_associated_data(Purpose.LUKS_HEADER, uuid.encode())


# In memory, never on a disk: an unsealed header must not lie where it can be found later.
_MEMORY = Path("/run/sealwire-luks")
_SEALED_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Restorable:
    """A header that was opened and checked, and what it would replace."""

    raw: bytes
    header: LuksHeader
    replaced: LuksHeader | None


def look(machine: Machine, volume: Path, target: Path) -> LuksHeader:
    """The header of `volume`, which could be written to the new file `target`. Changes nothing.

    Raises as `require_luks`; Unusable when `target` exists
    """
    _require_new(machine, target)
    return require_luks(machine, volume)


def back_up(machine: Machine, volume: Path, target: Path, kek: KeyEncryptionKey) -> LuksHeader:
    """Seal the header of `volume` into the new file `target`.

    Raises as `look`; CommandFailed
    """
    header = look(machine, volume, target)
    with _file_in_memory(machine) as plain:
        save_header(machine, volume, plain)
        raw = machine.read(plain, MAX_RAW_BYTES) or b""
    created = format_time(datetime.now(UTC))
    machine.write(target, seal(raw, header.uuid, created, kek), _SEALED_MODE)
    return header


def open_backup(machine: Machine, volume: Path, source: Path, kek: KeyEncryptionKey) -> Restorable:
    """Unseal `source` and check that it belongs on `volume`. Changes nothing.

    Raises CannotCreate in use, Unusable, DamagedFile, WrongKek, UnwrapFailed,
    Unsound HEADER_FILE, HEADER_OTHER
    """
    sealed = _read_sealed(machine, source)
    found = look_at(machine, volume)
    if found is None:
        raise CannotCreate(LuksReason.DEVICE_MISSING, f"{volume} is no device or image", "see `lsblk`")
    if found.parts or found.mounted_at:
        text = f"{volume} is open: {', '.join(found.parts)}"
        raise CannotCreate(LuksReason.DEVICE_IN_USE, text, "sealwire luks close")
    head, raw = unseal(sealed, kek, str(source))
    with _file_in_memory(machine) as plain:
        machine.write(plain, raw, _SEALED_MODE)
        header = read_header(machine, plain)
    if header is None or header.uuid != head.uuid:
        text = f"{source} does not hold the LUKS2 header that it names"
        raise Unsound(LuksReason.HEADER_FILE, text, "another copy")
    replaced = read_header(machine, volume)
    if replaced is not None and replaced.uuid != header.uuid:
        text = f"{source} is of volume {header.uuid}, and {volume} is {replaced.uuid}"
        hint = "find the backup of this volume: another one's header would destroy it"
        raise Unsound(LuksReason.HEADER_OTHER, text, hint)
    if found.size_bytes <= len(raw):
        text = f"{volume} is smaller than the header: not the volume"
        raise CannotCreate(LuksReason.SPACE, text, "check the device")
    return Restorable(raw, header, replaced)


def unseal_to_file(
    machine: Machine, source: Path, target: Path, kek: KeyEncryptionKey, *, dry_run: bool = False
) -> str:
    """Write the header in `source` to the new file `target` in clear; the UUID of its volume.

    With `dry_run` the source is opened and nothing is written.
    Raises as `open_backup`, apart from what concerns the device.
    """
    _require_new(machine, target)
    head, raw = unseal(_read_sealed(machine, source), kek, str(source))
    if not dry_run:
        machine.write(target, raw, _SEALED_MODE)
    return head.uuid


def free_name(machine: Machine, beside: Path) -> Path:
    """A name beside `beside` at which nothing stands yet, for the header that is replaced."""
    moment = format_time(datetime.now(UTC)).replace(":", "")
    names = (beside.with_name(f"{beside.name}.replaced-{moment}{extra}") for extra in ("", "-2", "-3", "-4"))
    for name in names:
        if machine.status(name) is None:
            return name
    raise Unusable(LuksReason.SETTING, f"no free name beside {beside}", "move older ones away")


def restore(machine: Machine, volume: Path, restorable: Restorable) -> None:
    """Write the header. The caller has asked. Raises CommandFailed."""
    with _file_in_memory(machine) as plain:
        machine.write(plain, restorable.raw, _SEALED_MODE)
        restore_header(machine, volume, plain)
    # The links of udev by UUID come back only when it looks again; without udev there are none.
    if machine.has_program("udevadm"):
        machine.run(["udevadm", "trigger", "--settle", str(volume)])


def _require_new(machine: Machine, target: Path) -> None:
    if machine.status(target) is not None:
        raise Unusable(LuksReason.SETTING, f"{target} exists already", "name another file")


def _read_sealed(machine: Machine, source: Path) -> bytes:
    sealed = machine.read(source, MAX_FILE_BYTES)
    if sealed is None:
        raise Unusable(LuksReason.SETTING, f"{source} does not exist", "check the path")
    return sealed


@contextmanager
def _file_in_memory(machine: Machine) -> Iterator[Path]:
    """A path below /run that nothing stands at; what was written there is removed at the end."""
    machine.make_directory(_MEMORY, 0o700)
    path = _MEMORY / f"header-{secrets.token_hex(8)}"
    try:
        yield path
    finally:
        machine.remove(path)
