"""Passphrases: where they come from, and which are too easy to guess to protect a key. Never from argv."""

import os
import unicodedata
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.private_file import read_private

DEFAULT_VARIABLE = "SEALWIRE_PASSPHRASE"
MIN_CHARACTERS = 20
MIN_DIFFERENT_CHARACTERS = 8
# Longer passphrases add no strength, and scrypt hashes all of them in its first step.
MAX_BYTES = 4096

_HINT = f"take at least {MIN_CHARACTERS} characters: five or more random words, or a password generator"


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
    try:
        text = read_private(path, MAX_BYTES).decode()
    except UnicodeDecodeError:
        text = ""
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or "\n" in text:
        raise KeySettingError(
            KeysReason.PASSPHRASE_MISSING,
            f"{path} does not hold one line of UTF-8 text",
            "put the passphrase on the first line, and nothing else",
        )
    return text


def passphrase_from_environment(
    variable: str = DEFAULT_VARIABLE, environ: Mapping[str, str] | None = None
) -> str | None:
    """The variable's value; None when it is unset or empty."""
    return (os.environ if environ is None else environ).get(variable) or None


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
