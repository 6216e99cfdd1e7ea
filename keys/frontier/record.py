"""The frontier and the leases as documents on the server, where the job and all proxies read them.

    sealwire.frontiers  {_id: class id, old, new, generation, moving,
                         sealed: where the window lies, and what is walked,
                         transaction_s: how long a transaction may last, by what the job was told,
                         documents: how many the job has read, and how many there are to read, about}
    sealwire.leases     {_id: UUID of a proxy, renewed: the server's time, place: where it listens,
                         acknowledged: {"class id": generation},
                         seen: {"class id-new version": generation}}
                        {_id: "stands", place: UUID of this very collection, since: the server's time,
                         counted: which addresses were counted for which first move}
    sealwire.limits     {process: UUID, who: pseudonym of a user and a kind of limit, bucket: ten minutes,
                         amount: granted in these, changed: the server's time}; see proxy.server.limit_feed

A frontier is sealed under the class's new key: only a holder of the keyring can write one, and only one can
read where its window lies, which may be a value in clear. An older one is genuine as well: who has seen a
later one does not go back. A lease is not authenticated. Who forges one can make answers wrong while a class
moves, as whoever can write to the application's own collections can; no value is shown by it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from math import isnan
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
LIMITS: Final = "limits"
STANDS: Final = "stands"
"""The id of the document that says for how long no lease can have been lost with its collection."""
_NOBODY: Final = "nobody"

LEASE_S: Final = 10.0
"""How long a proxy may rely on a frontier after it began to renew its lease, by its own steady clock."""
IN_FLIGHT_S: Final = 5.0
"""How long what a proxy has sent may wait for the server's kernel (TCP_USER_TIMEOUT)."""
TRANSACTION_S: Final = 60.0
"""How long a transaction may last on a server that has no parameter for it (MongoDB's default)."""
_LEAST_TRANSACTION_S: Final = 1.0
MOST_TRANSACTION_S: Final = 86_400.0
"""No move begins where transactions may last longer."""
MAX_PLACE_CHARACTERS: Final = 255
FORGOTTEN_S: Final = 86_400.0
"""After so long by the server's clock a lease is deleted, so that their number stays bounded."""

_DOMAIN: Final = b"sealwire frontier"
_MAX_GENERATION: Final = 2**63 - 1
_LENGTH_BYTES: Final = 4
_PAIR: Final = 2
_PROCESS: Final = ", process "
"""In the place of a lease, between its address and the process id."""
MAX_WALKED_BYTES: Final = 1 << 15
"""If the names are longer together, the frontier says that they are not known."""
_MAX_SEALED_BYTES: Final = 2 * (MAX_VALUE_BYTES + 64) + MAX_WALKED_BYTES


def frontier_document(
    frontier: Frontier,
    cipher: ValueCipher,
    transaction_s: float = TRANSACTION_S,
    documents: tuple[int, int] = (0, 0),
) -> dict[str, Any]:
    """The document that is stored; `cipher` is the new version's, `transaction_s` the server's limit."""
    head = _head(_numbers(frontier), frontier.is_moving)
    return {
        "_id": Int64(frontier.class_id),
        "old": Int64(frontier.old_version),
        "new": Int64(frontier.new_version),
        "generation": Int64(frontier.generation),
        "moving": frontier.is_moving,
        "transaction_s": transaction_s,
        "documents": list(map(Int64, documents)),
        "sealed": Binary(cipher.seal(_DOMAIN, head, _inside(frontier))),
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
        return Frontier(class_id, old, new, generation, *_parsed(inside, is_moving=is_moving))
    except ValueError:
        raise _damaged(KeysReason.SCHEMA) from None


def outlived_s(transaction_s: float) -> float:
    """How long a lease that was not given back can matter after its renewal, in seconds of the server.

    Until then its proxy may have sent a command, the server may have received it, and a transaction that it
    began may be committed elsewhere. `transaction_s` is the server's limit of a transaction: its search for
    those that are over runs once more in the same time (transactionLifetimeLimitSeconds).
    """
    return LEASE_S + IN_FLIGHT_S + 2 * transaction_s


def stated_generation(document: Mapping[str, Any]) -> int:
    """The generation that a document states, which nobody has authenticated. Raises DamagedFile SCHEMA."""
    return _number(document, "generation")


def stated_transaction_s(document: Mapping[str, Any]) -> float:
    """How long a transaction may last, as a frontier's document says; TRANSACTION_S if it does not.

    Nobody has authenticated it: it is a hint for how long to remember transactions.
    """
    stated = document.get("transaction_s")
    if not isinstance(stated, int | float) or isinstance(stated, bool) or isnan(stated):
        return TRANSACTION_S
    return min(max(float(stated), _LEAST_TRANSACTION_S), MOST_TRANSACTION_S)


def stated_documents(document: Mapping[str, Any]) -> tuple[int, int]:
    """How many documents the job has read, of how many, as a frontier's document says; (0, 0) if it does not.

    Nobody has authenticated it: it is for people to see.
    """
    match document.get("documents"):
        case [int(read), int(of)] if 0 <= read <= of <= _MAX_GENERATION:
            return int(read), int(of)
    return 0, 0


def _number(document: Mapping[str, Any], name: str) -> int:
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _MAX_GENERATION:
        raise _damaged(KeysReason.SCHEMA)
    return int(value)


def _numbers(frontier: Frontier) -> tuple[int, ...]:
    return frontier.class_id, frontier.old_version, frontier.new_version, frontier.generation


def _head(numbers: tuple[int, ...], is_moving: bool) -> bytes:
    return b"".join(number.to_bytes(8, "big") for number in numbers) + bytes((is_moving,))


def _inside(frontier: Frontier) -> bytes:
    """Both ends of the window, each behind its length; then a NUL before each walked field, and one more."""
    ends = (frontier.window.start, frontier.window.end)
    window = b"".join(len(end).to_bytes(_LENGTH_BYTES, "big") + end for end in ends)
    walked = frontier.walked
    if walked is None or sum(map(len, walked)) + len(walked) > MAX_WALKED_BYTES:
        return window
    return window + b"".join(b"\0" + name for name in sorted(walked)) + b"\0"


def _parsed(inside: bytes, *, is_moving: bool) -> tuple[Window, bool, frozenset[bytes] | None]:
    """Raises ValueError."""
    ends, at = [], 0
    for _ in range(2):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(inside[at:start], "big")
        ends.append(inside[start:at])
    if at > len(inside):
        raise ValueError("the ends of a window are cut off")
    rest = inside[at:]
    return Window(*ends), is_moving, frozenset(filter(None, rest.split(b"\0"))) if rest else None


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
    read_at: datetime
    """By the same clock, when the server began to read it: a later time would make it look older."""
    acknowledged: Mapping[int, int]
    """By class id: the newest generation whose window may move for all it does."""
    seen: Mapping[tuple[int, int], int] = {}
    """By class id and new version: the newest generation that its process has read, under any lease."""
    place: str = ""
    """Where it listens, for people."""

    def may_matter(self, transaction_s: float) -> bool:
        """Whether what its proxy began under it may still be carried out; see `outlived_s`."""
        return (self.read_at - self.renewed).total_seconds() < outlived_s(transaction_s)

    @property
    def is_current(self) -> bool:
        """Whether its proxy may have relied on it when it was read."""
        return (self.read_at - self.renewed).total_seconds() <= LEASE_S

    @property
    def address(self) -> str:
        """Host and listeners, which the workers of one Sealwire share; its own name if it says no place."""
        return self.place.partition(_PROCESS)[0] or self.proxy


def addresses_of(leases: Iterable[Lease]) -> list[str]:
    """The addresses of those that are current, each once, in order."""
    return sorted({lease.address for lease in leases if lease.is_current})


def counted_names(class_id: int, version: int, addresses: Iterable[str]) -> list[str]:
    """The entries of `counted` that say: these addresses were counted for the first move to this version."""
    return [f"{class_id}-{version} {address}" for address in sorted(addresses) or [_NOBODY]]


def process_place(host: str, listening: Sequence[str], process: int) -> str:
    """The place of a process, as its lease says it."""
    return f"{host} ({', '.join(listening)}){_PROCESS}{process}"


def place_of(listed: Mapping[str, Any]) -> str:
    """The UUID of a collection that `listCollections` has listed, in hexadecimal digits; empty without one.

    A collection that is put back from a dump is another one. Source: MongoDB's manual, listCollections.
    """
    info = listed.get("info")
    uuid = info.get("uuid") if isinstance(info, Mapping) else None
    return bytes(uuid).hex() if isinstance(uuid, bytes) else ""


def leases_pipeline() -> list[dict[str, Any]]:
    """Reads all leases with the server's time of reading, in one answer, for `parse_lease`."""
    return [{"$set": {"read_at": "$$NOW"}}]


def parse_lease(document: Mapping[str, Any]) -> Lease | None:
    """None for a document that is no lease. Times as an aware `datetime`."""
    renewed, read_at, told = (document.get(name) for name in ("renewed", "read_at", "acknowledged"))
    if not (isinstance(renewed, datetime) and isinstance(read_at, datetime) and isinstance(told, Mapping)):
        return None
    seen, place = document.get("seen"), document.get("place")
    return Lease(
        _shown(document.get("_id")),
        renewed,
        read_at,
        _generations(told),
        _seen(seen) if isinstance(seen, Mapping) else {},
        "" if place is None else _shown(place),
    )


def _shown(said: object) -> str:
    """The text as people see it: its writer may aim at their terminal."""
    text = str(said)[:MAX_PLACE_CHARACTERS]
    return text if text.isprintable() else "?"


def named_seen(seen: Mapping[tuple[int, int], int]) -> dict[str, Int64]:
    """The same as a lease's document has it."""
    return {f"{class_id}-{version}": Int64(each) for (class_id, version), each in seen.items()}


def _seen(told: Mapping[str, Any]) -> dict[tuple[int, int], int]:
    parts = {name: name.split("-") for name in told}
    pairs = {name: part for name, part in parts.items() if len(part) == _PAIR and all(map(_is_number, part))}
    return {
        (int(class_id), int(version)): int(told[name])
        for name, (class_id, version) in pairs.items()
        if type(told[name]) in (int, Int64)
    }


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _generations(told: Mapping[str, Any]) -> dict[int, int]:
    return {
        int(name): int(value)
        for name, value in told.items()
        if _is_number(name) and type(value) in (int, Int64)
    }
