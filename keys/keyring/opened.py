"""How many envelopes were opened, by class, since somebody asked.

A reply of a hundred documents has hundreds of envelopes, so counting one is an addition: a counter lies
beside each cipher, and only those that were met are looked at in the end.
"""

from collections.abc import Mapping
from typing import Final, final

from mypy_extensions import mypyc_attr


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

    def add(self, count: ClassCount) -> None:
        """One more was opened. Cost: some 20 instructions in a compiled core."""
        if not count.amount:
            self._met.append(count)
        count.amount += 1

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
