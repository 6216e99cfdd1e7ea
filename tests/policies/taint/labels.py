"""Contexts of the taint test, each with a label that the text of a value ends with whose context it is."""

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Any, Final

from bson import Binary, Int64, ObjectId

from tests.policies.taint.drawer import Drawer
from tests.policies.taint.values import Pairs

NOBODY: Final = "nobody"
"""The label of a value whose context nothing says: it must not leave."""
MARK: Final = "tAiN "

LABELS: Final[Mapping[str, tuple[Any, ...]]] = MappingProxyType(
    {
        "five": (5, Int64(5)),
        "six": (6, Int64(6)),
        "far": (Int64(2**40),),
        "ann": ("ann",),
        "Ann": ("Ann",),
        "oid": (ObjectId(b"owners owner"),),
        "uuid": (Binary(b"owners of values", 4),),
    }
)
"""For each context the values that say it."""


class Labels(Drawer):
    """Draws one command whose values say whose they are."""

    def __init__(self, random: Random, labels: Sequence[str]) -> None:
        super().__init__(random)
        self.labels = labels
        """The contexts to draw from."""
        self.refused = ""
        """Why nothing of it may leave, whatever its values say."""
        self.is_text = False
        """Whether a filter fixes a text: no collation may leave with a value beside it then."""

    def label(self) -> str:
        return self.pick(self.labels)

    def value(self, label: str) -> Any:
        """What says a context in a document or a filter."""
        return self.pick(LABELS[label])

    def arranged(self, pairs: list[tuple[str, Any]]) -> Any:
        """A document of these, in any order; a name may stand twice."""
        self.random.shuffle(pairs)
        return dict(pairs) if len({name for name, _ in pairs}) == len(pairs) else Pairs(pairs)
