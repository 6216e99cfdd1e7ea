"""The runtime keyring: from a class name or an envelope to the cipher that is right for it."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, NoReturn, final

from mypy_extensions import mypyc_attr

from sealwire.crypto.cipher import HeaderCipher, OpenedTogether, ValueCipher
from sealwire.crypto.envelope import HEADER_BYTES, is_of_context, parse_context_header, parse_header
from sealwire.crypto.unpicklable import refuse_to_serialise
from sealwire.keys.errors import KeyDestroyed, KeyRetired, KeysReason, UnknownKey
from sealwire.keys.keyring.data_key import DataKey, KeyIds, KeyState

OpenEnvelope = Callable[[bytes, int, int], tuple[int, bytes]]
"""From a buffer and the extent of an envelope in it to its BSON type and value bytes.

Raises what makes the whole message unreadable.
"""
TakeEnvelope = Callable[[bytes, int, int], tuple[int, bytes | int]]
"""The same, or in place of the value its length: then an `EnvelopeBatch` has the value."""

# ------------------------------------------- how many envelopes were opened, by class, since somebody asked
#
# A reply of a hundred documents has hundreds of envelopes, so counting one is an addition: a counter lies
# beside each cipher, and only those that were met are looked at in the end.


@final
@mypyc_attr(acyclic=True)
class ClassCount:
    """How many envelopes with one class id were opened."""

    __slots__ = ("amount", "name")

    def __init__(self, name: str) -> None:
        self.name: Final = name
        """What a log calls the class."""
        self.amount = 0


@final
class OpenedValues:
    """The counts of one keyring, for one thread: where several open envelopes they are worth nothing."""

    __slots__ = ("_by_id", "_met", "_names")

    def __init__(self, names: Mapping[int, str]) -> None:
        """`names`: of the classes, by their ids."""
        self._names = names
        self._by_id: dict[int, ClassCount] = {}
        self._met: list[ClassCount] = []

    def of(self, class_id: int) -> ClassCount:
        """The count of a class, to be handed to `add`."""
        found = self._by_id.get(class_id)
        if found is None:
            found = self._by_id[class_id] = ClassCount(self._names.get(class_id) or f"id {class_id}")
        return found

    def add(self, count: ClassCount, amount: int = 1) -> None:
        """So many more were opened. Cost: some 20 instructions in a compiled core."""
        if not count.amount:
            self._met.append(count)
        count.amount += amount

    def take(self) -> dict[str, int]:
        """By class, what was opened since the last `take` or `clear`. Cost: O(classes that were met)."""
        found: dict[str, int] = {}
        for count in self._met:
            found[count.name] = count.amount
            count.amount = 0
        self._met.clear()
        return found

    def clear(self) -> None:
        """Begin anew."""
        if self._met:
            for count in self._met:
                count.amount = 0
            self._met.clear()


@final
class _Opening:
    """What opens the envelopes with one header, and counts them."""

    __slots__ = ("cipher", "count")

    def __init__(self, cipher: HeaderCipher, count: ClassCount) -> None:
        self.cipher: Final = cipher
        self.count: Final = count


_TOGETHER_FROM: Final = 2048
"""A shorter buffer has too few envelopes of each class: its batches would take longer than they save."""


@final
class _Group:
    """The envelopes of a batch that have one header."""

    __slots__ = ("bson_type", "count", "numbers", "opening")

    def __init__(self, found: _Opening, opening: OpenedTogether) -> None:
        self.bson_type: Final = found.cipher.bson_type
        self.count: Final = found.count
        self.opening: Final = opening
        self.numbers: Final[list[int]] = []
        """Their places in the batch."""


@final
class EnvelopeBatch:
    """Envelopes of one buffer, of any keys, that are opened together.

    Nothing of them is known before all are authentic: what is taken has a type and a length, and no value.
    """

    __slots__ = ("_by_header", "_groups", "_open", "_opened", "amount")

    def __init__(
        self, by_header: dict[bytes, _Opening], opened: OpenedValues, open_envelope: OpenEnvelope
    ) -> None:
        self._by_header = by_header
        self._opened = opened
        self._open = open_envelope
        self._groups: dict[bytes, _Group] = {}
        self.amount = 0
        """How many values are still to come."""

    def take(self, buf: bytes, start: int, end: int) -> tuple[int, bytes | int]:
        """As `Keyring.open_envelope`, with the value's length if the value is still to come from `values`.

        The buffer is the same one up to `values`. Raises as what opens envelopes by themselves. Cost: O(1).
        """
        header = buf[start : start + HEADER_BYTES]
        group = self._groups.get(header)
        if group is None:
            found = self._by_header.get(header)
            opening = None if found is None else found.cipher.together()
            if found is None or opening is None:
                return self._open(buf, start, end)
            group = self._groups[header] = _Group(found, opening)
        length = group.opening.add(start, end)
        if not length:
            return self._open(buf, start, end)
        group.numbers.append(self.amount)
        self.amount += 1
        return group.bson_type, length

    def values(self, buf: bytes) -> list[bytes]:
        """The values that are to come, in the order in which they were taken. Then it begins anew.

        Raises:  DecryptionFailed if any does not open; then none is returned, or counted as opened
        Cost:    some calls of AES for each header; then 75 ns a value of up to 30 bytes
        """
        found = [b""] * self.amount
        for group in self._groups.values():
            if group.numbers:
                values = group.opening.values(buf)
                for place, number in enumerate(group.numbers):
                    found[number] = values[place]
        for group in self._groups.values():
            if group.numbers:
                self._opened.add(group.count, len(group.numbers))
        self._groups.clear()
        self.amount = 0
        return found


@final
class Keyring:
    """Every usable data key, ready to use. A newer keyring is a new object; this one counts what it opens.

    All ciphers are made at construction, so that every question is a dict look-up; for each key there are 34
    entries of about 300 bytes, with a compiled core 45 KiB in all.
    """

    __slots__ = (
        "__weakref__",
        "_active",
        "_by_header",
        "_by_id",
        "_destroyed",
        "_pending",
        "_plaintext",
        "_retired",
        "_sharing",
        "begun",
        "class_names",
        "class_names_by_id",
        "created",
        "generation",
        "has_batches",
        "listed",
        "older",
        "opened",
        "partly_plaintext",
        "plaintext_classes",
        "shared_keys",
    )

    def __init__(self, keys: Iterable[DataKey], generation: int = 0) -> None:
        """`keys` as `file` checked them: no (class id, version) twice, one active and one pending a class."""
        self.generation = generation
        """Counts the writes of the keyring file; a later file has a higher one."""
        self._by_id: dict[tuple[int, int], ValueCipher] = {}
        self._by_header: dict[bytes, _Opening] = {}
        self._active: dict[str, ValueCipher] = {}
        self._pending: dict[str, ValueCipher] = {}
        self._retired: dict[tuple[int, int], str] = {}
        self._destroyed: set[tuple[int, int]] = set()
        self._plaintext: set[tuple[int, int]] = set()
        keys = tuple(keys)
        self.created = _made(keys)
        """When the active key of each class that has one was made; none of a class that is in clear."""
        self.class_names_by_id = {key.class_id: key.class_name for key in keys}
        """Whose envelopes have a class id. Those made with a borrowed key have the lender's."""
        self.opened = OpenedValues(self.class_names_by_id)
        """What was opened, for who asks; see there."""
        self.listed = tuple(key.listed for key in keys)
        """Every key in the order of the keyring, for people to see; destroyed ones too."""
        for key in keys:
            if key.material is None:
                self._destroyed.add((key.class_id, key.version))
                continue
            if key.state is KeyState.RETIRED:
                self._retired[key.class_id, key.version] = key.class_name
                continue
            cipher = key.cipher()
            self._by_id[key.class_id, key.version] = cipher
            if key.is_plaintext:
                self._plaintext.add((key.class_id, key.version))  # it has no envelopes to be opened
            else:
                self._by_header.update(_openings(cipher, self.opened.of(cipher.named[0])))
            if key.state is KeyState.ACTIVE:
                self._active[key.class_name] = cipher
            elif key.state is KeyState.PENDING:
                self._pending[key.class_name] = cipher
        self.has_batches = any(each.cipher.together() is not None for each in self._by_header.values())
        """Whether many short values are opened, and sealed, faster together than each by itself."""
        self.begun = {key.class_name: key.begun_in for key in keys if key.begun_in}
        """By class of which data may have begun to move to the pending key, the place of its frontier."""
        self.class_names = tuple(dict.fromkeys(key.class_name for key in keys))
        """In the order of the keyring; classes without an active key are among them."""
        self.older = _older(keys, self._by_id)
        """By class, the ciphers of the versions that only decrypt, the newest first. A class without such a
        version is left out. Plaintext is none of them."""
        self._sharing = _sharing(keys)
        self.shared_keys = _shared_keys(keys)
        """The classes that encrypt with one key, or will when they have moved, for each key with several."""
        self.plaintext_classes = self._in_clear(self._active)
        """The classes whose active version is plaintext: their values are stored in clear, or begin there."""
        self.partly_plaintext = frozenset((*self.plaintext_classes, *self._in_clear(self._pending)))
        """The classes of which a value may rightly be stored in clear: those, and those that move there."""

    def __repr__(self) -> str:
        return (
            f"Keyring(classes={len(self.class_names)}, keys={len(self._by_id)}, generation={self.generation})"
        )

    def _in_clear(self, ciphers: Mapping[str, ValueCipher]) -> tuple[str, ...]:
        return tuple(name for name, cipher in ciphers.items() if self.is_plaintext(cipher))

    @property
    def active_classes(self) -> tuple[str, ...]:
        """The classes that have an active key."""
        return tuple(self._active)

    @property
    def pending_classes(self) -> tuple[str, ...]:
        """The classes of which a rotation is under way: they have a pending key, and an active one."""
        return tuple(name for name in self._pending if name in self._active)

    def cipher_for(self, class_name: str) -> ValueCipher:
        """The cipher that encrypts for `class_name`. Raises UnknownKey CLASS_UNKNOWN, NO_ACTIVE_KEY."""
        cipher = self._active.get(class_name)
        if cipher is None:
            raise self._without_active(class_name)
        return cipher

    def is_plaintext(self, cipher: ValueCipher) -> bool:
        """Whether the version of `cipher`, which is one of this keyring, is plaintext."""
        return (cipher.class_id, cipher.key_version) in self._plaintext

    def pending_cipher_for(self, class_name: str) -> ValueCipher | None:
        """The cipher that `class_name` moves to, while a rotation of it is under way; else None."""
        return self._pending.get(class_name)

    def classes_of(self, class_id: int) -> tuple[str, ...]:
        """The classes whose envelopes may have this class id, in whatever state their keys are; none for one
        that the keyring does not know. More than one where a class has borrowed a key of another.
        """
        return self._sharing.get(class_id, ())

    def cipher_by_id(self, class_id: int, key_version: int) -> ValueCipher:
        """The cipher that decrypts an envelope with these ids. Raises UnknownKey, KeyDestroyed."""
        cipher = self._by_id.get((class_id, key_version))
        if cipher is None:
            raise self._without_key(class_id, key_version)
        return cipher

    def knows(self, class_id: int, key_version: int) -> bool:
        """Whether it opens with this key or records its destruction. A newer keyring would say the same.

        A retired key is not known: a newer keyring may open with it again.
        """
        return (class_id, key_version) in self._by_id or (class_id, key_version) in self._destroyed

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse_to_serialise(self)

    def open_envelope(self, buf: bytes, start: int, end: int) -> tuple[int, bytes]:
        """BSON type and value of the envelope that lies from `start` to `end` in `buf`.

        Raises:  InvalidEnvelope, DecryptionFailed, UnknownKey (whose `key` is what to ask for), KeyDestroyed
        Cost:    O(n), two copies; one look-up by all 13 header bytes on the good path
        """
        found = self._by_header.get(buf[start : start + HEADER_BYTES])
        if found is None:
            if is_of_context(buf, start):
                parse_context_header(buf[start:end])
                raise UnknownKey(
                    KeysReason.CONTEXTS,
                    "a stored value has the key of a context, and no store of such keys is given",
                    "set keys.contexts to the store that the value was written with",
                )
            header = parse_header(buf[start:end])
            raise self._without_key(header.class_id, header.key_version)
        cipher = found.cipher
        value = cipher.open(buf, start, end)
        self.opened.add(found.count)
        return cipher.bson_type, value

    def batch(self, open_envelope: OpenEnvelope, size: int) -> EnvelopeBatch | None:
        """An opener of all envelopes of a buffer of `size` bytes together; None where that is no faster.

        `open_envelope` opens those that it cannot: long and random ones, and those of contexts.
        """
        if size < _TOGETHER_FROM or not self.has_batches:
            return None
        return EnvelopeBatch(self._by_header, self.opened, open_envelope)

    def _without_active(self, class_name: str) -> UnknownKey:
        if class_name in self.class_names:
            return UnknownKey(KeysReason.NO_ACTIVE_KEY, f"class {class_name} has no active key")
        return UnknownKey(
            KeysReason.CLASS_UNKNOWN,
            f"the keyring has no class {class_name}",
            f"sealwire keys create {class_name} if the class is new; else restore the newest keyring",
        )

    def _without_key(self, class_id: int, key_version: int) -> UnknownKey | KeyDestroyed:
        if (class_id, key_version) in self._destroyed:
            return KeyDestroyed(
                KeysReason.DESTROYED,
                f"version {key_version} of class id {class_id} was destroyed",
                "what it encrypted cannot be read again",
            )
        retired = self._retired.get((class_id, key_version))
        if retired is not None:
            return KeyRetired(
                KeysReason.RETIRED,
                f"version {key_version} of class {retired} is retired, and a stored value still needs it",
                f"sealwire keys retire {retired} {key_version} --undo",
                (class_id, key_version),
            )
        return UnknownKey(
            KeysReason.VERSION_UNKNOWN,
            f"the keyring has no version {key_version} of class id {class_id}",
            "the keyring is older than the data, or another one: restore its newest copy",
            (class_id, key_version),
        )


def _openings(cipher: ValueCipher, count: ClassCount) -> dict[bytes, _Opening]:
    return {header: _Opening(each, count) for header, each in cipher.by_header.items()}


def _older(
    keys: Iterable[DataKey], ciphers: dict[tuple[int, int], ValueCipher]
) -> dict[str, tuple[ValueCipher, ...]]:
    found: dict[str, tuple[ValueCipher, ...]] = {}
    for key in sorted(keys, key=lambda key: key.version, reverse=True):
        if key.state is KeyState.DECRYPT_ONLY and not key.is_plaintext:
            found[key.class_name] = (*found.get(key.class_name, ()), ciphers[key.ids])
    return found


def _made(keys: Iterable[DataKey]) -> dict[str, datetime]:
    """When the active key of each class was made; of a borrowed one, when its lender's was."""
    made = {key.ids: key.created for key in keys}
    return {
        key.class_name: made.get(key.lender or key.ids, key.created)
        for key in keys
        if key.state is KeyState.ACTIVE and key.material is not None and not key.is_plaintext
    }


def _sharing(keys: Iterable[DataKey]) -> dict[int, tuple[str, ...]]:
    found: dict[int, dict[str, None]] = {}
    for key in keys:
        found.setdefault((key.lender or key.ids).class_id, {})[key.class_name] = None
    return {class_id: tuple(names) for class_id, names in found.items()}


def _shared_keys(keys: Iterable[DataKey]) -> tuple[tuple[str, ...], ...]:
    found: dict[KeyIds, dict[str, None]] = {}
    for key in keys:
        if key.state in (KeyState.ACTIVE, KeyState.PENDING) and not key.is_plaintext:
            found.setdefault(key.lender or key.ids, {})[key.class_name] = None
    return tuple(tuple(names) for names in found.values() if len(names) > 1)
