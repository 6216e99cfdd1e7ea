"""Frontiers and leases as documents."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import decode, encode
from bson.codec_options import CodecOptions

from sealwire.crypto.cipher import ValueCipher
from sealwire.keys.errors import DamagedFile, KeysReason
from sealwire.keys.frontier.frontier import AFTER_ALL, Frontier, Window
from sealwire.keys.frontier.record import OUTLIVED_S, Lease, frontier_document, parse_frontier, parse_lease

CIPHER = ValueCipher(bytes(range(64)), 7, 2)
FRONTIER = Frontier(7, 1, 2, 9, Window(b"low", b"middle"), is_moving=True)
NOW = datetime(2026, 11, 26, tzinfo=UTC)


def stored(frontier: Frontier = FRONTIER) -> dict[str, Any]:
    """As it comes back from a server."""
    return decode(encode(frontier_document(frontier, CIPHER)))


@pytest.mark.parametrize(
    "frontier", [FRONTIER, Frontier(7, 1, 2), Frontier(7, 1, 2, 3, Window(AFTER_ALL, AFTER_ALL))]
)
def test_a_frontier_comes_back_as_it_was_written(frontier: Frontier) -> None:
    assert parse_frontier(stored(frontier), CIPHER) == frontier


def test_what_a_later_release_adds_is_not_read() -> None:
    assert parse_frontier(stored() | {"confirmed": NOW}, CIPHER) == FRONTIER


@pytest.mark.parametrize(
    "changed",
    [
        {"generation": 10},
        {"old": 2},
        {"_id": 8},
        {"new": 2**40},
        {"moving": False},
        {"sealed": bytes(40)},
        {"sealed": bytes(16)},
        {"sealed": b""},
        {"sealed": stored(Frontier(7, 1, 2, 8, Window(b"low", b"middle"), is_moving=True))["sealed"]},
    ],
)
def test_only_a_holder_of_the_key_can_write_one(changed: dict[str, Any]) -> None:
    with pytest.raises(DamagedFile) as caught:
        parse_frontier(stored() | changed, CIPHER)
    assert caught.value.reason is KeysReason.TAMPERED


@pytest.mark.parametrize(
    "changed",
    [
        {"generation": 0},
        {"generation": -3},
        {"generation": True},
        {"generation": "9"},
        {"generation": 2.0},
        {"moving": 1},
        {"sealed": 3},
        {"sealed": None},
        {"sealed": "low"},
    ],
)
def test_a_document_of_another_shape_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(DamagedFile) as caught:
        parse_frontier(stored() | changed, CIPHER)
    assert caught.value.reason is KeysReason.SCHEMA


@pytest.mark.parametrize("missing", ["_id", "old", "new", "generation", "moving", "sealed"])
def test_each_field_has_to_be_there(missing: str) -> None:
    document = stored()
    del document[missing]
    with pytest.raises(DamagedFile):
        parse_frontier(document, CIPHER)


def test_a_sealed_window_that_is_none_is_refused() -> None:
    head = b"".join(number.to_bytes(8, "big") for number in (7, 1, 2, 9)) + b"\1"
    for inside in (b"\0\0\0\1zlow", b"\0\0\0\3low"):
        sealed = CIPHER.seal(b"sealwire frontier", head, inside)
        with pytest.raises(DamagedFile) as caught:
            parse_frontier(stored() | {"sealed": sealed}, CIPHER)
        assert caught.value.reason is KeysReason.SCHEMA


def test_nothing_of_where_a_window_lies_stands_in_clear() -> None:
    written = encode(frontier_document(FRONTIER, CIPHER))
    assert b"low" not in written
    assert b"middle" not in written


@pytest.mark.parametrize(("class_id", "version"), [(8, 2), (7, 3)])
def test_one_of_another_class_or_key_is_refused(class_id: int, version: int) -> None:
    with pytest.raises(DamagedFile) as caught:
        parse_frontier(stored(), ValueCipher(bytes(range(64)), class_id, version))
    assert caught.value.reason is KeysReason.TAMPERED


def test_a_frontier_is_of_one_class_also_where_two_have_its_key() -> None:
    """Each has ids of its own for a borrowed key, and the frontier of the one is none of the other."""
    borrowed = ValueCipher(bytes(range(64)), 8, 2, (7, 2))
    moved = Frontier(8, 1, 2, 9, FRONTIER.window, is_moving=True)
    assert parse_frontier(frontier_document(moved, borrowed), borrowed) == moved
    for document, cipher in (
        (stored(), borrowed),
        (stored() | {"_id": 8}, borrowed),
        (frontier_document(moved, borrowed) | {"_id": 7}, CIPHER),
    ):
        with pytest.raises(DamagedFile) as caught:
            parse_frontier(document, cipher)
        assert caught.value.reason is KeysReason.TAMPERED


def test_a_lease_is_read_without_trust() -> None:
    told = {"7": 9, "8": 1, "x": 3, "9": "a", "10": 4.0}
    aware: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
    document = decode(encode({"_id": "a proxy", "renewed": NOW, "acknowledged": told}), aware)
    lease = parse_lease(document)
    assert lease == Lease("a proxy", NOW, {7: 9, 8: 1})
    assert parse_lease({"_id": "a", "renewed": 3, "acknowledged": {}}) is None
    assert parse_lease({"_id": "a", "renewed": NOW}) is None


def test_a_lease_stands_for_so_long() -> None:
    lease = Lease("a", NOW, {})
    assert lease.stands(NOW + timedelta(seconds=OUTLIVED_S - 0.001))
    assert not lease.stands(NOW + timedelta(seconds=OUTLIVED_S))
