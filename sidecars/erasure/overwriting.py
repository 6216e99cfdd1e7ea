"""What a document is after its covered values are gone: each of them null, all else as it was.

A unique index, or a validator, may refuse nulls. Then a value of a deterministic class is replaced by a
random one of its type, which is nobody's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from secrets import randbits, token_bytes, token_hex
from typing import Final

from sealwire.crypto.envelope import binary
from sealwire.keys.errors import KeysError
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.paths import is_transparent
from sealwire.policies.file.schema import FieldClass, PathNode, ValueType
from sealwire.policies.file.stored import EMPTY, holds_values
from sealwire.sidecars.raw_documents import Value, document, element
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, elements

NULL: Final[Value] = (kinds.NULL, b"")

Choose = Callable[[FieldClass], Value]
"""From the class of a value that goes to what stands in its place."""


@dataclass(frozen=True, slots=True)
class Emptied:
    """A change of one document; the bytes hold stored values."""

    conditions: bytes
    """Elements of a filter: what stood there."""
    update: bytes
    """The document `{$set: ...}`."""


def emptied(raw: bytes, tree: PathNode, choose: Choose) -> Emptied | None:
    """What takes the covered values out of a document; None where it has none. Raises BsonError.

    A field at the top is written anew as a whole, if what it holds is what was read. Cost: O(bytes)
    """
    conditions: list[bytes] = []
    news: list[bytes] = []
    for each in elements(raw, 0):
        node = tree.child(each.name)
        if node is None:
            continue
        old = raw[each.value : each.end]
        new = _emptied(raw, each.kind, each.value, each.end, node, choose, 1)
        if new != (each.kind, old):
            conditions.append(element(kinds.OBJECT, each.name, document(element(each.kind, b"$eq", old))))
            news.append(element(new[0], each.name, new[1]))
    if not news:
        return None
    return Emptied(b"".join(conditions), document(element(kinds.OBJECT, b"$set", document(*news))))


def _emptied(  # noqa: PLR0913, PLR0917 - where a value stands, and what becomes of it
    raw: bytes, kind: int, start: int, end: int, node: PathNode, choose: Choose, depth: int
) -> Value:
    """As `policies.file.stored.StoredValues` walks."""
    if not holds_values(kind, node) or depth > MAX_DEPTH:
        is_value = node.leaf is not None and kind not in EMPTY
        return choose(node.leaf) if is_value and node.leaf is not None else (kind, raw[start:end])
    parts = []
    for each in elements(raw, start):
        below: PathNode | None = node
        if kind != kinds.ARRAY:
            below = node.child(each.name) or (node if is_transparent(each.name) else None)
        new = (
            (each.kind, raw[each.value : each.end])
            if below is None
            else _emptied(raw, each.kind, each.value, each.end, below, choose, depth + 1)
        )
        parts.append(element(new[0], each.name, new[1]))
    return kind, document(*parts)


def null_of(_field_class: FieldClass) -> Value:
    """The usual choice."""
    return NULL


class Replacements:
    """Random values in place of those that may not become null."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self.made: set[Value] = set()

    def __repr__(self) -> str:
        return f"Replacements({len(self.made)})"

    def choose(self, field_class: FieldClass) -> Value:
        """A random value, encrypted as the class encrypts; null where that is not sure to be right.

        That is so for random classes, those with a grid or keys for contexts, and those that move.
        """
        value = _random_value(field_class.value_type)
        name = field_class.name
        is_plain = name in self._keyring.partly_plaintext or name in self._keyring.pending_classes
        if value is None or field_class.domain is not None or field_class.per is not None or is_plain:
            return NULL
        try:
            cipher = self._keyring.cipher_for(name)
        except KeysError:
            return NULL
        made = kinds.BIN_DATA, binary(cipher.encrypt_deterministically(field_class.kind, value))
        self.made.add(made)
        return made


def _random_value(value_type: ValueType | None) -> bytes | None:
    match value_type:
        case ValueType.STRING:
            text = f"erased-{token_hex(16)}".encode() + b"\0"
            return len(text).to_bytes(4, "little") + text
        case ValueType.INT:
            return randbits(31).to_bytes(4, "little")
        case ValueType.LONG:
            return randbits(63).to_bytes(8, "little")
        case ValueType.DATE:
            return randbits(40).to_bytes(8, "little")
        case ValueType.OBJECT_ID:
            return token_bytes(12)
        case ValueType.BIN_DATA:
            return b"\x10\0\0\0\0" + token_bytes(16)
        case ValueType.DOUBLE | ValueType.BOOL | None:
            return None
