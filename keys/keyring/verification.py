"""Prove that a keyring works: unwrap everything, then send a value through every key."""

from dataclasses import dataclass
from pathlib import Path

from sealwire.crypto import selftest
from sealwire.crypto.errors import DecryptionFailed
from sealwire.keys.errors import DamagedFile, KeysReason
from sealwire.keys.kek.kek import KeyEncryptionKey
from sealwire.keys.keyring.data_key import DataKey
from sealwire.keys.keyring.file import open_record, read_record
from sealwire.keys.keyring.store import KeyringStore

_STRING = 0x02
_SAMPLE = b"\x07\0\0\0sample\0"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found sound; whatever is not sound raises."""

    kek_id: str
    generation: int
    keys: tuple[DataKey, ...]
    """All keys in the order of the file; each that is not destroyed has encrypted and decrypted a sample."""

    @property
    def usable(self) -> int:
        """How many keys decrypt what a proxy meets."""
        return sum(key.state.decrypts for key in self.keys)


def verify_keyring(place: Path | KeyringStore, kek: KeyEncryptionKey) -> Verification:
    """Check the cryptography, the keyring's MAC, every wrapped key, and every key in both modes.

    Raises what `load_keyring` raises, SelfTestFailed, and DamagedFile TAMPERED for a key that two classes
    have though none has borrowed it: equal values of both could be told apart by nothing but the header.
    """
    selftest.run()
    record = read_record(place)
    keys = open_record(record, kek, place)
    materials = [key.material for key in keys if key.material is not None and key.lender is None]
    if len(set(materials)) != len(materials):
        raise DamagedFile(
            KeysReason.TAMPERED, f"{place} holds one key under two names", "restore it from a backup"
        )
    for key in keys:
        _round_trip(key)
    return Verification(record.kek_id, record.generation, keys)


def _round_trip(key: DataKey) -> None:
    if key.material is None:
        return
    cipher = key.cipher()
    envelopes = (
        cipher.encrypt_deterministically(_STRING, _SAMPLE),
        cipher.encrypt_randomly(_STRING, _SAMPLE),
    )
    for envelope in envelopes:
        if cipher.decrypt(envelope) != (_STRING, _SAMPLE):
            raise DecryptionFailed
