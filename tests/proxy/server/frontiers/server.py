"""A server in memory with the database `sealwire`, keys of a class that moves, and clocks to be moved."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sealwire.crypto.cipher import ValueCipher
from sealwire.keys.frontier.frontier import AFTER_ALL, BEFORE_ALL, Frontier, Window
from sealwire.keys.frontier.record import frontier_document
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import FieldClass, Mode, ValueType
from sealwire.proxy.server.frontiers.store import Document, Renewal, ServerStore, StoreProblem
from tests.keys.samples import NOW

CLASS = "nhs_number"
OTHER = "postcode"
CLASS_ID = 7
OTHER_ID = 8


def data_key(
    name: str, class_id: int, version: int, state: KeyState, *, is_plaintext: bool = False
) -> DataKey:
    material = bytes((class_id, version)) * 32
    return DataKey(name, class_id, version, state, NOW, material, is_plaintext=is_plaintext)


def covered(name: str, mode: Mode = Mode.DETERMINISTIC, per: bytes | None = None) -> FieldClass:
    """A class of a policy with a path."""
    return FieldClass(name, mode, ValueType.STRING if mode is Mode.DETERMINISTIC else None, per=per)


OTHER_KEY = data_key(OTHER, OTHER_ID, 1, KeyState.ACTIVE)
QUIET = Keyring([data_key(CLASS, CLASS_ID, 1, KeyState.ACTIVE), OTHER_KEY])
MOVING_KEYS = [
    data_key(CLASS, CLASS_ID, 1, KeyState.ACTIVE),
    data_key(CLASS, CLASS_ID, 2, KeyState.PENDING),
    OTHER_KEY,
]
MOVING = Keyring(MOVING_KEYS)
MOVED_KEYS = [
    data_key(CLASS, CLASS_ID, 1, KeyState.DECRYPT_ONLY),
    data_key(CLASS, CLASS_ID, 2, KeyState.ACTIVE),
    OTHER_KEY,
]
MOVED = Keyring(MOVED_KEYS)
BOTH_MOVING = Keyring([*MOVING_KEYS[:2], OTHER_KEY, data_key(OTHER, OTHER_ID, 2, KeyState.PENDING)])

_LENT = data_key("lender", 9, 1, KeyState.ACTIVE)
_BORROWED = DataKey(CLASS, CLASS_ID, 1, KeyState.ACTIVE, NOW, _LENT.material, lender=_LENT.ids)
LEAVING = Keyring([_LENT, _BORROWED, MOVING_KEYS[1], OTHER_KEY])
"""The class has the key of another one, and moves to its own."""
JOINING = Keyring([_LENT, MOVING_KEYS[0], replace(_BORROWED, version=2, state=KeyState.PENDING), OTHER_KEY])

FIRST = Frontier(CLASS_ID, 1, 2, walked=None)
OPEN = Frontier(CLASS_ID, 1, 2, 2, Window(BEFORE_ALL, b"\0m"))
CLOSED = Frontier(CLASS_ID, 1, 2, 4, Window(b"\0m", b"\0m"))
OVER = Frontier(CLASS_ID, 1, 2, 7, Window(AFTER_ALL, AFTER_ALL))
READ, DOCUMENTS = 62, 100
INSIDE = b"\0a"
"""A position in the window of OPEN."""


def cipher(version: int, class_id: int = CLASS_ID) -> ValueCipher:
    return ValueCipher(bytes((class_id, version)) * 32, class_id, version)


def document(frontier: Frontier) -> dict[str, Any]:
    new = cipher(frontier.new_version, frontier.class_id)
    return frontier_document(frontier, new, documents=(READ, DOCUMENTS))


@dataclass
class MemoryServer:
    """What several stores share."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    leases: dict[str, tuple[datetime, dict[int, int]]] = field(default_factory=dict)
    seen: dict[str, Mapping[tuple[int, int], int]] = field(default_factory=dict)
    place: str = ""
    documents: dict[int, Document] = field(default_factory=dict)

    def put(self, frontier: Frontier) -> None:
        self.documents[frontier.class_id] = document(frontier)

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class MemoryStore(ServerStore):
    """One process's way to it."""

    server: MemoryServer = field(default_factory=MemoryServer)
    is_down: bool = False
    is_closed: bool = False
    asked: list[str] = field(default_factory=list)
    meanwhile: Callable[[str], None] = lambda _name: None
    """Called with the name of each question before it is answered."""

    async def renew(self, told: Renewal, *, is_first: bool) -> datetime | None:
        self._ask("renew")
        if told.proxy not in self.server.leases and not is_first:
            return None
        self.server.leases[told.proxy] = self.server.now, dict(told.acknowledged)
        self.server.seen[told.proxy] = dict(told.seen)
        return self.server.now

    async def seen(self) -> dict[tuple[int, int], int]:
        self._ask("seen")
        newest: dict[tuple[int, int], int] = {}
        for proxy in self.server.leases:
            for key, generation in self.server.seen.get(proxy, {}).items():
                newest[key] = max(generation, newest.get(key, 0))
        return newest

    async def frontiers(self, class_ids: Sequence[int]) -> dict[int, Document]:
        self._ask("frontiers")
        return {
            number: self.server.documents[number] for number in class_ids if number in self.server.documents
        }

    async def place(self) -> str:
        self._ask("place")
        return self.server.place

    async def end_lease(self, proxy: str) -> None:
        self._ask("end_lease")
        self.server.leases.pop(proxy, None)

    async def close(self) -> None:
        self.is_closed = True

    def _ask(self, name: str) -> None:
        self.asked.append(name)
        self.meanwhile(name)
        if self.is_down:
            raise StoreProblem("no answer: TimeoutError")
