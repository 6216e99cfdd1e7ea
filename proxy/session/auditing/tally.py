"""Count, by class, what a command stores and compares, and what is opened in its reply."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, final

from sealwire.policies.planning.plan import RangeEdit, Use, ValueEdit
from sealwire.proxy.session.auditing.settings import IDENTIFIER, Pseudonym
from sealwire.proxy.session.revealing.reveal import OpenEnvelope

# Where in an envelope of either format the class id is.
_ID_OFFSET: Final = 4
_ID_END: Final = 8
_ID_BYTES: Final = _ID_END - _ID_OFFSET
_FEW_BYTES: Final = 64 * _ID_BYTES
"""Up to so many ids are counted one by one, which has less overhead."""


@final
class SentTally:
    """What one command stores and compares."""

    __slots__ = ("_class_name", "_pseudonym", "filtered", "subjects", "written")

    def __init__(self, class_name: str = "", pseudonym: Pseudonym | None = None) -> None:
        """`class_name`: the class whose values identify persons, where there is a way to name these."""
        self._class_name = class_name
        self._pseudonym = pseudonym
        self.written: dict[str, int] = {}
        self.filtered: dict[str, int] = {}
        self.subjects: dict[str, None] = {}
        """The pseudonyms of the persons whom it names, in the order in which it does."""

    def note(self, message: bytes, edits: Sequence[ValueEdit | RangeEdit]) -> None:
        """Count edits of a plan; their values lie in `message`. Cost: O(edits)."""
        for edit in edits:
            name = edit.field_class.name
            counts = self.filtered if edit.use is Use.MATCH else self.written
            counts[name] = counts.get(name, 0) + 1
            if name == self._class_name and self._pseudonym is not None and isinstance(edit, ValueEdit):
                value = edit.value
                if value is None:
                    value = message[edit.element.value : edit.element.end]
                self.subjects[self._pseudonym(IDENTIFIER, edit.kind, value)] = None


@final
class OpenedTally:
    """Opens envelopes and counts them by class."""

    __slots__ = ("_ids", "_open")

    def __init__(self, open_envelope: OpenEnvelope) -> None:
        self._open = open_envelope
        self._ids = bytearray()
        """The class ids of what was opened, one after the other: a long reply has a hundred thousand."""

    def over(self, open_envelope: OpenEnvelope) -> OpenEnvelope:
        """Go on with another opener: the keyring was loaded again."""
        self._open = open_envelope
        return self.open

    def open(self, buf: bytes, start: int, end: int) -> tuple[int, bytes]:
        """As an OpenEnvelope; what cannot be opened does not count."""
        opened = self._open(buf, start, end)
        self._ids += buf[start + _ID_OFFSET : start + _ID_END]
        return opened

    @property
    def opened(self) -> int:
        """How many were opened."""
        return len(self._ids) // _ID_BYTES

    def keep(self, opened: int) -> None:
        """Only the first `opened` count: what came after is tried again."""
        del self._ids[opened * _ID_BYTES :]

    def by_class(self, names: Mapping[int, str]) -> dict[str, int]:
        """How many were opened, by the name of their class. Cost: O(envelopes)."""
        ids = self._ids
        counted: dict[bytes, int] = {}
        if len(ids) > _FEW_BYTES:
            # 30 ns each: a long reply has many values of few classes
            amounts = Counter(memoryview(ids).cast("I"))
            counted = {number.to_bytes(_ID_BYTES, sys.byteorder): n for number, n in amounts.items()}
        else:
            for at in range(0, len(ids), _ID_BYTES):
                each = bytes(ids[at : at + _ID_BYTES])
                counted[each] = counted.get(each, 0) + 1
        found: dict[str, int] = {}
        for each, amount in counted.items():
            class_id = int.from_bytes(each, "big")
            found[names.get(class_id) or f"id {class_id}"] = amount
        return found
