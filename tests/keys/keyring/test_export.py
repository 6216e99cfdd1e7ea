"""A secret in shares: k of n give it back, fewer tell nothing, and no word of one is ever shown."""

import json
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.keys.errors import AlreadyExists, DamagedFile, KekDenied, KeysError, KeySettingError, KeysReason
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.export import (
    MAX_SHARES,
    Export,
    combine,
    parse_export,
    serialize_export,
    split,
    under_passphrase,
    under_shares,
)
from sealwire.keys.keyring.file import create_from_keys, load_keyring, open_record, seal_record
from sealwire.keys.keyring.keyring import Keyring
from tests.keys.samples import CHEAP_SCRYPT, KEK_B, NOW, PASSPHRASE, local_kek
from tests.support.reasons import raising

SECRET = bytes(range(32))


@given(st.binary(min_size=32, max_size=32), st.data())
def test_any_threshold_of_the_shares_gives_the_secret_back(secret: bytes, data: st.DataObject) -> None:
    count = data.draw(st.integers(2, MAX_SHARES))
    threshold = data.draw(st.integers(2, count))
    shares = split(secret, threshold, count)
    assert len(set(shares)) == count
    assert combine(data.draw(st.permutations(shares))[:threshold]) == secret


def test_more_shares_than_needed_and_one_twice_do_no_harm() -> None:
    shares = split(SECRET, 2, 3)
    assert combine(shares) == SECRET
    assert combine([shares[2], shares[2], shares[0]]) == SECRET


@pytest.mark.parametrize(("threshold", "count"), [(1, 1), (1, 3), (0, 3), (4, 3), (2, 17), (-1, 3), (2, 0)])
def test_impossible_numbers_are_refused(threshold: int, count: int) -> None:
    with raising(KeySettingError, KeysReason.SHARES):
        split(SECRET, threshold, count)


def refusal(shares: list[str]) -> KekDenied:
    with raising(KekDenied, KeysReason.SHARES) as caught:
        combine(shares)
    shown = str(caught.value) + caught.value.hint
    assert not any(word in shown.split() for share in shares for word in share.split() if len(word) > 5)
    return caught.value


def test_too_few_and_foreign_and_misspelt_shares_are_refused() -> None:
    shares, others = split(SECRET, 3, 5), split(SECRET, 3, 5)
    for few in (0, 1, 2):
        refusal(shares[:few])
    refusal([shares[0], shares[0], shares[0]])
    refusal([*shares[:2], others[2]])
    words = shares[1].split()
    another = "acid" if words[-1] == "academic" else "academic"
    for wrong in ([*words[:-1], another], words[:-1], [*words[:4], "xyzzy", *words[5:]], []):
        refusal([shares[0], " ".join(wrong), shares[2]])
        refusal([" ".join(wrong), shares[0], shares[2]])


def test_shares_that_are_not_enough_are_the_same_for_every_secret_in_form() -> None:
    for one, two in combinations(split(SECRET, 3, 4), 2):
        assert one.split()[:2] == two.split()[:2]
        assert len(one.split()) == len(two.split()) == 33


# A keyring for the safe, and back.

KEK, NEW_KEK = local_kek(), local_kek(KEK_B)
KEYS = (
    DataKey("a", 1, 1, KeyState.DESTROYED, NOW, None),
    DataKey("a", 1, 2, KeyState.DECRYPT_ONLY, NOW, bytes(range(64))),
    DataKey("a", 1, 3, KeyState.ACTIVE, NOW, bytes(range(64, 128))),
    DataKey("b", 2, 1, KeyState.ACTIVE, NOW, bytes(range(128, 192))),
)
RECORD = seal_record(KEYS, 5, KEK, NOW)


def passphrase_export() -> Export:
    return under_passphrase(RECORD, KEK, "k", PASSPHRASE, NOW, CHEAP_SCRYPT)


def reread(export: Export) -> Export:
    return parse_export(serialize_export(export), "export")


def test_a_passphrase_gives_all_keys_back() -> None:
    export = reread(passphrase_export())
    own = export.by_passphrase(PASSPHRASE, "export")
    assert open_record(export.record, own, "export") == KEYS
    assert (export.threshold, export.record.generation) == (0, 5)


def test_shares_give_all_keys_back() -> None:
    export, shares = under_shares(RECORD, KEK, "k", 2, 3, NOW)
    export = reread(export)
    assert export.threshold == 2
    assert open_record(export.record, export.by_shares(shares[1:], "export"), "export") == KEYS


def test_each_export_has_a_key_of_its_own() -> None:
    assert passphrase_export().record.kek_id not in (KEK.id, passphrase_export().record.kek_id)


def test_a_keyring_made_of_an_export_opens_under_the_new_key(tmp_path: Path) -> None:
    export = reread(passphrase_export())
    keys = open_record(export.record, export.by_passphrase(PASSPHRASE, "export"), "export")
    place = tmp_path / "k"
    record = create_from_keys(place, NEW_KEK, keys, export.record.generation, NOW)
    assert (record.generation, record.kek_id) == (6, NEW_KEK.id)
    loaded, before = load_keyring(place, NEW_KEK, 6), load_keyring_of(tmp_path)
    for name in ("a", "b"):
        value = loaded.cipher_for(name).encrypt_deterministically(0x08, b"\\1")
        assert before.cipher_for(name).encrypt_deterministically(0x08, b"\\1") == value
    with pytest.raises(AlreadyExists):
        create_from_keys(place, NEW_KEK, keys, 5, NOW)


def load_keyring_of(folder: Path) -> Keyring:
    create_from_keys(folder / "old", KEK, KEYS, 5, NOW)
    return load_keyring(folder / "old", KEK)


def test_a_wrong_passphrase_and_the_wrong_way_are_refused() -> None:
    export = passphrase_export()
    with raising(KekDenied, KeysReason.PASSPHRASE_WRONG):
        export.by_passphrase(PASSPHRASE + "x", "export")
    with raising(KeySettingError, KeysReason.SHARES):
        export.by_shares([], "export")
    shared, _ = under_shares(RECORD, KEK, "k", 2, 2, NOW)
    with raising(KeySettingError, KeysReason.SHARES):
        shared.by_passphrase(PASSPHRASE, "export")


def test_a_weak_passphrase_makes_no_export() -> None:
    with raising(KeySettingError, KeysReason.PASSPHRASE_WEAK):
        under_passphrase(RECORD, KEK, "k", "short", NOW, CHEAP_SCRYPT)


def test_another_kek_exports_nothing() -> None:
    with pytest.raises(KekDenied):
        under_shares(RECORD, NEW_KEK, "k", 2, 2, NOW)


def test_shares_of_another_export_do_not_open_it() -> None:
    (first, _), (_, shares) = (under_shares(RECORD, KEK, "k", 2, 2, NOW) for _ in "12")
    with raising(KeysError, KeysReason.KEK_OTHER):
        open_record(first.record, first.by_shares(shares, "export"), "export")


@pytest.mark.parametrize("name", ["kek_id", "threshold", "keyring", "wrapped", "scrypt", "version"])
def test_a_changed_field_is_noticed(name: str) -> None:
    document = json.loads(serialize_export(passphrase_export()))
    changes = {
        "kek_id": "local:0000000000000000",
        "threshold": 2,
        "keyring": document["keyring"].replace('"generation": 5', '"generation": 6'),
        "wrapped": document["wrapped"][:-8] + "AAAAAAA=",
        "scrypt": document["scrypt"] | {"n": 2048},
        "version": 2,
    }
    assert document[name] != changes[name]
    raw = json.dumps(document | {name: changes[name]}, indent=1).encode() + b"\n"
    with pytest.raises((DamagedFile, KekDenied)):
        opened(raw)


def opened(raw: bytes) -> tuple[DataKey, ...]:
    export = parse_export(raw, "export")
    return open_record(export.record, export.by_passphrase(PASSPHRASE, "export"), "export")


def test_every_cut_is_noticed() -> None:
    raw = serialize_export(passphrase_export())
    for end in range(0, len(raw), 37):
        with pytest.raises(DamagedFile):
            parse_export(raw[:end], "export")


def test_nothing_of_a_key_is_in_an_export() -> None:
    raw = serialize_export(passphrase_export())
    export, shares = under_shares(RECORD, KEK, "k", 2, 2, NOW)
    for key in KEYS:
        for held in (raw, serialize_export(export), "".join(shares).encode()):
            assert key.material is None or key.material[:8] not in held
    assert PASSPHRASE.encode() not in raw
