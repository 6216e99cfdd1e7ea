"""Two clients, each by its own proxy, store one value at the same moment, next to where its class moves.

A unique index lets one of them win. It has to do so whatever side of the window the value is on: where both
won, one of them was stored in a form that was not valid.
"""

import random
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import TypeVar

import bson
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, OperationFailure

from sealwire.keys.frontier.frontier import Form, Frontier, Position, position_of, version_of
from sealwire.keys.frontier.record import parse_frontier
from sealwire.keys.keyring.keyring import Keyring
from sealwire.sidecars.migration.contexts import JobContexts, ValueSpot
from sealwire.wire.raw_bson import find_element
from tests.integration.differential.moving import MovingSite
from tests.integration.differential.sides import MOST_TRIES, is_of_a_move
from tests.integration.differential.values import Document

CLASS, RACED, FIELD = "code", "people", "s"
DATABASE = "races"
KINDS = ("insert", "upsert", "transaction", "count")
_WRITE_CONFLICT = 112
_VALUES = [str(each) * (each % 3 + 1) for each in range(100, 160)]
_TRANSACTION_S = 0.1
_PATIENCE, _LOOK_AGAIN_S = 0.9, 0.05

Rows = Collection[Document]
ContextsOf = Callable[[Keyring], JobContexts]
"""The keys of contexts, by the keyring as it is at that moment."""
T = TypeVar("T")


class Side(Enum):
    """Where a value stands when the race for it begins."""

    STILL = "while nothing moves"
    BEFORE = "before the window"
    INSIDE = "inside of the window"
    BEHIND = "behind the window"


class Races:
    """Raises AssertionError for the first race that nobody won, or both."""

    def __init__(
        self,
        site: MovingSite,
        seed: int,
        transaction_s: float = _TRANSACTION_S,
        contexts: ContextsOf | None = None,
    ) -> None:
        """`transaction_s`: how long a transaction stays open, unless its value moves before.

        `contexts`: where the class has a key for each.
        """
        self._contexts = contexts
        self.counted: Counter[tuple[str, Side]] = Counter()
        self.waits = 0
        self._site = site
        self._chance = random.Random(seed)
        self._transaction_s = transaction_s
        self._rows = tuple(client[DATABASE][RACED] for client in site.clients)
        self._stored: Rows = site.direct[DATABASE][RACED]
        self._start = threading.Barrier(2, timeout=60)
        self._rows[0].create_index(FIELD, unique=True)

    def run(self, count: int, kinds: Sequence[str] = KINDS) -> None:
        """So many races, of kinds drawn from these."""
        with ThreadPoolExecutor(2) as pool:
            for _ in range(count):
                self._race(pool, self._chance.choice(kinds))

    def _race(self, pool: ThreadPoolExecutor, kind: str) -> None:
        value, side = self._chosen()
        ways: dict[str, tuple[Callable[[Rows, str], bool], ...]] = {
            "insert": (_inserted, _inserted),
            "upsert": (_upserted, _upserted),
            "transaction": (self._inserted_in_transaction, self._inserted_later),
            "count": (self._inserted_and_counted, self._counted),
        }
        runs = [
            pool.submit(self._ask, way, rows, value) for way, rows in zip(ways[kind], self._rows, strict=True)
        ]
        won = [run.result() for run in runs]
        stored = self._stored.count_documents({})
        assert (sum(won), stored) == (1, 1), f"{kind} {side.value}: {won} won, and {stored} are stored"
        self._stored.delete_many({})
        self.counted[kind, side] += 1

    def _ask(self, way: Callable[[Rows, str], bool], rows: Rows, value: str) -> bool:
        """Whether this client is the one that stored the value."""
        self._start.wait()
        try:
            return self._patiently(lambda: way(rows, value))
        except DuplicateKeyError:
            return False

    def _patiently(self, ask: Callable[[], T]) -> T:
        for _ in range(MOST_TRIES):
            try:
                return ask()
            except DuplicateKeyError:
                raise
            except OperationFailure as error:
                if error.code != _WRITE_CONFLICT and not is_of_a_move(error):
                    raise
                self.waits += 1
                time.sleep(0.01)
        raise AssertionError("a client that waits forever")

    def _inserted_in_transaction(self, rows: Rows, value: str) -> bool:
        client = rows.database.client
        with client.start_session() as session, session.start_transaction():
            rows.insert_one({FIELD: value}, session=session)
            until = time.monotonic() + self._transaction_s
            while time.monotonic() < until and self._side(value) is not Side.BEFORE:
                time.sleep(0.02)
        return True

    def _inserted_and_counted(self, rows: Rows, value: str) -> bool:
        """Stored, and found from then on, while its window comes and goes."""
        self._patiently(lambda: _inserted(rows, value))
        until = time.monotonic() + self._transaction_s
        while time.monotonic() < until and self._side(value) is not Side.BEFORE:
            assert self._patiently(lambda: rows.count_documents(_by_one_form(value))) == 1, "a value is lost"
        return True

    def _counted(self, rows: Rows, value: str) -> bool:
        """Found from the moment on in which it was found first."""
        until, found = time.monotonic() + self._transaction_s, 0
        while time.monotonic() < until:
            now = self._patiently(lambda: rows.count_documents(_by_one_form(value)))
            assert now >= found, "a value is lost"
            found = now
        return False

    def _inserted_later(self, rows: Rows, value: str) -> bool:
        """When the transaction of the other may have it open."""
        time.sleep(self._transaction_s / 2)
        return _inserted(rows, value)

    # -- where values stand ----------------------------------------------------------------------------------

    def _chosen(self) -> tuple[str, Side]:
        """A value next to where the frontier is now; now and then one while nothing moves."""
        found = self._frontier()
        while found is None and self._chance.random() < _PATIENCE:
            time.sleep(_LOOK_AGAIN_S)
            found = self._frontier()
        if found is None:
            return self._chance.choice(_VALUES), Side.STILL
        frontier, place = found
        ordered = sorted(_VALUES, key=place)
        at = bisect_left([place(value) for value in ordered], frontier.window.start)
        near = (ordered[max(0, at - 1) : at + 2] + ordered[at : at + 1] * 3) or ordered[-2:]
        value = self._chance.choice(near)
        return value, _side(frontier, place(value))

    def _side(self, value: str) -> Side:
        found = self._frontier()
        return Side.STILL if found is None else _side(found[0], found[1](value))

    def _frontier(self) -> tuple[Frontier, Callable[[str], Position]] | None:
        """The frontier of the class, and where a value stands; None while it does not move."""
        keyring = self._site.keyring()
        pending = keyring.pending_cipher_for(CLASS)
        if pending is None:
            return None
        document = self._site.frontiers.find_one({"_id": pending.class_id})
        if document is None or document["new"] != pending.key_version:
            return None
        old = version_of(keyring, CLASS)
        if self._contexts is None or old.is_plaintext:
            return parse_frontier(document, pending), lambda value: old.position(*_stored(value))
        cipher = self._contexts(keyring).cipher_for(f"{DATABASE}.{RACED}", ValueSpot(CLASS, FIELD, b"", 0))
        assert cipher is not None
        return parse_frontier(document, pending), lambda value: position_of(
            cipher.encrypt_deterministically(*_stored(value))
        )


def _side(frontier: Frontier, position: Position) -> Side:
    sides = {Form.NEW: Side.BEFORE, Form.MOVING: Side.INSIDE, Form.OLD: Side.BEHIND}
    return sides[frontier.form(position)]


def _stored(value: str) -> tuple[int, bytes]:
    raw = bson.encode({"v": value})
    element = find_element(raw, 0, b"v")
    assert element is not None
    return element.kind, raw[element.value : element.end]


def _by_one_form(value: str) -> Document:
    """A filter that names the valid form alone: by others it would find a value without waiting."""
    return {FIELD: {"$all": [value]}}


def _inserted(rows: Rows, value: str) -> bool:
    rows.insert_one({FIELD: value})
    return True


def _upserted(rows: Rows, value: str) -> bool:
    return rows.update_one({FIELD: value}, {"$inc": {"times": 1}}, upsert=True).upserted_id is not None
