"""Where a volume's passphrase comes from. Never an argument, never the environment."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sealwire.keys.kek.passphrase import MAX_BYTES, check_strength, normalize, read_passphrase_file
from sealwire.keys.providers import Providers
from sealwire.sidecars.luks.errors import LuksReason, LuksSettingError
from sealwire.sidecars.luks.machine.machine import Machine

Prompt = Callable[[], str]

_PROMPT = "prompt"
_FORMS = "prompt, fd:NUMBER, file:PATH, systemd-creds:PATH or vault:MOUNT/PATH#FIELD"


@dataclass(frozen=True, slots=True)
class PassphraseSource:
    """Says where the passphrase is: a form's prefix, and what stands behind it. Holds no secret."""

    kind: str
    location: str = ""


def parse_source(setting: str) -> PassphraseSource:
    """Read a setting. Raises LuksSettingError SECRET_SOURCE, which does not show it."""
    kind, _, location = setting.partition(":")
    numeric = location.isascii() and location.isdigit() and len(location) < 8
    fits = numeric if kind == "fd" else bool(location) is (kind != _PROMPT)
    if kind not in (_PROMPT, *_READERS) or not fits:
        text = "the passphrase's place is not understood"
        raise LuksSettingError(LuksReason.SECRET_SOURCE, text, f"write {_FORMS}")
    return PassphraseSource(kind, location)


def read_passphrase(
    source: PassphraseSource, machine: Machine, prompt: Prompt, *, is_new: bool = False
) -> bytes:
    """The passphrase as cryptsetup takes it: NFC, UTF-8, without a line end.

    `is_new`: it is to protect something from now on, so weak ones are refused.
    Raises KeySettingError PASSPHRASE_WEAK, PASSPHRASE_MISSING; what reading a private file raises;
    LuksSettingError SECRET_SOURCE; what Vault raises, see `keys.vault.secret`
    """
    is_typed = source.kind == _PROMPT
    text = prompt() if is_typed else _READERS[source.kind](source.location, machine)
    if is_new:
        check_strength(text)
    return normalize(text)


def _from_descriptor(number: str, _: Machine) -> str:
    content = b""
    try:
        while len(content) <= MAX_BYTES and (chunk := os.read(int(number), MAX_BYTES + 1)):
            content += chunk
    except OSError as error:
        text = f"descriptor {number} cannot be read: {error.strerror}"
        raise LuksSettingError(LuksReason.SECRET_SOURCE, text, "open it in the shell: 3< FILE") from None
    return _line(content)


def _from_credential(path: str, machine: Machine) -> str:
    done = machine.run(["systemd-creds", "decrypt", path, "-"])
    if done.code != 0:
        text = f"systemd-creds does not decrypt {path}"
        hint = "it has to be made on this machine, under the name that its file has: systemd-creds encrypt"
        raise LuksSettingError(LuksReason.SECRET_SOURCE, text, hint)
    return _line(done.out)


def _line(content: bytes) -> str:
    """One line; more, or what is not UTF-8, is refused by being empty."""
    try:
        text = content[: MAX_BYTES + 1].decode()
    except UnicodeDecodeError:
        text = ""
    text = text.removesuffix("\n").removesuffix("\r")
    return "" if "\n" in text else text


# By their prefix in a setting.
_READERS: dict[str, Callable[[str, Machine], str]] = {
    "fd": _from_descriptor,
    "file": lambda path, _: read_passphrase_file(Path(path)),
    "systemd-creds": _from_credential,
    "vault": lambda location, _: Providers().vault_text(location, MAX_BYTES),
}
