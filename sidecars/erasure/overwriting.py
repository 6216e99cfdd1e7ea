"""What a document is after its covered values are gone: each of them null, all else as it was.

A unique index, or a validator, may refuse nulls. Then a value of a deterministic class is replaced by a
random one of its type, which is nobody's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from secrets import randbits, token_bytes, token_hex
from typing import Final

from sealwire.crypto.envelope import binary, is_envelope
from sealwire.keys.errors import KeysError
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import FieldClass, PathNode, ValueType
from sealwire.policies.file.stored import StoredValues
from sealwire.sidecars.raw_documents import Value, document, element
from sealwire.wire import kinds

NULL: Final[Value] = (kinds.NULL, b"")

Choose = Callable[[FieldClass], Value]
"""From the class of a value that goes to what stands in its place."""


@dataclass(frozen=True, slots=True)
class Emptied:
    """A change of one document. The bytes hold ciphertext, and no value in clear that the filter lacks."""

    conditions: bytes
    """Elements of a filter: what stood there."""
    update: bytes
    """The document `{$set: ...}`; of a deletion in part, `$unset` as well."""


def emptied(raw: bytes, tree: PathNode, choose: Choose) -> Emptied | None:
    """What takes the covered values out of a document; None where it has none. Raises BsonError.

    It names ciphertext only. A value in clear is known by its place and type: the server may log the update,
    and what a person is erased from must not be written anew. What no update can name stays, and the next
    look finds it. Cost: O(bytes)
    """
    conditions: list[bytes] = []
    news: list[bytes] = []
    walk = StoredValues(raw, tree)
    while walk.next_value():
        if not walk.is_addressable():
            continue
        place, value, new = walk.place, raw[walk.value : walk.end], choose(walk.leaf)
        conditions.append(still_there(place, walk.kind, value))
        news.append(element(new[0], place, new[1]))
    if not news:
        return None
    return Emptied(b"".join(conditions), document(element(kinds.OBJECT, b"$set", document(*news))))


def still_there(place: bytes, kind: int, value: bytes, *, is_known: bool = False) -> bytes:
    """An element of a filter: what was read stands at a place.

    A value in clear is known by its type alone, unless the filter names it anyway (`is_known`).
    """
    still = element(kinds.INT, b"$type", kind.to_bytes(4, "little"))
    if is_known or is_envelope(kind, value):
        still = element(kind, b"$eq", value)
    return element(kinds.OBJECT, place, document(still))


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
