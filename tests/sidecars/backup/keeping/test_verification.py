import io
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from pathlib import Path

import pytest

from sealwire.keys.errors import KekUnavailable, KeysReason
from sealwire.keys.kek.kek import LocalKek
from sealwire.sidecars.backup.keeping import verification
from sealwire.sidecars.backup.keeping.verification import reencrypt, rewrap, successor, verify_backup
from sealwire.sidecars.backup.sealed.key_slots import Identity
from sealwire.sidecars.backup.sealed.manifest import MANIFEST_MEMBER, Manifest, serialize
from sealwire.sidecars.backup.sealed.payload import create_backup, open_backup, read_sidecar
from sealwire.sidecars.backup.sealed.sidecar import Sidecar
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.errors import (
    BackupReason,
    CannotCreate,
    Denied,
    Missing,
    SidecarError,
    Unavailable,
    Unsound,
)
from tests.keys.samples import NOW
from tests.sidecars.backup.samples import (
    DUMP,
    KEK,
    OTHER_KEK,
    PRIVATE,
    change,
    documents,
    make_dump,
    make_manifest,
    make_tar,
    member,
    seal,
)
from tests.support.reasons import raising


def sidecar(store: LocalStore) -> Sidecar:
    raw = read_sidecar(store, "b")
    assert raw is not None
    return raw.sidecar


def seal_files(
    store: LocalStore, files: Sequence[tuple[str, bytes]], manifest: Manifest, *, inside: bytes | None = None
) -> None:
    content = serialize(manifest) if inside is None else inside
    with create_backup(store, "b", [KEK]) as writer:
        writer.write(make_tar([*files, (MANIFEST_MEMBER, content)]))
        writer.commit(manifest)


def reason_of(store: LocalStore) -> Enum:
    with pytest.raises(SidecarError) as caught:
        verify_backup(store, "b", [KEK], NOW)
    return caught.value.reason


FILES = [(path, content) for path, content, _, _ in DUMP]
MANIFEST = make_dump()[1]


def test_a_sound_backup_is_said_to_be_so_and_the_sidecar_says_when(store: LocalStore) -> None:
    manifest = seal(store)
    assert sidecar(store).verified is None
    seen: list[int] = []
    found = verify_backup(store, "b", [KEK], NOW + timedelta(microseconds=5), seen.append)
    assert (found.manifest, found.recorded, found.rebuilt) == (manifest, True, False)
    assert sidecar(store).verified == NOW
    assert sum(seen) == manifest.size
    assert found.manifest.documents == 20
    assert found.manifest.namespaces == ("clinic.empty", "clinic.patients")


def test_a_lost_sidecar_is_written_again(store: LocalStore, tmp_path: Path) -> None:
    seal(store)
    before = sidecar(store)
    (tmp_path / "b.tar.gz.enc.json").unlink()
    found = verify_backup(store, "b", [KEK], NOW)
    assert found.rebuilt
    assert sidecar(store) == replace(before, verified=NOW)
    assert verify_backup(store, "b", [KEK], NOW).rebuilt is False


def test_a_store_that_may_not_be_written_does_not_fail_the_check(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal(store)

    def deny(*_: object) -> None:
        raise Unavailable(BackupReason.STORE_DENIED, "read-only")

    monkeypatch.setattr(store, "replace_small", deny)
    assert verify_backup(store, "b", [KEK], NOW).recorded is False


def test_damage_is_found_and_takes_the_word_back(store: LocalStore, tmp_path: Path) -> None:
    seal(store)
    verify_backup(store, "b", [KEK], NOW)
    change(tmp_path / "b.tar.gz.enc", lambda content: content[:-1] + bytes((content[-1] ^ 1,)))
    assert reason_of(store) is BackupReason.ALTERED
    assert sidecar(store).verified is None


def test_a_rekey_during_the_check_is_not_undone(store: LocalStore) -> None:
    from sealwire.sidecars.backup.keeping.verification import rewrap

    seal(store)
    done: list[int] = []

    def rekey_once(_: int) -> None:
        if not done:
            done.append(1)
            rewrap(store, "b", [KEK], [OTHER_KEK])

    verify_backup(store, "b", [KEK], NOW, rekey_once)
    assert [slot.key_id for slot in sidecar(store).slots] == [OTHER_KEK.id]
    assert sidecar(store).verified == NOW


@pytest.mark.parametrize(
    ("change_files", "reason"),
    [
        (lambda files: files[1:], BackupReason.MEMBER_MISSING),
        (lambda files: [*files, ("clinic/more.bson", b"")], BackupReason.MEMBER_UNKNOWN),
        (lambda files: [*files, files[0]], BackupReason.ARCHIVE),
        (lambda files: [(files[0][0], b"{}"), *files[1:]], BackupReason.CHECKSUM),
        (lambda files: [files[0], (files[1][0], documents(19)), files[2]], BackupReason.COUNT),
        (lambda files: [files[0], (files[1][0], documents(20, "y")), files[2]], BackupReason.CHECKSUM),
        (lambda files: [files[0], (files[1][0], documents(20)[:-1]), files[2]], BackupReason.BSON),
    ],
)
def test_what_does_not_add_up_has_a_reason(
    store: LocalStore,
    change_files: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]],
    reason: BackupReason,
) -> None:
    seal_files(store, change_files(FILES), MANIFEST)
    assert reason_of(store) is reason


def test_the_manifests_inside_and_beside_are_the_same(store: LocalStore) -> None:
    other = serialize(replace(MANIFEST, server_version="7.0.0"))
    seal_files(store, FILES, MANIFEST, inside=other)
    assert reason_of(store) is BackupReason.MANIFEST


def test_the_manifest_inside_is_needed_and_canonical(store: LocalStore, tmp_path: Path) -> None:
    seal_files(store, FILES, MANIFEST, inside=serialize(MANIFEST).replace(b"\n", b" \n", 1))
    assert reason_of(store) is BackupReason.MANIFEST


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (make_tar(FILES), BackupReason.MANIFEST),
        (b"not a tar" * 200, BackupReason.ARCHIVE),
        (make_dump()[0][:700], BackupReason.ARCHIVE),
    ],
    ids=["no manifest", "no tar", "half a tar"],
)
def test_authentic_bytes_that_are_no_dump_have_a_reason(
    store: LocalStore, content: bytes, reason: BackupReason
) -> None:
    with create_backup(store, "b", [KEK]) as writer:
        writer.write(content)
        writer.commit(make_manifest())
    assert reason_of(store) is reason


def test_links_and_devices_in_the_tar_are_refused(store: LocalStore) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        link = tarfile.TarInfo("clinic/patients.bson")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with create_backup(store, "b", [KEK]) as writer:
        writer.write(out.getvalue())
        writer.commit(make_manifest())
    assert reason_of(store) is BackupReason.ARCHIVE


@pytest.mark.parametrize(
    "data", [b"\x04\0\0\0", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x05\0\0\0\x01", b"\x05\0\0", b"\x06\0\0\0\0"]
)
def test_a_member_that_is_no_bson_is_refused(store: LocalStore, data: bytes) -> None:
    found = [member("clinic/patients.bson", data, "clinic.patients", 1)]
    seal_files(store, [("clinic/patients.bson", data)], make_manifest(found))
    assert reason_of(store) is BackupReason.BSON


def test_a_member_says_what_it_is() -> None:
    with pytest.raises(ValueError, match="path"):
        member(MANIFEST_MEMBER, b"")


PAYLOAD = "b.tar.gz.enc"


def opens(store: LocalStore, identity: Identity, name: str = "b") -> bool:
    try:
        with open_backup(store, name, [identity]) as reader:
            assert reader.read() == make_dump()[0]
            reader.finish()
    except Denied:
        return False
    return True


def test_wrapping_anew_changes_who_can_open_it_and_not_the_payload(store: LocalStore, tmp_path: Path) -> None:
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
    with raising(Missing, BackupReason.SIDECAR_MISSING):
        rewrap(store, "b", [KEK], [OTHER_KEK])


def test_a_provider_that_is_gone_changes_nothing(store: LocalStore, tmp_path: Path) -> None:
    seal(store)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    class Gone(LocalKek):
        def wrap(self, key: bytes, associated_data: bytes) -> bytes:
            raise KekUnavailable(KeysReason.KEK_UNREACHABLE, "gone")

    for attempt in (rewrap, reencrypt):
        with pytest.raises(KekUnavailable):
            attempt(store, "b", [KEK], [OTHER_KEK, Gone(bytes(32))])
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
