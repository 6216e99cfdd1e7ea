"""Rotation in the keyring: at every moment one key of a class encrypts, and nothing is lost."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import get_ident

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealwire.keys.errors import KeyringBusy, KeysError, KeySettingError, KeysReason, UnknownKey
from sealwire.keys.keyring import turning
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.file import (
    KeyringWriter,
    create_keyring,
    load_keyring,
    read_record,
    seal_record,
)
from sealwire.keys.keyring.record import serialize_record
from sealwire.keys.keyring.store import FileStore
from sealwire.keys.keyring.turning import (
    MINIMUM_WAIT,
    activate,
    announce,
    borrow,
    call_off,
    change_version,
    destroy,
    retire,
    rotate,
    take_back,
)
from tests.keys.samples import NOW, keys_of, local_kek
from tests.keys.samples import writer as at
from tests.support.reasons import raising

KEK = local_kek()
LATER = NOW + timedelta(days=90)
PLACE = "0123456789abcdef" * 2
LAST_ID = 2**32 - 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keyring.json"
    create_keyring(path, KEK, ["first", "nhs", "last"], NOW)
    return path


def states(path: Path, name: str = "nhs") -> list[str]:
    return [key.state.value for key in keys_of(path) if key.class_name == name]


@contextmanager
def refused(error: type[KeysError], reason: KeysReason, hint: str = "") -> Iterator[None]:
    """The next step is always said."""
    with raising(error, reason) as caught:
        yield
    assert caught.value.hint
    assert hint in caught.value.hint


def test_a_random_class_encrypts_with_the_new_key_at_once(path: Path) -> None:
    before = keys_of(path)
    (new,) = rotate(path, KEK, {"nhs": False}, LATER)
    assert (new.version, new.state, new.created) == (2, KeyState.ACTIVE, LATER)
    assert states(path) == ["decrypt-only", "active"]
    keyring = load_keyring(path, KEK)
    assert keyring.cipher_for("nhs").key_version == 2
    assert keyring.cipher_by_id(new.class_id, 1).key_version == 1
    after = keys_of(path)
    assert [key.material for key in after if key.version == 1] == [key.material for key in before]
    assert new.material not in [key.material for key in before]
    assert read_record(path).wrapped_at == LATER


def test_a_deterministic_class_goes_on_with_the_old_key_until_it_is_told(path: Path) -> None:
    rotate(path, KEK, {"nhs": True}, LATER)
    assert states(path) == ["active", "pending"]
    keyring = load_keyring(path, KEK)
    pending = keyring.pending_cipher_for("nhs")
    assert keyring.cipher_for("nhs").key_version == 1
    assert pending is not None
    assert pending.key_version == 2
    assert activate(at(path, LATER), "nhs").version == 2
    assert states(path) == ["decrypt-only", "active"]
    assert load_keyring(path, KEK).cipher_for("nhs").key_version == 2
    assert load_keyring(path, KEK).pending_cipher_for("nhs") is None


@pytest.mark.parametrize("deterministic", [True, False])
def test_no_second_rotation_begins_before_the_first_has_ended(path: Path, deterministic: bool) -> None:
    rotate(path, KEK, {"nhs": True}, LATER)
    content = path.read_bytes()
    with refused(KeysError, KeysReason.KEY_STATE, "migrate reencrypt POLICY nhs"):
        rotate(path, KEK, {"nhs": deterministic}, LATER)
    assert path.read_bytes() == content


def test_a_rotation_under_way_names_the_command_that_ends_it(path: Path) -> None:
    rotate(path, KEK, {"nhs": True}, LATER, to_plaintext=True)
    with refused(KeySettingError, KeysReason.KEY_STATE, "sealwire migrate decrypt POLICY nhs"):
        rotate(path, KEK, {"nhs": True}, LATER)
    activate(at(path, LATER), "nhs")
    with refused(KeySettingError, KeysReason.KEY_STATE, "sealwire migrate encrypt POLICY nhs"):
        rotate(path, KEK, {"nhs": True}, LATER, to_plaintext=True)
    rotate(path, KEK, {"nhs": True}, LATER)
    with refused(KeySettingError, KeysReason.KEY_STATE, "sealwire migrate encrypt POLICY nhs"):
        rotate(path, KEK, {"nhs": True}, LATER)


def test_what_is_not_pending_is_not_activated(path: Path) -> None:
    with refused(KeysError, KeysReason.KEY_STATE):
        activate(at(path, LATER), "nhs")


def test_several_classes_are_rotated_in_one_write_or_not_at_all(path: Path) -> None:
    content = path.read_bytes()
    with pytest.raises(UnknownKey):
        rotate(path, KEK, {"nhs": True, "other": False}, LATER)
    assert path.read_bytes() == content
    made = rotate(path, KEK, {"last": False, "nhs": True}, LATER)
    assert [(key.class_name, key.version, key.state.value) for key in made] == [
        ("last", 2, "active"),
        ("nhs", 2, "pending"),
    ]
    assert read_record(path).generation == 2
    assert [states(path, name) for name in ("first", "nhs", "last")] == [
        ["active"],
        ["active", "pending"],
        ["decrypt-only", "active"],
    ]


def test_an_unknown_class_or_version_is_refused(path: Path) -> None:
    for attempt in (
        partial(rotate, path, KEK, {"other": False}, LATER),
        partial(activate, at(path, LATER), "other"),
        partial(change_version, at(path, LATER), ("other", 1), retire),
    ):
        with refused(UnknownKey, KeysReason.CLASS_UNKNOWN):
            attempt()
    with refused(UnknownKey, KeysReason.VERSION_UNKNOWN):
        change_version(at(path, LATER), ("nhs", 2), retire)


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(path: Path) -> None:
    content = path.read_bytes()
    assert rotate(path, KEK, {"nhs": True}, LATER, dry_run=True)[0].state is KeyState.PENDING
    assert path.read_bytes() == content
    rotate(path, KEK, {"nhs": True}, LATER)
    content = path.read_bytes()
    assert activate(KeyringWriter(path, KEK, LATER, dry_run=True), "nhs").state is KeyState.ACTIVE
    rotated = path.read_bytes()
    assert rotated == content


def test_a_version_number_that_is_the_last_ends_it(path: Path) -> None:
    keys = [DataKey("nhs", 1, LAST_ID, KeyState.ACTIVE, NOW, bytes(range(64)))]
    path.write_bytes(serialize_record(seal_record(keys, 9, KEK, NOW)))
    with refused(KeysError, KeysReason.VERSION_COUNT):
        rotate(path, KEK, {"nhs": False}, LATER)


def test_as_many_versions_as_a_class_may_have_end_it(path: Path) -> None:
    old = [DataKey("nhs", 1, number, KeyState.DESTROYED, NOW, None) for number in range(1, 4096)]
    path.write_bytes(serialize_record(seal_record(old, 9, KEK, NOW)))
    assert rotate(path, KEK, {"nhs": False}, LATER)[0].version == 4096
    with refused(KeysError, KeysReason.VERSION_COUNT):
        rotate(path, KEK, {"nhs": False}, LATER)


def test_an_old_key_is_retired_and_destroyed_in_the_file(path: Path) -> None:
    rotate(path, KEK, {"nhs": False}, NOW)
    retired = change_version(at(path), ("nhs", 1), retire)
    assert (retired.version, retired.state) == (1, KeyState.RETIRED)
    assert states(path) == ["retired", "active"]
    change_version(at(path), ("nhs", 1), partial(announce, now=NOW))
    assert [key.destroy_after for key in keys_of(path) if key.state is KeyState.RETIRED] == [
        NOW + timedelta(days=30)
    ]
    change_version(at(path, LATER), ("nhs", 1), partial(destroy, now=LATER))
    assert states(path) == ["destroyed", "active"]
    assert read_record(path).classes[1].keys[0].wrapped is None


STEPS: dict[str, Callable[[Path, int], DataKey]] = {
    "rotate": lambda path, _version: rotate(path, KEK, {"nhs": False}, NOW)[0],
    "rotate slowly": lambda path, _version: rotate(path, KEK, {"nhs": True}, NOW)[0],
    "activate": lambda path, _version: activate(at(path), "nhs"),
    "retire": lambda path, version: change_version(at(path), ("nhs", version), retire),
    "take back": lambda path, version: change_version(at(path), ("nhs", version), take_back),
    "announce": lambda path, version: change_version(at(path), ("nhs", version), partial(announce, now=NOW)),
    "cancel": lambda path, version: change_version(at(path), ("nhs", version), call_off),
    "destroy": lambda path, version: change_version(
        at(path, LATER), ("nhs", version), partial(destroy, now=LATER)
    ),
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(1, 4)), max_size=14))
def test_whatever_the_order_one_key_encrypts_and_the_others_stay_as_they_are(
    tmp_path: Path, steps: list[tuple[str, int]]
) -> None:
    path = tmp_path / "k"
    path.unlink(missing_ok=True)
    create_keyring(path, KEK, ["first", "nhs", "last"], NOW)
    materials = {(key.class_name, key.version): key.material for key in keys_of(path)}
    for name, version in steps:
        content, before = path.read_bytes(), keys_of(path)
        try:
            STEPS[name](path, version)
        except KeysError:
            assert path.read_bytes() == content
            continue
        after = keys_of(path)
        assert [key.state for key in after if key.class_name == "nhs"].count(KeyState.ACTIVE) == 1
        assert [(key.class_name, key.version) for key in after][: len(before) - 1] == [
            (key.class_name, key.version) for key in before
        ][:-1]
        for key in after:
            known = materials.setdefault((key.class_name, key.version), key.material)
            assert key.material in (known, None)
            assert (key.material is None) == (key.state is KeyState.DESTROYED)
        encrypting = load_keyring(path, KEK).cipher_for("nhs").key_version
        if name not in ("activate", "rotate"):
            assert encrypting == next(
                key.version for key in before if key.class_name == "nhs" and key.state is KeyState.ACTIVE
            )


def test_a_pending_key_is_cancelled_and_its_version_used_no_more(path: Path) -> None:
    rotate(path, KEK, {"nhs": True}, LATER)
    turning.cancel(KeyringWriter(path, KEK, LATER, dry_run=True), "nhs")
    assert states(path) == ["active", "pending"]
    assert turning.cancel(at(path, LATER), "nhs").version == 2
    assert states(path) == ["active", "retired"]
    assert load_keyring(path, KEK).pending_classes == ()
    assert load_keyring(path, KEK).cipher_for("nhs").key_version == 1
    (new,) = rotate(path, KEK, {"nhs": True}, LATER)
    assert new.version == 3
    assert states(path) == ["active", "retired", "pending"]


@pytest.mark.parametrize("to_plaintext", [False, True])
def test_a_cancelled_key_is_pending_again_as_it_was(path: Path, *, to_plaintext: bool) -> None:
    (made,) = rotate(path, KEK, {"nhs": True}, NOW, to_plaintext=to_plaintext)
    turning.cancel(at(path), "nhs")
    assert turning.renew(at(path, LATER), "nhs").created == LATER
    again = next(key for key in keys_of(path) if key.ids == made.ids)
    assert (again.material, again.is_plaintext) == (made.material, to_plaintext)
    assert states(path) == ["active", "pending"]


def test_a_move_that_has_begun_is_written_down_and_not_cancelled(path: Path) -> None:
    rotate(path, KEK, {"nhs": True}, LATER)
    assert not load_keyring(path, KEK).begun
    for _ in range(2):
        assert turning.begin_move(at(path, LATER), "nhs", PLACE).begun_in == PLACE
    assert load_keyring(path, KEK).begun == {"nhs": PLACE}
    with refused(KeySettingError, KeysReason.KEY_STATE):
        turning.begin_move(at(path, LATER), "nhs", PLACE[::-1])
    with refused(KeySettingError, KeysReason.KEY_STATE):
        turning.cancel(at(path, LATER), "nhs")
    assert not activate(at(path, LATER), "nhs").begun_in
    assert not load_keyring(path, KEK).begun
    with refused(KeySettingError, KeysReason.KEY_STATE):
        turning.begin_move(at(path, LATER), "nhs", PLACE)


class Busy(FileStore):
    """A keyring that another job changes just before it is replaced, so many times."""

    def __init__(self, path: Path, changes: int) -> None:
        super().__init__(path)
        self.changes = changes

    def replace(self, old: bytes, new: bytes) -> None:
        if self.changes > 0:
            self.changes -= 1
            (path := Path(str(self))).write_bytes(serialize_record(seal_record(keys_of(path), 9, KEK, LATER)))
        super().replace(old, new)


@pytest.mark.parametrize("step", ["begin", "end"])
def test_a_job_waits_for_other_writers(path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    waits: list[float] = []
    mine, sleep = get_ident(), time.sleep
    monkeypatch.setattr("time.sleep", lambda s: waits.append(s) if get_ident() == mine else sleep(s))
    rotate(path, KEK, {"nhs": True}, LATER)

    def take(busy: Busy) -> None:
        if step == "begin":
            turning.begin_move(at(busy, LATER), "nhs", PLACE)
        else:
            activate(at(busy, LATER), "nhs")

    take(Busy(path, 3))
    assert len(waits) == 3
    if step == "begin":
        assert load_keyring(path, KEK).begun == {"nhs": PLACE}
    else:
        assert states(path) == ["decrypt-only", "active"]
    rotate(path, KEK, {"first": True}, LATER)
    with pytest.raises(KeyringBusy):
        turning.begin_move(at(Busy(path, 99), LATER), "first", PLACE)


def test_only_a_pending_key_is_cancelled_and_only_a_cancelled_one_renewed(path: Path) -> None:
    steps = [partial(turning.cancel, at(path), "nhs"), partial(turning.renew, at(path), "nhs")]
    for step in steps:
        with refused(KeySettingError, KeysReason.KEY_STATE):
            step()
    rotate(path, KEK, {"nhs": False}, LATER)
    change_version(at(path, LATER), ("nhs", 1), retire)
    for step in steps:
        with refused(KeySettingError, KeysReason.KEY_STATE):
            step()
    assert states(path) == ["retired", "active"]


def test_a_borrowed_key_that_was_cancelled_holds_its_lender_no_more(path: Path) -> None:
    borrow(at(path), ("nhs", "first"))
    with pytest.raises(KeySettingError):
        rotate(path, KEK, {"first": True}, NOW)
    turning.cancel(at(path), "nhs")
    rotate(path, KEK, {"first": True}, NOW)
    with refused(KeySettingError, KeysReason.LENT):
        turning.renew(at(path), "nhs")


# The end of a key: each step, each step back, and none out of turn.

OLD = DataKey("a", 1, 1, KeyState.DECRYPT_ONLY, NOW, bytes(range(64)))
DAY = timedelta(days=1)


def test_retiring_keeps_the_material_and_can_be_undone() -> None:
    retired = retire(OLD)
    assert (retired.state, retired.material) == (KeyState.RETIRED, OLD.material)
    assert take_back(retired) == OLD


def test_a_destruction_waits_for_the_day() -> None:
    waiting = announce(retire(OLD), NOW)
    assert waiting.destroy_after == NOW + 30 * DAY
    assert waiting.material == OLD.material
    with refused(KeySettingError, KeysReason.DESTROY_EARLY):
        destroy(waiting, NOW + 30 * DAY - timedelta(seconds=1))
    gone = destroy(waiting, NOW + 30 * DAY)
    assert (gone.state, gone.material, gone.destroy_after) == (KeyState.DESTROYED, None, None)


def test_what_was_announced_can_be_taken_back() -> None:
    waiting = announce(retire(OLD), NOW, DAY)
    assert call_off(waiting) == retire(OLD)
    assert take_back(waiting) == OLD


RETIRED = retire(OLD)
OUT_OF_TURN: tuple[tuple[str, Callable[[], DataKey]], ...] = (
    ("sealwire keys retire", lambda: announce(OLD, NOW)),
    ("sealwire keys retire", lambda: destroy(OLD, NOW)),
    ("sealwire keys retire", lambda: call_off(OLD)),
    ("", lambda: take_back(OLD)),
    ("", lambda: retire(RETIRED)),
    ("", lambda: destroy(RETIRED, NOW)),
    ("", lambda: call_off(RETIRED)),
    ("", lambda: announce(announce(RETIRED, NOW), NOW, DAY)),
    ("", lambda: destroy(destroy(announce(RETIRED, NOW, 0 * DAY), NOW), NOW)),
)


@pytest.mark.parametrize(("hint", "step"), OUT_OF_TURN)
def test_no_step_is_taken_out_of_turn(hint: str, step: Callable[[], DataKey]) -> None:
    """What is not retired is to be retired first."""
    with refused(KeySettingError, KeysReason.KEY_STATE, hint):
        step()


def test_less_than_a_day_is_an_emergency() -> None:
    assert MINIMUM_WAIT == DAY
