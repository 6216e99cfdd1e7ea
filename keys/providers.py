"""From settings such as `file:/etc/sealwire/kek.json` to an open key-encryption key and stores of keys."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from sealwire import from_lock
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.kek import DEFAULT_VARIABLE, PASSPHRASE_VARIABLE
from sealwire.keys.keyring.store import FileStore, KeyringStore, Place, VaultDocument

if TYPE_CHECKING:
    from sealwire.keys.contexts.store import ContextStore
    from sealwire.keys.kek.kek import KeyEncryptionKey
    from sealwire.keys.vault.connection import VaultConnection
    from sealwire.keys.vault.settings import VaultSettings

DEFAULT_PROVIDER = f"env:{DEFAULT_VARIABLE}"


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Around the import of a provider whose library is an extra. Raises KeySettingError KMS_SETTING."""
    try:
        yield
    except ImportError:
        raise KeySettingError(
            KeysReason.KMS_SETTING, f"a key by {name}: needs a library", from_lock("image-full")
        ) from None


def _in_environment(place: "_Place") -> "KeyEncryptionKey":
    from sealwire.keys.kek.kek import EnvironmentKek  # noqa: PLC0415 - 10 ms

    return EnvironmentKek(place.settings.location, place.environ)


def _in_file(place: "_Place") -> "KeyEncryptionKey":
    from sealwire.keys.kek.passphrase import KeyFileKek  # noqa: PLC0415 - 15 ms

    passphrase = find_passphrase(place.settings.passphrase_file, place.environ, place.prompt)
    return KeyFileKek(Path(place.settings.location), passphrase)


def _in_transit(place: "_Place") -> "KeyEncryptionKey":
    from sealwire.keys.vault.transit import TransitKek  # noqa: PLC0415 - see Providers._vault_connection

    return TransitKek(place.vault(), place.settings.location)


def _in_aws(place: "_Place") -> "KeyEncryptionKey":
    with _extra("aws"):
        from sealwire.keys.kek.aws import AwsKek  # noqa: PLC0415 - an extra
    return AwsKek(place.settings.location)


def _in_azure(place: "_Place") -> "KeyEncryptionKey":
    with _extra("azure"):
        from sealwire.keys.kek.azure import AzureKek  # noqa: PLC0415 - an extra
    return AzureKek(place.settings.location)


def _in_gcp(place: "_Place") -> "KeyEncryptionKey":
    with _extra("gcp"):
        from sealwire.keys.kek.gcp import GcpKek  # noqa: PLC0415 - an extra
    return GcpKek(place.settings.location)


def _in_token(place: "_Place") -> "KeyEncryptionKey":
    with _extra("pkcs11"):
        from sealwire.keys.kek.pkcs11 import TokenKek  # noqa: PLC0415 - an extra
    return TokenKek(place.settings.location, place.environ)


class ProviderKind(Enum):
    """The registry of providers: a row says where a KEK can be, and opens it. The value is its prefix."""

    ENVIRONMENT = ("env", "VARIABLE", ("variable",), _in_environment)
    KEY_FILE = ("file", "PATH", ("path", "passphrase_file"), _in_file)
    VAULT_TRANSIT = ("vault", "MOUNT/NAME", ("name", "mount"), _in_transit)
    AWS_KMS = ("aws", "KEY", ("name",), _in_aws)
    AZURE = ("azure", "URL", ("name",), _in_azure)
    GCP_KMS = ("gcp", "KEY", ("name",), _in_gcp)
    PKCS11 = ("pkcs11", "URI", ("name",), _in_token)

    _value_: str
    form: str
    """How the setting is written."""
    keys: tuple[str, ...]
    """What else the section `kek` of a configuration may say. A key `name` means that the KEK is remote."""
    open: "_Open"

    def __new__(cls, prefix: str, location: str, keys: tuple[str, ...], opens: "_Open") -> "ProviderKind":
        kind = object.__new__(cls)
        kind._value_ = prefix
        kind.form = f"{prefix}:{location}"
        kind.keys = keys
        kind.open = opens
        return kind

    @property
    def word(self) -> str:
        """What the key `provider` of a configuration says."""
        return "environment" if self is ProviderKind.ENVIRONMENT else self.value

    @property
    def is_remote(self) -> bool:
        """Whether the KEK lies outside of this process, and may be away when it is needed."""
        return "name" in self.keys


KEK_FORMS = ", ".join(kind.form for kind in ProviderKind)
"""How a KEK is named, for help texts."""


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """Says where the KEK is. Holds no secret."""

    kind: ProviderKind
    location: str
    """A variable, a path, `MOUNT/NAME` of a transit key, a name in a cloud's service, a PKCS#11 URI."""
    passphrase_file: Path | None = None
    """For a key file; without it the passphrase comes from the environment or a prompt."""


@dataclass(frozen=True, slots=True)
class _Place:
    """What a provider may need to open a KEK."""

    settings: ProviderSettings
    environ: Mapping[str, str]
    prompt: Callable[[], str] | None
    vault: "Callable[[], VaultConnection]"


_Open = Callable[[_Place], "KeyEncryptionKey"]


def parse_provider(setting: str, passphrase_file: Path | None = None) -> ProviderSettings:
    """Read a setting such as `env:VARIABLE`, `file:PATH`, `vault:MOUNT/NAME` or `aws:KEY`. Opens nothing.

    Raises KeySettingError PROVIDER.
    """
    prefix, _, location = setting.partition(":")
    kind = next((kind for kind in ProviderKind if kind.value == prefix), None)
    if kind is None or not location or (kind is ProviderKind.VAULT_TRANSIT and "/" not in location):
        # What was given is not shown: somebody may have pasted the key itself.
        raise KeySettingError(
            KeysReason.PROVIDER,
            "the key-encryption key's place is not understood",
            f"write one of: {KEK_FORMS}",
        )
    return ProviderSettings(kind, location, passphrase_file)


class Providers:
    """Opens KEKs and stores for one process. All that lies in Vault shares one connection.

    One, because a wrapped secret id opens once: two logins of one process would be one too many.
    """

    def __init__(
        self, environ: Mapping[str, str] | None = None, vault: "VaultSettings | None" = None
    ) -> None:
        """`environ` is the process's own unless given; `vault` comes from there too unless given."""
        self._environ = os.environ if environ is None else environ
        self._vault = vault
        self._connection: VaultConnection | None = None

    def kek(self, settings: ProviderSettings, prompt: Callable[[], str] | None = None) -> "KeyEncryptionKey":
        """Open a KEK; once a process, since a key file takes 0.4 s and a moment of 128 MiB.

        `prompt` asks a human for a passphrase, as the last resort. A remote key is not asked for yet.
        Raises:  KeySettingError, UnsafeFile, DamagedFile, KekDenied, KekUnavailable
        """
        place = _Place(settings, self._environ, prompt, self._vault_connection)
        return settings.kind.open(place)

    def store(self, place: Place) -> KeyringStore:
        """The store at `place`; nothing is read yet. Raises KeySettingError."""
        match place:
            case Path():
                return FileStore(place)
            case VaultDocument():
                from sealwire.keys.vault.kv import KvStore  # noqa: PLC0415 - see _vault_connection

                return KvStore(self._vault_connection(), place)

    def context_store(
        self, place: Place, *, create: bool, for_move: bool = False, may_be_away: bool = False
    ) -> "ContextStore":
        """The store of context keys at `place`, opened, or made with `create`; `for_move`: for the mover.

        With `may_be_away`, one in Vault that does not answer is opened by its first use. One that refuses is
        believed.
        Raises:  KeySettingError, FILE_MISSING where none is there and none is made
                 UnsafeFile, DamagedFile, KekDenied, KekUnavailable CONTEXTS; and as `require_usable`
        """
        match place:
            case Path():
                from sealwire.keys.contexts.sqlite_store import SqliteContextStore  # noqa: PLC0415 - 15 ms

                return SqliteContextStore(place, create=create, for_move=for_move)
            case VaultDocument():
                from sealwire.keys.vault.context_store import VaultContextStore  # noqa: PLC0415 - as above

                connection = self._vault_connection()
                return VaultContextStore(
                    connection, place, create=create, for_move=for_move, may_be_away=may_be_away
                )

    def vault_text(self, location: str, max_characters: int) -> str:
        """The text at `MOUNT/PATH#FIELD` in Vault. Raises as `vault.kv.read_text`."""
        from sealwire.keys.vault.kv import read_text  # noqa: PLC0415 - see _vault_connection

        return read_text(self._vault_connection(), location, max_characters)

    def _vault_connection(self) -> "VaultConnection":
        # Imported where it is used: hvac and what it needs take longer to load than most commands run.
        from sealwire.keys.vault.connection import VaultConnection  # noqa: PLC0415 - as it says
        from sealwire.keys.vault.settings import settings_from_environment  # noqa: PLC0415 - as above

        if self._connection is None:
            settings = self._vault or settings_from_environment(self._environ)
            self._connection = VaultConnection(settings, self._environ)
        return self._connection


def find_passphrase(
    file: Path | None, environ: Mapping[str, str] | None = None, prompt: Callable[[], str] | None = None
) -> str:
    """The passphrase from `file`, else from SEALWIRE_PASSPHRASE, else from `prompt`.

    Raises KeySettingError PASSPHRASE_MISSING when there is none of them; what reading the file raises.
    """
    if file is not None:
        from sealwire.keys.kek.passphrase import read_passphrase_file  # noqa: PLC0415 - 15 ms

        return read_passphrase_file(file)
    passphrase = (os.environ if environ is None else environ).get(PASSPHRASE_VARIABLE)
    if passphrase:
        return passphrase
    if prompt is not None:
        return prompt()
    raise KeySettingError(
        KeysReason.PASSPHRASE_MISSING,
        "a key file needs a passphrase",
        f"give a passphrase file, or set {PASSPHRASE_VARIABLE}",
    )
