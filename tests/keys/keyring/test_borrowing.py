"""A class that borrows the key of another: how it begins and ends, and what it keeps from happening."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealwire.crypto.envelope import parse_header
from sealwire.keys.errors import AlreadyExists, KeysError, KeysReason, UnknownKey
from sealwire.keys.keyring.data_key import DataKey, KeyIds, KeyState
from sealwire.keys.keyring.export import parse_export, serialize_export, under_passphrase
from sealwire.keys.keyring.file import (
    add_classes,
    create_from_keys,
    create_keyring,
    load_keyring,
    open_record,
    read_record,
    rewrap,
    verify_keyring,
)
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.turning import (
    activate,
    announce,
    borrow,
    change_version,
    create_borrowed,
    destroy,
    retire,
    rotate,
    take_back,
)
from sealwire.wire import kinds
from tests.keys.samples import CHEAP_SCRYPT, KEK_B, NOW, PASSPHRASE, local_kek

KEK = local_kek()
LATER = NOW + timedelta(days=90)
DESTROYS = partial(destroy, now=NOW + timedelta(days=60))
VALUE = b"\x04\0\0\x00943\0"
JOINS, LEAVES = ("intake", "nhs"), ("visits", "nhs")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """`intake` is in clear, `visits` is not there yet."""
    path = tmp_path / "keyring.json"
    create_keyring(path, KEK, ["first", "nhs", "intake", "last"], NOW, ["intake"])
    return path


def keys_of(path: Path) -> tuple[DataKey, ...]:
    return open_record(read_record(path), KEK, path)


def states(path: Path, name: str) -> list[str]:
    return [key.state.value for key in keys_of(path) if key.class_name == name]


def made_by(keyring: Keyring, name: str) -> bytes:
    return keyring.cipher_for(name).encrypt_deterministically(kinds.STRING, VALUE)


def reason_of(path: Path, act: Callable[[], object]) -> KeysReason:
    """Why `act` is refused; it has changed nothing then."""
    before = path.read_bytes()
    with pytest.raises(KeysError) as caught:
        act()
    assert caught.value.hint
    assert path.read_bytes() == before
    return caught.value.reason


def test_a_class_in_clear_moves_to_the_key_of_another_and_makes_its_envelopes(path: Path) -> None:
    made = borrow(path, KEK, JOINS, LATER)
    assert (made.version, made.state, made.created) == (2, KeyState.PENDING, LATER)
    keyring = load_keyring(path, KEK)
    pending = keyring.pending_cipher_for("intake")
    assert pending is not None
    nhs = keyring.cipher_for("nhs")
    assert (pending.class_id, pending.key_version) == made.ids
    assert pending.encrypt_deterministically(kinds.STRING, VALUE) == made_by(keyring, "nhs")
    assert keyring.shared_keys == (("nhs", "intake"),)
    assert "intake" in keyring.plaintext_classes
    assert keyring.partly_plaintext == {"intake"}
    activate(path, KEK, "intake", LATER)
    keyring = load_keyring(path, KEK)
    assert made_by(keyring, "intake") == made_by(keyring, "nhs")
    assert parse_header(made_by(keyring, "intake"))[1:3] == (nhs.class_id, nhs.key_version)
    assert keyring.open_envelope(made_by(keyring, "intake"), 0, 37) == (kinds.STRING, VALUE)
    assert keyring.plaintext_classes == ()
    assert keyring.created["intake"] == keyring.created["nhs"]
    assert keyring.cipher_by_id(*made.ids).class_id == made.class_id


def test_a_new_class_may_begin_with_the_key_of_another(path: Path) -> None:
    made = create_borrowed(path, KEK, LEAVES, LATER)
    assert (made.version, made.state) == (1, KeyState.ACTIVE)
    keyring = load_keyring(path, KEK)
    assert made_by(keyring, "visits") == made_by(keyring, "nhs")
    assert made.class_id != keyring.cipher_for("nhs").class_id
    assert reason_of(path, lambda: create_borrowed(path, KEK, LEAVES, LATER)) is KeysReason.CLASS_EXISTS
    with pytest.raises(AlreadyExists):
        add_classes(path, KEK, ["visits"], LATER)


def test_a_class_leaves_for_a_key_of_its_own_and_comes_back(path: Path) -> None:
    create_borrowed(path, KEK, LEAVES, NOW)
    rotate(path, KEK, {"visits": True}, NOW)
    activate(path, KEK, "visits", NOW)
    keyring = load_keyring(path, KEK)
    assert made_by(keyring, "visits") != made_by(keyring, "nhs")
    assert keyring.shared_keys == ()
    borrow(path, KEK, LEAVES, NOW)
    activate(path, KEK, "visits", NOW)
    keyring = load_keyring(path, KEK)
    assert made_by(keyring, "visits") == made_by(keyring, "nhs")
    assert states(path, "visits") == ["decrypt-only", "decrypt-only", "active"]


def test_what_a_borrower_lends_is_its_lenders(path: Path) -> None:
    create_borrowed(path, KEK, LEAVES, NOW)
    second = create_borrowed(path, KEK, ("third", "visits"), NOW)
    nhs = next(key for key in keys_of(path) if key.class_name == "nhs")
    assert second.lender == nhs.ids
    assert load_keyring(path, KEK).shared_keys == (("nhs", "visits", "third"),)


def test_nothing_is_lent_that_is_no_key_or_moves(path: Path) -> None:
    assert reason_of(path, lambda: borrow(path, KEK, ("nhs", "intake"), NOW)) is KeysReason.LENT
    assert reason_of(path, lambda: borrow(path, KEK, ("nhs", "nhs"), NOW)) is KeysReason.LENT
    assert reason_of(path, lambda: borrow(path, KEK, ("nhs", "none"), NOW)) is KeysReason.CLASS_UNKNOWN
    assert reason_of(path, lambda: borrow(path, KEK, ("none", "nhs"), NOW)) is KeysReason.CLASS_UNKNOWN
    assert reason_of(path, lambda: create_borrowed(path, KEK, ("9", "nhs"), NOW)) is KeysReason.CLASS_NAME
    borrow(path, KEK, JOINS, NOW)
    assert reason_of(path, lambda: borrow(path, KEK, JOINS, NOW)) is KeysReason.KEY_STATE
    assert reason_of(path, lambda: create_borrowed(path, KEK, ("new", "intake"), NOW)) is KeysReason.LENT
    activate(path, KEK, "intake", NOW)
    assert reason_of(path, lambda: borrow(path, KEK, JOINS, NOW)) is KeysReason.LENT
    assert reason_of(path, lambda: borrow(path, KEK, ("nhs", "intake"), NOW)) is KeysReason.LENT
    rotate(path, KEK, {"last": True}, NOW)
    assert reason_of(path, lambda: create_borrowed(path, KEK, ("new", "last"), NOW)) is KeysReason.LENT


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("to_plaintext", [True, False])
def test_a_lender_does_not_turn(path: Path, deterministic: bool, to_plaintext: bool) -> None:
    turn = partial(rotate, path, KEK, {"nhs": deterministic}, LATER, to_plaintext=to_plaintext)
    create_borrowed(path, KEK, LEAVES, NOW)
    assert reason_of(path, turn) is KeysReason.LENT
    rotate(path, KEK, {"visits": True}, NOW, to_plaintext=True)
    assert reason_of(path, turn) is KeysReason.LENT
    activate(path, KEK, "visits", NOW)
    assert reason_of(path, turn) is KeysReason.LENT
    change_version(path, KEK, ("visits", 1), retire, NOW)
    turn()
    assert (
        reason_of(path, lambda: change_version(path, KEK, ("visits", 1), take_back, NOW)) is KeysReason.LENT
    )


def test_a_borrowed_key_is_retired_alone_even_an_active_one(path: Path) -> None:
    create_borrowed(path, KEK, LEAVES, NOW)
    envelope = made_by(load_keyring(path, KEK), "visits")
    change_version(path, KEK, ("visits", 1), retire, NOW)
    keyring = load_keyring(path, KEK)
    assert keyring.open_envelope(envelope, 0, len(envelope)) == (kinds.STRING, VALUE)
    with pytest.raises(UnknownKey) as caught:
        keyring.cipher_for("visits")
    assert caught.value.reason is KeysReason.NO_ACTIVE_KEY
    assert states(path, "nhs") == ["active"]
    assert reason_of(path, lambda: borrow(path, KEK, LEAVES, NOW)) is KeysReason.KEY_STATE
    assert reason_of(path, lambda: change_version(path, KEK, ("nhs", 1), retire, NOW)) is KeysReason.KEY_STATE


def test_what_is_moved_from_is_not_given_back(path: Path) -> None:
    create_borrowed(path, KEK, LEAVES, NOW)
    rotate(path, KEK, {"visits": True}, NOW, to_plaintext=True)
    assert reason_of(path, lambda: change_version(path, KEK, ("visits", 1), retire, NOW)) is KeysReason.LENT
    activate(path, KEK, "visits", NOW)
    change_version(path, KEK, ("visits", 1), retire, NOW)


def test_a_class_that_gave_its_key_back_gets_no_other(path: Path) -> None:
    create_borrowed(path, KEK, LEAVES, NOW)
    change_version(path, KEK, ("visits", 1), retire, NOW)
    assert reason_of(path, lambda: rotate(path, KEK, {"visits": True}, NOW)) is KeysReason.LENT
    assert reason_of(path, lambda: borrow(path, KEK, LEAVES, NOW)) is KeysReason.KEY_STATE


def test_a_lender_is_destroyed_after_its_copies(path: Path) -> None:
    create_borrowed(path, KEK, LEAVES, NOW)
    rotate(path, KEK, {"visits": True}, NOW)
    activate(path, KEK, "visits", NOW)
    change_version(path, KEK, ("visits", 1), retire, NOW)
    rotate(path, KEK, {"nhs": False}, NOW)
    change_version(path, KEK, ("nhs", 1), retire, NOW)
    for name in ("nhs", "visits"):
        change_version(path, KEK, (name, 1), partial(announce, now=NOW), NOW)
    assert reason_of(path, lambda: change_version(path, KEK, ("nhs", 1), DESTROYS, NOW)) is KeysReason.LENT
    for name in ("visits", "nhs"):
        change_version(path, KEK, (name, 1), DESTROYS, NOW)
    assert states(path, "visits") == ["destroyed", "active"]
    verify_keyring(path, KEK)


def test_a_dry_run_is_refused_alike_and_writes_nothing(path: Path) -> None:
    before = path.read_bytes()
    assert borrow(path, KEK, JOINS, NOW, dry_run=True).state is KeyState.PENDING
    assert create_borrowed(path, KEK, LEAVES, NOW, dry_run=True).version == 1
    assert path.read_bytes() == before


def test_it_stays_borrowed_when_wrapped_anew_exported_and_imported(path: Path, tmp_path: Path) -> None:
    create_borrowed(path, KEK, LEAVES, NOW)
    borrow(path, KEK, JOINS, NOW)
    keys = keys_of(path)
    assert verify_keyring(path, KEK).keys == keys
    rewrap(path, KEK, local_kek(KEK_B), LATER)
    record = read_record(path)
    assert open_record(record, local_kek(KEK_B), path) == keys
    made = under_passphrase(record, local_kek(KEK_B), path, PASSPHRASE, NOW, CHEAP_SCRYPT)
    export = parse_export(serialize_export(made), "export")
    opened = export.open(export.by_passphrase(PASSPHRASE, "export"), "export")
    create_from_keys(tmp_path / "new.json", KEK, opened, 1, NOW)
    again = load_keyring(tmp_path / "new.json", KEK)
    assert made_by(again, "visits") == made_by(again, "nhs")
    assert again.shared_keys == (("nhs", "intake", "visits"),)


STEPS: dict[str, Callable[[Path, str, str], object]] = {
    "create": lambda path, name, lender: create_borrowed(path, KEK, (name, lender), NOW),
    "borrow": lambda path, name, lender: borrow(path, KEK, (name, lender), NOW),
    "rotate": lambda path, name, _: rotate(path, KEK, {name: True}, NOW),
    "turn": lambda path, name, _: rotate(path, KEK, {name: False}, NOW),
    "clear": lambda path, name, _: rotate(path, KEK, {name: True}, NOW, to_plaintext=True),
    "activate": lambda path, name, _: activate(path, KEK, name, NOW),
    "retire 1": lambda path, name, _: change_version(path, KEK, (name, 1), retire, NOW),
    "retire 2": lambda path, name, _: change_version(path, KEK, (name, 2), retire, NOW),
    "take back": lambda path, name, _: change_version(path, KEK, (name, 1), take_back, NOW),
    "announce": lambda path, name, _: change_version(path, KEK, (name, 1), partial(announce, now=NOW), NOW),
    "destroy": lambda path, name, _: change_version(path, KEK, (name, 1), DESTROYS, NOW),
}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(list(STEPS)), st.sampled_from("abc"), st.sampled_from("abc")), max_size=14
    )
)
def test_whatever_is_done_what_a_version_has_encrypted_opens_while_it_does(
    tmp_path: Path, steps: list[tuple[str, str, str]]
) -> None:
    path = tmp_path / "k.json"
    path.unlink(missing_ok=True)
    create_keyring(path, KEK, ["a", "b"], NOW, ["b"])
    made: dict[tuple[int, int], bytes] = {}
    for step, name, lender in steps:
        with suppress(KeysError):
            STEPS[step](path, name, lender)
        keyring = load_keyring(path, KEK)
        keys = {key.ids: key for key in keys_of(path)}
        for each in keyring.active_classes:
            cipher = keyring.cipher_for(each)
            if not keyring.is_plaintext(cipher):
                made[cipher.class_id, cipher.key_version] = made_by(keyring, each)
        for ids, envelope in made.items():
            if keys[KeyIds(*ids)].state.decrypts:
                assert keyring.open_envelope(envelope, 0, len(envelope)) == (kinds.STRING, VALUE)
        for group in keyring.shared_keys:
            common = [
                {
                    each.encrypt_deterministically(kinds.STRING, VALUE)
                    for each in (keyring.cipher_for(name), keyring.pending_cipher_for(name))
                    if each is not None and not keyring.is_plaintext(each)
                }
                for name in group
            ]
            assert set.intersection(*common)


def test_the_refusal_to_lend_says_what_helps(path: Path) -> None:
    """Also where a rule of lending would refuse what comes of it."""

    def hint_of(lender: str) -> str:
        with pytest.raises(KeysError) as caught:
            create_borrowed(path, KEK, ("new", lender), NOW)
        assert caught.value.reason is KeysReason.LENT
        return caught.value.hint

    create_borrowed(path, KEK, LEAVES, NOW)
    change_version(path, KEK, ("visits", 1), retire, NOW)
    rotate(path, KEK, {"last": True}, NOW)
    assert "that is encrypted" in hint_of("intake")
    assert "that is encrypted" in hint_of("visits")
    assert "migrate status" in hint_of("last")
