"""A keyring's record, a policy, and envelopes of any key, made without a key."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from bson.binary import Binary
from pymongo.errors import OperationFailure

from sealwire.crypto.envelope import SUBTYPE, EnvelopeHeader, EnvelopeMode, serialize_header
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.record import ClassRecord, KeyRecord, KeyringRecord
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PathNode
from sealwire.sidecars.direct import Client
from sealwire.sidecars.drift.scan import Keys
from tests.keys.samples import NOW

NHS, NOTES, OLD = 7, 8, 9

_STATES = {
    NHS: (KeyState.DESTROYED, KeyState.DECRYPT_ONLY, KeyState.ACTIVE),
    NOTES: (KeyState.ACTIVE,),
    OLD: (KeyState.DECRYPT_ONLY,),
}
_NAMES = {NHS: "nhs", NOTES: "notes", OLD: "old"}


def record() -> KeyringRecord:
    classes = tuple(
        ClassRecord(
            _NAMES[class_id],
            class_id,
            tuple(
                KeyRecord(version, state, NOW, None if state is KeyState.DESTROYED else bytes(80))
                for version, state in enumerate(states, 1)
            ),
        )
        for class_id, states in _STATES.items()
    )
    return KeyringRecord(1, "local:0", bytes(48), classes, bytes(32))


KEYS = Keys.of(record())


def policy(text: str) -> PathNode:
    rules = f"""
version: 1
classes:
  nhs: {{mode: deterministic, type: string}}
  notes: {{mode: random}}
collections:
  clinic.patients: {{{text}}}
"""
    tree = load_policy(rules.encode(), "policy.yaml").covered("clinic.patients")
    assert tree is not None
    return tree


def envelope(
    class_id: int = NHS, version: int = 3, mode: EnvelopeMode = EnvelopeMode.DETERMINISTIC
) -> Binary:
    head = serialize_header(EnvelopeHeader(mode, class_id, version, 2))
    return Binary(head + bytes(40), SUBTYPE)


NOTE = envelope(NOTES, 1, EnvelopeMode.RANDOM)


def stored(value: Binary) -> bytes:
    """The bytes of a BSON Binary's value."""
    return struct.pack("<i", len(value)) + bytes((value.subtype,)) + bytes(value)


# A server that lists collections, counts documents and takes commands, in memory.


@dataclass
class FakeServer:
    """`collections` by database, as listCollections has them; `counts` are the answers to counting."""

    collections: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    counts: list[int] = field(default_factory=list)
    refuses: bool = False
    commands: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    @property
    def client(self) -> Client:
        return cast(Client, self)

    def list_database_names(self) -> list[str]:
        return list(self.collections)

    def get_database(self, name: str, *_: object) -> "FakeDatabase":
        return FakeDatabase(self, name)


@dataclass
class FakeDatabase:
    server: FakeServer
    name: str

    def list_collections(self) -> Iterator[dict[str, Any]]:
        return iter(self.server.collections.get(self.name, []))

    def get_collection(self, _name: str, *_: object) -> "FakeDatabase":
        return self

    def count_documents(self, _filter: object) -> int:
        self._answer()
        return self.server.counts.pop(0)

    def command(self, command: Mapping[str, Any]) -> None:
        self._answer()
        self.server.commands.append((self.name, command))

    def _answer(self) -> None:
        if self.server.refuses:
            raise OperationFailure("no", 13, {"codeName": "Unauthorized"})
