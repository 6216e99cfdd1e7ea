"""What every session test shares: one policy, its keys, and messages written without the code under test."""

import struct
from datetime import UTC, datetime
from typing import Any

import bson
from bson.binary import Binary
from bson.codec_options import CodecOptions, DatetimeConversion

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.proxy.session.effects import Effect, LongToClient, LongToServer, ToClient, ToServer
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings, Shared
from tests.strategies import MadeSequence, made_op_msg
from tests.support.short_siv import made_with_short_siv
from tests.wire.corpus import document, element

POLICY_TEXT = b"""
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  visits: {mode: deterministic, type: int}
  total: {mode: deterministic, type: long}
  weight: {mode: deterministic, type: double}
  born: {mode: deterministic, type: date}
  ref: {mode: deterministic, type: objectId}
  photo: {mode: deterministic, type: binData}
  smoker: {mode: deterministic, type: bool}
  secret: {mode: random}
collections:
  clinic.patients:
    nhs_number: nhs
    visits: visits
    total: total
    weight: weight
    born: born
    ref: ref
    photo: photo
    smoker: smoker
    notes: secret
    contact.email: nhs
    contact.note: secret
    tags: nhs
  ward.*:
    name: nhs
allow_commands: [lookUp]
"""
POLICY = load_policy(POLICY_TEXT, "policy.yaml")
OWN_ADDRESS = "proxy.example:27017"

_CREATED = datetime(2026, 1, 1, tzinfo=UTC)
_STABLE = CodecOptions[dict[str, Any]](datetime_conversion=DatetimeConversion.DATETIME_MS)


def material(class_id: int, version: int) -> bytes:
    """The 64 bytes of a test key: any two differ."""
    return bytes([class_id, version]) * 32


def data_key(
    name: str, version: int = 1, state: KeyState = KeyState.ACTIVE, *, is_plaintext: bool = False
) -> DataKey:
    """A key of one of the policy's classes; class ids count from 1 in the policy's order."""
    class_id = class_id_of(name)
    key = None if state is KeyState.DESTROYED else material(class_id, version)
    return DataKey(name, class_id, version, state, _CREATED, key, is_plaintext=is_plaintext)


def class_id_of(name: str) -> int:
    """The class id that the test keyrings give a class."""
    return POLICY.class_names.index(name) + 1


KEYRING = Keyring(data_key(name) for name in POLICY.class_names)
BATCHING = made_with_short_siv(lambda: Keyring(data_key(name) for name in POLICY.class_names))
"""The same, which opens and seals many values together on a plain core as well."""
"""Version 1 of every class."""


def session(keyring: Keyring = KEYRING, members: dict[str, str] | None = None, **settings: Any) -> Session:
    """A session that has just begun."""
    topology = Topology(OWN_ADDRESS, members or {})
    settings.setdefault("login_required", False)
    return Session(Shared(SessionSettings(POLICY, **settings), keyring), topology)


def session_of(settings: SessionSettings, keyring: Keyring = KEYRING) -> Session:
    """A session with settings of its own."""
    return Session(Shared(settings, keyring), Topology(OWN_ADDRESS))


def use_settings(session: Session, settings: SessionSettings) -> None:
    """Let other settings count for a session that has begun."""
    session.shared.use_settings(settings)
    session.settings_changed()


def load_keys(session: Session, keyring: Keyring | None) -> list[Effect]:
    """Answer NeedKeys: the keyring as it is now, or None when it could not be loaded."""
    if keyring is not None:
        session.shared.use_keyring(keyring)
    return session.keys_loaded()


def command(
    body: dict[str, Any] | bytes,
    request_id: int = 1,
    *,
    flags: int = 0,
    first: dict[str, list[Any]] | None = None,
    after: dict[str, list[Any]] | None = None,
) -> bytes:
    """An OP_MSG from the client; `first` and `after` are document sequences around the body."""
    sections = (*_sequences(first), None, *_sequences(after))
    return made_op_msg(encoded(body), sections, flags, request_id).message


def reply(
    body: dict[str, Any] | bytes, response_to: int = 1, request_id: int = 9001, *, flags: int = 0
) -> bytes:
    """An OP_MSG from the server."""
    return made_op_msg(encoded(body), flags=flags, request_id=request_id, response_to=response_to).message


def legacy_query(
    body: dict[str, Any] | bytes, request_id: int = 1, namespace: bytes = b"admin.$cmd", flags: int = 4
) -> bytes:
    """An OP_QUERY, as drivers send for their first hello."""
    payload = struct.pack("<i", flags) + namespace + b"\0" + struct.pack("<ii", 0, -1) + encoded(body)
    return struct.pack("<iiii", 16 + len(payload), request_id, 0, 2004) + payload


def legacy_reply(body: dict[str, Any] | bytes, response_to: int = 1, documents: int = 1) -> bytes:
    """An OP_REPLY with `documents` copies of the body."""
    payload = struct.pack("<iqii", 8, 0, 0, documents) + encoded(body) * documents
    return struct.pack("<iiii", 16 + len(payload), 9001, response_to, 1) + payload


def _sequences(given: dict[str, list[Any]] | None) -> tuple[MadeSequence, ...]:
    return tuple(
        MadeSequence(name.encode(), tuple(encoded(item) for item in documents))
        for name, documents in (given or {}).items()
    )


def encoded(body: dict[str, Any] | bytes) -> bytes:
    """BSON of a dictionary; bytes are taken as BSON already."""
    return body if isinstance(body, bytes) else bson.encode(body)


def value_bytes(value: Any) -> tuple[int, bytes]:
    """Type byte and bytes of a value as BSON holds it."""
    data = bson.encode({"a": value})
    return data[4], data[7:-1]


def envelope(name: str, value: Any, version: int = 1) -> bytes:
    """The deterministic envelope of a value under a test key."""
    cipher = ValueCipher(material(class_id_of(name), version), class_id_of(name), version)
    return cipher.encrypt_deterministically(*value_bytes(value))


def sealed(name: str, value: Any, version: int = 1) -> Binary:
    """What the server stores for a value of a deterministic class."""
    return Binary(envelope(name, value, version), SUBTYPE)


def sealed_randomly(name: str, value: Any, version: int = 1) -> Binary:
    """What the server may store for a value of a random class; no two are alike."""
    cipher = ValueCipher(material(class_id_of(name), version), class_id_of(name), version)
    return Binary(cipher.encrypt_randomly(*value_bytes(value)), SUBTYPE)


def opened(value: Any) -> Any:
    """A decoded value with every envelope in it decrypted, by the test keys and not through the proxy."""
    if isinstance(value, dict):
        return {name: opened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [opened(inner) for inner in value]
    if isinstance(value, Binary) and value.subtype == SUBTYPE and value.startswith(b"SW"):
        class_id, version = struct.unpack_from(">II", value, 4)
        kind, data = ValueCipher(material(class_id, version), class_id, version).decrypt(bytes(value))
        return decoded(document(element(kind, b"a", data)))["a"]
    return value


def decoded(data: bytes) -> dict[str, Any]:
    """A BSON document as a dictionary, dates of any year included."""
    return bson.decode(data, _STABLE)


def served_in_parts(session: Session, message: bytes, size: int) -> list[Effect]:
    """What follows when the server's bytes come so many at a time."""
    starts = range(0, len(message), size)
    return [each for start in starts for each in session.server_data(message[start : start + size])]


def sections(message: bytes) -> list[tuple[str, list[bytes]]]:
    """The sections of an OP_MSG as (name, documents); the body has no name. Not by the code under test."""
    flags = struct.unpack_from("<I", message, 16)[0]
    end = len(message) - (4 if flags & 1 else 0)
    at, found = 20, []
    while at < end:
        kind, size = message[at], struct.unpack_from("<i", message, at + 1)[0]
        start = at + 1
        name = ""
        if kind == 1:
            nul = message.index(0, at + 5)
            name, start = message[at + 5 : nul].decode(), nul + 1
        at += 1 + size
        documents = []
        while start < at:
            length = struct.unpack_from("<i", message, start)[0]
            documents.append(message[start : start + length])
            start += length
        found.append((name, documents))
    return found


def body_of(message: bytes) -> dict[str, Any]:
    """The decoded body of an OP_MSG."""
    return decoded(dict(sections(message))[""][0])


def written(effects: list[Effect], kind: type[ToServer] | type[ToClient]) -> bytes:
    """All bytes that the effects write to one side."""
    long = LongToServer if kind is ToServer else LongToClient
    data = b""
    for effect in effects:
        if isinstance(effect, kind):
            data += effect.data
        elif isinstance(effect, long):
            data += b"".join(effect.pieces)
    return data
