"""What becomes of the constants and types that definitions have for values of classes that move."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from os import urandom
from typing import Any, Final

import bson

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import BINARY_HEAD, KEY_BYTES, is_envelope
from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope, UnsupportedValue
from sealwire.keys.errors import KeysError
from sealwire.keys.frontier.frontier import ClassVersion
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.coercion import coerce
from sealwire.policies.file.schema import FieldClass, Mode, ValueType
from sealwire.policies.filters.operands import TYPES
from sealwire.wire.raw_bson import elements, enclosed

BINARY: Final = "binData"
EMPTY_TYPES: Final = frozenset({"null", "undefined", "missing"})
"""What stays in clear, by the names of `$type`."""

_NUMBERS: Final = frozenset({"int", "long", "double", "decimal", "number"})
_BY_CODE: Final = {number: name.decode() for name, number in TYPES.items() if name != b"number"}
_JSON_NAMES: Final = {"boolean": "bool"}


class Width(Enum):
    """Which forms of the values a definition is to hold for."""

    WIDE = "wide"
    """The old one and the new one."""
    NEW = "new"


class Lost(Exception):
    """A part of a definition has no meaning for the new form; `what` names it, never a constant."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True, slots=True)
class ClassChange:
    """From which form to which values move; `versions` of a deterministic class, none of random ones."""

    was_clear: bool
    is_clear: bool
    keyring: Keyring = field(repr=False)
    versions: tuple[ClassVersion, ClassVersion] | None = field(default=None, repr=False)

    @classmethod
    def of_versions(cls, keyring: Keyring, old: ClassVersion, new: ClassVersion) -> "ClassChange":
        """That of a deterministic class, between any two of its versions."""
        return cls(old.is_plaintext, new.is_plaintext, keyring, (old, new))

    @classmethod
    def to_judge(cls) -> "ClassChange":
        """From plaintext to envelopes that nobody opens: what can be converted shows without the keys."""
        versions = stand_in_version(is_plaintext=True), stand_in_version(is_plaintext=False)
        return cls(True, False, Keyring(()), versions)

    @property
    def changes_nothing(self) -> bool:
        """Whether no definition can tell: envelopes of random classes, whatever their key."""
        return self.versions is None and self.was_clear == self.is_clear

    def renewed(self, value: Any, leaf: FieldClass) -> Any:
        """The new form of a constant; itself where no value of the class equals it. Raises Lost."""
        if value is None:
            return None
        if leaf.mode is Mode.RANDOM or self.versions is None:
            raise Lost("a constant, and envelopes of a random class equal none")
        if leaf.per is not None:
            raise Lost("a constant, and the class has a key for each context")
        if isinstance(value, dict | list):
            raise Lost("a constant that is a document or an array")
        element = next(elements(encoded := bson.encode({"": value}), 0))
        data = encoded[element.value : element.end]
        plain = self._plain(element.kind, data, leaf)
        if plain is None:
            return value
        try:
            form = self.versions[1].stored(*plain)
        except UnsupportedValue:
            raise Lost("a constant that no envelope can hold") from None
        return bson.decode(enclosed(b"%c\0%b" % (form.kind, form.data)))[""]

    def _plain(self, kind: int, data: bytes, leaf: FieldClass) -> tuple[int, bytes] | None:
        """A constant's type and bytes in clear; None where it is no value of the class in its old form."""
        if self.was_clear:
            if is_envelope(kind, data):
                return None
            coerced = None if leaf.value_type is None else coerce(kind, data, leaf.value_type)
            return None if coerced is None else (leaf.kind, coerced)
        if not is_envelope(kind, data):
            return None
        try:
            return self.keyring.open_envelope(data, BINARY_HEAD, len(data))
        except (InvalidEnvelope, DecryptionFailed, KeysError):
            raise Lost("an envelope that does not open") from None

    def types(self, named: Any, leaf: FieldClass) -> list[str]:
        """The types in which values of these types are stored in their new form. Raises Lost."""
        names = [type_name(each) for each in (named if isinstance(named, list) else [named])]
        if self.was_clear == self.is_clear:
            return names
        if self.is_clear:
            return _once(self._opened_type(name, leaf) for name in names)
        return _once(BINARY if _is_stored(name, leaf) else name for name in names)

    def _opened_type(self, name: str, leaf: FieldClass) -> str:
        if name != BINARY:
            return name
        if leaf.value_type is None:
            raise Lost("the type binData, and what stands there in clear is not known")
        return leaf.value_type.value


def stand_in_version(*, is_plaintext: bool) -> ClassVersion:
    """A version of no keyring, for where it only counts that there is one. Nothing that it makes is kept."""
    return ClassVersion(ValueCipher(urandom(KEY_BYTES), 1, 1), is_plaintext)


def _is_stored(name: str, leaf: FieldClass) -> bool:
    """Whether values of this type at a path of the class become envelopes."""
    if leaf.value_type is None:
        return name not in EMPTY_TYPES
    declared = leaf.value_type.value
    is_number = leaf.value_type in (ValueType.INT, ValueType.LONG, ValueType.DOUBLE)
    return name == declared or (is_number and name in _NUMBERS)


def type_name(named: Any) -> str:
    """A type as `$type`, `bsonType` or `type` name it, as one name."""
    if isinstance(named, str):
        return _JSON_NAMES.get(named, named)
    return _BY_CODE.get(int(named), str(named))


def both(old: Iterable[Any], new: Iterable[Any]) -> list[Any]:
    """The constants of two lists, each once; 1 and 1.0 are two, as are equal bytes of two subtypes."""
    found: list[Any] = []
    seen: set[bytes] = set()
    for each in (*old, *new):
        key = bson.encode({"": each})
        if key not in seen:
            seen.add(key)
            found.append(each)
    return found


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
