"""Count, by class, what a command stores and compares."""

from collections.abc import Sequence
from typing import final

from sealwire.policies.planning.plan import RangeEdit, Use, ValueEdit
from sealwire.proxy.session.auditing.settings import IDENTIFIER, Pseudonym


@final
class SentTally:
    """What one command stores and compares."""

    __slots__ = ("_class_name", "_pseudonym", "filtered", "ids", "subjects", "unnamed", "written")

    def __init__(self, class_name: str = "", pseudonym: Pseudonym | None = None) -> None:
        """`class_name`: the class whose values identify persons, where there is a way to name these."""
        self._class_name = class_name
        self._pseudonym = pseudonym
        self.written: dict[str, int] = {}
        self.filtered: dict[str, int] = {}
        self.subjects: dict[str, None] = {}
        """The pseudonyms of the persons whom it names, in the order in which it does."""
        self.ids: dict[str, None] = {}
        """Those of the documents that it names by their `_id`."""
        self.unnamed = 0
        """How many of its statements write documents of persons whom nobody can tell."""

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
