"""From a setting such as `file:/etc/sealwire/kek.json` to an open key-encryption key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import assert_never

from sealwire.keys.environment import DEFAULT_VARIABLE, EnvironmentKek
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.kek import KeyEncryptionKey
from sealwire.keys.key_file import KeyFileKek
from sealwire.keys.passphrase import DEFAULT_VARIABLE as PASSPHRASE_VARIABLE
from sealwire.keys.passphrase import passphrase_from_environment, read_passphrase_file

DEFAULT_PROVIDER = f"env:{DEFAULT_VARIABLE}"


class ProviderKind(Enum):
    """Where a KEK can be; the value is the setting's prefix."""

    ENVIRONMENT = "env"
    KEY_FILE = "file"


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """Says where the KEK is. Holds no secret."""

    kind: ProviderKind
    location: str
    """A variable's name, or a path."""
    passphrase_file: Path | None = None
    """For a key file; without it the passphrase comes from the environment or a prompt."""


def parse_provider(setting: str, passphrase_file: Path | None = None) -> ProviderSettings:
    """Read `env:VARIABLE` or `file:PATH`. Raises KeySettingError PROVIDER; touches neither."""
    prefix, _, location = setting.partition(":")
    try:
        kind = ProviderKind(prefix)
    except ValueError:
        location = ""
    if not location:
        # What was given is not shown: somebody may have pasted the key itself.
        raise KeySettingError(
            KeysReason.PROVIDER,
            "the key-encryption key's place is not understood",
            "write env:VARIABLE or file:PATH",
        )
    return ProviderSettings(kind, location, passphrase_file)


def open_kek(
    settings: ProviderSettings,
    environ: Mapping[str, str] | None = None,
    prompt: Callable[[], str] | None = None,
) -> KeyEncryptionKey:
    """Open the KEK; once a process, since a key file takes 0.4 s and a moment of 128 MiB.

    `environ` is the process's own unless given. `prompt` asks a human for a passphrase, as the last resort.
    Raises:  KeySettingError, UnsafeFile, DamagedFile, KekDenied, KekUnavailable
    """
    match settings.kind:
        case ProviderKind.ENVIRONMENT:
            return EnvironmentKek(settings.location, environ)
        case ProviderKind.KEY_FILE:
            passphrase = find_passphrase(settings.passphrase_file, environ, prompt)
            return KeyFileKek(Path(settings.location), passphrase)
        case _:
            assert_never(settings.kind)


def find_passphrase(
    file: Path | None, environ: Mapping[str, str] | None = None, prompt: Callable[[], str] | None = None
) -> str:
    """The passphrase from `file`, else from SEALWIRE_PASSPHRASE, else from `prompt`.

    Raises KeySettingError PASSPHRASE_MISSING when there is none of them; what reading the file raises.
    """
    if file is not None:
        return read_passphrase_file(file)
    passphrase = passphrase_from_environment(PASSPHRASE_VARIABLE, environ)
    if passphrase is not None:
        return passphrase
    if prompt is not None:
        return prompt()
    raise KeySettingError(
        KeysReason.PASSPHRASE_MISSING,
        "a key file needs a passphrase",
        f"give a passphrase file, or set {PASSPHRASE_VARIABLE}",
    )
