"""How many documents a client was shown in the last hour."""

from typing import Any

import pytest
from bson import encode
from bson.int64 import Int64

from sealwire.proxy.session.replies import TooManyDocuments
from sealwire.proxy.session.revealing import documents_read
from sealwire.proxy.session.revealing.documents_read import DocumentsRead, documents_in


def test_no_more_than_the_limit_in_an_hour() -> None:
    reads = DocumentsRead()
    reads.take("ann", 3, 5)
    with pytest.raises(TooManyDocuments):
        reads.take("ann", 3, 5)
    reads.take("ann", 2, 5)
    reads.take("bob", 5, 5)
    assert (reads.of_last_hour("ann"), reads.of_last_hour("bob"), reads.of_last_hour("eve")) == (5, 5, 0)


def test_what_was_shown_an_hour_ago_counts_no_more() -> None:
    reads = DocumentsRead()
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


def test_no_documents_are_no_reason_to_remember_anybody() -> None:
    reads = DocumentsRead()
    reads.take("ann", 0, 0)
    assert reads.of_last_hour("ann") == 0


@pytest.mark.plain_core(reason="replaces a constant of the core")
def test_clients_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents_read, "MAX_CLIENTS", 2)
    reads = DocumentsRead()
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
    assert documents_in(encode(body), 0) == count
