"""Passphrases: where they come from, and which are too easy to guess to protect a key. Never from argv."""

import os
import unicodedata
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from sealwire.keys import strict_json
from sealwire.keys.errors import DamagedFile, KekUnavailable, KeySettingError, KeysReason, WrongKek
from sealwire.keys.kek.kek import KEK_BYTES, SIV_BYTES, LocalKek, Purpose, wrap_associated_data
from sealwire.keys.private_file import create_private, read_private, writer_lock

MIN_CHARACTERS = 20
MIN_DIFFERENT_CHARACTERS = 8
# Longer passphrases add no strength, and scrypt hashes all of them in its first step.
MAX_BYTES = 4096

_HINT = f"take at least {MIN_CHARACTERS} characters: five or more random words, or a password generator"


# ----------------- a short secret under a passphrase: what a key file and a private-key file have in common
#
# scrypt (RFC 7914) makes a 64-byte AES-256-SIV key of the passphrase; under it the secret is wrapped,
# with its id and the scrypt parameters as associated data. Nothing in the file can be changed without the
# passphrase.

SALT_BYTES = 32
SECRET_BYTES = 32

_MIN_N, _MAX_N = 1 << 10, 1 << 20
_MAX_R = _MAX_P = 16
# 128 * n * r bytes: a file from elsewhere must not be able to exhaust the machine before it is refused.
_MAX_MEMORY_BYTES = 1 << 30


# -------------------------- a KEK in a file, encrypted with a passphrase: for servers without a key service
#
#     {"format": "sealwire-key-file", "version": 1, "kek_id": ...,
#      "scrypt": {"n": ..., "r": ..., "p": ..., "salt": 32 B}, "wrapped": 48 B}

_FILES = {
    Purpose.KEY_FILE: ("sealwire-key-file", "kek_id"),
    Purpose.PRIVATE_KEY: ("sealwire-private-key", "id"),
}
"""Files with one secret: the format's name, and the field with the secret's id."""
FORMAT_VERSION = 1
MAX_FILE_BYTES = 4096


class KeyFileKek(LocalKek):
    """The KEK of a key file; the passphrase is needed once, here."""

    __slots__ = ()

    def __init__(self, path: Path, passphrase: str) -> None:
        """Open `path`.

        Raises:  KeySettingError FILE_MISSING, PASSPHRASE_MISSING; UnsafeFile; DamagedFile
                 WrongKek PASSPHRASE_WRONG, which an altered file cannot be told apart from
                 KekUnavailable MEMORY
        Cost:    one scrypt: 128 MiB and 0.4 s with the default parameters
        """
        super().__init__(open_file(path, Purpose.KEY_FILE, passphrase))


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


def create_key_file(path: Path, passphrase: str, parameters: ScryptParameters = DEFAULT_SCRYPT) -> str:
    """Make a fresh KEK, write it to `path` (0600) under `passphrase`, and return its id.

    Raises:  KeySettingError PASSPHRASE_WEAK, PASSPHRASE_MISSING, FILE_UNWRITABLE; AlreadyExists; KeyringBusy;
             KekUnavailable MEMORY
    Cost:    one scrypt
    """
    kek = os.urandom(KEK_BYTES)
    box = seal(Purpose.KEY_FILE, LocalKek(kek).id, kek, passphrase, parameters)
    with writer_lock(path):
        create_private(path, serialize_file(box))
    return box.secret_id


@dataclass(frozen=True, slots=True)
class PassphraseBox:
    """What stands in the file; all of it may be seen by anyone without giving the secret away."""

    purpose: Purpose
    secret_id: str
    parameters: ScryptParameters
    salt: bytes
    wrapped: bytes

    def open(self, passphrase: str, where: str) -> bytes:
        """The secret. `where` names the file in messages.

        Raises:  WrongKek PASSPHRASE_WRONG, which an altered file cannot be told apart from
                 KeySettingError PASSPHRASE_MISSING; KekUnavailable MEMORY
        Cost:    one scrypt
        """
        siv = self.siv(passphrase)
        try:
            return siv.decrypt(self.wrapped, [self.bound])
        except InvalidTag:
            raise WrongKek(
                KeysReason.PASSPHRASE_WRONG,
                f"wrong passphrase for {where}, or the file was altered",
                "check the passphrase; if it is right, restore the file from a backup",
            ) from None

    def siv(self, passphrase: str) -> AESSIV:
        """The cipher of the secret. Raises KeySettingError PASSPHRASE_MISSING; KekUnavailable MEMORY."""
        n, r, p = self.parameters.n, self.parameters.r, self.parameters.p
        try:
            return AESSIV(Scrypt(salt=self.salt, length=64, n=n, r=r, p=p).derive(normalize(passphrase)))
        except MemoryError:
            raise KekUnavailable(
                KeysReason.MEMORY,
                f"scrypt needs {128 * n * r >> 20} MiB of memory",
                "give the process more memory; it is needed at start only",
            ) from None

    @property
    def bound(self) -> bytes:
        """The associated data."""
        n, r, p = self.parameters.n, self.parameters.r, self.parameters.p
        numbers = (number.to_bytes(4, "big") for number in (n, r, p))
        return wrap_associated_data(self.purpose, self.secret_id.encode(), b"scrypt", *numbers, self.salt)

    def to_json(self) -> dict[str, Any]:
        """The fields `scrypt` and `wrapped`, as they stand in a file."""
        scrypt = {**asdict(self.parameters), "salt": strict_json.encode(self.salt)}
        return {"scrypt": scrypt, "wrapped": strict_json.encode(self.wrapped)}


def serialize_file(box: PassphraseBox) -> bytes:
    """The file of one secret, a key file or a private-key file."""
    name, id_field = _FILES[box.purpose]
    return strict_json.serialize(
        {"format": name, "version": FORMAT_VERSION, id_field: box.secret_id, **box.to_json()}
    )


def open_file(path: Path, purpose: Purpose, passphrase: str) -> bytes:
    """The secret in a file that `serialize_file` made. Raises what KeyFileKek raises. Cost: one scrypt."""
    name, id_field = _FILES[purpose]
    filename = str(path)
    raw = read_private(path, MAX_FILE_BYTES)
    fields = strict_json.parse(raw, filename)
    fields.format(name, FORMAT_VERSION)
    box = read_box(fields, purpose, fields.text(id_field), filename)
    fields.done()
    strict_json.require_exact(raw, serialize_file(box), filename)
    return box.open(passphrase, filename)


def seal(
    purpose: Purpose, secret_id: str, secret: bytes, passphrase: str, parameters: ScryptParameters
) -> PassphraseBox:
    """Wrap the 32 bytes of `secret`. Cost: one scrypt.

    Raises KeySettingError PASSPHRASE_WEAK, PASSPHRASE_MISSING; KekUnavailable MEMORY; ValueError (length).
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"the secret is {SECRET_BYTES} bytes long")
    check_strength(passphrase)
    box = PassphraseBox(purpose, secret_id, parameters, os.urandom(SALT_BYTES), b"")
    return replace(box, wrapped=box.siv(passphrase).encrypt(secret, [box.bound]))


def read_box(fields: strict_json.Fields, purpose: Purpose, secret_id: str, where: str) -> PassphraseBox:
    """Take `scrypt` and `wrapped` from a file's fields. Raises DamagedFile SCHEMA, SCRYPT_PARAMETERS."""
    scrypt = fields.object("scrypt")
    numbers = (
        scrypt.integer("n", _MIN_N, _MAX_N),
        scrypt.integer("r", 1, _MAX_R),
        scrypt.integer("p", 1, _MAX_P),
    )
    salt = scrypt.binary("salt", SALT_BYTES, SALT_BYTES)
    scrypt.done()
    wrapped = fields.binary("wrapped", SECRET_BYTES + SIV_BYTES, SECRET_BYTES + SIV_BYTES)
    try:
        parameters = ScryptParameters(*numbers)
    except KeySettingError as error:
        raise DamagedFile(error.reason, f"{where}: {error}", "restore the file from a backup") from None
    return PassphraseBox(purpose, secret_id, parameters, salt, wrapped)


def normalize(text: str) -> bytes:
    """The bytes of a passphrase: NFC and UTF-8, so that one typed on another keyboard layout is the same.

    Raises KeySettingError PASSPHRASE_MISSING when it is empty or too long to be one.
    """
    try:
        passphrase = unicodedata.normalize("NFC", text).encode() if len(text) <= MAX_BYTES else b""
    except UnicodeEncodeError:  # surrogates: bytes in the environment that are not UTF-8
        passphrase = b""
    if not 0 < len(passphrase) <= MAX_BYTES:
        raise KeySettingError(
            KeysReason.PASSPHRASE_MISSING,
            "the passphrase is empty, not UTF-8, or longer than 4096 bytes",
            _HINT,
        )
    return passphrase


def read_passphrase_file(path: Path) -> str:
    """The first and only line of a private file, without its line end.

    Raises KeySettingError, UnsafeFile and DamagedFile as `read_private` does; PASSPHRASE_MISSING when the
    file is empty, has more lines or is not UTF-8.
    """
    text = one_line(read_private(path, MAX_BYTES))
    if not text:
        raise KeySettingError(
            KeysReason.PASSPHRASE_MISSING,
            f"{path} does not hold one line of UTF-8 text",
            "put the passphrase on the first line, and nothing else",
        )
    return text


def one_line(content: bytes) -> str:
    """One line; more, or what is not UTF-8, is refused by being empty."""
    try:
        text = content[: MAX_BYTES + 1].decode()
    except UnicodeDecodeError:
        text = ""
    text = text.removesuffix("\n").removesuffix("\r")
    return "" if "\n" in text else text


def check_strength(text: str) -> None:
    """Refuse passphrases that are guessed within minutes. Raises KeySettingError.

    No estimate of entropy: those praise what a word list finds at once. Length, variety, and no pattern that
    repeats or counts are what can be checked honestly.
    """
    if len(text) < MIN_CHARACTERS:
        raise _weak(f"shorter than {MIN_CHARACTERS} characters")
    if len(set(text.casefold())) < MIN_DIFFERENT_CHARACTERS:
        raise _weak(f"made of fewer than {MIN_DIFFERENT_CHARACTERS} different characters")
    period = _period(text.casefold())
    if period < MIN_CHARACTERS and period * 2 <= len(text):
        raise _weak("a short text repeated")
    if _counting_steps(text) * 2 > len(text):
        raise _weak("mostly an alphabet or digits in order")


def _weak(what: str) -> KeySettingError:
    return KeySettingError(KeysReason.PASSPHRASE_WEAK, f"the passphrase is {what}", _HINT)


def _period(text: str) -> int:
    """The shortest length after which `text` repeats itself; its own length when it does not."""
    for period in range(1, len(text) // 2 + 1):
        if text.startswith(text[period:]):
            return period
    return len(text)


def _counting_steps(text: str) -> int:
    """How many characters follow their predecessor in code order, up or down, or repeat it."""
    return sum(abs(ord(left) - ord(right)) <= 1 for left, right in pairwise(text))
