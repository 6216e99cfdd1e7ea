"""Where a volume's passphrase comes from. Never an argument, never the environment."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import assert_never

from sealwire.keys.kek.passphrase import MAX_BYTES, check_strength, normalize, read_passphrase_file
from sealwire.keys.providers import Providers
from sealwire.sidecars.luks.errors import LuksReason, LuksSettingError
from sealwire.sidecars.luks.machine.machine import Machine

Prompt = Callable[[], str]

_FORMS = "prompt, fd:NUMBER, file:PATH, systemd-creds:PATH or vault:MOUNT/PATH#FIELD"


class SourceKind(Enum):
    """The value is the setting's prefix."""

    PROMPT = "prompt"
    DESCRIPTOR = "fd"
    FILE = "file"
    CREDENTIAL = "systemd-creds"
    VAULT = "vault"


@dataclass(frozen=True, slots=True)
class PassphraseSource:
    """Says where the passphrase is. Holds no secret."""

    kind: SourceKind
    location: str = ""


def parse_source(setting: str) -> PassphraseSource:
    """Read a setting. Raises LuksSettingError SECRET_SOURCE, which does not show it."""
    prefix, _, location = setting.partition(":")
    try:
        kind = SourceKind(prefix)
    except ValueError:
        raise _not_understood() from None
    numeric = location.isascii() and location.isdigit() and len(location) < 8
    if bool(location) is (kind is SourceKind.PROMPT) or (kind is SourceKind.DESCRIPTOR and not numeric):
        raise _not_understood()
    return PassphraseSource(kind, location)


def read_passphrase(
    source: PassphraseSource, machine: Machine, prompt: Prompt, *, is_new: bool = False
) -> bytes:
    """The passphrase as cryptsetup takes it: NFC, UTF-8, without a line end.

    `is_new`: it is to protect something from now on, so weak ones are refused.
    Raises KeySettingError PASSPHRASE_WEAK, PASSPHRASE_MISSING; what reading a private file raises;
    LuksSettingError SECRET_SOURCE; what Vault raises, see `keys.vault.secret`
    """
    text = _read(source, machine, prompt)
    if is_new:
        check_strength(text)
    return normalize(text)


def _read(source: PassphraseSource, machine: Machine, prompt: Prompt) -> str:
    match source.kind:
        case SourceKind.PROMPT:
            return prompt()
        case SourceKind.DESCRIPTOR:
            return _line(_from_descriptor(int(source.location)))
        case SourceKind.FILE:
            return read_passphrase_file(Path(source.location))
        case SourceKind.CREDENTIAL:
            return _line(_from_credential(source.location, machine))
        case SourceKind.VAULT:
            return Providers().vault_text(source.location, MAX_BYTES)
        case _:
            assert_never(source.kind)


def _from_descriptor(number: int) -> bytes:
    content = b""
    try:
        while len(content) <= MAX_BYTES and (chunk := os.read(number, MAX_BYTES + 1)):
            content += chunk
    except OSError as error:
        raise LuksSettingError(
            LuksReason.SECRET_SOURCE,
            f"descriptor {number} cannot be read: {error.strerror}",
            "open it in the shell: 3< FILE",
        ) from None
    return content


def _from_credential(path: str, machine: Machine) -> bytes:
    done = machine.run(["systemd-creds", "decrypt", path, "-"])
    if done.code != 0:
        raise LuksSettingError(
            LuksReason.SECRET_SOURCE,
            f"systemd-creds does not decrypt {path}",
            "it has to be made on this machine, under the name that its file has: systemd-creds encrypt",
        )
    return done.out


def _line(content: bytes) -> str:
    """One line; more, or what is not UTF-8, is refused by being empty."""
    try:
        text = content[: MAX_BYTES + 1].decode()
    except UnicodeDecodeError:
        text = ""
    text = text.removesuffix("\n").removesuffix("\r")
    return "" if "\n" in text else text


def _not_understood() -> LuksSettingError:
    return LuksSettingError(
        LuksReason.SECRET_SOURCE, "the passphrase's place is not understood", f"write {_FORMS}"
    )
