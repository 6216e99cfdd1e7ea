"""Nothing that was changed, cut, exchanged or added in a sealed backup is ever read as content."""

import gzip
from contextlib import closing
from dataclasses import replace
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sealwire.sidecars.backup.sealed.payload import begin_backup, begin_reading, open_backup
from sealwire.sidecars.backup.sealed.sidecar import seal_sidecar
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.errors import BackupReason, Denied, SidecarError, Unsound
from tests.sidecars.backup.samples import (
    KEK,
    SMALL_CHUNK,
    change,
    make_dump,
    make_manifest,
    seal,
)
from tests.sidecars.backup.sealed.sealed_samples import PAYLOAD, SIDECAR, read_all, refusal


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
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
        original: tuple[bytes, bytes],
    ) -> tuple[LocalStore, Path]:
        directory = tmp_path_factory.mktemp("damaged")
        if request.param:
            (directory / SIDECAR).write_bytes(original[1])
        return LocalStore(directory), directory / PAYLOAD

    @given(data=st.data())
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
    def test_a_flipped_bit(
        self, damaged: tuple[LocalStore, Path], original: tuple[bytes, bytes], data: st.DataObject
    ) -> None:
        payload = bytearray(original[0])
        bit = data.draw(st.integers(0, len(payload) * 8 - 1))
        payload[bit // 8] ^= 1 << bit % 8
        damaged[1].write_bytes(payload)
        self.noticed(damaged[0])

    @given(data=st.data())
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
    def test_a_cut(
        self, damaged: tuple[LocalStore, Path], original: tuple[bytes, bytes], data: st.DataObject
    ) -> None:
        length = data.draw(st.integers(0, len(original[0]) - 1))
        damaged[1].write_bytes(original[0][:length])
        self.noticed(damaged[0])

    @given(data=st.data())
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
    def test_chunks_swapped_left_out_or_repeated(
        self, damaged: tuple[LocalStore, Path], original: tuple[bytes, bytes], data: st.DataObject
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
    def test_something_appended(
        self, damaged: tuple[LocalStore, Path], original: tuple[bytes, bytes], extra: bytes
    ) -> None:
        damaged[1].write_bytes(original[0] + extra)
        self.noticed(damaged[0])

    def test_the_file_twice(self, damaged: tuple[LocalStore, Path], original: tuple[bytes, bytes]) -> None:
        damaged[1].write_bytes(original[0] * 2)
        assert self.noticed(damaged[0]) is BackupReason.ALTERED

    def test_a_cut_between_chunks_is_called_a_cut(
        self, damaged: tuple[LocalStore, Path], original: tuple[bytes, bytes]
    ) -> None:
        header, chunks = split(original[0])
        damaged[1].write_bytes(header + b"".join(chunks[:3]))
        assert self.noticed(damaged[0]) is BackupReason.TRUNCATED

    def test_the_header_of_another_backup_for_the_same_key(
        self, damaged: tuple[LocalStore, Path], original: tuple[bytes, bytes], tmp_path: Path
    ) -> None:
        other = LocalStore(tmp_path)
        seal(other)
        header, _ = split((tmp_path / PAYLOAD).read_bytes())
        damaged[1].write_bytes(header + original[0][len(header) :])
        self.noticed(damaged[0])

    def test_chunks_of_another_backup(
        self, damaged: tuple[LocalStore, Path], original: tuple[bytes, bytes], tmp_path: Path
    ) -> None:
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

    def test_a_slot_that_was_exchanged_for_one_of_another_backup(
        self, store: LocalStore, tmp_path: Path
    ) -> None:
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
