"""A KEK in a file, encrypted with a passphrase: for servers without a key service.

    {"format": "sealwire-key-file", "version": 1, "kek_id": ...,
     "scrypt": {"n": ..., "r": ..., "p": ..., "salt": 32 B}, "wrapped": 48 B}

scrypt (RFC 7914) makes a 64-byte AES-256-SIV key of the passphrase; under it the KEK is wrapped, with the id
and the scrypt parameters as associated data. Nothing in the file can be changed without the passphrase.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from sealwire.keys import strict_json
from sealwire.keys.errors import DamagedFile, KekDenied, KekUnavailable, KeySettingError, KeysReason
from sealwire.keys.kek import Purpose, wrap_associated_data
from sealwire.keys.local_wrap import KEK_BYTES, SIV_BYTES, LocalKek
from sealwire.keys.passphrase import check_strength, normalize
from sealwire.keys.private_file import create_private, read_private, writer_lock

FORMAT_NAME = "sealwire-key-file"
FORMAT_VERSION = 1
MAX_FILE_BYTES = 4096
SALT_BYTES = 32

_MIN_N, _MAX_N = 1 << 10, 1 << 20
_MAX_R = _MAX_P = 16
# 128 * n * r bytes: a file from elsewhere must not be able to exhaust the machine before it is refused.
_MAX_MEMORY_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class ScryptParameters:
    """Cost of one guess. The default takes 128 MiB and about 0.4 s on the reference machine.

    n = 2**17, r = 8, p = 1 is the strongest of the settings that OWASP's password storage guide recommends.
    """

    n: int = 1 << 17
    r: int = 8
    p: int = 1

    def __post_init__(self) -> None:
        """Raises KeySettingError SCRYPT_PARAMETERS outside the bounds that this release reads."""
        is_power = self.n & (self.n - 1) == 0
        in_range = _MIN_N <= self.n <= _MAX_N and 1 <= self.r <= _MAX_R and 1 <= self.p <= _MAX_P
        if not (is_power and in_range and 128 * self.n * self.r <= _MAX_MEMORY_BYTES):
            raise KeySettingError(KeysReason.SCRYPT_PARAMETERS, "scrypt parameters are out of bounds")


DEFAULT_SCRYPT = ScryptParameters()


@dataclass(frozen=True, slots=True)
class _KeyFile:
    """What stands in the file; all of it may be seen by anyone without giving the KEK away."""

    kek_id: str
    parameters: ScryptParameters
    salt: bytes
    wrapped: bytes


class KeyFileKek(LocalKek):
    """The KEK of a key file; the passphrase is needed once, here."""

    __slots__ = ()

    def __init__(self, path: Path, passphrase: str) -> None:
        """Open `path`.

        Raises:  KeySettingError FILE_MISSING, PASSPHRASE_MISSING; UnsafeFile; DamagedFile
                 KekDenied PASSPHRASE_WRONG, which an altered file cannot be told apart from
                 KekUnavailable MEMORY
        Cost:    one scrypt: 128 MiB and 0.4 s with the default parameters
        """
        content = _parse(read_private(path, MAX_FILE_BYTES), str(path))
        super().__init__(_unwrap(content, normalize(passphrase), path))


def create_key_file(path: Path, passphrase: str, parameters: ScryptParameters = DEFAULT_SCRYPT) -> str:
    """Make a fresh KEK, write it to `path` (0600) under `passphrase`, and return its id.

    Raises:  KeySettingError PASSPHRASE_WEAK, PASSPHRASE_MISSING, FILE_UNWRITABLE; AlreadyExists; KeyringBusy;
             KekUnavailable MEMORY
    Cost:    one scrypt
    """
    check_strength(passphrase)
    kek = os.urandom(KEK_BYTES)
    kek_id = LocalKek(kek).id
    salt = os.urandom(SALT_BYTES)
    siv = AESSIV(_derive(normalize(passphrase), salt, parameters))
    wrapped = siv.encrypt(kek, [_associated_data(kek_id, parameters, salt)])
    with writer_lock(path):
        create_private(path, _serialize(_KeyFile(kek_id, parameters, salt, wrapped)))
    return kek_id


def _unwrap(content: _KeyFile, passphrase: bytes, path: Path) -> bytes:
    siv = AESSIV(_derive(passphrase, content.salt, content.parameters))
    try:
        return siv.decrypt(
            content.wrapped, [_associated_data(content.kek_id, content.parameters, content.salt)]
        )
    except InvalidTag:
        raise KekDenied(
            KeysReason.PASSPHRASE_WRONG,
            f"wrong passphrase for {path}, or the file was altered",
            "check the passphrase; if it is right, restore the file from a backup",
        ) from None


def _derive(passphrase: bytes, salt: bytes, parameters: ScryptParameters) -> bytes:
    try:
        return Scrypt(salt=salt, length=64, n=parameters.n, r=parameters.r, p=parameters.p).derive(passphrase)
    except MemoryError:
        raise KekUnavailable(
            KeysReason.MEMORY,
            f"scrypt needs {128 * parameters.n * parameters.r >> 20} MiB of memory",
            "give the process more memory; it is needed at start only",
        ) from None


def _associated_data(kek_id: str, parameters: ScryptParameters, salt: bytes) -> bytes:
    numbers = (parameters.n, parameters.r, parameters.p)
    return wrap_associated_data(
        Purpose.KEY_FILE,
        kek_id.encode("ascii"),
        b"scrypt",
        *(number.to_bytes(4, "big") for number in numbers),
        salt,
    )


def _serialize(content: _KeyFile) -> bytes:
    parameters = content.parameters
    return strict_json.serialize(
        {
            "format": FORMAT_NAME,
            "version": FORMAT_VERSION,
            "kek_id": content.kek_id,
            "scrypt": {
                "n": parameters.n,
                "r": parameters.r,
                "p": parameters.p,
                "salt": strict_json.encode(content.salt),
            },
            "wrapped": strict_json.encode(content.wrapped),
        }
    )


def _parse(raw: bytes, filename: str) -> _KeyFile:
    fields = strict_json.parse(raw, filename)
    fields.format(FORMAT_NAME, FORMAT_VERSION)
    kek_id = fields.text("kek_id")
    scrypt = fields.object("scrypt")
    numbers = (
        scrypt.integer("n", _MIN_N, _MAX_N),
        scrypt.integer("r", 1, _MAX_R),
        scrypt.integer("p", 1, _MAX_P),
    )
    salt = scrypt.binary("salt", SALT_BYTES, SALT_BYTES)
    scrypt.done()
    wrapped = fields.binary("wrapped", KEK_BYTES + SIV_BYTES, KEK_BYTES + SIV_BYTES)
    fields.done()
    try:
        parameters = ScryptParameters(*numbers)
    except KeySettingError as error:
        raise DamagedFile(error.reason, f"{filename}: {error}", "restore the file from a backup") from None
    content = _KeyFile(kek_id, parameters, salt, wrapped)
    strict_json.require_exact(raw, _serialize(content), filename)
    return content
