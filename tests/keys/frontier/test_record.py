"""Frontiers and leases as documents."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import decode, encode
from bson.codec_options import CodecOptions

from sealwire.crypto.cipher import ValueCipher
from sealwire.keys.errors import DamagedFile, KeysReason
from sealwire.keys.frontier.frontier import AFTER_ALL, Frontier, Window
from sealwire.keys.frontier.record import (
    IN_FLIGHT_S,
    LEASE_S,
    TRANSACTION_S,
    Lease,
    frontier_document,
    outlived_s,
    parse_frontier,
    parse_lease,
    process_place,
    stated_documents,
    stated_transaction_s,
)
from tests.support.reasons import raising

CIPHER = ValueCipher(bytes(range(64)), 7, 2)
FRONTIER = Frontier(7, 1, 2, 9, Window(b"low", b"middle"), is_moving=True)
NOW = datetime(2026, 11, 26, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)


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
    with raising(DamagedFile, KeysReason.TAMPERED):
        parse_frontier(stored() | changed, CIPHER)


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
    with raising(DamagedFile, KeysReason.SCHEMA):
        parse_frontier(stored() | changed, CIPHER)


@pytest.mark.parametrize("missing", ["_id", "old", "new", "generation", "moving", "sealed"])
def test_each_field_has_to_be_there(missing: str) -> None:
    document = stored()
    del document[missing]
    with pytest.raises(DamagedFile):
        parse_frontier(document, CIPHER)


def test_a_sealed_window_that_is_none_is_refused() -> None:
    head = b"".join(number.to_bytes(8, "big") for number in (7, 1, 2, 9)) + b"\1"
    cut_off = b"\0\0\0\3low\0\0\0\4mid"
    for inside in (b"\0\0\0\1z\0\0\0\3low", b"\0\0\0\3low\0\0\0\3low", cut_off, b"\0\0\0\3low"):
        sealed = CIPHER.seal(b"sealwire frontier", head, inside)
        with raising(DamagedFile, KeysReason.SCHEMA):
            parse_frontier(stored() | {"sealed": sealed}, CIPHER)


@pytest.mark.parametrize("walked", [None, frozenset(), frozenset({b"ward", b"a.b"})])
def test_what_is_walked_is_written_down(walked: frozenset[bytes] | None) -> None:
    frontier = replace(FRONTIER, walked=walked)
    assert parse_frontier(frontier_document(frontier, CIPHER), CIPHER) == frontier


def test_of_too_many_names_none_is_said_to_be_known() -> None:
    frontier = replace(FRONTIER, walked=frozenset(b"%06d" % number for number in range(8000)))
    assert parse_frontier(frontier_document(frontier, CIPHER), CIPHER).walked is None


def test_nothing_of_where_a_window_lies_stands_in_clear() -> None:
    written = encode(frontier_document(FRONTIER, CIPHER))
    assert b"low" not in written
    assert b"middle" not in written


@pytest.mark.parametrize(("class_id", "version"), [(8, 2), (7, 3)])
def test_one_of_another_class_or_key_is_refused(class_id: int, version: int) -> None:
    with raising(DamagedFile, KeysReason.TAMPERED):
        parse_frontier(stored(), ValueCipher(bytes(range(64)), class_id, version))


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
        with raising(DamagedFile, KeysReason.TAMPERED):
            parse_frontier(document, cipher)


def test_a_lease_is_read_without_trust() -> None:
    told = {"7": 9, "8": 1, "x": 3, "9": "a", "10": 4.0}
    aware: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
    times = {"renewed": NOW, "read_at": LATER}
    document = decode(encode({"_id": "a proxy", **times, "acknowledged": told}), aware)
    assert parse_lease(document) == Lease("a proxy", NOW, LATER, {7: 9, 8: 1})
    seen = {"7-2": 4, "7": 1, "7-x": 1, "7-2-3": 1, "8-1": "a"}
    full = decode(
        encode({"_id": "a", **times, "acknowledged": {}, "seen": seen, "place": "ward:27017"}), aware
    )
    assert parse_lease(full) == Lease("a", NOW, LATER, {}, {(7, 2): 4}, "ward:27017")
    assert parse_lease({**full, "seen": 3, "place": "two\nlines"}) == Lease("a", NOW, LATER, {}, {}, "?")
    assert parse_lease({**times, "_id": "\x1b[2J", "acknowledged": {}}) == Lease("?", NOW, LATER, {})
    assert parse_lease({**times, "_id": "a", "renewed": 3, "acknowledged": {}}) is None
    assert parse_lease({"_id": "a", "renewed": NOW, "acknowledged": {}}) is None
    assert parse_lease({"_id": "a", **times}) is None


def test_the_workers_of_one_sealwire_share_an_address() -> None:
    one, other = (process_place("ward-2", ["10.0.0.5:27018", "[::]:27019"], number) for number in (7, 8))
    assert one != other
    leases = [Lease("a", NOW, NOW, {}, {}, place) for place in (one, other)]
    assert {lease.address for lease in leases} == {"ward-2 (10.0.0.5:27018, [::]:27019)"}
    assert Lease("a", NOW, NOW, {}).address == "a"


def test_a_lease_is_current_as_long_as_its_proxy_may_rely_on_it() -> None:
    last = NOW + timedelta(seconds=LEASE_S)
    assert Lease("a", NOW, last, {}).is_current
    assert not Lease("a", NOW, last + timedelta(seconds=0.001), {}).is_current


@pytest.mark.parametrize("transaction_s", [2.0, 60.0])
def test_a_lease_matters_until_its_transactions_are_over(transaction_s: float) -> None:
    last = NOW + timedelta(seconds=outlived_s(transaction_s))
    assert not Lease("a", NOW, last, {}).may_matter(transaction_s)
    assert Lease("a", NOW, last - timedelta(seconds=0.001), {}).may_matter(transaction_s)
    assert outlived_s(transaction_s) > LEASE_S + IN_FLIGHT_S + transaction_s


@pytest.mark.parametrize(
    ("stated", "expected"),
    [(5, 5.0), (0.5, 1.0), (10**9, 86_400.0), (-3.0, 1.0), (float("inf"), 86_400.0)]
    + [(each, TRANSACTION_S) for each in ("9", True, None, float("nan"), [9])],
)
def test_the_stated_lifetime_of_transactions_is_a_bounded_hint(stated: object, expected: float) -> None:
    assert stated_transaction_s(stored() | {"transaction_s": stated}) == expected


def test_a_frontier_states_how_long_transactions_may_last() -> None:
    assert stated_transaction_s(frontier_document(FRONTIER, CIPHER, 90.0)) == 90.0
    assert stated_transaction_s({}) == stated_transaction_s(stored()) == TRANSACTION_S


def test_a_frontier_states_how_many_documents_its_job_has_read() -> None:
    assert stated_documents(frontier_document(FRONTIER, CIPHER, documents=(5, 9))) == (5, 9)
    assert stated_documents(decode(encode(frontier_document(FRONTIER, CIPHER, documents=(5, 9))))) == (5, 9)


@pytest.mark.parametrize("stated", [None, 5, [5], [9, 5], [-1, 5], ["5", "9"], [1, 2**70], [0.5, 9]])
def test_documents_that_are_stated_otherwise_are_unknown(stated: object) -> None:
    assert stated_documents(stored() | {"documents": stated}) == (0, 0)
