"""cryptsetup's commands, as this room needs them. Secrets go over standard input or a pipe.

Source: cryptsetup(8) and its subcommand pages, 2.4 and later.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sealwire.sidecars.luks.errors import LuksKeyDenied, LuksReason, VerificationFailed
from sealwire.sidecars.luks.machine.machine import SECOND_SECRET, Machine, failed, must
from sealwire.sidecars.luks.settings import CIPHER, KEY_BITS, Pbkdf

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
        raise VerificationFailed(LuksReason.DEVICE_NOT_LUKS, text, "look at luksDump") from None


def require_opens(machine: Machine, device: Path, secret: Secret) -> None:
    """A key slot opens with `secret`; nothing is mapped. Raises LuksKeyDenied, CommandFailed."""
    arguments = ["cryptsetup", "open", "--test-passphrase", *_key(secret), str(device)]
    _must_open(machine, device, arguments, secret=_given(secret))


def opens(machine: Machine, device: Path, secret: Secret) -> bool:
    """Whether a key slot opens with `secret`. Raises CommandFailed."""
    try:
        require_opens(machine, device, secret)
    except LuksKeyDenied:
        return False
    return True


def open_volume(
    machine: Machine,
    device: Path,
    name: str,
    secret: Secret,
    *,
    read_only: bool = False,
    discard: bool = False,
) -> None:
    """Map `device` to /dev/mapper/`name`. Raises LuksKeyDenied, CommandFailed."""
    options = ["--type", "luks2", *(["--readonly"] if read_only else [])]
    options += ["--allow-discards"] if discard else []
    arguments = ["cryptsetup", "open", *options, *_key(secret), str(device), name]
    _must_open(machine, device, arguments, secret=_given(secret))


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
    """Put `new` into a free key slot. Raises LuksKeyDenied, CommandFailed."""
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
        raise LuksKeyDenied(LuksReason.KEY_WRONG, text, hint)
    if done.code != 0:
        raise failed(arguments, done)


def _key(secret: Secret) -> list[str]:
    return ["--key-file", str(secret) if isinstance(secret, Path) else "-"]


def _given(secret: Secret) -> bytes:
    return b"" if isinstance(secret, Path) else secret
