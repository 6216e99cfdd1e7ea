"""Which form a stored value is to have: one function a direction, handed to whoever moves values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.envelope import (
    BINARY_HEAD,
    ENCRYPTABLE_TYPES,
    MARKER,
    EnvelopeHeader,
    EnvelopeMode,
    binary,
    is_envelope,
    is_of_context,
    parse_any_header,
)
from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope, UnsupportedValue
from sealwire.keys.contexts.cache import DESTROYED_VALUE
from sealwire.keys.errors import ContextShredded, KeyDestroyed, KeyRetired, UnknownKey
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.coercion import coerce, is_negative_zero
from sealwire.policies.file.ranges import RangeDomain, read_stored
from sealwire.policies.file.schema import ValueType
from sealwire.policies.file.stored import EMPTY
from sealwire.sidecars.migration.contexts import JobContexts, ValueSpot
from sealwire.sidecars.migration.moves import Direction
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, elements

_CSFLE_SUBTYPE = 6
_CONTAINERS = (kinds.OBJECT, kinds.ARRAY)


class Left(Enum):
    """Why a value is left as it is, and somebody has to look."""

    WRONG_TYPE = "wrong-type"
    """No envelope can hold it (MinKey, MaxKey, what client-side encryption wrote), or none would be
    written: an array with a null in it, which `{path: null}` finds in clear only."""
    IN_CLEAR = "in-clear"
    """It lies in clear before its class, which is encrypted, has begun to be put back in clear."""
    ENVELOPE_INSIDE = "envelope-inside"
    """A document or array that holds envelopes where the whole should be one."""
    OTHER_CLASS = "other-class"
    """An envelope of another class, or of the deterministic mode."""
    UNKNOWN_KEY = "unknown-key"
    RETIRED_KEY = "retired-key"
    DESTROYED_KEY = "destroyed-key"
    NO_CONTEXT = "no-context"
    """Its class has a key for each context, and the document, or the sub-document, does not say which."""
    DAMAGED = "damaged"
    """Begins like an envelope, and is none or does not open."""
    TOO_LARGE = "too-large"
    """The document, or its update, would pass what the server takes."""
    NOT_ADDRESSABLE = "not-addressable"
    """A field's name on the way stands twice or begins with $: no update reaches exactly it."""
    SERVER = "server"
    """The server refused the update; the code stands beside it."""
    CONTENDED = "contended"
    """The application changed the document again and again."""


class WrongType(Enum):
    """What becomes of values of a wrong type; where a deterministic class is decrypted, of those in clear.

    The other reasons are always skipped and reported.
    """

    REFUSE = "refuse"
    """The job stops before the batch in which it meets one."""
    SKIP = "skip"
    ENCRYPT = "encrypt"
    """Encrypted as they are where an envelope can hold them; else skipped."""


Form = tuple[int, bytes]
"""BSON type and value bytes."""

NewForm = Callable[[int, bytes, ValueSpot], Form | Left | None]
"""From type, value bytes and where they stand to what is to stand there; None: it may stay as it is."""


class ContextCiphers(Protocol):
    """The keys of contexts, for values of a class that has one for each."""

    def cipher_at(self, spot: ValueSpot) -> ContextCipher | Left:
        """What encrypts a value, or why nothing does."""

    def opened(self, value: bytes) -> "Form | Left":
        """Type and bytes of what an envelope of a context holds, as a BSON Binary, or why nobody opens it."""


@dataclass(frozen=True, slots=True)
class InCollection:
    """The keys of contexts, for the values of one collection."""

    contexts: JobContexts
    namespace: str

    def cipher_at(self, spot: ValueSpot) -> ContextCipher | Left:
        """As `ContextCiphers`. Raises as `JobContexts.cipher_for`."""
        try:
            found = self.contexts.cipher_for(self.namespace, spot)
        except ContextShredded:
            return Left.DESTROYED_KEY
        return Left.NO_CONTEXT if found is None else found

    def opened(self, value: bytes) -> Form | Left:
        """As `ContextCiphers`. Raises as `JobContexts.open`."""
        opened = opened_or_left(lambda: self.contexts.open(value[BINARY_HEAD:]))
        return Left.DESTROYED_KEY if opened == DESTROYED_VALUE else opened


def opened_or_left(open_value: Callable[[], Form], retired: Left = Left.UNKNOWN_KEY) -> Form | Left:
    """What opening yields, or why nobody opens it; `retired` is what a retired key is called."""
    try:
        return open_value()
    except KeyRetired:
        return retired
    except UnknownKey:
        return Left.UNKNOWN_KEY
    except KeyDestroyed:
        return Left.DESTROYED_KEY
    except (InvalidEnvelope, DecryptionFailed):
        return Left.DAMAGED


def new_form(
    direction: Direction, keyring: Keyring, wrong_type: WrongType, within: InCollection | None = None
) -> NewForm:
    """The function of a direction; `within` a collection, where classes have keys for contexts.

    Cost of a call: O(bytes), and one encryption, decryption or both.
    """
    forms = _Forms(keyring, wrong_type, within)
    made: Mapping[Direction, NewForm] = {
        Direction.ENCRYPT: forms.encrypted,
        Direction.REENCRYPT: forms.reencrypted,
        Direction.DECRYPT: forms.decrypted,
    }
    return made[direction]


def header_of(kind: int, value: bytes) -> EnvelopeHeader | Left | None:
    """The envelope's header; None for plaintext."""
    if not is_envelope(kind, value):
        return None
    try:
        return parse_any_header(value[BINARY_HEAD:])
    except InvalidEnvelope:
        return Left.DAMAGED


@dataclass(frozen=True, slots=True)
class _Forms:
    keyring: Keyring
    wrong_type: WrongType
    within: InCollection | None

    def encrypted(self, kind: int, value: bytes, spot: ValueSpot) -> Form | Left | None:
        header = header_of(kind, value)
        if isinstance(header, Left):
            return header
        cipher = self.keyring.cipher_for(spot.class_name)
        if header is not None:
            if not self._knows(header, value):
                return Left.UNKNOWN_KEY
            is_ours = header.class_id == cipher.class_id and header.mode is EnvelopeMode.RANDOM
            return None if is_ours else Left.OTHER_CLASS
        if kind not in ENCRYPTABLE_TYPES or _is_csfle(kind, value):
            return Left.WRONG_TYPE
        if kind in _CONTAINERS and _holds_envelope(value, 0):
            return Left.ENVELOPE_INSIDE
        if self.wrong_type is not WrongType.ENCRYPT and has_wrong_type(kind, value):
            return Left.WRONG_TYPE
        try:
            return self._sealed(spot, kind, value)
        except UnsupportedValue:
            return Left.TOO_LARGE

    def _knows(self, header: EnvelopeHeader, value: bytes) -> bool:
        """Whether the keyring has an envelope's key; of the key of a context, whether it has its class."""
        keyring = self.keyring
        if not is_of_context(value, BINARY_HEAD):
            return keyring.knows(*header[1:3])
        return any(keyring.cipher_for(name).class_id == header.class_id for name in keyring.active_classes)

    def _sealed(self, spot: ValueSpot, kind: int, value: bytes) -> Form | Left:
        """Raises UnsupportedValue."""
        within = self.within
        if within is None or not within.contexts.is_keyed(spot.class_name):
            return kinds.BIN_DATA, binary(
                self.keyring.cipher_for(spot.class_name).encrypt_randomly(kind, value)
            )
        cipher = within.cipher_at(spot)
        if isinstance(cipher, Left):
            return cipher
        return kinds.BIN_DATA, binary(cipher.encrypt_randomly(kind, value))

    def reencrypted(self, kind: int, value: bytes, spot: ValueSpot) -> Form | Left | None:
        header = header_of(kind, value)
        if header is None or isinstance(header, Left):
            return header
        cipher = self.keyring.cipher_for(spot.class_name)
        if header.class_id != cipher.class_id or header.mode is not EnvelopeMode.RANDOM:
            return Left.OTHER_CLASS
        is_keyed = self.within is not None and self.within.contexts.is_keyed(spot.class_name)
        if is_of_context(value, BINARY_HEAD) if is_keyed else header.key_version == cipher.key_version:
            return None  # data keeps the key of its context
        opened = self._opened(value)
        if isinstance(opened, Left):
            return opened
        return self._sealed(spot, *opened)

    def decrypted(self, kind: int, value: bytes, _spot: ValueSpot) -> Form | Left | None:
        header = header_of(kind, value)
        if header is None or isinstance(header, Left):
            return header
        return self._opened(value) if header.mode is EnvelopeMode.RANDOM else Left.OTHER_CLASS

    def _opened(self, value: bytes) -> Form | Left:
        if self.within is not None and is_of_context(value, BINARY_HEAD):
            return self.within.opened(value)
        return opened_or_left(lambda: self.keyring.open_envelope(value, BINARY_HEAD, len(value)))


def class_value(
    kind: int, value: bytes, value_type: ValueType, domain: RangeDomain | None = None
) -> bytes | None:
    """The value of a deterministic class that lies here in clear; None for what Sealwire would not store.

    `domain` is the class's grid, if it has one: a range finds nothing beside it once values are encrypted.
    Cost: O(1), but for binary data: O(bytes).
    """
    if header_of(kind, value) is not None:
        return None
    if is_negative_zero(kind, value):
        return None  # it would come back as 0.0
    found = coerce(kind, value, value_type)
    if found is None or domain is None or domain.holds(read_stored(value_type.kind, found)):
        return found
    return None


def has_wrong_type(kind: int, value: bytes) -> bool:
    """Whether Sealwire would refuse to store this plaintext in a random class. Raises BsonError."""
    if kind not in ENCRYPTABLE_TYPES or _is_csfle(kind, value):
        return True
    return kind == kinds.ARRAY and any(item.kind in EMPTY for item in elements(value, 0))


def _is_csfle(kind: int, value: bytes) -> bool:
    return kind == kinds.BIN_DATA and value[BINARY_HEAD - 1] == _CSFLE_SUBTYPE


def _holds_envelope(container: bytes, depth: int) -> bool:
    """Whether a document or array holds a value that begins like an envelope. Raises BsonError."""
    if container.find(MARKER) < 0 or depth > MAX_DEPTH:
        return False
    for element in elements(container, 0):
        value = container[element.value : element.end]
        if element.kind in _CONTAINERS and _holds_envelope(value, depth + 1):
            return True
        if is_envelope(element.kind, value):
            return True
    return False
