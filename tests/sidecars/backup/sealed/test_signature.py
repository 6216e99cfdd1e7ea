"""A signed backup is what its signer wrote, whoever else can seal; and an unsigned one says who could."""

import gzip
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.audit.signing import SigningKey, VerificationKey, make_key
from sealwire.sidecars.backup.keeping.verification import rewrap, verify_backup
from sealwire.sidecars.backup.sealed.chunk_io import ChunkWriter
from sealwire.sidecars.backup.sealed.key_slots import BackupKeys, KeySlot, seal_header
from sealwire.sidecars.backup.sealed.payload import OpenBackup, begin_reading
from sealwire.sidecars.backup.sealed.sidecar import BackupOrigin, BackupWriter, Sidecar, seal_sidecar
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.errors import BackupReason, Denied, SidecarError, Unsound
from tests.keys.samples import NOW
from tests.sidecars.backup.samples import (
    KEK,
    OTHER_KEK,
    PAYLOAD,
    PRIVATE,
    SIDECAR,
    SIGNING,
    SMALL_CHUNK,
    make_dump,
    make_manifest,
    seal,
)
from tests.support.reasons import raising

SIGNER = SIGNING.verification
FORGER = make_key(SIGNER.name, bytes(32))
"""Of the same name, so that only the key itself tells them apart."""


def origin(store: LocalStore, *signed_by: VerificationKey, name: str = "b") -> BackupOrigin:
    """What verify says, opened by the private half of the public key."""
    return verify_backup(store, name, [PRIVATE, KEK], NOW, signed_by=signed_by).origin


def refusal(store: LocalStore, *, name: str = "b", by: VerificationKey = SIGNER) -> Enum:
    with pytest.raises(SidecarError) as caught:
        origin(store, by, name=name)
    return caught.value.reason


def opened(store: LocalStore) -> OpenBackup:
    with closing((backup := begin_reading(store, "b", [PRIVATE, KEK])).stream):
        return backup


def seal_for_public(store: LocalStore, name: str = "b", sign_with: SigningKey | None = None) -> None:
    seal(store, name, [PRIVATE.public], sign_with=sign_with)


class TestSigned:
    def test_names_its_signer(self, store: LocalStore) -> None:
        seal_for_public(store, sign_with=SIGNING)
        found = origin(store, FORGER.verification, SIGNER)
        assert (found.signed_by, found.writer, found.is_unchecked) == (SIGNER, BackupWriter.SIGNER, False)
        assert found.to_json() == {"signed_by": SIGNER.fingerprint, "writer": "signer"}
        assert SIGNER.fingerprint in str(found)

    def test_is_signed_by_nobody_else(self, store: LocalStore) -> None:
        seal_for_public(store, sign_with=SIGNING)
        assert refusal(store, by=FORGER.verification) is BackupReason.SIGNATURE

    def test_does_not_name_a_signer_that_was_not_checked(self, store: LocalStore) -> None:
        seal_for_public(store, sign_with=FORGER)
        found = origin(store)
        assert (found.signed_by, found.writer, found.is_unchecked) == (None, BackupWriter.ANYBODY, True)
        assert "not checked" in str(found)

    def test_stays_signed_when_it_is_verified_and_rewrapped(self, store: LocalStore) -> None:
        seal_for_public(store, sign_with=SIGNING)
        rewrap(store, "b", [PRIVATE], [OTHER_KEK])
        for _ in range(2):
            found = verify_backup(store, "b", [OTHER_KEK], NOW, signed_by=[SIGNER])
            assert found.recorded
            assert found.origin.signed_by == SIGNER

    def test_under_another_name_is_refused(self, store: LocalStore, tmp_path: Path) -> None:
        seal_for_public(store, sign_with=SIGNING)
        (tmp_path / PAYLOAD).rename(tmp_path / "newer.tar.gz.enc")
        (tmp_path / SIDECAR).rename(tmp_path / "newer.tar.gz.enc.json")
        assert refusal(store, name="newer") is BackupReason.SIGNATURE

    def test_without_its_sidecar_is_unsigned(self, store: LocalStore, tmp_path: Path) -> None:
        seal_for_public(store, sign_with=SIGNING)
        (tmp_path / SIDECAR).unlink()
        assert refusal(store) is BackupReason.UNSIGNED
        assert origin(store).is_unchecked is False


class TestUnsigned:
    """The verdict says who could have made it."""

    def test_is_what_it_always_was(self, store: LocalStore, tmp_path: Path) -> None:
        seal_for_public(store)
        sidecar = json.loads((tmp_path / SIDECAR).read_bytes())
        assert sidecar["version"] == 1
        assert "signature" not in sidecar
        assert refusal(store) is BackupReason.UNSIGNED

    def test_for_a_public_key_is_from_anybody(self, store: LocalStore) -> None:
        seal_for_public(store)
        found = origin(store)
        assert found.to_json() == {"signed_by": None, "writer": "anybody"}
        assert f"by anybody who has the public key {PRIVATE.id}" in str(found)

    def test_for_a_key_encryption_key_is_from_one_of_its_users(self, store: LocalStore) -> None:
        seal(store)
        found = origin(store)
        assert found.writer is BackupWriter.KEY_HOLDER
        assert KEK.id in str(found)

    def test_that_was_rewrapped_is_from_anybody(self, store: LocalStore) -> None:
        """Who wraps a forged backup again does not vouch for it."""
        seal_for_public(store)
        rewrap(store, "b", [PRIVATE], [KEK])
        found = origin(store)
        assert found.writer is BackupWriter.ANYBODY
        assert "rekeyed" in str(found)

    def test_with_a_made_up_slot_for_a_key_encryption_key_is_from_anybody(self, store: LocalStore) -> None:
        keys = BackupKeys.generate()
        slots = (*keys.wrap_for([PRIVATE.public]), KeySlot(KEK.id, bytes(80)))
        put(store, keys, *seal_header(keys, SMALL_CHUNK, slots), gzip.compress(make_dump()[0]))
        assert origin(store).writer is BackupWriter.ANYBODY
        with raising(Unsound, BackupReason.HEADER):
            begin_reading(store, "b", [KEK])


def put(store: LocalStore, keys: BackupKeys, header: bytes, tag: bytes, content: bytes) -> None:
    """A payload without a sidecar."""
    upload = store.begin(PAYLOAD)
    chunks = ChunkWriter(upload, header, keys.payload_key(tag), SMALL_CHUNK)
    chunks.write(content)
    chunks.finish()
    upload.commit()


class TestForgedWithThePublicKeyAlone:
    def test_unsigned(self, store: LocalStore) -> None:
        seal_for_public(store)
        assert refusal(store) is BackupReason.UNSIGNED

    def test_signed_with_a_key_of_his_own(self, store: LocalStore) -> None:
        seal_for_public(store, sign_with=FORGER)
        assert refusal(store) is BackupReason.SIGNATURE

    def test_with_the_signature_of_another_backup(self, store: LocalStore, tmp_path: Path) -> None:
        seal_for_public(store, sign_with=SIGNING)
        signature = json.loads((tmp_path / SIDECAR).read_bytes())["signature"]
        (tmp_path / PAYLOAD).unlink()
        seal_for_public(store)
        backup = opened(store)
        assert backup.sidecar is not None
        forged = replace(backup.sidecar, signature=signature)
        store.replace_small(SIDECAR, seal_sidecar(forged, backup.keys))
        assert origin(store).is_unchecked
        assert refusal(store) is BackupReason.SIGNATURE

    def test_with_the_signed_sidecar_of_another_backup(self, store: LocalStore, tmp_path: Path) -> None:
        seal_for_public(store, sign_with=SIGNING)
        sidecar = (tmp_path / SIDECAR).read_bytes()
        (tmp_path / PAYLOAD).unlink()
        seal_for_public(store)
        (tmp_path / SIDECAR).write_bytes(sidecar)
        assert refusal(store) is BackupReason.SIDECAR_OTHER

    def test_with_the_signed_header_of_another_backup(self, store: LocalStore, tmp_path: Path) -> None:
        seal_for_public(store, sign_with=SIGNING)
        payload = (tmp_path / PAYLOAD).read_bytes()
        end = 12 + int.from_bytes(payload[8:12], "big") + 32
        seal_for_public(store, "forged")
        forged = (tmp_path / "forged.tar.gz.enc").read_bytes()
        (tmp_path / PAYLOAD).write_bytes(payload[:end] + forged[end:])
        assert refusal(store) is BackupReason.ALTERED


class TestChangedByAHolderOfThePrivateKey:
    """He knows the data key, so every tag and MAC is right; only the signature tells."""

    @pytest.mark.parametrize(
        "change",
        [
            lambda known: replace(known, payload_sha256="0" * 64),
            lambda known: replace(known, manifest=make_manifest()),
            lambda known: replace(known, signature="\ud800"),
            lambda known: replace(known, signature=known.signature + "\n"),
            lambda known: replace(known, signature=""),
        ],
        ids=["checksum", "manifest", "no text", "another line", "empty"],
    )
    def test_sidecar(self, store: LocalStore, change: Callable[[Sidecar], Sidecar]) -> None:
        seal_for_public(store, sign_with=SIGNING)
        backup = opened(store)
        assert backup.sidecar is not None
        store.replace_small(SIDECAR, seal_sidecar(change(backup.sidecar), backup.keys))
        assert refusal(store) is BackupReason.SIGNATURE

    def test_recipients_in_the_header(self, store: LocalStore, tmp_path: Path) -> None:
        seal_for_public(store, sign_with=SIGNING)
        backup = opened(store)
        header, _ = seal_header(backup.keys, SMALL_CHUNK, backup.keys.wrap_for([PRIVATE.public, KEK]))
        payload = (tmp_path / PAYLOAD).read_bytes()
        end = len(backup.header.untagged) + 32
        (tmp_path / PAYLOAD).write_bytes(header + payload[end:])
        assert refusal(store) is BackupReason.SIGNATURE

    def test_content(self, store: LocalStore, tmp_path: Path) -> None:
        """Other chunks under the signed header are noticed at the end of the payload."""
        seal_for_public(store, sign_with=SIGNING)
        backup = opened(store)
        sidecar = (tmp_path / SIDECAR).read_bytes()
        header = backup.header.untagged + backup.header.tag
        (tmp_path / PAYLOAD).unlink()
        put(store, backup.keys, header, backup.header.tag, b"other content")
        (tmp_path / SIDECAR).write_bytes(sidecar)
        with closing((forged := begin_reading(store, "b", [PRIVATE], [SIGNER])).stream):
            assert forged.chunks.read() == b"other content"
            with pytest.raises(Unsound) as caught:
                forged.check_end()
        assert caught.value.reason is BackupReason.SIDECAR_OTHER


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    directory = tmp_path_factory.mktemp("original")
    seal_for_public(LocalStore(directory), sign_with=SIGNING)
    return {name: (directory / name).read_bytes() for name in (PAYLOAD, SIDECAR)}


@pytest.mark.parametrize("name", [PAYLOAD, SIDECAR])
@given(data=st.data())
@settings(max_examples=300)
def test_each_changed_byte_of_a_signed_backup_is_noticed(
    name: str, original: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("changed")
    content = bytearray(original[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    for each, raw in (original | {name: bytes(content)}).items():
        (directory / each).write_bytes(raw)
    with pytest.raises((Unsound, Denied)):
        verify_backup(LocalStore(directory), "b", [PRIVATE], NOW, signed_by=[SIGNER])


def test_each_changed_byte_of_what_is_signed_is_noticed_without_any_mac(store: LocalStore) -> None:
    """The signature alone, over every field and every character of it."""
    seal_for_public(store, sign_with=SIGNING)
    backup = opened(store)
    assert backup.sidecar is not None
    known, keys = backup.sidecar, backup.keys
    assert known.signature is not None
    refused = 0
    for field, text in (("payload_sha256", known.payload_sha256), ("signature", known.signature)):
        for at, letter in enumerate(text):
            if field == "signature" and at == len(text) - 2:
                continue  # base64 leaves two bits of its last letter unused
            other: dict[str, Any] = {field: text[:at] + "0f"[letter == "0"] + text[at + 1 :]}
            store.replace_small(SIDECAR, seal_sidecar(replace(known, **other), keys))
            assert refusal(store) is BackupReason.SIGNATURE
            refused += 1
    assert refused == len(known.payload_sha256) + len(known.signature) - 1
