"""In what condition one stored value is, judged by its envelope's header and the keyring's record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from sealwire.crypto.envelope import BINARY_HEAD, EnvelopeMode, is_envelope, is_of_context, parse_any_header
from sealwire.crypto.errors import InvalidEnvelope
from sealwire.keys.keyring.data_key import KeyIds, KeyState
from sealwire.keys.keyring.record import ClassRecord, KeyringRecord
from sealwire.policies.file.schema import FieldClass, Mode

_MODES = {Mode.DETERMINISTIC: EnvelopeMode.DETERMINISTIC, Mode.RANDOM: EnvelopeMode.RANDOM}
_LENGTH_BYTES = 4
"""They stand before the subtype of a BSON Binary."""


class Condition(Enum):
    """What a stored value is. All but the first three need an operator's attention."""

    PROTECTED = "protected"
    """An envelope of the path's class, mode and newest key; also of a key that the class borrows."""
    OLDER_KEY = "older-key"
    """The same of an older key, which still opens it; or of the class's own where each context has one.
    If the class is deterministic, only while it moves to a pending key."""
    DECLARED = "declared-in-clear"
    """As `in-clear`, of a class that the policy declares with `accept_plaintext`."""
    IN_CLEAR = "in-clear"
    """A value in clear of a class that the keyring has in clear, or moves from there or to there."""
    LEFT_BEHIND = "left-behind"
    """As `older-key`, of a deterministic class that does not move: equality does not find it."""
    OTHER_CONTEXT = "other-context"
    """An envelope of the key of another context than its document's; it opens all the same."""
    PLAINTEXT = "plaintext"
    OTHER_CLASS = "other-class"
    """An envelope of another class of the keyring, or of the other mode: it equals nothing here."""
    UNKNOWN_KEY = "unknown-key"
    """An envelope of a class or version that the keyring does not have."""
    RETIRED_KEY = "retired-key"
    """An envelope that nobody opens until its key is taken back."""
    DESTROYED_KEY = "destroyed-key"
    """An envelope that nobody opens any more."""
    DAMAGED = "damaged"
    """Begins like an envelope and is none."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing has to be done."""
        return self in (Condition.PROTECTED, Condition.OLDER_KEY, Condition.DECLARED)


@dataclass(frozen=True, slots=True)
class Keys:
    """Which key versions there are; without any material."""

    classes: Mapping[str, ClassRecord]
    states: Mapping[KeyIds, KeyState]
    """By what envelopes name: borrowed versions are those of their lenders."""
    in_clear: frozenset[str] = frozenset()
    """The classes whose active or pending version is plaintext."""
    newest: Mapping[str, int] = field(default_factory=dict)
    """By class its pending version, else its active one."""
    moving: frozenset[str] = frozenset()
    """The classes that have a pending version."""

    @classmethod
    def of(cls, record: KeyringRecord) -> "Keys":
        """The keys of a keyring's record, which need not be authenticated: nothing is opened with them."""
        return cls(
            classes={entry.name: entry for entry in record.classes},
            states={
                KeyIds(entry.class_id, key.version): key.state
                for entry in record.classes
                for key in entry.keys
                if key.lender is None
            },
            in_clear=frozenset(
                entry.name
                for entry in record.classes
                for key in entry.keys
                if key.is_plaintext and key.state in (KeyState.ACTIVE, KeyState.PENDING)
            ),
            # in rising version: a pending one comes last
            newest={
                entry.name: key.version
                for entry in record.classes
                for key in entry.keys
                if key.state in (KeyState.ACTIVE, KeyState.PENDING)
            },
            moving=frozenset(
                entry.name for entry in record.classes for key in entry.keys if key.state is KeyState.PENDING
            ),
        )

    def judge(self, kind: int, value: bytes, field_class: FieldClass) -> Condition:
        """The condition of a value of BSON type `kind` where `field_class` is expected. Cost: O(1)."""
        if not is_envelope(kind, value):
            if field_class.mode is not Mode.DETERMINISTIC or field_class.name not in self.in_clear:
                return Condition.PLAINTEXT
            return Condition.DECLARED if field_class.accepts_plaintext else Condition.IN_CLEAR
        try:
            header = parse_any_header(value[BINARY_HEAD:])
        except InvalidEnvelope:
            return Condition.DAMAGED
        entry, is_mode = self.classes.get(field_class.name), header.mode is _MODES[field_class.mode]
        if is_of_context(value, BINARY_HEAD):
            # whether its key is there, only the store of context keys says
            is_ours = entry is not None and header.class_id == entry.class_id and is_mode
            return Condition.PROTECTED if is_ours else Condition.OTHER_CLASS
        named = KeyIds(header.class_id, header.key_version)
        state = self.states.get(named)
        if state is None:
            return Condition.UNKNOWN_KEY
        version = None if entry is None else entry.version_named(named)
        if entry is None or version is None or not is_mode:
            return Condition.OTHER_CLASS
        if state is KeyState.DESTROYED:
            return Condition.DESTROYED_KEY
        if state is KeyState.RETIRED:
            return Condition.RETIRED_KEY
        if version == self.newest.get(field_class.name) and field_class.per is None:
            return Condition.PROTECTED
        is_left = field_class.mode is Mode.DETERMINISTIC and field_class.name not in self.moving
        return Condition.LEFT_BEHIND if is_left else Condition.OLDER_KEY
