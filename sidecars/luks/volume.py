"""One LUKS volume: cryptsetup's commands, opened, mounted and closed, and where its passphrase comes from.

Secrets go over standard input or a pipe. Source: cryptsetup(8) and its subcommand pages, 2.4 and later.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sealwire.keys.kek.passphrase import MAX_BYTES, check_strength, normalize, one_line, read_passphrase_file
from sealwire.keys.providers import Providers
from sealwire.sidecars.errors import CannotCreate, Denied, LuksReason, SidecarError, Unsound, Unusable
from sealwire.sidecars.luks.machine import SECOND_SECRET, Machine, failed, mounted_source, must
from sealwire.sidecars.luks.settings import CIPHER, KEY_BITS, Pbkdf, VolumeSettings

# cryptsetup's exit codes: 2 is no permission, which is what a wrong passphrase is called.
_NO_KEY = 2
HEADER_BYTES = 16 << 20

Secret = bytes | Path
"""A passphrase, or the path of a key file."""


@dataclass(frozen=True, slots=True)
class LuksHeader:
    """What a LUKS2 header says in clear."""

    uuid: str
    cipher: str
    key_bits: int
    key_slots: tuple[int, ...]
    key_derivations: tuple[str, ...]
    """One a key slot, in the order of the slots."""


def format_device(machine: Machine, device: Path, uuid: str, passphrase: bytes, pbkdf: Pbkdf) -> None:
    """Make a LUKS2 volume with `passphrase` in key slot 0. Destroys what `device` held."""
    options = ["--type", "luks2", "--cipher", CIPHER, "--key-size", str(KEY_BITS), "--hash", "sha256"]
    options += ["--uuid", uuid, "--key-slot", "0", *pbkdf.arguments]
    must(
        machine,
        ["cryptsetup", "luksFormat", "--batch-mode", *options, "--key-file", "-", str(device)],
        secret=passphrase,
    )


def read_header(machine: Machine, device: Path) -> LuksHeader | None:
    """The header of `device`, or of a header backup; None when there is no LUKS2 header."""
    if machine.run(["cryptsetup", "isLuks", "--type", "luks2", str(device)]).code != 0:
        return None
    uuid = machine.run(["cryptsetup", "luksUUID", str(device)])
    dump = machine.run(["cryptsetup", "luksDump", "--dump-json-metadata", str(device)])
    if uuid.code != 0 or dump.code != 0:
        return None
    try:
        content = json.loads(dump.out)
        segment = next(iter(content["segments"].values()))
        slots = sorted((int(number), slot) for number, slot in content["keyslots"].items())
        # The segment names the cipher; the key size is that of what the key slots hold.
        return LuksHeader(
            uuid.text,
            segment["encryption"],
            8 * slots[0][1]["key_size"] if slots else 0,
            tuple(number for number, _ in slots),
            tuple(slot["kdf"]["type"] for _, slot in slots),
        )
    except (ValueError, KeyError, TypeError, StopIteration, AttributeError):
        text = f"the header of {device} is not understood"
        raise Unsound(LuksReason.DEVICE_NOT_LUKS, text, "look at luksDump") from None


def require_opens(machine: Machine, device: Path, secret: Secret) -> None:
    """A key slot opens with `secret`; nothing is mapped. Raises Denied, CommandFailed."""
    arguments = ["cryptsetup", "open", "--test-passphrase", *_key(secret), str(device)]
    _must_open(machine, device, arguments, secret=_given(secret))


def opens(machine: Machine, device: Path, secret: Secret) -> bool:
    """Whether a key slot opens with `secret`. Raises CommandFailed."""
    try:
        require_opens(machine, device, secret)
    except Denied:
        return False
    return True


def open_volume(machine: Machine, wanted: VolumeSettings, secret: Secret, *, read_only: bool = False) -> None:
    """Map the device of `wanted` to /dev/mapper under its name. Raises Denied, CommandFailed."""
    options = ["--type", "luks2", *(["--readonly"] if read_only else [])]
    options += ["--allow-discards"] if wanted.discard else []
    arguments = ["cryptsetup", "open", *options, *_key(secret), str(wanted.device), wanted.name]
    _must_open(machine, wanted.device, arguments, secret=_given(secret))


def is_open(machine: Machine, name: str) -> bool:
    return machine.run(["cryptsetup", "status", name]).code == 0


def close_volume(machine: Machine, name: str) -> None:
    """Take the mapping away. Raises CommandFailed when it is in use."""
    must(machine, ["cryptsetup", "close", name])


def ensure_closed(machine: Machine, name: str) -> None:
    """Stop the unit that systemd may have for the mapping, then close what is left. Raises as above."""
    machine.run(["systemctl", "stop", f"systemd-cryptsetup@{name}.service"])
    if is_open(machine, name):
        close_volume(machine, name)


def add_key(machine: Machine, device: Path, present: Secret, new: Secret, pbkdf: Pbkdf) -> None:
    """Put `new` into a free key slot. Raises Denied, CommandFailed."""
    new_key = str(new) if isinstance(new, Path) else SECOND_SECRET
    arguments = ["cryptsetup", "luksAddKey", *_key(present), *pbkdf.arguments, str(device), new_key]
    _must_open(machine, device, arguments, secret=_given(present), second=_given(new))


def save_header(machine: Machine, device: Path, target: Path) -> None:
    """Write header and key slots of `device` to `target`, which may not exist."""
    must(machine, ["cryptsetup", "luksHeaderBackup", str(device), "--header-backup-file", str(target)])


def restore_header(machine: Machine, device: Path, source: Path) -> None:
    arguments = ["cryptsetup", "luksHeaderRestore", "--batch-mode", str(device)]
    must(machine, [*arguments, "--header-backup-file", str(source)])


def _must_open(
    machine: Machine, device: Path, arguments: Sequence[str], *, secret: bytes, second: bytes = b""
) -> None:
    done = machine.run(arguments, secret=secret, second_secret=second)
    if done.code == _NO_KEY:
        text = f"no key slot of {device} opens with this passphrase or key file"
        hint = "try the other passphrase or key file; if none opens, restore the header from its backup"
        raise Denied(LuksReason.KEY_WRONG, text, hint)
    if done.code != 0:
        raise failed(arguments, done)


def _key(secret: Secret) -> list[str]:
    return ["--key-file", str(secret) if isinstance(secret, Path) else "-"]


def _given(secret: Secret) -> bytes:
    return b"" if isinstance(secret, Path) else secret


_MOUNT_MODE = 0o700


def require_luks(machine: Machine, device: Path) -> LuksHeader:
    """The header of `device`. Raises CannotCreate DEVICE_MISSING, DEVICE_NOT_LUKS."""
    if machine.status(device) is None:
        raise CannotCreate(LuksReason.DEVICE_MISSING, f"{device} does not exist", "see `lsblk`")
    header = read_header(machine, device)
    if header is None:
        text = f"{device} has no LUKS2 header that can be read"
        hint = "check the device; if it is the right one, sealwire luks restore-header"
        raise CannotCreate(LuksReason.DEVICE_NOT_LUKS, text, hint)
    return header


def require_openable(machine: Machine, device: Path, name: str) -> None:
    """Raises as `require_luks`; Unusable NAME_TAKEN when there is a mapping of this name."""
    require_luks(machine, device)
    if is_open(machine, name):
        text = f"/dev/mapper/{name} is open already"
        raise Unusable(LuksReason.NAME_TAKEN, text, "close it, or choose another --name")


def require_open(machine: Machine, name: str) -> None:
    """Raises Unusable when there is no mapping of this name."""
    if not is_open(machine, name):
        raise Unusable(LuksReason.JOURNAL_PHASE, f"/dev/mapper/{name} is not open", "check --name")


def open_and_mount(
    machine: Machine, wanted: VolumeSettings, secret: Secret, where: Path | None, *, read_only: bool
) -> None:
    """Map the device of `wanted` under its name, and mount it at `where` if that is given.

    Raises CannotCreate, Unusable NAME_TAKEN, Denied, CommandFailed
    """
    require_openable(machine, wanted.device, wanted.name)
    open_volume(machine, wanted, secret, read_only=read_only)
    if where is not None:
        try:
            mount(machine, wanted.mapper, where, read_only=read_only)
        except SidecarError:
            close_volume(machine, wanted.name)
            raise


def mount(machine: Machine, mapper: Path, where: Path, *kind: str, read_only: bool = False) -> None:
    """Mount a mapping for whoever copies; `kind` are more options of mount(8). Raises CommandFailed."""
    machine.make_directory(where, _MOUNT_MODE)
    options = "nodev,nosuid,noexec" + (",ro" if read_only else "")
    must(machine, ["mount", *kind, "-o", options, str(mapper), str(where)])


def unmount_and_close(machine: Machine, name: str, service: str | None, where: Path | None) -> None:
    """Stop `service`, unmount `where` and close the mapping; what is not there is passed over.

    Raises Unusable when the mapping is not open; CommandFailed when somebody uses it
    """
    require_open(machine, name)
    if service is not None:
        must(machine, ["systemctl", "stop", service])
    if where is not None and mounted_source(machine, where) == f"/dev/mapper/{name}":
        must(machine, ["umount", str(where)])
    ensure_closed(machine, name)


def add_proved_key(machine: Machine, device: Path, present: Secret, new: Secret, pbkdf: Pbkdf) -> int:
    """Put `new` into a free key slot and prove that it opens; the number of key slots afterwards.

    Raises CannotCreate, Denied, CommandFailed
    """
    require_luks(machine, device)
    add_key(machine, device, present, new, pbkdf)
    require_opens(machine, device, new)
    return len(require_luks(machine, device).key_slots)


Prompt = Callable[[], str]
Source = Callable[[Machine, Prompt], str]
"""Gives the passphrase as text, from where a setting says. Holds no secret."""

_FORMS = "prompt, fd:NUMBER, file:PATH, systemd-creds:PATH or vault:MOUNT/PATH#FIELD"


def parse_source(setting: str) -> Source:
    """Read a setting; asks nobody yet. Raises Unusable SECRET_SOURCE, which does not show it."""
    kind, _, location = setting.partition(":")
    numeric = location.isascii() and location.isdigit() and len(location) < 8
    fits = numeric if kind == "fd" else bool(location) is (kind != "prompt")
    if kind not in _READERS or not fits:
        text = "the passphrase's place is not understood"
        raise Unusable(LuksReason.SECRET_SOURCE, text, f"write {_FORMS}")
    return partial(_READERS[kind], location)


def read_passphrase(source: Source, machine: Machine, prompt: Prompt, *, is_new: bool = False) -> bytes:
    """The passphrase as cryptsetup takes it: NFC, UTF-8, without a line end.

    `is_new`: it is to protect something from now on, so weak ones are refused.
    Raises KeySettingError PASSPHRASE_WEAK, PASSPHRASE_MISSING; what reading a private file raises;
    Unusable SECRET_SOURCE; what Vault raises, see `keys.vault.kv`
    """
    text = source(machine, prompt)
    if is_new:
        check_strength(text)
    return normalize(text)


def _from_descriptor(number: str, _: Machine, __: Prompt) -> str:
    content = b""
    try:
        while len(content) <= MAX_BYTES and (chunk := os.read(int(number), MAX_BYTES + 1)):
            content += chunk
    except OSError as error:
        text = f"descriptor {number} cannot be read: {error.strerror}"
        raise Unusable(LuksReason.SECRET_SOURCE, text, "open it in the shell: 3< FILE") from None
    return one_line(content)


def _from_credential(path: str, machine: Machine, _: Prompt) -> str:
    done = machine.run(["systemd-creds", "decrypt", path, "-"])
    if done.code != 0:
        text = f"systemd-creds does not decrypt {path}"
        hint = "it has to be made on this machine, under the name that its file has: systemd-creds encrypt"
        raise Unusable(LuksReason.SECRET_SOURCE, text, hint)
    return one_line(done.out)


# By their prefix in a setting.
_READERS: dict[str, Callable[[str, Machine, Prompt], str]] = {
    "prompt": lambda _, __, prompt: prompt(),
    "fd": _from_descriptor,
    "file": lambda path, _, __: read_passphrase_file(Path(path)),
    "systemd-creds": _from_credential,
    "vault": lambda location, _, __: Providers().vault_text(location, MAX_BYTES),
}
