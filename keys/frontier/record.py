"""The frontier and the leases as documents on the server, where the job and all proxies read them.

    sealwire.frontiers  {_id: class id, old, new, generation, moving, sealed: where the window lies}
    sealwire.leases     {_id: UUID of a proxy, renewed: the server's time,
                         acknowledged: {"class id": generation}}

A frontier is sealed under the class's new key: only a holder of the keyring can write one, and only one can
read where its window lies, which may be a value in clear. An older one is genuine as well: who has seen a
later one does not go back. A lease is not authenticated. Who forges one can make answers wrong while a class
moves, as whoever can write to the application's own collections can; no value is shown by it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from bson.binary import Binary
from bson.int64 import Int64

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import MAX_VALUE_BYTES
from sealwire.crypto.errors import DecryptionFailed
from sealwire.keys.errors import DamagedFile, KeysReason
from sealwire.keys.frontier.frontier import Frontier, Window

DATABASE: Final = "sealwire"
FRONTIERS: Final = "frontiers"
LEASES: Final = "leases"

LEASE_S: Final = 10.0
"""How long a proxy may rely on a frontier after it began to renew its lease, by its own steady clock."""
OUTLIVED_S: Final = 15.0
"""After so long by the server's clock a lease has run out for the job: clocks may drift a little."""
FORGOTTEN_S: Final = 86_400.0
"""After so long by the server's clock a lease is deleted, so that their number stays bounded."""

_DOMAIN: Final = b"sealwire frontier"
_MAX_GENERATION: Final = 2**63 - 1
_LENGTH_BYTES: Final = 4
_MAX_SEALED_BYTES: Final = 2 * (MAX_VALUE_BYTES + 64)


def frontier_document(frontier: Frontier, cipher: ValueCipher) -> dict[str, Any]:
    """What is stored; `cipher` is that of the new version."""
    head = _head(_numbers(frontier), frontier.is_moving)
    return {
        "_id": Int64(frontier.class_id),
        "old": Int64(frontier.old_version),
        "new": Int64(frontier.new_version),
        "generation": Int64(frontier.generation),
        "moving": frontier.is_moving,
        "sealed": Binary(cipher.seal(_DOMAIN, head, _inside(frontier.window))),
    }


def parse_frontier(document: Mapping[str, Any], cipher: ValueCipher) -> Frontier:
    """The frontier of the class and new version of `cipher`.

    Raises DamagedFile SCHEMA, TAMPERED; also for one of another class or version. Cost: O(its positions).
    """
    numbers = tuple(_number(document, name) for name in ("_id", "old", "new", "generation"))
    is_moving, sealed = document.get("moving"), document.get("sealed")
    if not isinstance(is_moving, bool) or not isinstance(sealed, bytes) or len(sealed) > _MAX_SEALED_BYTES:
        raise _damaged(KeysReason.SCHEMA)
    class_id, old, new, generation = numbers
    if (cipher.class_id, cipher.key_version) != (class_id, new):
        raise _damaged(KeysReason.TAMPERED)
    try:
        inside = cipher.unseal(_DOMAIN, _head(numbers, is_moving), sealed)
    except DecryptionFailed:
        raise _damaged(KeysReason.TAMPERED) from None
    try:
        return Frontier(class_id, old, new, generation, _window(inside), is_moving)
    except ValueError:
        raise _damaged(KeysReason.SCHEMA) from None


def stated_generation(document: Mapping[str, Any]) -> int:
    """The generation that a document states, which nobody has authenticated. Raises DamagedFile SCHEMA."""
    return _number(document, "generation")


def _number(document: Mapping[str, Any], name: str) -> int:
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _MAX_GENERATION:
        raise _damaged(KeysReason.SCHEMA)
    return int(value)


def _numbers(frontier: Frontier) -> tuple[int, ...]:
    return frontier.class_id, frontier.old_version, frontier.new_version, frontier.generation


def _head(numbers: tuple[int, ...], is_moving: bool) -> bytes:
    return b"".join(number.to_bytes(8, "big") for number in numbers) + bytes((is_moving,))


def _inside(window: Window) -> bytes:
    return len(window.start).to_bytes(_LENGTH_BYTES, "big") + window.start + window.end


def _window(inside: bytes) -> Window:
    end_of_start = _LENGTH_BYTES + int.from_bytes(inside[:_LENGTH_BYTES], "big")
    return Window(inside[_LENGTH_BYTES:end_of_start], inside[end_of_start:])


def _damaged(reason: KeysReason) -> DamagedFile:
    return DamagedFile(
        reason,
        f"a document of {DATABASE}.{FRONTIERS} is not what Sealwire wrote for this keyring",
        "find out who wrote it; sealwire migrate status shows how far the move came",
    )


class Lease(NamedTuple):
    """One proxy process, as the job sees it."""

    proxy: str
    """Its UUID, as text."""
    renewed: datetime
    """By the server's clock."""
    acknowledged: Mapping[int, int]
    """By class id: the newest generation whose window may move for all it does."""

    def stands(self, now: datetime) -> bool:
        """Whether the proxy may rely on it, by the server's clock."""
        return (now - self.renewed).total_seconds() < OUTLIVED_S


def parse_lease(document: Mapping[str, Any]) -> Lease | None:
    """None for a document that is no lease. Times as an aware `datetime`."""
    renewed, told = document.get("renewed"), document.get("acknowledged")
    if not isinstance(renewed, datetime) or not isinstance(told, Mapping):
        return None
    acknowledged = {
        int(name): int(value)
        for name, value in told.items()
        if name.isascii() and name.isdigit() and type(value) in (int, Int64)
    }
    return Lease(str(document.get("_id")), renewed, acknowledged)
