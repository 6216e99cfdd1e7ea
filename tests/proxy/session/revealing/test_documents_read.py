"""How many documents a client was shown in the last hour."""

from typing import Any

import pytest
from bson import encode
from bson.int64 import Int64

from sealwire.proxy.session.replies import TooManyDocuments
from sealwire.proxy.session.revealing import documents_read
from sealwire.proxy.session.revealing.documents_read import HourlyCount, documents_in, pseudonym
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import MAX_DEPTH


def test_no_more_than_the_limit_in_an_hour() -> None:
    reads = HourlyCount()
    reads.take("ann", 3, 5)
    with pytest.raises(TooManyDocuments):
        reads.take("ann", 3, 5)
    reads.take("ann", 2, 5)
    reads.take("bob", 5, 5)
    assert (reads.of_last_hour("ann"), reads.of_last_hour("bob"), reads.of_last_hour("eve")) == (5, 5, 0)


def test_what_was_shown_an_hour_ago_counts_no_more() -> None:
    reads = HourlyCount()
    reads.take("ann", 3, 5)
    for _ in range(1800):
        reads.next_second()
    reads.take("ann", 2, 5)
    for _ in range(1799):
        reads.next_second()
    assert reads.of_last_hour("ann") == 5
    reads.next_second()
    assert reads.of_last_hour("ann") == 2
    for _ in range(1800):
        reads.next_second()
    assert reads.of_last_hour("ann") == 0


def test_what_other_processes_granted_counts_against_the_whole_limit() -> None:
    reads = HourlyCount()
    assert (reads.left("ann", 10, 2), reads.left("ann", 1, 2)) == (5, 1)
    reads.elsewhere = {pseudonym("documents", "ann"): 7, pseudonym("comparisons", "bob"): 9}
    assert (reads.left("ann", 10), reads.left("ann", 10, 2), reads.left("ann", 40, 2)) == (3, 3, 20)
    assert reads.left("bob", 10) == 10
    reads.take("ann", 2, 10)
    with pytest.raises(TooManyDocuments):
        reads.take("ann", 2, 10)
    assert (reads.left("ann", 10), reads.of_last_hour("ann"), reads.left("ann", 5)) == (1, 2, -4)


def test_what_was_granted_is_kept_for_a_report_if_somebody_takes_it() -> None:
    reads = HourlyCount()
    reads.take("ann", 2, 10)
    assert reads.unreported is None
    reads.unreported = {}
    for amount in (2, 3):
        reads.take("ann", amount, 10)
    with pytest.raises(TooManyDocuments):
        reads.take("bob", 11, 10)
    assert reads.unreported == {"ann": 5}


def test_a_pseudonym_is_of_one_user_and_one_kind_of_limit() -> None:
    names = {
        pseudonym(kind, client) for kind in ("documents", "comparisons") for client in ("ann@a", "bob@a")
    }
    assert len(names) == 4
    assert not any("ann" in name for name in names)


def test_no_documents_are_no_reason_to_remember_anybody() -> None:
    reads = HourlyCount()
    reads.take("ann", 0, 0)
    assert reads.of_last_hour("ann") == 0


@pytest.mark.plain_core(reason="replaces a constant of the core")
def test_clients_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents_read, "MAX_CLIENTS", 2)
    reads = HourlyCount()
    for name in ("ann", "bob", "eve"):
        reads.take(name, 1, 5)
    assert [reads.of_last_hour(name) for name in ("ann", "bob", "eve")] == [0, 1, 1]


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ({"cursor": {"firstBatch": [{}, {}], "id": Int64(0), "ns": "a.b"}, "ok": 1.0}, 2),
        ({"cursor": {"nextBatch": [{}], "id": Int64(0), "ns": "a.b"}, "ok": 1.0}, 1),
        ({"cursor": {"id": Int64(0), "ns": "a.b"}, "ok": 1.0}, 0),
        ({"values": [1, 2, 3], "ok": 1.0}, 3),
        ({"value": {"_id": 1}, "ok": 1.0}, 1),
        ({"value": None, "ok": 1.0}, 0),
        ({"n": 5, "ok": 1.0}, 0),
        ({"cursor": 5, "values": 5}, 0),
    ],
)
def test_documents_of_a_reply(body: dict[str, Any], count: int) -> None:
    assert documents_in(encode(body), 0, gathered=False) == count


@pytest.mark.parametrize(
    ("document", "count"),
    [
        ({}, 1),
        ({"a": 1, "b": {"c": 2}}, 1),
        ({"a": [1, 2, 3]}, 3),
        ({"a": []}, 1),
        ({"a": [{"x": [1, 2]}, {"x": []}, 5]}, 4),
        ({"a": [1, 2], "b": {"c": [1, 2, 3]}, "d": [1]}, 5),
        ({"a": [[1, 2], [3, 4]]}, 4),
    ],
)
def test_what_is_gathered_in_a_document_counts_by_the_items_of_its_arrays(
    document: dict[str, Any], count: int
) -> None:
    body = {"cursor": {"firstBatch": [document], "id": Int64(0), "ns": "a.b"}}
    assert documents_in(encode(body), 0, gathered=True) == count
    assert documents_in(encode(body), 0, gathered=False) == 1


def _nested(levels: int) -> bytes:
    document = encode({})
    for _ in range(levels):
        document = (len(document) + 8).to_bytes(4, "little") + b"\x04a\0" + document + b"\0"
    return document


def test_a_reply_is_gone_into_as_deep_as_servers_nest() -> None:
    for levels, is_fine in ((MAX_DEPTH - 5, True), (MAX_DEPTH + 5, False)):
        values = _nested(levels)
        batch = (len(values) + 8).to_bytes(4, "little") + b"\x03a\0" + values + b"\0"
        cursor = (len(batch) + 17).to_bytes(4, "little") + b"\x04firstBatch\0" + batch + b"\0"
        body = (len(cursor) + 13).to_bytes(4, "little") + b"\x03cursor\0" + cursor + b"\0"
        if is_fine:
            assert documents_in(body, 0, gathered=True) == 1
            continue
        with pytest.raises(BsonError):
            documents_in(body, 0, gathered=True)
