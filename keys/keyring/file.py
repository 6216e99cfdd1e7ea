"""The keyring in its store: load, create, add classes. Every data key wrapped, all of it authenticated.

Theory. Each data key is wrapped by the KEK with class id, version and name as associated data: a wrapped key
moved to another entry does not open. A MAC over the whole file stops what is left: dropping an entry or the
record of a destroyed key, changing a state. Its key is random, made anew for each write, and wrapped by the
KEK too, so only a holder of the KEK can write a keyring. An older copy of the file is genuine and passes; the
generation in it lets a running process notice that (`minimum_generation`).
"""

import hmac
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from secrets import randbelow

from sealwire.crypto import selftest
from sealwire.crypto.errors import DecryptionFailed
from sealwire.keys import errors
from sealwire.keys.kek.kek import KeyEncryptionKey, Purpose, data_key_associated_data, wrap_associated_data
from sealwire.keys.keyring.data_key import DataKey, generate_data_key, whole_seconds
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.record import (
    MAC_BYTES,
    MAX_CLASSES,
    ClassRecord,
    KeyRecord,
    KeyringRecord,
    authenticated_bytes,
    is_same_material,
    parse_record,
    refuse_broken_loans,
    serialize_record,
)
from sealwire.keys.keyring.store import KeyringStore, as_store

_MAC_KEY_ASSOCIATED_DATA = wrap_associated_data(Purpose.KEYRING_MAC)
# Some tools show the four bytes as a signed number, so ids stay positive there.
_CLASS_IDS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class KeyringWriter:
    """Where a keyring is, what opens it, and how a change of it is written."""

    place: Path | KeyringStore
    kek: KeyEncryptionKey
    now: datetime
    dry_run: bool = False
    """Do all of it but the writing."""


def load_keyring(place: Path | KeyringStore, kek: KeyEncryptionKey, minimum_generation: int = 0) -> Keyring:
    """Read, authenticate and unwrap the keyring at `place`.

    Raises:  KeySettingError FILE_MISSING; UnsafeFile
             DamagedFile   malformed, TAMPERED, or ROLLED_BACK: of a generation before `minimum_generation`
             WrongKek      KEK_OTHER: made under another KEK
             KekDenied     the provider refuses
             KekUnavailable
    Cost:    one unwrap for each key and one more; with a local KEK under 0.1 ms a key, else a request
    """
    store = as_store(place)
    record = read_record(store)
    keys = open_record(record, kek, store)
    check_generation(record, minimum_generation, store)
    return Keyring(keys, record.generation)


def check_generation(record: KeyringRecord, minimum_generation: int, place: object) -> None:
    """`record` is authenticated. Raises DamagedFile ROLLED_BACK."""
    if record.generation < minimum_generation:
        raise errors.DamagedFile(
            errors.KeysReason.ROLLED_BACK,
            f"{place} has generation {record.generation}, {minimum_generation} was seen before",
            "an older copy was put back; restore the newest one",
        )


def create_keyring(
    place: Path | KeyringStore,
    kek: KeyEncryptionKey,
    class_names: Sequence[str],
    now: datetime,
    plaintext: Collection[str] = (),
) -> Keyring:
    """Write a new keyring with a first key for every class, and load it.

    Those of `plaintext` are stored in clear until they are migrated.

    Raises:  AlreadyExists FILE_EXISTS, CLASS_EXISTS (named twice)
             KeySettingError CLASS_NAME, CLASS_COUNT, FILE_UNWRITABLE
             KeyringBusy, KekUnavailable, KekDenied
    """
    record = seal_record(with_new_classes((), class_names, now, plaintext), 1, kek, now)
    store = as_store(place)
    store.create(_readable_bytes(record, store))
    return load_keyring(store, kek)


def create_from_keys(
    place: Path | KeyringStore,
    kek: KeyEncryptionKey,
    keys: Sequence[DataKey],
    generation: int,
    now: datetime,
) -> KeyringRecord:
    """Write a new keyring that holds `keys`, and prove that it opens. `generation` is that of the old one.

    Raises:  AlreadyExists FILE_EXISTS; KeySettingError FILE_UNWRITABLE; KeyringBusy; as `load_keyring`
    """
    store = as_store(place)
    sealed = seal_record(keys, generation + 1, kek, now)
    store.create(_readable_bytes(sealed, store))
    load_keyring(store, kek, generation + 1)
    return sealed


def add_classes(
    place: Path | KeyringStore,
    kek: KeyEncryptionKey,
    class_names: Sequence[str],
    now: datetime,
    plaintext: Collection[str] = (),
) -> Keyring:
    """Give the keyring at `place` a first key for every new class; the keys that it has stay.

    Those of `plaintext` are stored in clear until they are migrated.

    Raises what `load_keyring` and `create_keyring` raise; nothing is written unless all is well.
    """
    store = as_store(place)
    writer = KeyringWriter(store, kek, now)
    record = change_keys(writer, lambda keys: with_new_classes(keys, class_names, now, plaintext))
    return load_keyring(store, kek, record.generation)


def rewrap(writer: KeyringWriter, new_kek: KeyEncryptionKey) -> KeyringRecord:
    """Wrap every key of the keyring anew under `new_kek`, which may be the old one; return what is written.

    The data keys stay, and so does the data. Raises and costs as `change_keys`.
    """
    return change_keys(writer, tuple, new_kek)


def change_keys(
    writer: KeyringWriter,
    change: Callable[[tuple[DataKey, ...]], tuple[DataKey, ...]],
    new_kek: KeyEncryptionKey | None = None,
) -> KeyringRecord:
    """Put what `change` makes of the keys in their place, wrapped under `new_kek`; return what is written.

    What is to be written is opened first: a keyring is never replaced by one that does not open. The store
    replaces it whole or not at all.

    Raises:  what `change` raises, and `load_keyring` of either KEK; KeyringBusy
             KeySettingError LENT: another class borrows what is changed
    Cost:    three requests to a KEK for each key; a dry run makes them too
    """
    store, new_kek = as_store(writer.place), new_kek or writer.kek
    before = store.read()
    record = parse_record(before, str(store))
    keys = change(open_record(record, writer.kek, store))
    refuse_broken_loans(keys)
    sealed = seal_record(keys, record.generation + 1, new_kek, writer.now)
    content = _readable_bytes(sealed, store)
    if open_record(parse_record(content, str(store)), new_kek, store) != keys:
        raise _tampered(store)
    if not writer.dry_run:
        store.replace(before, content)
    return sealed


def read_record(place: Path | KeyringStore) -> KeyringRecord:
    """What the store says, not yet authenticated: fit to be shown, never to be used.

    Raises KeySettingError FILE_MISSING, UnsafeFile, DamagedFile; KekUnavailable, KekDenied of a remote store.
    """
    store = as_store(place)
    return parse_record(store.read(), str(store))


def seal_record(
    keys: Iterable[DataKey], generation: int, kek: KeyEncryptionKey, now: datetime
) -> KeyringRecord:
    """Wrap every key and authenticate the whole. `keys` of one class stand together, in rising version."""
    wrapped_at = whole_seconds(now)
    classes = tuple(
        ClassRecord(name, class_id, tuple(_wrap(key, kek) for key in versions))
        for (name, class_id), versions in groupby(keys, lambda key: (key.class_name, key.class_id))
    )
    mac_key = os.urandom(MAC_BYTES)
    wrapped_mac_key = kek.wrap(mac_key, _MAC_KEY_ASSOCIATED_DATA)
    unsigned = KeyringRecord(generation, kek.id, wrapped_mac_key, classes, b"", wrapped_at)
    return replace(unsigned, mac=_mac(mac_key, unsigned))


def open_record(record: KeyringRecord, kek: KeyEncryptionKey, place: object) -> tuple[DataKey, ...]:
    """Authenticate `record` as a whole, then unwrap its keys. `place` is for messages only.

    Raises DamagedFile TAMPERED, WrongKek KEK_OTHER, KekUnavailable.
    """
    authenticate(record, kek, place)
    try:
        keys = tuple(_unwrap(entry, key, kek) for entry in record.classes for key in entry.keys)
    except errors.UnwrapFailed:
        raise _tampered(place) from None
    if not is_same_material(keys):
        raise _tampered(place)
    return keys


def authenticate(record: KeyringRecord, kek: KeyEncryptionKey, place: object) -> None:
    """Prove that a holder of `kek` wrote `record`, by one unwrapping. Raises as `open_record`."""
    if record.kek_id != kek.id:
        raise errors.WrongKek(
            errors.KeysReason.KEK_OTHER,
            f"{place} was made under another key-encryption key ({record.kek_id}, not {kek.id})",
            "use the key-encryption key that the keyring was created with",
        )
    try:
        mac_key = kek.unwrap(record.wrapped_mac_key, _MAC_KEY_ASSOCIATED_DATA)
    except errors.UnwrapFailed:
        raise _tampered(place) from None
    if not hmac.compare_digest(_mac(mac_key, record), record.mac):
        raise _tampered(place)


def _tampered(place: object) -> errors.DamagedFile:
    return errors.DamagedFile(
        errors.KeysReason.TAMPERED,
        f"{place} was altered since Sealwire wrote it",
        "restore it from a backup, and find out who wrote to it",
    )


def _mac(mac_key: bytes, record: KeyringRecord) -> bytes:
    return hmac.digest(mac_key, authenticated_bytes(record), "sha256")


def _wrap(key: DataKey, kek: KeyEncryptionKey) -> KeyRecord:
    wrapped = None
    if key.material is not None:
        associated_data = data_key_associated_data(key.class_name, key.class_id, key.version)
        wrapped = kek.wrap(key.material, associated_data)
    rest = key.destroy_after, key.is_plaintext, key.lender, key.begun_in
    return KeyRecord(key.version, key.state, key.created, wrapped, *rest)


def _unwrap(entry: ClassRecord, key: KeyRecord, kek: KeyEncryptionKey) -> DataKey:
    material = None
    if key.wrapped is not None:
        associated_data = data_key_associated_data(entry.name, entry.class_id, key.version)
        material = kek.unwrap(key.wrapped, associated_data)
    rest = key.destroy_after, key.is_plaintext, key.lender, key.begun_in
    return DataKey(entry.name, entry.class_id, key.version, key.state, key.created, material, *rest)


def _readable_bytes(record: KeyringRecord, place: object) -> bytes:
    """The bytes of `record`, read back first: no file is replaced by one that would be refused."""
    content = serialize_record(record)
    parse_record(content, str(place))
    return content


def with_new_classes(
    keys: Sequence[DataKey], class_names: Sequence[str], now: datetime, plaintext: Collection[str]
) -> tuple[DataKey, ...]:
    names = {key.class_name for key in keys}
    ids = {key.class_id for key in keys}
    added = []
    for name in class_names:
        if name in names:
            raise errors.AlreadyExists(
                errors.KeysReason.CLASS_EXISTS,
                f"class {name} has a key already",
                "sealwire keys list shows the classes",
            )
        names.add(name)
        class_id = _unused_class_id(ids)
        ids.add(class_id)
        if len(names) > MAX_CLASSES:
            raise errors.KeySettingError(
                errors.KeysReason.CLASS_COUNT,
                f"a keyring holds {MAX_CLASSES} classes at most",
                "split the policy",
            )
        added.append(generate_data_key(name, class_id, 1, now, is_plaintext=name in plaintext))
    return (*keys, *added)


def _unused_class_id(used: set[int]) -> int:
    """A random id: should two keyrings be merged one day, their ids hardly ever collide."""
    while (class_id := randbelow(_CLASS_IDS) + 1) in used:
        pass
    return class_id


_STRING = 0x02
_SAMPLE = b"\x07\0\0\0sample\0"


@dataclass(frozen=True, slots=True)
class KeyringVerification:
    """What was found sound; whatever is not sound raises."""

    kek_id: str
    generation: int
    keys: tuple[DataKey, ...]
    """All keys in the order of the file; each that is not destroyed has encrypted and decrypted a sample."""

    @property
    def usable(self) -> int:
        """How many keys decrypt what a proxy meets."""
        return sum(key.state.decrypts for key in self.keys)


def verify_keyring(place: Path | KeyringStore, kek: KeyEncryptionKey) -> KeyringVerification:
    """Check the cryptography, the keyring's MAC, every wrapped key, and every key in both modes.

    Raises what `load_keyring` raises, SelfTestFailed, and DamagedFile TAMPERED for a key that two classes
    have though none has borrowed it: equal values of both could be told apart by nothing but the header.
    """
    selftest.run()
    record = read_record(place)
    keys = open_record(record, kek, place)
    materials = [key.material for key in keys if key.material is not None and key.lender is None]
    if len(set(materials)) != len(materials):
        raise errors.DamagedFile(
            errors.KeysReason.TAMPERED, f"{place} holds one key under two names", "restore it from a backup"
        )
    for key in keys:
        _round_trip(key)
    return KeyringVerification(record.kek_id, record.generation, keys)


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
