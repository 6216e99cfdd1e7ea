"""The form of each value that one command sends."""

from typing import Final, final

from sealwire.keys.frontier.frontier import Form, Position, position_of
from sealwire.keys.frontier.uses import FrontierLost, WindowMet
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.session.moving.moves import Moves

MAX_NAMED: Final = 1 << 14
"""A command that names more values of a class is taken to use any: its cursor may hold them for long."""


@final
class Forms:
    """Made for one command while a class moves. It notes which values the command names."""

    __slots__ = ("_keyring", "_moves", "_named")

    def __init__(self, moves: Moves, keyring: Keyring) -> None:
        self._moves = moves
        self._keyring = keyring
        self._named: dict[str, set[Position]] = {}

    def valid(self, class_name: str, old: bytes, kind: int, value: bytes) -> bytes:
        """The one form in which a deterministic value is stored; `old` is the active key's envelope.

        Raises WindowMet, FrontierLost. Cost: a look-up for a class that does not move, else one AES-SIV call.
        """
        if class_name not in self._moves.classes:
            return old
        uses = self._moves.classes[class_name]
        if uses is None:
            raise FrontierLost
        position = position_of(old)
        form = uses.frontier.form(position)
        if form is Form.MOVING:
            raise WindowMet
        positions = self._named.setdefault(class_name, set())
        if len(positions) <= MAX_NAMED:
            positions.add(position)
        if form is Form.OLD:
            return old
        new = self._keyring.pending_cipher_for(class_name)
        if new is None:
            raise FrontierLost
        return new.encrypt_deterministically(kind, value)

    @property
    def named(self) -> dict[str, frozenset[Position] | None]:
        """By moving class, where the values that were sent stand; None where they are too many."""
        return {
            name: None if len(positions) > MAX_NAMED else frozenset(positions)
            for name, positions in self._named.items()
        }
