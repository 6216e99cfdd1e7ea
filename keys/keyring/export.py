"""A keyring for the safe: all data keys under a key of their own, which a passphrase or shares give back.

    {"format": "sealwire-keyring-export", "version": 1, "kek_id": ..., "threshold": k,
     "scrypt": {...}, "wrapped": 48 B, "keyring": the text of a keyring file, under that key}

`threshold` is 0 with a passphrase; with shares `scrypt` and `wrapped` are missing. The key is fresh for each
export. The keyring's MAC, under the same key, binds everything in it; a passphrase box binds the key's id.
Neither the keyring's own key-encryption key nor its provider is needed to open an export.

Any k of n shares give the key back, and k - 1 tell nothing: SLIP-39 by the library that its authors keep.
Each share is 33 words with a checksum, which can be written on paper. The library's own texts quote words of
shares, so none of them is passed on. Source: SLIP-0039, Shamir's secret sharing for mnemonic codes.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shamir_mnemonic import (  # type: ignore[import-untyped]
    MnemonicError,
    Share,
    combine_mnemonics,
    generate_mnemonics,
)

from sealwire.keys import strict_json
from sealwire.keys.errors import KekDenied, KeySettingError, KeysReason
from sealwire.keys.kek.kek import KEK_BYTES, KeyEncryptionKey, LocalKek, Purpose
from sealwire.keys.kek.passphrase import DEFAULT_SCRYPT, PassphraseBox, ScryptParameters, read_box, seal
from sealwire.keys.keyring.file import open_record, seal_record
from sealwire.keys.keyring.record import KeyringRecord, parse_record, serialize_record
from sealwire.keys.keyring.store import MAX_FILE_BYTES

MIN_THRESHOLD = 2
MAX_SHARES = 16
MAX_SHARE_BYTES = 1024


def split(secret: bytes, threshold: int, count: int) -> list[str]:
    """`count` shares, of which `threshold` are needed. Raises KeySettingError SHARES for other numbers."""
    if not MIN_THRESHOLD <= threshold <= count <= MAX_SHARES:
        raise KeySettingError(
            KeysReason.SHARES,
            f"{threshold} of {count} shares cannot be made",
            f"need at least {MIN_THRESHOLD} of them to open, of {MAX_SHARES} at most",
        )
    return list(generate_mnemonics(1, [(threshold, count)], secret)[0])


def combine(shares: Sequence[str]) -> bytes:
    """The secret of which these are shares; more than are needed may be given, and any one twice.

    Raises KekDenied SHARES, which names the share by its place in the order, never by a word.
    """
    parsed = {}
    for number, text in enumerate(shares, 1):
        try:
            share = Share.from_mnemonic(text)
        except (MnemonicError, ValueError):
            raise _denied(f"share {number} is not one: a word is wrong, or missing") from None
        parsed[share.identifier, share.index] = (text, share.member_threshold)
    if len({identifier for identifier, _ in parsed}) > 1:
        raise _denied("the shares are of different exports")
    needed = max((threshold for _, threshold in parsed.values()), default=MIN_THRESHOLD)
    if len(parsed) < needed:
        raise _denied(f"{needed} different shares are needed, and {len(parsed)} were given")
    try:
        return bytes(combine_mnemonics([text for text, _ in parsed.values()][:needed]))
    except (MnemonicError, ValueError):
        raise _denied("the shares do not belong together") from None


def _denied(problem: str) -> KekDenied:
    return KekDenied(KeysReason.SHARES, problem, "ask the holders for shares of this export, word by word")


FORMAT_NAME = "sealwire-keyring-export"
FORMAT_VERSION = 1
MAX_EXPORT_BYTES = 2 * MAX_FILE_BYTES


@dataclass(frozen=True, slots=True)
class Export:
    """What stands in an export's file."""

    record: KeyringRecord
    """Wrapped under the export's own key, which opens it."""
    threshold: int
    """How many shares open it; 0: a passphrase does."""
    box: PassphraseBox | None

    def by_passphrase(self, passphrase: str, where: str) -> LocalKek:
        """The export's own key. Raises as `PassphraseBox.open`; KeySettingError SHARES. Cost: one scrypt."""
        if self.box is None:
            raise KeySettingError(
                KeysReason.SHARES,
                f"{where} has no passphrase: {self.threshold} shares open it",
                "give each by --share FILE",
            )
        return LocalKek(self.box.open(passphrase, where))

    def by_shares(self, shares: list[str], where: str) -> LocalKek:
        """The export's own key. Raises as `combine`; KeySettingError SHARES."""
        if self.box is not None:
            raise KeySettingError(
                KeysReason.SHARES, f"{where} has no shares: a passphrase opens it", "give --passphrase-file"
            )
        return LocalKek(combine(shares))


def under_passphrase(
    record: KeyringRecord,
    kek: KeyEncryptionKey,
    place: object,
    passphrase: str,
    now: datetime,
    parameters: ScryptParameters = DEFAULT_SCRYPT,
) -> Export:
    """Export the keyring `record` of `place`, which `kek` opens. Raises as `open_record` and `seal`.

    Cost: one scrypt, and one unwrapping of each key.
    """
    keys, own = open_record(record, kek, place), os.urandom(KEK_BYTES)
    box = seal(Purpose.KEYRING_EXPORT, LocalKek(own).id, own, passphrase, parameters)
    return Export(seal_record(keys, record.generation, LocalKek(own), now), 0, box)


def under_shares(
    record: KeyringRecord, kek: KeyEncryptionKey, place: object, threshold: int, count: int, now: datetime
) -> tuple[Export, list[str]]:
    """The same, with `count` shares of which `threshold` open it. Raises as `open_record` and `split`."""
    own = os.urandom(KEK_BYTES)
    shares = split(own, threshold, count)
    keys = open_record(record, kek, place)
    return Export(seal_record(keys, record.generation, LocalKek(own), now), threshold, None), shares


def serialize_export(export: Export) -> bytes:
    """The file's bytes."""
    box: dict[str, Any] = {} if export.box is None else export.box.to_json()
    return strict_json.serialize(
        {
            "format": FORMAT_NAME,
            "version": FORMAT_VERSION,
            "kek_id": export.record.kek_id,
            "threshold": export.threshold,
            **box,
            "keyring": serialize_record(export.record).decode("ascii"),
        }
    )


def parse_export(raw: bytes, where: str) -> Export:
    """Read what `serialize_export` wrote. Raises DamagedFile. Nothing is authenticated yet."""
    fields = strict_json.parse(raw, where)
    fields.format(FORMAT_NAME, FORMAT_VERSION)
    kek_id = fields.text("kek_id")
    threshold = fields.integer("threshold", 0, MAX_SHARES)
    box = None if threshold else read_box(fields, Purpose.KEYRING_EXPORT, kek_id, where)
    record = parse_record(fields.text("keyring").encode("ascii", "replace"), where)
    fields.done()
    export = Export(record, threshold, box)
    strict_json.require_exact(raw, serialize_export(export), where)
    return export
