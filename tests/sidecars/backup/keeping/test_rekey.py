from pathlib import Path

import pytest

from sealwire.keys.errors import KekUnavailable, KeysReason
from sealwire.sidecars.backup.keeping import verification
from sealwire.sidecars.backup.keeping.verification import reencrypt, rewrap, successor, verify_backup
from sealwire.sidecars.backup.sealed.key_slots import Identity
from sealwire.sidecars.backup.sealed.payload import open_backup
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.errors import BackupReason, CannotCreate, Denied, Missing, Unsound
from tests.keys.samples import NOW
from tests.sidecars.backup.samples import KEK, OTHER_KEK, PRIVATE, change, make_dump, seal

PAYLOAD = "b.tar.gz.enc"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def opens(store: LocalStore, identity: Identity, name: str = "b") -> bool:
    try:
        with open_backup(store, name, [identity]) as reader:
            assert reader.read() == make_dump()[0]
            reader.finish()
    except Denied:
        return False
    return True


def test_wrapping_anew_exchanges_who_can_open_it_and_leaves_the_payload(
    store: LocalStore, tmp_path: Path
) -> None:
    seal(store)
    before = (tmp_path / PAYLOAD).read_bytes()
    done = rewrap(store, "b", [KEK], [OTHER_KEK, PRIVATE.public])
    assert (done.name, done.replaced) == ("b", None)
    assert (done.before, done.after) == ((KEK.id,), (OTHER_KEK.id, PRIVATE.id))
    assert (tmp_path / PAYLOAD).read_bytes() == before
    assert [opens(store, identity) for identity in (KEK, OTHER_KEK, PRIVATE)] == [False, True, True]


def test_wrapping_anew_keeps_that_it_was_verified(store: LocalStore) -> None:
    seal(store)
    verify_backup(store, "b", [KEK], NOW)
    rewrap(store, "b", [KEK], [OTHER_KEK])
    with open_backup(store, "b", [OTHER_KEK]) as reader:
        assert reader.sidecar is not None
        assert reader.sidecar.verified == NOW


def test_without_the_sidecar_the_keys_of_the_header_count(store: LocalStore, tmp_path: Path) -> None:
    seal(store)
    rewrap(store, "b", [KEK], [OTHER_KEK])
    (tmp_path / f"{PAYLOAD}.json").unlink()
    assert [opens(store, identity) for identity in (KEK, OTHER_KEK)] == [True, False]
    with pytest.raises(Missing) as caught:
        rewrap(store, "b", [KEK], [OTHER_KEK])
    assert caught.value.reason is BackupReason.SIDECAR_MISSING


def test_a_provider_that_is_gone_changes_nothing(store: LocalStore, tmp_path: Path) -> None:
    seal(store)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    class Gone:
        id = "gone"

        def wrap(self, _key: bytes, _associated_data: bytes, /) -> bytes:
            raise KekUnavailable(KeysReason.KEK_UNREACHABLE, "gone")

    for attempt in (rewrap, reencrypt):
        with pytest.raises(KekUnavailable):
            attempt(store, "b", [KEK], [OTHER_KEK, Gone()])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_encrypting_anew_leaves_one_backup_that_the_old_key_never_opens(
    store: LocalStore, tmp_path: Path
) -> None:
    seal(store)
    verify_backup(store, "b", [KEK], NOW)
    old = (tmp_path / PAYLOAD).read_bytes()
    done = reencrypt(store, "b", [KEK], [OTHER_KEK])
    assert (done.name, done.replaced, done.after) == ("b-r1", "b", (OTHER_KEK.id,))
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [
        "b-r1.tar.gz.enc",
        "b-r1.tar.gz.enc.json",
    ]
    assert [opens(store, identity, "b-r1") for identity in (KEK, OTHER_KEK)] == [False, True]
    assert verify_backup(store, "b-r1", [OTHER_KEK], NOW).manifest == make_dump()[1]
    (tmp_path / "b-r1.tar.gz.enc.json").unlink()
    assert not opens(store, KEK, "b-r1")
    new = (tmp_path / "b-r1.tar.gz.enc").read_bytes()
    assert old[-100:] not in new


def test_it_can_be_encrypted_for_a_key_that_is_not_here(store: LocalStore) -> None:
    seal(store)
    reencrypt(store, "b", [KEK], [PRIVATE.public])
    assert opens(store, PRIVATE, "b-r1")


def test_a_damaged_backup_is_not_encrypted_anew(store: LocalStore, tmp_path: Path) -> None:
    seal(store)
    change(tmp_path / PAYLOAD, lambda content: content[:-20])
    with pytest.raises(Unsound):
        reencrypt(store, "b", [KEK], [OTHER_KEK])
    assert sorted(path.name for path in tmp_path.iterdir()) == [PAYLOAD, f"{PAYLOAD}.json"]


def test_a_copy_that_reads_otherwise_does_not_replace_the_old_one(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal(store)
    monkeypatch.setattr(verification, "_copy", lambda *_: b"another digest")
    with pytest.raises(Unsound):
        reencrypt(store, "b", [KEK], [OTHER_KEK])
    assert opens(store, KEK)


def test_what_an_earlier_run_left_is_not_overwritten(store: LocalStore) -> None:
    seal(store)
    seal(store, "b-r1")
    with pytest.raises(CannotCreate):
        reencrypt(store, "b", [KEK], [OTHER_KEK])
    assert opens(store, KEK)
    assert opens(store, KEK, "b-r1")


def test_successors_are_counted() -> None:
    assert [successor(name) for name in ("b", "b-r1", "b-r9", "b-r", "b-r0")] == [
        "b-r1",
        "b-r2",
        "b-r10",
        "b-r-r1",
        "b-r0-r1",
    ]
