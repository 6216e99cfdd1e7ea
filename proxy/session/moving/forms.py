"""The form of each value that one command sends, where that is not the envelope under the active key."""

from collections.abc import Iterable
from typing import Final, final

from sealwire.crypto.cipher import ValueCipher
from sealwire.keys.errors import KeysReason, UnknownKey
from sealwire.keys.frontier import frontier
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.session.moving.moves import Moves

MAX_NAMED: Final = 1 << 14
"""A command that names more values of a class is taken to use any: its cursor may hold them for long."""


@final
class Forms:
    """Made for one command while a class moves, or is stored in clear. It notes which values are named.

    What the keyring and the frontier do not say is never guessed: without an answer nothing is sent.
    """

    __slots__ = ("_keyring", "_moves", "_named", "_versions", "in_clear")

    def __init__(self, moves: Moves, keyring: Keyring) -> None:
        self._moves = moves
        self._keyring = keyring
        self._named: dict[str, set[frontier.Position]] = {}
        self._versions: dict[str, frontier.ClassVersion] = {}
        self.in_clear = 0
        """How many values, or ranges, were sent as they are."""

    def is_settled(self, class_name: str) -> bool:
        """Whether all its values are encrypted under its active key, as if nothing moved.

        Raises UnknownKey.
        """
        return class_name not in self._moves.classes and not self._version(class_name).is_plaintext

    def passes_range(self, class_name: str) -> bool:
        """Whether all its values are stored in clear, so that a range may be asked for as it is.

        Raises UnknownKey.
        """
        is_clear = class_name not in self._moves.classes and self._version(class_name).is_plaintext
        self.in_clear += is_clear
        return is_clear

    def listed(self, class_name: str, values: Iterable[tuple[int, bytes]]) -> list[frontier.StoredForm]:
        """The form of each value of a range, in the order of the forms. Raises and costs as `valid`."""
        before = self.in_clear
        found = sorted(self.valid(class_name, kind, value) for kind, value in values)
        self.in_clear = before
        return found

    def valid(
        self, class_name: str, kind: int, value: bytes, *, is_of_class: bool = True
    ) -> frontier.StoredForm:
        """The one form in which a deterministic value is stored.

        `is_of_class`: whether the class can hold it. What it cannot hold equals no value of the class, so it
        has no place in their order; where values are in clear it is compared as it is.

        Raises WindowMet, FrontierLost, UnknownKey, UnsupportedValue. Cost: one AES-SIV call; two for a value
        that has moved from one key to another, none in clear.
        """
        old = self._version(class_name)
        if old.is_plaintext and not is_of_class:
            return self._sent(frontier.StoredForm(kind, value), is_clear=True)
        if class_name not in self._moves.classes:
            return self._sent(old.stored(kind, value), is_clear=old.is_plaintext)
        position, stored = old.placed(kind, value)
        if not self._has_moved(class_name, position):
            return self._sent(stored, is_clear=old.is_plaintext)
        new = frontier.pending_version_of(self._keyring, class_name)
        if new is None:
            raise frontier.FrontierLost
        return self._sent(new.stored(kind, value), is_clear=new.is_plaintext)

    def other_ciphers(self, class_name: str) -> list[ValueCipher]:
        """The ciphers of a class that is not settled, old ones included. Raises UnknownKey."""
        new = frontier.pending_version_of(self._keyring, class_name) if self.is_moving(class_name) else None
        versions = self._version(class_name), new
        found = [each.cipher for each in versions if each is not None and not each.is_plaintext]
        return [*found, *self._keyring.older.get(class_name, ())]

    def is_moving(self, class_name: str) -> bool:
        """Whether its values have either form, by where they stand."""
        return class_name in self._moves.classes

    def leaves_envelopes(self, class_name: str) -> bool:
        """Whether its values stand where their envelopes do, as it moves from a key. Raises UnknownKey."""
        return self.is_moving(class_name) and not self._version(class_name).is_plaintext

    def clear_form(
        self,
        class_name: str,
        kind: int,
        value: bytes,
        envelope: bytes | None = None,
        *,
        is_of_class: bool = True,
    ) -> frontier.StoredForm | None:
        """As `valid`, of a class with a key for each context that is not settled; None: it has its context's.

        Such a class moves from plaintext, where a value stands at one place for all contexts, or to it: then
        it stands where its `envelope` does, under the key of its context.
        Raises WindowMet, FrontierLost, UnknownKey. Cost: O(bytes)
        """
        old = self._version(class_name)
        if class_name not in self._moves.classes or (old.is_plaintext and not is_of_class):
            return self._sent(frontier.StoredForm(kind, value), is_clear=True)
        new = frontier.pending_version_of(self._keyring, class_name)
        if new is None or new.is_plaintext is old.is_plaintext or (envelope is None) is not old.is_plaintext:
            raise frontier.FrontierLost
        position = old.position(kind, value) if envelope is None else frontier.position_of(envelope)
        if self._has_moved(class_name, position) is old.is_plaintext:
            return None
        return self._sent(frontier.StoredForm(kind, value), is_clear=True)

    def _has_moved(self, class_name: str, position: frontier.Position) -> bool:
        """Whether the value there has its new form; it is noted as named. Raises WindowMet, FrontierLost."""
        uses = self._moves.classes[class_name]
        if uses is None:
            raise self._moves.unknown()
        form = uses.frontier.form(position)
        if form is frontier.Form.MOVING:
            raise frontier.WindowMet
        positions = self._named.setdefault(class_name, set())
        if len(positions) <= MAX_NAMED:
            positions.add(position)
        return form is frontier.Form.NEW

    def random_cipher(self, class_name: str) -> ValueCipher:
        """The cipher of a random class, which nobody stores in clear on purpose.

        Raises UnknownKey, also where the keyring has it in clear: nothing would open what its key encrypts.
        """
        active = self._version(class_name)
        if active.is_plaintext:
            raise UnknownKey(
                KeysReason.NO_ACTIVE_KEY,
                f"the random class {class_name} is in clear in the keyring, and has no key that encrypts",
                f"sealwire keys rotate {class_name} makes one",
            )
        return active.cipher

    @property
    def named(self) -> dict[str, frozenset[frontier.Position] | None]:
        """By moving class, where the values that were sent stand; None where they are too many."""
        return {
            name: None if len(positions) > MAX_NAMED else frozenset(positions)
            for name, positions in self._named.items()
        }

    def _version(self, class_name: str) -> frontier.ClassVersion:
        found = self._versions.get(class_name)
        if found is None:
            found = self._versions[class_name] = frontier.version_of(self._keyring, class_name)
        return found

    def _sent(self, stored: frontier.StoredForm, *, is_clear: bool) -> frontier.StoredForm:
        self.in_clear += is_clear
        return stored
