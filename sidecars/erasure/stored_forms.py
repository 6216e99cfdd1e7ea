"""In which forms the identifier of a person may be stored, and whose identifier a stored value is.

In clear it is looked for only where its class may rightly be stored in clear: a filter reaches the server's
log. A class with a key for each context has one form for each of them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, final

from sealwire.audit.pseudonyms import Identifier, PseudonymKey
from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.envelope import BINARY_HEAD, binary, is_envelope, is_of_context, parse_context_header
from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope
from sealwire.keys.contexts.cache import DESTROYED_VALUE, ContextCache, ContextKeysMissing
from sealwire.keys.contexts.resolver import Resolver, is_class_row, unwrap
from sealwire.keys.contexts.store import ContextStore, every_row
from sealwire.keys.errors import KeyDestroyed, KeyRetired, UnknownKey
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.coercion import coerce
from sealwire.policies.file.schema import FieldClass
from sealwire.sidecars.direct import Value
from sealwire.sidecars.errors import ErasureReason, Unusable
from sealwire.wire import kinds

# The usual spellings of one identifier: `9434765870`, `943 476 5870` and `943-476-5870` are the same
# person.
#
# Only numbers and codes whose grouping is fixed have them. Of others nobody can say that two spellings
# mean the same: `1-11` and `11-1` are two persons.

_GROUPED: Final = (
    (re.compile(r"\d{10}"), (3, 3, 4)),  # an NHS number
    (re.compile(r"\d{10}"), (6, 4)),  # a CHI number
    (re.compile(r"[A-Z]{2}\d{6}[A-D]"), (2, 2, 2, 2, 1)),  # a National Insurance number
)
_SEPARATORS: Final = ("", " ", "-")
_STRING_HEAD: Final = 4


def spellings(identifier: Identifier) -> tuple[Identifier, ...]:
    """All that are known, the given one first. Cost: O(1)."""
    given = identifier.value[_STRING_HEAD:-1]
    if identifier.kind != kinds.STRING or not given.isascii():
        return (identifier,)
    written = dict.fromkeys([given.decode(), *_others(given.decode())])
    return tuple(Identifier(kinds.STRING, _string(each)) for each in written)


def _others(given: str) -> Iterator[str]:
    compact = given.replace(" ", "").replace("-", "")
    known = [_joined(compact, groups) for pattern, groups in _GROUPED if pattern.fullmatch(compact)]
    if any(given in each for each in known):
        for each in known:
            yield from each


def _joined(compact: str, groups: tuple[int, ...]) -> list[str]:
    starts = [sum(groups[:index]) for index in range(len(groups))]
    parts = [compact[start : start + size] for start, size in zip(starts, groups, strict=True)]
    return [separator.join(parts) for separator in _SEPARATORS]


def _string(text: str) -> bytes:
    return b"%b%b\0" % ((len(text) + 1).to_bytes(4, "little"), text.encode())


@dataclass(frozen=True, slots=True)
class IdentifierForms:
    """All forms of one identifier."""

    forms: tuple[Value, ...] = field(repr=False)
    not_searched: tuple[str, ...]
    """What values may lie under without being found: retired versions, by name."""
    _known: frozenset[Value] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", frozenset(self.forms))

    def __contains__(self, value: object) -> bool:
        return value in self._known

    def batches(self, size: int) -> Iterator[tuple[Value, ...]]:
        """The forms, so many at a time."""
        for start in range(0, len(self.forms), size):
            yield self.forms[start : start + size]


def stored_forms(
    identifier: Identifier, field_class: FieldClass, keyring: Keyring, contexts: ContextStore | None
) -> IdentifierForms:
    """Every form that the keyring and the store of context keys can make, in every known spelling.

    Raises UnknownKey where the keyring has not the class; Unusable CONTEXTS where the class has keys
    for contexts and their store is not given; what the store raises. Cost: 20 us a version or context.
    """
    name = field_class.name
    forms: list[Value] = []
    not_searched: list[str] = []
    written = spellings(identifier)
    if name in keyring.partly_plaintext:
        forms += [(each.kind, each.value) for each in written]
    newest = keyring.pending_cipher_for(name) or keyring.cipher_for(name)
    for version in range(1, newest.key_version + 1):
        try:
            cipher = keyring.cipher_by_id(newest.class_id, version)
        except KeyRetired:
            not_searched.append(f"{name} version {version}: retired")
            continue
        except (UnknownKey, KeyDestroyed):
            continue  # what it encrypted, nobody can read
        if field_class.per is None and not keyring.is_plaintext(cipher):
            forms += [_stored(cipher.encrypt_deterministically(*each)) for each in written]
    if field_class.per is not None:
        if contexts is None:
            raise Unusable(
                ErasureReason.CONTEXTS,
                f"class {name} has a key for each context",
                "name their store: --contexts PATH|vault:MOUNT/PATH",
            )
        forms += _in_contexts(written, newest.class_id, keyring, contexts)
    return IdentifierForms(tuple(forms), tuple(not_searched))


def _in_contexts(
    written: Sequence[Identifier], class_id: int, keyring: Keyring, contexts: ContextStore
) -> Iterator[Value]:
    for row in every_row(contexts, class_id):
        if row.is_destroyed or is_class_row(row):
            continue
        key = unwrap(row, keyring.cipher_by_id(class_id, row.wrap_version))
        cipher = ContextCipher(key, class_id, row.key_id)
        yield from (_stored(cipher.encrypt_deterministically(*each)) for each in written)


def _stored(envelope: bytes) -> Value:
    return kinds.BIN_DATA, binary(envelope)


def key_id_of(kind: int, value: bytes) -> bytes | None:
    """The id of the key of a context that a stored value was encrypted with; None for any other value."""
    if not is_envelope(kind, value) or not is_of_context(value, BINARY_HEAD):
        return None
    try:
        return parse_context_header(value[BINARY_HEAD:])[1]
    except InvalidEnvelope:
        return None


@final
class Persons:
    """Says by pseudonym whose identifier a stored value is. For one thread."""

    def __init__(
        self, key: PseudonymKey, field_class: FieldClass, keyring: Keyring, contexts: ContextStore | None
    ) -> None:
        self._key = key
        self._class = field_class
        self._keyring = keyring
        self._resolver = None if contexts is None else Resolver(contexts)
        self._cache = ContextCache()

    def __repr__(self) -> str:
        return "Persons()"

    def pseudonym(self, kind: int, value: bytes) -> str | None:
        """None for what does not open, or is no value of the class. Raises what the store raises."""
        return next(iter(self.pseudonyms(kind, value)), None)

    def pseudonyms(self, kind: int, value: bytes) -> tuple[str, ...]:
        """Those of all spellings, that of the value first. Empty, and raises, as `pseudonym`."""
        declared = self._class.value_type
        if is_envelope(kind, value):
            try:
                kind, value = self._opened(value)
            except (InvalidEnvelope, DecryptionFailed, UnknownKey, KeyDestroyed):
                return ()
        found = None if declared is None else coerce(kind, value, declared)
        if found is None:
            return ()
        return tuple(map(self._key.pseudonym, spellings(Identifier(self._class.kind, found))))

    def is_gone(self, kind: int, value: bytes) -> bool:
        """Whether a value is nobody's any more: its key was destroyed. Raises what the store raises."""
        if not is_envelope(kind, value):
            return False
        try:
            return self._opened(value) == DESTROYED_VALUE
        except KeyDestroyed:
            return True
        except (InvalidEnvelope, DecryptionFailed, UnknownKey):
            return False

    def _opened(self, value: bytes) -> tuple[int, bytes]:
        if self._resolver is None or not is_of_context(value, BINARY_HEAD):
            return self._keyring.open_envelope(value, BINARY_HEAD, len(value))
        try:
            return self._cache.open(value[BINARY_HEAD:])
        except ContextKeysMissing as missing:
            self._cache.put(self._resolver.find(self._keyring, (), [missing.key_id]))
        return self._cache.open(value[BINARY_HEAD:])
