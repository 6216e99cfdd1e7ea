"""Values of a deterministic class that have a version which is neither of those of a move.

An earlier move or a backup has left them behind. No proxy looks for them by equality, and no order of forms
has a place for them, so only a search that reads every document finds them.
"""

from collections.abc import Callable, Iterable

from sealwire.crypto import envelope
from sealwire.keys.frontier.frontier import ClassVersion
from sealwire.keys.keyring.data_key import DataKey, KeyIds
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import FieldClass
from sealwire.policies.file.stored import StoredValues
from sealwire.sidecars.migration.forms import (
    ContextCiphers,
    Form,
    Left,
    class_value,
    header_of,
    opened_or_left,
)
from sealwire.sidecars.migration.windows.order import ClassPaths
from sealwire.wire.errors import BsonError


class Strays:
    """The versions of one class, as its keyring has them, but for those that are right."""

    def __init__(
        self, keys: Iterable[DataKey], field_class: FieldClass, right: Iterable[ClassVersion]
    ) -> None:
        """`keys` are those of a whole keyring; `right` the versions whose forms are none of these."""
        keys, right = tuple(keys), tuple(right)
        mine = [key for key in keys if key.class_name == field_class.name]
        self._keyring = Keyring(keys)
        self._field_class = field_class
        self._class_id = mine[0].class_id
        self._borrowed = {key.lender for key in mine if key.lender is not None}
        self._right = {KeyIds(*each.cipher.named) for each in right if not each.is_plaintext}
        self._are_contexts_right = not all(each.is_plaintext for each in right)
        self._has_plaintext = any(key.is_plaintext and key.state.decrypts for key in mine) and not any(
            each.is_plaintext for each in right
        )
        ids = (KeyIds(self._class_id, 1), *self._borrowed)
        self._markers = tuple({envelope.marker_of_class(each.class_id) for each in ids})

    def may_be_in(self, raw: bytes) -> bool:
        """Whether a document has to be looked through for them; False is certain."""
        if self._has_plaintext or not self._are_contexts_right:
            return True
        return any(marker in raw for marker in self._markers)

    def holds(self, kind: int, value: bytes) -> bool:
        """Whether a value at a path of the class is one of them. Cost: O(1), in clear O(bytes)."""
        header = header_of(kind, value)
        if header is None:
            return self._has_plaintext and _in_clear(self._field_class, kind, value) is not None
        if isinstance(header, Left) or header.mode is not envelope.EnvelopeMode.DETERMINISTIC:
            return False
        if envelope.is_of_context(value, envelope.BINARY_HEAD):
            return header.class_id == self._class_id and not self._are_contexts_right
        ids = KeyIds(header.class_id, header.key_version)
        if ids in self._right:
            return self._field_class.per is not None
        return ids.class_id == self._class_id or ids in self._borrowed

    def opened(self, kind: int, value: bytes, within: ContextCiphers | None = None) -> Form | Left:
        """The value of one of them, or why nobody opens it. `within` a collection, as `new_forms` has it."""
        if header_of(kind, value) is None:
            return _in_clear(self._field_class, kind, value) or Left.WRONG_TYPE
        if within is not None and envelope.is_of_context(value, envelope.BINARY_HEAD):
            return within.opened(value)
        return opened_or_left(
            lambda: self._keyring.open_envelope(value, envelope.BINARY_HEAD, len(value)), Left.RETIRED_KEY
        )


def needs_key(key: DataKey, field_class: FieldClass, where: ClassPaths | None) -> Callable[[bytes], bool]:
    """Whether a document has a value of a version of a class; `where` the class is in its collection.

    What a key made is found at any path. A version that is borrowed, or plaintext, means something at the
    paths of its class only. A damaged document counts. Cost of a call: O(bytes)
    """
    marker = envelope.beginning(*(key.lender or key.ids))
    if key.lender is None and not key.is_plaintext:
        return lambda raw: marker in raw

    def needs(raw: bytes) -> bool:
        if where is None or not (key.is_plaintext or marker in raw):
            return False
        walk = StoredValues(raw, where.tree)
        try:
            while walk.next_value():
                kind, value = walk.kind, raw[walk.value : walk.end]
                if key.is_plaintext:
                    if _in_clear(field_class, kind, value) is not None:
                        return True
                elif envelope.is_envelope(kind, value) and value.startswith(marker, envelope.BINARY_HEAD):
                    return True
        except BsonError:
            return True
        return False

    return needs


def _in_clear(field_class: FieldClass, kind: int, value: bytes) -> Form | None:
    declared = field_class.value_type
    found = None if declared is None else class_value(kind, value, declared, field_class.domain)
    return None if declared is None or found is None else (declared.kind, found)
