"""Writer and reader together, on a directory: what goes in comes out, and nothing else ever does."""

import gzip
import hashlib
import io
import json
import queue
import random
import re
import tarfile
import zlib
from contextlib import closing, suppress
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sealwire.keys.kek.kek import LocalKek
from sealwire.sidecars.backup.sealed import chunk_io
from sealwire.sidecars.backup.sealed.key_slots import Identity, Recipient
from sealwire.sidecars.backup.sealed.manifest import MANIFEST_MEMBER, format_time
from sealwire.sidecars.backup.sealed.payload import begin_backup, begin_reading, create_backup, open_backup
from sealwire.sidecars.backup.sealed.sidecar import seal_sidecar
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.errors import (
    BackupReason,
    CannotCreate,
    Denied,
    Missing,
    SidecarError,
    Unsound,
    Unusable,
)
from tests.keys.samples import KEK_A
from tests.sidecars.backup.samples import (
    DUMP,
    KEK,
    OTHER_KEK,
    PAYLOAD,
    PRIVATE,
    SIDECAR,
    SMALL_CHUNK,
    change,
    make_dump,
    make_manifest,
    read_all,
    refusal,
    seal,
)
from tests.support.reasons import raising


@pytest.mark.parametrize(
    ("recipient", "identity"), [(KEK, KEK), (PRIVATE.public, PRIVATE)], ids=["kek", "key pair"]
)
def test_what_was_written_comes_back(store: LocalStore, recipient: Recipient, identity: Identity) -> None:
    manifest = seal(store, recipients=[recipient])
    with open_backup(store, "b", [identity]) as reader:
        assert reader.sidecar is not None
        assert reader.sidecar.manifest == manifest
        data = reader.read()
        reader.finish()
    assert data == make_dump()[0]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == [*(path for path, *_ in DUMP), MANIFEST_MEMBER]


def test_each_recipient_opens_it_alone(store: LocalStore) -> None:
    seal(store, recipients=[KEK, OTHER_KEK, PRIVATE.public])
    contents = {read_all(store, identity) for identity in (KEK, OTHER_KEK, PRIVATE)}
    assert contents == {make_dump()[0]}


@given(data=st.binary(max_size=700), step=st.integers(1, 300), chunk=st.sampled_from([64, 65, 100, 1 << 20]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_content_in_any_pieces_comes_back(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, step: int, chunk: int
) -> None:
    store = LocalStore(tmp_path_factory.mktemp("store"))
    with create_backup(store, "b", [KEK], chunk) as writer:
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
        assert writer.tell() == len(data)
        writer.commit(make_manifest())
    with open_backup(store, "b", [KEK]) as reader:
        parts = []
        while part := reader.read(step):
            parts.append(part)
        reader.finish()
    assert b"".join(parts) == data


def test_a_megabyte_of_noise_in_the_default_chunks_comes_back(store: LocalStore) -> None:
    data = random.Random(1).randbytes(3_500_000)
    with create_backup(store, "b", [KEK]) as writer:
        writer.write(data)
        writer.commit(make_manifest())
    assert read_all(store) == data


@pytest.mark.parametrize("times", [1, 2])
def test_a_block_that_came_late_is_not_taken_for_the_end(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """The library waits for its thread, gives up, then finds it ended: with its last blocks, or without."""
    seal(store)
    with open_backup(store, "b", [KEK]) as reader:
        library = cast(Any, reader._gzip._opened).raw
        library.worker.join(60)
        take, vain = library.queue.get, iter(range(times))

        def late(*waits: Any, **more: Any) -> bytes:
            if next(vain, None) is not None:
                raise queue.Empty
            return bytes(take(*waits, **more))

        monkeypatch.setattr(library.queue, "get", late)
        if times == 1:
            assert reader.read() == make_dump()[0]
            reader.finish()
        else:
            with raising(Unsound, BackupReason.COMPRESSION):
                reader.read()


def inflated(data: bytes) -> bytes:
    """What gzip would give back, from each place in `data` that looks like its beginning."""
    found = bytearray()
    for begin in re.finditer(rb"\x1f\x8b\x08", data):
        gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
        with suppress(zlib.error):
            for at in range(begin.start(), len(data)):
                found += gzip.decompress(data[at : at + 1])
    return bytes(found)


def test_no_word_of_the_content_is_in_the_files(store: LocalStore, tmp_path: Path) -> None:
    seal(store, chunk_bytes=1 << 20)
    payload = (tmp_path / PAYLOAD).read_bytes()
    # compressed alone it would not show the words either
    for data in (payload, inflated(payload)):
        assert not any(word in data for word in (b"clinic", b"patients", b"text"))
    assert b"clinic" in inflated(b"head" + zlib.compress(make_dump()[0], wbits=zlib.MAX_WBITS | 16))


def test_two_backups_of_the_same_share_nothing_but_the_form(store: LocalStore, tmp_path: Path) -> None:
    seal(store, "one")
    seal(store, "two")
    one, two = ((tmp_path / f"{name}.tar.gz.enc").read_bytes() for name in ("one", "two"))
    assert len(one) == len(two)
    assert one[-200:] != two[-200:]


def test_files_are_private(store: LocalStore, tmp_path: Path) -> None:
    seal(store)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        PAYLOAD: 0o600,
        SIDECAR: 0o600,
    }


def test_leaving_without_commit_leaves_nothing(store: LocalStore, tmp_path: Path) -> None:
    with create_backup(store, "b", [KEK]) as writer:
        writer.write(bytes(5_000_000))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="already"):
        writer.write(b"more")


def test_an_error_inside_leaves_nothing_and_comes_out(store: LocalStore, tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with create_backup(store, "b", [KEK]) as writer:
            writer.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_after_commit(store: LocalStore) -> None:
    tar, manifest = make_dump()
    with create_backup(store, "b", [KEK]) as writer:
        writer.write(tar)
        writer.commit(manifest)
        with pytest.raises(ValueError, match="already"):
            writer.commit(manifest)
    assert read_all(store) == tar


def test_a_name_that_is_taken_is_refused_and_what_is_there_stays(store: LocalStore) -> None:
    seal(store)
    with pytest.raises(CannotCreate), create_backup(store, "b", [OTHER_KEK]):
        pass
    assert read_all(store) == make_dump()[0]


def test_a_backup_from_elsewhere_meanwhile_keeps_its_sidecar(store: LocalStore, tmp_path: Path) -> None:
    seal(store, "other")
    tar, manifest = make_dump()
    with create_backup(store, "b", [OTHER_KEK]) as writer:
        writer.write(tar)
        for suffix in ("tar.gz.enc", "tar.gz.enc.json"):
            (tmp_path / f"other.{suffix}").rename(tmp_path / f"b.{suffix}")
        with pytest.raises(CannotCreate):
            writer.commit(manifest)
    assert read_all(store) == tar
    assert not list(tmp_path.glob(".*.partial"))


def test_two_writers_of_one_name_do_not_meet(store: LocalStore) -> None:
    tar, manifest = make_dump()
    with create_backup(store, "b", [KEK]) as writer:
        with pytest.raises(CannotCreate), create_backup(store, "b", [KEK]):
            pass
        writer.write(tar)
        writer.commit(manifest)
    assert read_all(store) == tar


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../a", "a\n", "x" * 129, "ä"])
def test_a_name_that_could_lead_elsewhere_is_refused(store: LocalStore, name: str) -> None:
    with raising(Unusable, BackupReason.NAME), create_backup(store, name, [KEK]):
        pass


def test_recipients_are_needed_and_differ(store: LocalStore) -> None:
    for recipients in ([], [KEK, KEK]):
        with raising(Unusable, BackupReason.RECIPIENT), create_backup(store, "b", recipients):
            pass


def test_another_key_is_told_which_key_it_would_be(store: LocalStore) -> None:
    seal(store)
    error = refusal(store, OTHER_KEK)
    assert isinstance(error, Denied)
    assert error.reason is BackupReason.KEY_OTHER
    assert KEK.id in error.hint
    with raising(Denied, BackupReason.NO_KEY):
        open_backup(store, "b", [])


def test_a_signal_before_anything_was_written_leaves_nothing(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(_chunks: object) -> None:
        assert list(tmp_path.iterdir())  # the header is there already
        raise KeyboardInterrupt

    monkeypatch.setattr(chunk_io, "gzipped", ended)
    with pytest.raises(KeyboardInterrupt), create_backup(store, "b", [KEK]):
        pass
    assert list(tmp_path.iterdir()) == []


class Guess(LocalKek):
    """Says that it is the key of a backup, and has another one."""

    def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        return bytes(32)


def test_nothing_opens_with_a_data_key_that_was_guessed(store: LocalStore, tmp_path: Path) -> None:
    seal(store)
    for _ in range(2):
        error = refusal(store, Guess(KEK_A))
        assert isinstance(error, Unsound)
        assert error.reason is BackupReason.HEADER
        (tmp_path / SIDECAR).unlink(missing_ok=True)


def test_time_size_and_checksum_are_beside_it(store: LocalStore, tmp_path: Path) -> None:
    manifest = seal(store)
    payload = (tmp_path / PAYLOAD).read_bytes()
    beside = json.loads((tmp_path / SIDECAR).read_bytes())
    assert (beside["payload_bytes"], beside["payload_sha256"]) == (
        len(payload),
        hashlib.sha256(payload).hexdigest(),
    )
    assert beside["manifest"]["created"] == format_time(manifest.created)


def test_a_backup_that_is_not_there_is_missing(store: LocalStore) -> None:
    assert isinstance(refusal(store), Missing)


def test_the_payload_opens_by_itself_when_the_sidecar_is_lost(store: LocalStore, tmp_path: Path) -> None:
    seal(store)
    (tmp_path / SIDECAR).unlink()
    with open_backup(store, "b", [KEK]) as reader:
        assert reader.sidecar is None
        assert reader.read() == make_dump()[0]
        reader.finish()


# Nothing that was changed, cut, exchanged or added in a sealed backup is ever read as content.


Original = tuple[bytes, bytes]
Damaged = tuple[LocalStore, Path]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    directory = tmp_path_factory.mktemp("original")
    seal(LocalStore(directory))
    return (directory / PAYLOAD).read_bytes(), (directory / SIDECAR).read_bytes()


class TestDamage:
    """Each change of the payload is noticed, and no byte that was not written comes out first."""

    def noticed(self, store: LocalStore) -> Enum:
        returned = bytearray()

        def read() -> None:
            with open_backup(store, "b", [KEK]) as reader:
                while part := reader.read(16):
                    returned.extend(part)
                reader.finish()

        # A changed name of a key makes the slot that of somebody else.
        with pytest.raises((Unsound, Denied)) as caught:
            read()
        assert isinstance(caught.value, SidecarError)
        assert make_dump()[0].startswith(returned)
        return caught.value.reason

    @pytest.fixture(params=[True, False], ids=["with sidecar", "payload alone"])
    def damaged(
        self,
        request: pytest.FixtureRequest,
        tmp_path_factory: pytest.TempPathFactory,
        original: Original,
    ) -> Damaged:
        directory = tmp_path_factory.mktemp("damaged")
        if request.param:
            (directory / SIDECAR).write_bytes(original[1])
        return LocalStore(directory), directory / PAYLOAD

    @given(data=st.data())
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
    def test_a_flipped_bit(self, damaged: Damaged, original: Original, data: st.DataObject) -> None:
        payload = bytearray(original[0])
        bit = data.draw(st.integers(0, len(payload) * 8 - 1))
        payload[bit // 8] ^= 1 << bit % 8
        damaged[1].write_bytes(payload)
        self.noticed(damaged[0])

    @given(data=st.data())
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
    def test_a_cut(self, damaged: Damaged, original: Original, data: st.DataObject) -> None:
        length = data.draw(st.integers(0, len(original[0]) - 1))
        damaged[1].write_bytes(original[0][:length])
        self.noticed(damaged[0])

    @given(data=st.data())
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
    def test_chunks_swapped_left_out_or_repeated(
        self, damaged: Damaged, original: Original, data: st.DataObject
    ) -> None:
        header, chunks = split(original[0])
        order = data.draw(st.lists(st.integers(0, len(chunks) - 1), max_size=len(chunks) + 2))
        if order == list(range(len(chunks))):
            return
        damaged[1].write_bytes(header + b"".join(chunks[index] for index in order))
        self.noticed(damaged[0])

    @given(extra=st.binary(min_size=1, max_size=200))
    @example(extra=bytes(16))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
    def test_something_appended(self, damaged: Damaged, original: Original, extra: bytes) -> None:
        damaged[1].write_bytes(original[0] + extra)
        self.noticed(damaged[0])

    def test_the_file_twice(self, damaged: Damaged, original: Original) -> None:
        damaged[1].write_bytes(original[0] * 2)
        assert self.noticed(damaged[0]) is BackupReason.ALTERED

    def test_a_cut_between_chunks_is_called_a_cut(self, damaged: Damaged, original: Original) -> None:
        header, chunks = split(original[0])
        damaged[1].write_bytes(header + b"".join(chunks[:3]))
        assert self.noticed(damaged[0]) is BackupReason.TRUNCATED

    def test_the_header_of_another_backup_for_the_same_key(
        self, damaged: Damaged, original: Original, tmp_path: Path
    ) -> None:
        other = LocalStore(tmp_path)
        seal(other)
        header, _ = split((tmp_path / PAYLOAD).read_bytes())
        damaged[1].write_bytes(header + original[0][len(header) :])
        self.noticed(damaged[0])

    def test_chunks_of_another_backup(self, damaged: Damaged, original: Original, tmp_path: Path) -> None:
        seal(LocalStore(tmp_path))
        header, _ = split(original[0])
        _, chunks = split((tmp_path / PAYLOAD).read_bytes())
        damaged[1].write_bytes(header + b"".join(chunks))
        assert self.noticed(damaged[0]) is BackupReason.ALTERED


def split(payload: bytes) -> tuple[bytes, list[bytes]]:
    """A payload with chunks of SMALL_CHUNK, at its seams; computed here from the written format."""
    length = 12 + int.from_bytes(payload[8:12], "big") + 32
    header, rest = payload[:length], payload[length:]
    step = SMALL_CHUNK + 16
    return header, [rest[start : start + step] for start in range(0, len(rest), step)]


class TestSidecarDamage:
    @given(data=st.data())
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
    def test_a_flipped_bit(self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
        directory = tmp_path_factory.mktemp("store")
        store = LocalStore(directory)
        seal(store)
        content = bytearray((directory / SIDECAR).read_bytes())
        bit = data.draw(st.integers(0, len(content) * 8 - 1))
        content[bit // 8] ^= 1 << bit % 8
        (directory / SIDECAR).write_bytes(content)
        with pytest.raises((Unsound, Denied)):
            read_all(store)

    def test_that_of_another_backup(self, store: LocalStore, tmp_path: Path) -> None:
        seal(store)
        seal(store, "other")
        change(tmp_path / SIDECAR, lambda _: (tmp_path / "other.tar.gz.enc.json").read_bytes())
        assert refusal(store).reason is BackupReason.SIDECAR_OTHER

    def test_a_slot_exchanged_for_one_of_another_backup(self, store: LocalStore, tmp_path: Path) -> None:
        seal(store)
        seal(store, "other")

        def wrapped(content: bytes) -> bytes:
            return content.split(b'"wrapped": "')[1].split(b'"')[0]

        other = wrapped((tmp_path / "other.tar.gz.enc.json").read_bytes())
        change(tmp_path / SIDECAR, lambda content: content.replace(wrapped(content), other))
        assert refusal(store).reason is BackupReason.HEADER

    def test_one_with_the_key_that_describes_another_file(self, store: LocalStore) -> None:
        seal(store)
        with closing((backup := begin_reading(store, "b", [KEK])).stream):
            assert backup.sidecar is not None
            other = replace(backup.sidecar, payload_sha256="0" * 64)
        store.replace_small(SIDECAR, seal_sidecar(other, backup.keys))
        assert refusal(store).reason is BackupReason.SIDECAR_OTHER


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(make_dump()[0]) + b"more"], ids=["no gzip", "more behind it"]
)
def test_authentic_bytes_that_are_no_gzip_are_refused(store: LocalStore, content: bytes) -> None:
    with begin_backup(store, "b", [KEK]) as new:
        new.chunks.write(content)
        new.commit(make_manifest())
    assert refusal(store).reason is BackupReason.COMPRESSION
