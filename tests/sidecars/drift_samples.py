"""A keyring's record, a policy, and envelopes of any key, made without a key."""

import struct

from bson.binary import Binary

from sealwire.crypto.envelope import SUBTYPE, EnvelopeHeader, EnvelopeMode, serialize_header
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.record import ClassRecord, KeyRecord, KeyringRecord
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PathNode
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
