"""The digest of a collection: the same in every order, another for every change."""

import hashlib

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.sidecars.backup.archive.contents import ContentDigest, digest, split_documents
from sealwire.sidecars.backup.errors import BackupDamaged, BackupReason

DOCUMENTS = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.integers(-5, 5)),
    max_size=8,
)


def encoded(documents: list[dict[str, int]]) -> list[bytes]:
    return [bson.encode(document) for document in documents]


@given(DOCUMENTS, st.randoms())
def test_order_does_not_count(documents: list[dict[str, int]], random: object) -> None:
    whole = encoded(documents)
    assert digest(b"".join(whole)) == digest(b"".join(reversed(whole)))


@given(DOCUMENTS, st.integers(0, 8))
def test_parts_add_up_to_the_whole(documents: list[dict[str, int]], cut: int) -> None:
    whole = encoded(documents)
    parts = digest(b"".join(whole[:cut])) + digest(b"".join(whole[cut:]))
    assert parts == digest(b"".join(whole))


def test_of_one_document_it_is_its_sha256() -> None:
    document = bson.encode({"a": 1})
    assert digest(document).sha256_sum == hashlib.sha256(document).hexdigest()


def test_lost_doubled_and_changed_documents_show() -> None:
    one, two = bson.encode({"a": 1}), bson.encode({"a": 2})
    whole = digest(one + two)
    assert whole != digest(one)
    assert whole != digest(one + one)
    assert whole != digest(one + two + two)
    assert digest(b"") == ContentDigest()


@pytest.mark.parametrize(
    "data",
    [
        b"\x05\0\0",
        b"\x04\0\0\0\0",
        b"\x06\0\0\0\0",
        b"\xff\xff\xff\xff\0",
        b"\x05\0\0\0\x01",
        (17 << 20).to_bytes(4, "little") + bytes((17 << 20) - 4),
    ],
)
def test_what_is_no_bson_is_refused(data: bytes) -> None:
    with pytest.raises(BackupDamaged) as caught:
        list(split_documents(data))
    assert caught.value.reason is BackupReason.BSON
