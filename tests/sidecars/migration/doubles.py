"""A server and a ledger in memory, which can die before any of their steps, and a keyring of two versions."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import bson
from bson.binary import Binary

from sealwire.crypto.envelope import SUBTYPE, parse_header
from sealwire.keys.keyring.keyring import Keyring
from sealwire.sidecars.direct import identity_of
from sealwire.sidecars.errors import JobTaken, MigrationReason
from sealwire.sidecars.migration.forms import WrongType
from sealwire.sidecars.migration.job import Job, Stretch, parse, serialize
from sealwire.sidecars.migration.ledger import Wish
from sealwire.sidecars.migration.moves import Direction, Move
from sealwire.sidecars.migration.server import Written
from sealwire.wire.raw_bson import find_element
from tests.keys.samples import NOW, keyring_up_to

Document = dict[str, Any]

RANDOM = (Direction.ENCRYPT, Direction.REENCRYPT, Direction.DECRYPT)
"""The directions in which values of random classes move."""
NAMESPACE = "clinic.patients"
NOTES, LETTERS, NHS = 8, 9, 7
_NAMES = {NOTES: "notes", LETTERS: "letters", NHS: "nhs"}

MOVES = (
    Move(NAMESPACE, "notes", "notes"),
    Move(NAMESPACE, "visits.text", "notes"),
    Move(NAMESPACE, "letters", "letters"),
)


def keyring(newest: int = 2) -> Keyring:
    """Each class with the versions up to `newest`, always of the same material."""
    return keyring_up_to(newest, {name: class_id for class_id, name in _NAMES.items()})


def sealed(keys: Keyring, class_name: str, value: object) -> Binary:
    """An envelope of any value, under the active key."""
    raw = bson.encode({"v": value})
    found = find_element(raw, 0, b"v")
    assert found is not None
    envelope = keys.cipher_for(class_name).encrypt_randomly(found.kind, raw[found.value : found.end])
    return Binary(envelope, SUBTYPE)


def opened(keys: Keyring, value: object) -> object:
    """What an envelope holds, once opened; what is in clear as it is."""
    if isinstance(value, Binary) and value.subtype == SUBTYPE:
        kind, inside = keys.open_envelope(value, 0, len(value))
        element = bytes((kind,)) + b"v\0" + inside
        return bson.decode((len(element) + 5).to_bytes(4, "little") + element + b"\0")["v"]
    if isinstance(value, dict):
        return {name: opened(keys, each) for name, each in value.items()}
    if isinstance(value, list):
        return [opened(keys, each) for each in value]
    return value


def versions(value: object) -> list[int]:
    """The key versions of all envelopes in a document; 0 stands for a string in clear."""
    if isinstance(value, Binary) and value.subtype == SUBTYPE:
        return [parse_header(value).key_version]
    if isinstance(value, dict):
        return [each for inside in value.values() for each in versions(inside)]
    if isinstance(value, list):
        return [each for inside in value for each in versions(inside)]
    return [0] if isinstance(value, str) else []


def job(
    direction: Direction = Direction.ENCRYPT,
    wrong_type: WrongType = WrongType.REFUSE,
    moves: tuple[Move, ...] = MOVES,
    stretches: tuple[Stretch, ...] = (Stretch(NAMESPACE),),
    now: datetime = NOW,
) -> Job:
    return Job("job-1", direction, wrong_type, moves, stretches, now, now)


class Death(Exception):
    """The process is gone."""


class Fate:
    """Counts the steps that change something, and lets the process die before one of them."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.steps = 0
        self._dies_at = dies_at

    def step(self) -> None:
        if self.steps == self._dies_at:
            raise Death
        self.steps += 1


class MemoryServer:
    """One collection, ordered by integer `_id`."""

    def __init__(self, documents: Sequence[Document], fate: Fate) -> None:
        self.raws = {each["_id"]: bson.encode(each) for each in documents}
        self.fate = fate
        self.between: Callable[[], None] = lambda: None
        """What others do between a read and what follows on it."""
        self.codes: Mapping[int, int] = {}
        """The code with which an update of the document of this `_id` is refused."""

    @property
    def documents(self) -> list[Document]:
        return [bson.decode(self.raws[key]) for key in sorted(self.raws)]

    def replace(self, document: Document) -> None:
        """What the application writes."""
        self.raws[document["_id"]] = bson.encode(document)

    def read(self, _namespace: str, start: bytes, end: bytes, limit: int) -> tuple[list[bytes], bool]:
        low = _value(start) if start else min(self.raws, default=0)
        high = _value(end) if end else max(self.raws, default=0) + 1
        keys = [key for key in sorted(self.raws) if low <= key < high]
        found = [self.raws[key] for key in keys[:limit]]
        self.between()
        return found, len(keys) < limit

    def again(self, _namespace: str, identities: Sequence[bytes]) -> list[bytes]:
        found = [self.raws[key] for key in map(_value, identities) if key in self.raws]
        self.between()
        return found

    def update(self, _namespace: str, updates: Sequence[bytes]) -> Written:
        matched = 0
        errors: list[tuple[int, int]] = []
        for index, each in enumerate(updates):
            self.fate.step()
            update = bson.decode(each)
            key = update["q"].pop("_id")
            if key in self.codes:
                errors.append((index, self.codes[key]))
            elif key in self.raws:
                matched += self._apply(key, update)
        return Written(matched, tuple(errors))

    def _apply(self, key: int, update: Document) -> bool:
        document = bson.decode(self.raws[key])
        for place, condition in update["q"].items():
            holder, last = _holder(document, place)
            if holder is None or bson.encode({"v": holder[last]}) != bson.encode({"v": condition["$eq"]}):
                return False
        for place, value in update["u"]["$set"].items():
            holder, last = _holder(document, place)
            assert holder is not None
            holder[last] = value
        self.raws[key] = bson.encode(document)
        return True


def _holder(document: Any, place: str) -> tuple[Any, Any]:
    """What holds the value at a place, and its key there; None where the document has no such place."""
    holder: Any = None
    key: Any = None
    for part in place.split("."):
        holder = document
        if isinstance(holder, list):
            key = int(part)
            is_there = key < len(holder)
        else:
            key = part
            is_there = isinstance(holder, dict) and key in holder
        if not is_there:
            return None, None
        document = holder[key]
    return holder, key


def _value(identity: bytes) -> int:
    raw = (len(identity) + 5).to_bytes(4, "little") + identity + b"\0"
    assert identity_of(raw) == identity
    return int(bson.decode(raw)["_id"])


class MemoryNotes:
    """What was written down last, as bytes: a process that goes on knows nothing else."""

    def __init__(self, first: Job, fate: Fate) -> None:
        self.body = serialize(first)
        self.fate = fate
        self.wish = Wish.RUN

    @property
    def job(self) -> Job:
        return parse(self.body)

    def save(self, job: Job) -> Wish:
        self.fate.step()
        if job.revision != self.job.revision + 1:
            raise JobTaken(MigrationReason.TAKEN, "another process")
        self.body = serialize(job)
        return self.wish
